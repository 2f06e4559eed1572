# Runs Python tests by name and appends one line to a file for each: how it ended, and its name. Started by suites.py:
#   recording.py unittest|trial FILE NAME..
# A line `began` comes first, so that a test that took the whole process with it is known by name.
# It must never import anything of this project, nor choose tests: it is the program that is preloaded.
import sys
import unittest

HANGS_BARE = "VSOCK"


def recorder(base, file):
    class Recorder(base):
        def note(self, status, test):
            file.write(f"{status}\t{' '.join(test.id().split())}\n")
            file.flush()

        def startTest(self, test):
            self.note("began", test)
            super().startTest(test)

        def addSuccess(self, test):
            super().addSuccess(test)
            self.note("passed", test)

        def addError(self, test, error):
            super().addError(test, error)
            self.note("failed", test)

        def addFailure(self, test, failure):
            super().addFailure(test, failure)
            self.note("failed", test)

        def addSkip(self, test, reason):
            super().addSkip(test, reason)
            self.note("skipped", test)

        def addExpectedFailure(self, test, *rest):
            super().addExpectedFailure(test, *rest)
            self.note("passed", test)

        def addUnexpectedSuccess(self, test, *rest):
            super().addUnexpectedSuccess(test, *rest)
            self.note("failed", test)

        def addSubTest(self, test, subtest, error):
            super().addSubTest(test, subtest, error)
            if error is not None:
                self.note("failed", test)

    return Recorder


def flatten(suite):
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from flatten(entry)
        else:
            yield entry


def run_unittest(file, names):
    loaded = unittest.defaultTestLoader.loadTestsFromNames(names)
    chosen = unittest.TestSuite(test for test in flatten(loaded) if HANGS_BARE not in test.id())
    unittest.TextTestRunner(resultclass=recorder(unittest.TextTestResult, file), verbosity=2).run(chosen)


def run_trial(file, names):
    from twisted.trial import reporter, runner

    tests = runner.TestLoader().loadByNames(names, recurse=False)
    runner.TrialRunner(recorder(reporter.VerboseTextReporter, file), workingDirectory="_trial").run(tests)


if __name__ == "__main__":
    with open(sys.argv[2], "a", encoding="utf-8", errors="backslashreplace") as results:
        {"unittest": run_unittest, "trial": run_trial}[sys.argv[1]](results, sys.argv[3:])
