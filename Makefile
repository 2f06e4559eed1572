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

TEST_SOURCES = $(shell find tests -name '*.cc' -o -name '*.h')
SHELL_SCRIPTS := scripts/nextaddr .ci/run tests/examples/survives.sh tests/fuzz/run tests/integration/run tests/unpack \
	scripts/completion.bash scripts/deb/build

# For a make in a recipe, unless whoever called make has said how many jobs.
ALL_PROCESSORS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc))
.PHONY: all demo test tested fuzz unit integration programs reach reach-of-arch reach-programs foreign soak simulate bench \
	sanitize checked coverage lint format install uninstall deb dist clean help
.DEFAULT_GOAL := all

# compile FLAGS: the recipe of each object and small program.
compile = @mkdir -p $(@D) && $(CXX) $(1) -MMD -MP $< $(2) -o $@

all: $(LIBRARY) ## build build/libnextaddr.so; with ARCH=i386 or ARCH=aarch64: build/ARCH/libnextaddr.so

# What programs call all the time, and a healthy connect, is built for speed, everything else for size: these files say so.
# They have few loops of more than some rounds, so that to align them is worth less than the room it takes.
QUICK := $(foreach source,$(SOURCES),$(if $(findstring // Built for speed,$(file <$(source))),$(source)))
$(QUICK:src/%.cc=$(BUILD)/obj/%.o): LIBRARY_FLAGS += -O2 -falign-loops=1 $(if $(findstring clang,$(CXX)),,-falign-jumps=1)

$(BUILD)/obj/%.o: src/%.cc Makefile
	$(call compile,$(LIBRARY_FLAGS) -c)

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

include tests/tests.mk

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
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile tests/tests.mk | expand -t 14

-include $(OBJECTS:.o=.d)
