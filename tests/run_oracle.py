# SPDX-License-Identifier: BSD-2-Clause
"""run_oracle.py - see run_oracle.sh: which cases, in which lanes, and what came out of it, as TAP."""
import argparse
import glob
import os
import re
import subprocess
import sys

from lanes import Lane, Report, in_lanes, namespaces

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD", "build")
ALONE, DIFFERS = 64, 32  # oracle.h


def options():
    p = argparse.ArgumentParser(add_help=False)
    for flag in "1lvHt":
        p.add_argument("-" + flag, action="store_true", dest="one" if flag == "1" else flag)
    p.add_argument("-m", default="server client both")
    p.add_argument("-n", type=int, default=1)
    p.add_argument("-j", type=int, default=1)
    p.add_argument("filters", nargs="*")
    return p.parse_args()


def list_cases(filters):
    """-> programs, names, flags, ids of the cases that one of the filters finds"""
    cases = []
    for prog in sorted(glob.glob(f"{BUILD}/tests/sock_*")):
        if os.path.isdir(prog) or "." in os.path.basename(prog) or not os.access(prog, os.X_OK):
            continue
        said = subprocess.run([prog, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
        for name, flags in (line.split() for line in said.splitlines()):
            case = {"prog": prog, "name": name, "flags": int(flags), "id": prog.rpartition("sock_")[2] + "/" + name}
            if any(re.search(f, case["id"]) for f in filters or ["."]):
                cases.append(case)
    return cases


def note_of(case, answer, opt, modes):
    notes = []
    if case["flags"] & DIFFERS:
        notes.append("SKIP known difference, see docs/COMPATIBILITY.md")
    if opt.v and "both" in modes:
        notes.append(", ".join(f"{what} {n}" for what, n in answer["bytes"].items()))
    if opt.t:
        notes.append("ms: " + ", ".join(f"{way} {1000 * s:.0f}" for way, s in answer["seconds"].items()))
    return "; ".join(notes)


def run(opt, cases, lanes, modes):
    report = Report()
    together = [c for c in cases if not c["flags"] & ALONE] * opt.n
    alone = [c for c in cases if c["flags"] & ALONE] * opt.n
    last = [{"end": f"{BUILD}/tests/sock_basic"}]
    left = []
    for some, where in (together, lanes), (alone, lanes[:1]):
        for case, answer in in_lanes(where, some):
            if not answer:
                report(case["id"], ["the lane that ran it died"])
                return report
            report(case["id"], answer["wrong"], note_of(case, answer, opt, modes))
    for lane in lanes:
        for _, answer in in_lanes([lane], last):
            left += answer["wrong"] if answer else ["a lane died"]
    report("nothing is left behind", left)
    return report


def main():
    opt = options()
    shunt = os.environ.get("ORACLE_SHUNT", f"{BUILD}/shunt")  # or one with a fault
    cases = list_cases(opt.filters)
    if opt.l:
        print("\n".join(c["id"] for c in cases))
        return 0
    if not cases:
        print("run_oracle: no such case (built?)", file=sys.stderr)
        return 2
    modes = opt.m.split()
    if not os.access(shunt, os.X_OK) or not os.path.exists(os.path.dirname(shunt) + "/libshunt.so"):
        print(f"# {shunt} or its libshunt.so does not exist: the cases run without shunt only")
        modes = []
    words, *has = namespaces(opt.H)
    cores = sorted(os.sched_getaffinity(0))
    count = opt.j if words else 1  # side by side only where they cannot meet
    lanes = [Lane(words, f"{HERE}/oracle_lane.py", [shunt, modes, cores[i % len(cores)] if opt.one else None, *has]) for i in range(count)]
    try:
        report = run(opt, cases, lanes, modes)
    finally:
        for lane in lanes:
            lane.stop()
    print(f"1..{report.number}\n{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


sys.exit(main())
