# How everything in tests is built and run. Part of the Makefile, which has the compilers and what the library is made of.

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
PROGRAM_FLAGS := $(TARGET) -std=c++20 -O1 -g -Wall -Wextra -Werror
# What tests/integration runs.
INTEGRATED := all programs reach $(BENCH_PROGRAMS)

# What is tested is built by all processors, then one part runs after the other, because tests measure time.
test: ## everything
	@$(MAKE) --no-print-directory $(ALL_PROCESSORS) tested
	@for part in unit fuzz integration; do $(MAKE) --no-print-directory $$part || exit; done

tested: $(BUILD)/unit/engine_tests $(FUZZERS) $(INTEGRATED)

unit: $(BUILD)/unit/engine_tests ## GoogleTest of the pure engine
	$<

$(BUILD)/unit/src/%.o: src/%.cc Makefile
	$(call compile,$(UNIT_FLAGS) -c)

$(BUILD)/unit/%.o: tests/unit/%.cc Makefile
	$(call compile,$(UNIT_FLAGS) -c)

$(BUILD)/unit/engine_tests: $(UNIT_OBJECTS)
	@$(CXX) $(INSTRUMENT) $^ -lgtest -lgtest_main -pthread -o $@

# A short run each, from the seeds kept; `make fuzz FUZZ_SECONDS=3600` for a long one.
fuzz: $(FUZZERS) ## libFuzzer over everything that is read from outside
	@printf '%s\n' $(notdir $(FUZZERS)) | xargs -P 2 -I NAME tests/fuzz/run NAME $(BUILD)/fuzz $(FUZZ_SECONDS)

# Only clang has libFuzzer.
$(BUILD)/fuzz/%.o: CXX := clang++

$(BUILD)/fuzz/src/%.o: src/%.cc Makefile
	$(call compile,$(FUZZ_FLAGS) -c)

$(BUILD)/fuzz/%.o: tests/fuzz/%.cc Makefile
	$(call compile,$(FUZZ_FLAGS) -c)

# What is played by a script compares no magic words: to note each comparison would take most of the time.
PLAYED := host_table address_memory schedule connect_attempts
$(PLAYED:%=$(BUILD)/fuzz/src/engine/%.o) $(PLAYED:%=$(BUILD)/fuzz/%.o): FUZZ_FLAGS += -fno-sanitize-coverage=trace-cmp

$(FUZZERS): %: %.o $(FUZZ_OBJECTS)
	@clang++ -fsanitize=fuzzer,address,undefined $^ -o $@

programs: $(PROGRAMS) $(TEST_LIBRARIES) ## the small programs of the integration tests

$(BUILD)/tests/%: tests/programs/%.cc Makefile
	$(call compile,$(PROGRAM_FLAGS) $(filter -fsanitize% -fno-sanitize%,$(INSTRUMENT)),$(LINKER) -pthread -ldl)

$(BUILD)/tests-time64/%: tests/programs/%.cc Makefile
	$(call compile,$(PROGRAM_FLAGS) -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64,-pthread -ldl)

$(BUILD)/tests/lib/%.so: tests/programs/libraries/%.cc Makefile
	$(call compile,$(PROGRAM_FLAGS) -fPIC -shared,$(LINKER) -ldl)

$(BUILD)/bench/%: tests/bench/%.cc Makefile
	$(call compile,$(PROGRAM_FLAGS) -O2)

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
	@PYTHON=$(PYTHON) tests/integration/run $(PYTEST_WORKERS) $(PYTEST_ARGS) tests/integration

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
	$(call compile,$(SIMULATE_FLAGS) -c)

$(BUILD)/simulate/%.o: tests/simulate/%.cc Makefile
	$(call compile,$(SIMULATE_FLAGS) -c)

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

# ASan does not follow a stack that pthread_cancel(3) has unwound; it and valgrind have memory measured in vain, and a
# connect under strace, which takes so long that it is looked at once more. TSan makes vfork(2) a fork, holds signals
# back, writes a report, then suppressed, before a close(2) in another thread, maps files of its own, and knows neither
# the threads that libc starts for getaddrinfo_a(3) nor those after a fork. It crashes or hangs by itself where threads
# close what others have in epoll sets, finds the race of a test that reads another thread's memory on purpose, and takes
# long for a start, for a fork in a handler, and for ten thousand connects.
UNCHECKED := not cancel and not no_memory and not memory_is and not a_million_names and not pays_no_system_call
ifeq ($(CHECK),thread)
UNCHECKED += and not vfork and not closed_descriptor and not reused_descriptor and not signals_interrupt \
	and not limit_on_the_size and not getaddrinfo_a and not sleeps_through and not random_rounds \
	and not while_others_write and not slow_server and not ten_thousand_connects and not interrupts_a_fork
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
	TEST_BUILD=$(or $(CHECK),native) PYTHON=$(PYTHON) tests/integration/run $(PYTEST_WORKERS) -q -k "$(UNCHECKED)" \
		$(PYTEST_ARGS) $(wildcard $(CHECKED:%=tests/integration/test_%.py))

coverage: ## which lines of src the tests run: a table, and build/coverage/html
	$(MAKE) CHECK=coverage all programs
	find build/coverage -name '*.gcda' -delete
	chmod -R a+rwX build/coverage
	GCOV_ERROR_FILE=/dev/null $(MAKE) CHECK=coverage unit checked
	@mkdir -p build/coverage/html
	gcovr --root . --filter src/ --gcov-ignore-parse-errors --html-details build/coverage/html/index.html --txt - build/coverage

-include $(UNIT_OBJECTS:.o=.d) $(FUZZERS:=.d) $(FUZZ_OBJECTS:.o=.d) $(SIMULATE_OBJECTS:.o=.d) \
	$(PROGRAMS:=.d) $(BENCH_PROGRAMS:=.d) $(TEST_LIBRARIES:.so=.d)
