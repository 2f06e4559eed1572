# Builds libnextaddr.so, its tests and its demo. `make help` lists the targets.
# Everything goes into build/; nothing else is ever written.

CXX      ?= g++
BUILD    := build
VERSION  := $(shell sed -n 's/^VERSION=//p' scripts/nextaddr)
PREFIX   ?= /usr/local
PYTHON   ?= /usr/bin/python3
# More than there are processors, because most tests wait; not many more, because some measure how long.
PYTEST_WORKERS ?= 4

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wno-missing-field-initializers
# No libstdc++ runtime, and no fortified names: one missing symbol version would kill every process this is
# preloaded into, and musl has no __poll_chk. Unwind tables stay: pthread_cancel(3) unwinds through connect.
LIBRARY_FLAGS := -std=c++20 -O2 -g -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti \
	-fno-threadsafe-statics -ftls-model=initial-exec -U_FORTIFY_SOURCE -D_GNU_SOURCE -Isrc $(WARNINGS)
LINK_FLAGS := -shared -nodefaultlibs -Wl,--no-undefined -Wl,-z,now -Wl,-z,relro -Wl,-O1 \
	-Wl,--version-script=src/exports.map -Wl,-soname,libnextaddr.so

SOURCES  := $(wildcard src/*.cc src/engine/*.cc src/memory/*.cc src/hooks/*.cc)
HEADERS  := $(wildcard src/*.h src/engine/*.h src/memory/*.h src/hooks/*.h)
OBJECTS  := $(SOURCES:src/%.cc=$(BUILD)/obj/%.o)
LIBRARY  := $(BUILD)/libnextaddr.so

PURE_SOURCES   := $(wildcard src/engine/*.cc) src/memory/record.cc
UNIT_SOURCES   := $(wildcard tests/unit/*.cc)
UNIT_OBJECTS   := $(UNIT_SOURCES:tests/unit/%.cc=$(BUILD)/unit/%.o) \
	$(PURE_SOURCES:src/%.cc=$(BUILD)/unit/src/%.o)
UNIT_FLAGS     := -std=c++20 -O1 -g -D_GLIBCXX_ASSERTIONS -Isrc $(WARNINGS)

FUZZERS := $(patsubst tests/fuzz/%.cc,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/*.cc))
FUZZ_SECONDS ?= 5
PROGRAMS := $(patsubst tests/programs/%.cc,$(BUILD)/tests/%,$(wildcard tests/programs/*.cc))
TEST_LIBRARIES := $(patsubst tests/programs/libraries/%.cc,$(BUILD)/tests/lib/%.so,$(wildcard tests/programs/libraries/*.cc))
TEST_SOURCES := $(shell find tests -name '*.cc' -o -name '*.h')
SHELL_SCRIPTS := scripts/nextaddr .ci/run tests/examples/survives.sh

.PHONY: all demo test fuzz unit integration programs foreign lint format install uninstall clean help
.DEFAULT_GOAL := all

all: $(LIBRARY) ## build build/libnextaddr.so

$(BUILD)/obj/%.o: src/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(LIBRARY_FLAGS) -MMD -MP -c $< -o $@

$(LIBRARY): $(OBJECTS) src/exports.map
	@$(CXX) $(LINK_FLAGS) $(OBJECTS) -lc -lgcc -o $@

demo: all ## before and after, with the programs found on this machine
	$(PYTHON) scripts/demo

test: unit fuzz integration ## everything

unit: $(BUILD)/unit/engine_tests ## GoogleTest of the pure engine
	$<

$(BUILD)/unit/src/%.o: src/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(UNIT_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/unit/%.o: tests/unit/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) $(UNIT_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/unit/engine_tests: $(UNIT_OBJECTS)
	@$(CXX) $^ -lgtest -lgtest_main -pthread -o $@

# A short run each, from the seeds kept; `make fuzz FUZZ_SECONDS=3600` for a long one.
fuzz: $(FUZZERS) ## libFuzzer over everything that is read from outside
	@for fuzzer in $(notdir $(FUZZERS)); do \
		mkdir -p $(BUILD)/fuzz/found/$$fuzzer; \
		$(BUILD)/fuzz/$$fuzzer -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(BUILD)/fuzz/ -print_final_stats=1 \
			$(BUILD)/fuzz/found/$$fuzzer tests/fuzz/seeds/$$fuzzer >$(BUILD)/fuzz/$$fuzzer.log 2>&1 || \
			{ cat $(BUILD)/fuzz/$$fuzzer.log; exit 1; }; \
		echo "fuzz: $$fuzzer holds,$$(sed -n 's/^stat::number_of_executed_units:/ inputs tried:/p' $(BUILD)/fuzz/$$fuzzer.log)"; \
	done

$(BUILD)/fuzz/%: tests/fuzz/%.cc $(PURE_SOURCES) $(HEADERS) Makefile
	@mkdir -p $(@D)
	@clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Isrc $(WARNINGS) \
		$< $(PURE_SOURCES) -o $@

programs: $(PROGRAMS) $(TEST_LIBRARIES) ## the small programs of the integration tests

$(BUILD)/tests/%: tests/programs/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) -std=c++20 -O1 -g -Wall -Wextra -Werror -MMD -MP $< -pthread -ldl -o $@

$(BUILD)/tests/lib/%.so: tests/programs/libraries/%.cc Makefile
	@mkdir -p $(@D)
	@$(CXX) -std=c++20 -O1 -g -Wall -Wextra -Werror -fPIC -shared -MMD -MP $< -ldl -o $@

integration: all programs ## pytest with real programs and real sockets
	$(PYTHON) -m pytest -p no:cacheprovider -n $(PYTEST_WORKERS) tests/integration $(PYTEST_ARGS)

# Not part of `test`: it needs many more packages (tests/foreign/packages.txt), and an hour.
foreign: all ## test suites of other projects, with and without the library
	$(PYTHON) tests/foreign/run.py $(FOREIGN_ARGS)

lint: ## clang-format, clang-tidy, cppcheck, shellcheck
	clang-format --dry-run -Werror $(SOURCES) $(HEADERS) $(TEST_SOURCES)
	clang-tidy --quiet $(SOURCES) -- $(LIBRARY_FLAGS)
	cppcheck --quiet --std=c++20 --language=c++ --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability -Isrc $(SOURCES)
	shellcheck $(SHELL_SCRIPTS)

format: ## apply .clang-format
	clang-format -i $(SOURCES) $(HEADERS) $(TEST_SOURCES)

install: all ## into PREFIX (default /usr/local), below DESTDIR
	install -D -m 755 scripts/nextaddr $(DESTDIR)$(PREFIX)/bin/nextaddr
	install -D -m 644 $(LIBRARY) $(DESTDIR)$(PREFIX)/lib/nextaddr/libnextaddr.so

uninstall: ## what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/nextaddr $(DESTDIR)$(PREFIX)/lib/nextaddr/libnextaddr.so
	-rmdir $(DESTDIR)$(PREFIX)/lib/nextaddr

clean: ## remove build/
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 14

-include $(OBJECTS:.o=.d) $(UNIT_OBJECTS:.o=.d) $(PROGRAMS:=.d) $(TEST_LIBRARIES:.so=.d)
