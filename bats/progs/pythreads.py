# SPDX-License-Identifier: BSD-2-Clause
"""pythreads.py - for clients that do several things at once."""
import sys
import threading


def in_threads(run, args):
    """run(arg) for each, in a thread each; the program ends with what went wrong in any of them."""
    failed = []

    def guarded(arg):
        try:
            run(arg)
        except BaseException as e:
            failed.append(repr(e))

    all_ = [threading.Thread(target=guarded, args=(arg,)) for arg in args]
    for t in all_:
        t.start()
    for t in all_:
        t.join()
    if failed:
        sys.exit("\n".join(failed))
