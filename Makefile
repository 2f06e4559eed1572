# Builds libnextaddr.so, its tests and its demo. `make help` lists the targets.
# Everything goes into build/; nothing else is ever written.

# make ARCH=i386 or ARCH=aarch64 builds for another machine, into a directory of its own in build/.
ifneq ($(origin ARCH),command line)
ARCH     :=
endif
# CHECK=address, thread or coverage builds library, tests and programs with checks (see below), likewise.
ifneq ($(origin CHECK),command line)
CHECK    :=
endif
BUILD    := build$(ARCH:%=/%)$(CHECK:%=/%)
ifeq ($(ARCH),i386)
TARGET   := -m32
else ifeq ($(ARCH),aarch64)
CXX      := $(shell command -v aarch64-linux-gnu-g++ || echo clang++ --target=aarch64-linux-gnu)
ifneq ($(findstring clang,$(CXX)),)
LINKER   := -fuse-ld=lld
endif
else ifneq ($(ARCH),)
$(error ARCH is i386 or aarch64, or not given)
endif
CXX      ?= g++
INSTRUMENT_address  := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
INSTRUMENT_thread   := -fsanitize=thread -Wno-tsan
INSTRUMENT_coverage := --coverage -fprofile-update=atomic
INSTRUMENT := $(INSTRUMENT_$(CHECK))
VERSION   = $(shell sed -n 's/^VERSION=//p' scripts/nextaddr)
PREFIX   ?= /usr/local
# lib, lib/MULTIARCH or lib64 below PREFIX, where the launcher finds it.
LIBDIR   ?= $(PREFIX)/lib
PYTHON   ?= /usr/bin/python3
# More than there are processors, because most tests wait; not many more, because some measure how long.
PYTEST_WORKERS ?= 4

comma := ,
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wno-missing-field-initializers
# No libstdc++ runtime, and no fortified names: one missing symbol version would kill every process this is
# preloaded into, and musl has no __poll_chk. Unwind tables stay: pthread_cancel(3) unwinds through connect.
# On 32-bit machines files have 64-bit offsets, but times are what older versions of glibc have: what is built
# for 64-bit time has names of its own (src/os/time64.h). No helpers for atomics: they need what musl has not.
MACROS := $(shell $(CXX) $(TARGET) -dM -E -x c++ /dev/null 2>/dev/null)
LIBRARY_FLAGS := $(TARGET) $(if $(filter __ILP32__,$(MACROS)),-D_FILE_OFFSET_BITS=64) \
	$(if $(filter __aarch64__,$(MACROS)),-mno-outline-atomics) -std=c++20 -Os -g -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti \
	-fno-threadsafe-statics -fno-plt -ftls-model=initial-exec -U_FORTIFY_SOURCE -D_GNU_SOURCE -Isrc $(WARNINGS) $(INSTRUMENT)
# The linker sees all of it, which makes it a tenth smaller. With checks it would only be slow. The object is the same in
# whatever directory it is built.
WHOLE := $(if $(CHECK),,-flto=auto '-ffile-prefix-map=$(CURDIR)=.')
LIBRARY_FLAGS += $(WHOLE)
# In one partition, so that the assembler's .symver (src/os/symbol_versions.h) is where its symbol is used.
PARTITION := $(if $(findstring clang,$(CXX)),,-flto-partition=none)
LINK_FLAGS := $(TARGET) $(LINKER) $(if $(WHOLE),$(WHOLE) $(PARTITION) -Os -g -fPIC) -shared $(if $(CHECK),$(INSTRUMENT),-nodefaultlibs -Wl$(comma)--no-undefined) -Wl,-z,now -Wl,-z,relro -Wl,-z,noseparate-code -Wl,-O1 \
	-Wl,--version-script=$(BUILD)/exports.map -Wl,-soname,libnextaddr.so

SOURCES  := $(wildcard src/*.cc src/*/*.cc)
HEADERS  := $(wildcard src/*.h src/*/*.h)
OBJECTS  := $(SOURCES:src/%.cc=$(BUILD)/obj/%.o)
LIBRARY  := $(BUILD)/libnextaddr.so
# What the loader may make of $PLATFORM (ld.so(8)) on the processors of each architecture.
PLATFORMS_i386    := i686 i586 i486 i386
PLATFORMS_aarch64 := aarch64
PLATFORMS_x86_64  := x86_64 haswell xeon_phi
PLATFORMS_all     := $$PLATFORM $(PLATFORMS_i386) $(PLATFORMS_aarch64) $(PLATFORMS_x86_64)

PURE_SOURCES   := $(wildcard src/engine/*.cc) src/memory/record.cc
UNIT_SOURCES   := $(wildcard tests/unit/*.cc)
UNIT_OBJECTS   := $(UNIT_SOURCES:tests/unit/%.cc=$(BUILD)/unit/%.o) \
	$(PURE_SOURCES:src/%.cc=$(BUILD)/unit/src/%.o)
UNIT_FLAGS     := -std=c++20 -O1 -g -D_GLIBCXX_ASSERTIONS -Isrc $(WARNINGS) $(INSTRUMENT)

FUZZERS      := $(patsubst tests/fuzz/%.cc,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/*.cc))
FUZZ_OBJECTS := $(PURE_SOURCES:src/%.cc=$(BUILD)/fuzz/src/%.o)
FUZZ_FLAGS   := -std=c++20 -O2 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -Isrc $(WARNINGS)
FUZZ_SECONDS ?= 4
SIMULATE_OBJECTS := $(patsubst tests/simulate/%.cc,$(BUILD)/simulate/%.o,$(wildcard tests/simulate/*.cc)) \
	$(PURE_SOURCES:src/%.cc=$(BUILD)/simulate/src/%.o)
SIMULATE_FLAGS   := -std=c++20 -O2 -g -Isrc -Itests/simulate $(WARNINGS)
PROGRAMS := $(patsubst tests/programs/%.cc,$(BUILD)/tests/%,$(wildcard tests/programs/*.cc))
ifeq ($(ARCH),i386)
# Once more, as they are built where time_t has 64 bits.
PROGRAMS += $(patsubst tests/programs/%.cc,$(BUILD)/tests-time64/%,$(wildcard tests/programs/*.cc))
endif
TEST_LIBRARIES := $(patsubst tests/programs/libraries/%.cc,$(BUILD)/tests/lib/%.so,$(wildcard tests/programs/libraries/*.cc))
BENCH_PROGRAMS := $(patsubst tests/bench/%.cc,$(BUILD)/bench/%,$(wildcard tests/bench/*.cc))
TEST_SOURCES = $(shell find tests -name '*.cc' -o -name '*.h')
SHELL_SCRIPTS := scripts/nextaddr .ci/run tests/examples/survives.sh tests/fuzz/run tests/integration/run \
	scripts/completion.bash scripts/deb/build

# For a make in a recipe, unless whoever called make has said how many jobs.
ALL_PROCESSORS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc))
# What tests/integration runs.
INTEGRATED := all programs reach $(BENCH_PROGRAMS)

.PHONY: all demo test tested fuzz unit integration programs reach reach-of-arch reach-programs foreign soak simulate bench \
	sanitize checked coverage lint format install uninstall deb dist clean help
.DEFAULT_GOAL := all

all: $(LIBRARY) ## build build/libnextaddr.so; with ARCH=i386 or ARCH=aarch64: build/ARCH/libnextaddr.so

# What programs call all the time, and a healthy connect, is built for speed, everything else for size: these files say so.
# They have few loops of more than some rounds, so that to align them is worth less than the room it takes.
QUICK := $(shell grep -l '^// Built for speed' $(SOURCES))
$(QUICK:src/%.cc=$(BUILD)/obj/%.o): LIBRARY_FLAGS += -O2 -falign-loops=1 $(if $(findstring clang,$(CXX)),,-falign-jumps=1)

$(BUILD)/obj/%.o: src/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(LIBRARY_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/exports.map: src/hooks/exports.map src/os/libc_functions.inc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(TARGET) -Isrc -E -P -x c $< -o $@

# link_platforms DIRECTORY ARCHITECTURE: lets one LD_PRELOAD be right for programs of this machine's
# architecture and of that one. musl does not know $PLATFORM, and takes it for the name of a directory.
define link_platforms
	@for platform in '$$PLATFORM' $(PLATFORMS_$(shell uname -m)); do \
		install -d -m 755 "$(1)/platform/$$platform" && ln -sf ../../libnextaddr.so "$(1)/platform/$$platform"; done
	@for platform in $(PLATFORMS_$(2)); do \
		install -d -m 755 "$(1)/platform/$$platform" && ln -sf ../../$(2)/libnextaddr.so "$(1)/platform/$$platform"; done
endef

# libdl is needed only if built with a glibc that has dlsym there, one before 2.34 (src/os/libc.cc).
$(LIBRARY): $(OBJECTS) $(BUILD)/exports.map
	@$(CXX) $(LINK_FLAGS) $(OBJECTS) -Wl,--as-needed -ldl -lc -lgcc -o $@

demo: all ## before and after, with the programs found on this machine
	$(PYTHON) scripts/demo

# What is tested is built by all processors, then one part runs after the other, because tests measure time.
test: ## everything
	@$(MAKE) --no-print-directory $(ALL_PROCESSORS) tested
	@for part in unit fuzz integration; do $(MAKE) --no-print-directory $$part || exit; done

tested: $(BUILD)/unit/engine_tests $(FUZZERS) $(INTEGRATED)

unit: $(BUILD)/unit/engine_tests ## GoogleTest of the pure engine
	$<

$(BUILD)/unit/src/%.o: src/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(UNIT_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/unit/%.o: tests/unit/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(UNIT_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/unit/engine_tests: $(UNIT_OBJECTS)
	@$(CXX) $(INSTRUMENT) $^ -lgtest -lgtest_main -pthread -o $@

# A short run each, from the seeds kept; `make fuzz FUZZ_SECONDS=3600` for a long one.
fuzz: $(FUZZERS) ## libFuzzer over everything that is read from outside
	@printf '%s\n' $(notdir $(FUZZERS)) | xargs -P 2 -I NAME tests/fuzz/run NAME $(BUILD)/fuzz $(FUZZ_SECONDS)

$(BUILD)/fuzz/src/%.o: src/%.cc Makefile
	@mkdir -p $(@D)
	@clang++ $(FUZZ_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/fuzz/%.o: tests/fuzz/%.cc Makefile
	@mkdir -p $(@D)
	@clang++ $(FUZZ_FLAGS) -MMD -MP -c $< -o $@

# What is played by a script compares no magic words: to note each comparison would take most of the time.
PLAYED := host_table address_memory schedule connect_attempts
$(PLAYED:%=$(BUILD)/fuzz/src/engine/%.o) $(PLAYED:%=$(BUILD)/fuzz/%.o): FUZZ_FLAGS += -fno-sanitize-coverage=trace-cmp

$(FUZZERS): %: %.o $(FUZZ_OBJECTS)
	@clang++ -fsanitize=fuzzer,address,undefined $^ -o $@

programs: $(PROGRAMS) $(TEST_LIBRARIES) ## the small programs of the integration tests

$(BUILD)/tests/%: tests/programs/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(TARGET) -std=c++20 -O1 -g -Wall -Wextra -Werror $(filter -fsanitize% -fno-sanitize%,$(INSTRUMENT)) -MMD -MP $< $(LINKER) \
		-pthread -ldl -o $@

$(BUILD)/tests-time64/%: tests/programs/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(TARGET) -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -std=c++20 -O1 -g -Wall -Wextra -Werror -MMD -MP $< \
		-pthread -ldl -o $@

$(BUILD)/tests/lib/%.so: tests/programs/libraries/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(TARGET) -std=c++20 -O1 -g -Wall -Wextra -Werror -fPIC -shared -MMD -MP $< $(LINKER) -ldl -o $@

$(BUILD)/bench/%: tests/bench/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(TARGET) -std=c++20 -O2 -g -Wall -Wextra -Werror -MMD -MP $< -o $@

# What tests/integration/test_reach.py runs. Where there is no compiler for it, that is noted.
REACH_PROGRAMS := connect_first events_poll events_epoll

reach: ## build for the other architectures, as far as there are compilers
	@for arch in i386 aarch64; do $(MAKE) -s ARCH=$$arch reach-of-arch || exit; done

reach-of-arch:
	@mkdir -p $(BUILD)
	@if echo '#include <string>' | $(CXX) $(TARGET) $(LINKER) -shared -fPIC -x c++ - -o $(BUILD)/trial 2>/dev/null; \
		then rm -f $(BUILD)/no-compiler; $(MAKE) -s $(ALL_PROCESSORS) ARCH=$(ARCH) all reach-programs; \
		else touch $(BUILD)/no-compiler; fi

reach-programs: $(foreach program,$(REACH_PROGRAMS),$(filter %/$(program),$(PROGRAMS)))

integration: $(INTEGRATED) ## pytest with real programs and real sockets
	@PYTHON=$(PYTHON) tests/integration/run $(PYTEST_WORKERS) $(PYTEST_ARGS)

# Not part of `test`: it needs many more packages (tests/foreign/packages.txt), and an hour.
foreign: all ## test suites of other projects, with and without the library
	$(PYTHON) tests/foreign/run.py $(FOREIGN_ARGS)

# As long and as often as one likes: SOAK_ARGS="--seed 42" has the same changes again. `test` has a short run.
SOAK_SECONDS ?= 60
soak: all ## many programs at once while addresses come and go: SOAK_SECONDS
	$(PYTHON) tests/soak/soak.py --seconds $(SOAK_SECONDS) $(SOAK_ARGS)

# Not part of `test`: the drawings need a package of tests/bench/packages.txt, and it takes minutes.
simulate: $(BUILD)/simulate/simulate ## a fleet of a million clients with the real engine, on a simulated clock
	$< $(BUILD)/simulate
	$(PYTHON) tests/simulate/plot.py $(BUILD)/simulate

$(BUILD)/simulate/src/%.o: src/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(SIMULATE_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/simulate/%.o: tests/simulate/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(SIMULATE_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/simulate/simulate: $(SIMULATE_OBJECTS)
	@$(CXX) $^ -o $@

# Judges nothing. BENCH_ARGS="--only calls --against OLD.so" measures two libraries beside each other; --help has more.
bench: all $(BENCH_PROGRAMS) $(BUILD)/tests/events_many ## what the library costs, and what it is worth: build/bench/table.md
	$(PYTHON) tests/bench/bench.py $(BENCH_ARGS)

# The tests of the engine, and the small programs in all their ways to wait, with checks in the library and in them;
# those that measure what the library costs, or look at the object itself, are left out.
CHECKED := blocking events_poll events_epoll events_results events_disturbed events_stress process_life memory lookup \
	resolve faults_waits faults_sockets dns

sanitize: ## the unit tests and small programs under ASan and UBSan, then under TSan, some under valgrind
	$(MAKE) CHECK=address unit checked
	$(MAKE) CHECK=thread unit checked
	TEST_UNDER="valgrind -q --error-exitcode=99 --exit-on-first-error=yes" $(MAKE) CHECKED="blocking events_poll" checked

# ASan does not follow a stack that pthread_cancel(3) has unwound; it and valgrind have memory measured in vain. TSan
# makes vfork(2) a fork, holds signals back, writes a report, then suppressed, before a close(2) in another thread, maps
# files of its own, and knows neither the threads that libc starts for getaddrinfo_a(3) nor those after a fork.
UNCHECKED := not cancel and not no_memory and not memory_is
ifeq ($(CHECK),thread)
UNCHECKED += and not vfork and not closed_descriptor and not reused_descriptor and not signals_interrupt \
	and not limit_on_the_size and not getaddrinfo_a and not sleeps_through
endif
ifneq ($(findstring valgrind,$(TEST_UNDER)),)
# It takes a second to start a program, which some tests count on, and a hundred descriptors for itself.
UNCHECKED += and not slow_server and not begins_anew and not sa_restart_interrupts and not touches_no_more
endif
ifeq ($(CHECK),coverage)
# The counts are written to files when a program ends: its limits and its user may forbid that.
CHECKED += faults_rules log settings_file
UNCHECKED := not limit_on_the_size and not every_user
endif

# The launcher asks the library beside it, and runs programs without checks.
checked: all programs
	@$(MAKE) -s CHECK= all
	TEST_BUILD=$(or $(CHECK),native) $(PYTHON) -m pytest -p no:cacheprovider -q -n $(PYTEST_WORKERS) -k "$(UNCHECKED)" \
		$(wildcard $(CHECKED:%=tests/integration/test_%.py)) $(PYTEST_ARGS)

coverage: ## which lines of src the tests run: a table, and build/coverage/html
	$(MAKE) CHECK=coverage all programs
	find build/coverage -name '*.gcda' -delete
	chmod -R a+rwX build/coverage
	GCOV_ERROR_FILE=/dev/null $(MAKE) CHECK=coverage unit checked
	@mkdir -p build/coverage/html
	gcovr --root . --filter src/ --gcov-ignore-parse-errors --html-details build/coverage/html/index.html --txt - build/coverage

lint: ## clang-format, clang-tidy, cppcheck, shellcheck, and the order of the folders
	$(PYTHON) tests/house.py
	clang-format --dry-run -Werror $(SOURCES) $(HEADERS) $(TEST_SOURCES)
	printf '%s\n' $(SOURCES) | xargs -P $$(nproc) -I FILE clang-tidy --quiet FILE -- $(LIBRARY_FLAGS)
	cppcheck --quiet --std=c++20 --language=c++ --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability -Isrc $(SOURCES)
	shellcheck $(SHELL_SCRIPTS)

format: ## apply .clang-format
	clang-format -i $(SOURCES) $(HEADERS) $(TEST_SOURCES)

INSTALLED := $(DESTDIR)$(LIBDIR)/nextaddr
SHARE     := $(DESTDIR)$(PREFIX)/share

# What is built already is installed by make and coreutils alone.
install: all ## into PREFIX (default /usr/local) and LIBDIR, below DESTDIR; with ARCH=..: beside that of this machine
	install -D -m 755 scripts/nextaddr "$(DESTDIR)$(PREFIX)/bin/nextaddr"
	install -D -m 755 scripts/nextaddr-drill "$(DESTDIR)$(PREFIX)/bin/nextaddr-drill"
	@# In one step: programs that start meanwhile may have it from /etc/ld.so.preload, and none must find half of it.
	install -D -m 644 $(LIBRARY) "$(INSTALLED)$(ARCH:%=/%)/libnextaddr.so.new"
	mv -f "$(INSTALLED)$(ARCH:%=/%)/libnextaddr.so.new" "$(INSTALLED)$(ARCH:%=/%)/libnextaddr.so"
	$(if $(ARCH),$(call link_platforms,$(INSTALLED),$(ARCH)))
	install -D -m 644 scripts/man/nextaddr.1 "$(SHARE)/man/man1/nextaddr.1"
	install -D -m 644 scripts/man/nextaddr-drill.1 "$(SHARE)/man/man1/nextaddr-drill.1"
	install -D -m 644 scripts/man/libnextaddr.7 "$(SHARE)/man/man7/libnextaddr.7"
	install -D -m 644 scripts/completion.bash "$(SHARE)/bash-completion/completions/nextaddr"
	@# bash-completion looks a command up by its name.
	ln -sf nextaddr "$(SHARE)/bash-completion/completions/nextaddr-drill"

uninstall: ## what install put there, for all architectures; directories of others stay
	@for name in nextaddr nextaddr-drill; do rm -f "$(DESTDIR)$(PREFIX)/bin/$$name" "$(SHARE)/man/man1/$$name.1" \
		"$(SHARE)/bash-completion/completions/$$name"; done
	rm -f "$(SHARE)/man/man7/libnextaddr.7"
	@for directory in $(PLATFORMS_all:%='/platform/%') /platform /i386 /aarch64 ''; do \
		rm -f "$(INSTALLED)$$directory/libnextaddr.so" && [ ! -d "$(INSTALLED)$$directory" ] || \
		rmdir --ignore-fail-on-non-empty "$(INSTALLED)$$directory"; done

# Where deb and dist put what they make.
PACKAGES ?= build

deb: all ## build/nextaddr_VERSION-1_ARCHITECTURE.deb, for Debian and its derivatives
	$(if $(ARCH)$(CHECK),$(error a package is made for this machine, without ARCH and CHECK))
	rm -rf $(PACKAGES)/deb
	$(MAKE) -s -o all install DESTDIR=$(PACKAGES)/deb PREFIX=/usr LIBDIR=/usr/lib/$$($(CXX) -print-multiarch)
	scripts/deb/build $(PACKAGES)

dist: ## build/nextaddr-VERSION.tar.gz: the sources of the last commit
	@mkdir -p $(PACKAGES)
	git archive --prefix=nextaddr-$(VERSION)/ -o $(PACKAGES)/nextaddr-$(VERSION).tar HEAD
	gzip -9nf $(PACKAGES)/nextaddr-$(VERSION).tar

clean: ## remove build/
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 14

-include $(OBJECTS:.o=.d) $(UNIT_OBJECTS:.o=.d) $(FUZZERS:=.d) $(FUZZ_OBJECTS:.o=.d) $(SIMULATE_OBJECTS:.o=.d) \
	$(PROGRAMS:=.d) $(BENCH_PROGRAMS:=.d) $(TEST_LIBRARIES:.so=.d)
