# SPDX-License-Identifier: BSD-2-Clause
"""cpython.py RECORD ARGUMENT... - CPython's own regrtest with these arguments; it runs inside the interpreter whose tests they are.

Each case is written to RECORD as it begins and as it ends, a line of JSON with its id, so that what was done is known also of a run that crashes or
hangs. An id without an outcome is a case that did not come back.
"""
import json
import os
import sys


def record_into(path):
    from test.support.testresult import RegressionTestResult as Result

    def write(test, what, note=""):
        line = json.dumps([test if isinstance(test, str) else test.id(), what, note]) + "\n"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)  # for each line: there are tests that close every number they find
        os.write(fd, line.encode())
        os.close(fd)

    def also(name, what, note=lambda *_: ""):
        """Result.name(), which writes a line too."""
        known = getattr(Result, name)

        def both(self, test, *rest):
            write(test, what, note(*rest))
            known(self, test, *rest)

        setattr(Result, name, both)

    def error(err):
        return f"{err[0].__name__}: {err[1]}"

    def sub_test(self, test, sub, err, known=Result.addSubTest):
        if err is not None:
            write(test, "fail", error(err))
        known(self, test, sub, err)

    also("startTest", "begin")
    also("addSuccess", "ok")
    also("addSkip", "skip", lambda reason: reason)
    also("addFailure", "fail", error)
    also("addError", "error", error)
    also("addExpectedFailure", "ok", lambda _: "expected failure")
    also("addUnexpectedSuccess", "fail", lambda: "unexpected success")
    Result.addSubTest = sub_test


def main():
    from test.libregrtest import main as regrtest

    record_into(sys.argv.pop(1))
    regrtest()


# Children that multiprocessing spawns run this file too, by another name.
if __name__ == "__main__":
    main()
