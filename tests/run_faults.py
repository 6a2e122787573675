# SPDX-License-Identifier: BSD-2-Clause
"""run_faults.py - one of two programs is killed at each point of shunt at which state is half done, and the other one must see what the kernel would show it. TAP.

usage: run_faults.py [-j LANES] [-l] [-s SEED] [--soak] [CASE]...
  -l      list the points, and how often each role comes there in each conversation; runs no case
  --soak  every conversation that leads to a point, other occurrences of it, and victims that are only stopped for a while, or one thread of which naps
  CASE    as it is printed: LETTERS:VICTIM:POINT@NTH:ACTION, or a regular expression over those

The points are those that the library has (core/fault.h): nobody lists them. First each conversation is made without a death, and it is counted who comes where; a point where nobody
comes is a failure, and so is one that is not reached again when somebody is to die there, but for those in RARE. The rules by which a survivor is judged, and what is done, are fault_lane.py's.
"""
import argparse
import os
import random
import re
import subprocess
import sys

from fault_side import SIDES
from lanes import Lane, Report, in_lanes, namespaces

HERE = os.path.dirname(os.path.abspath(__file__))

BUILD = os.environ.get("FAULTS_BUILD", "build-faults")
TRIES = 40  # of a case that does not come to its point: some moments are met in one conversation of ten

# Letters of tests/mortal/talk.c: what a client and a server do. The cheapest first: that is where a point is tried.
CONVERSATIONS = ["p", "q", "w", "h", "u", "U", "r", "n", "e", "E", "y", "Y", "t", "T", "k", "K", "f", "F", "m", "M", "v", "V", "l", "L", "i", "I", "g", "G", "x", "X", "pp", "c", "C", "j", "J", "A", "s", "b", "B", "o", "d", "do", "zp"]

# Another process of the victim's side goes on where it was: at whatever point, and whichever the point's first conversation is.
HEIRS = set("vVlLiI")

# One process has several threads.
THREADED = {"j", "J", "A"}

# And the others are in the middle of calls when it ends: whatever thread that does is slow, at whatever point.
ENDS_AMID = {"A"}

# Points where one comes only by an accident of a moment: why.
RARE = {
    "svc: death seen, before told": "only a survivor comes there",
    "heir: down, before told": "as the one before it",
    "tx: peer has left, before down": "the peer has closed, and the kernel has not told yet: some microseconds",
    "tx: down, before unread sent again": "as the one before it",
}


def options():
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument("-j", type=int, default=1)
    p.add_argument("-l", action="store_true")
    p.add_argument("-s", type=int, default=random.randrange(1 << 30))
    p.add_argument("--soak", action="store_true")
    p.add_argument("cases", nargs="*")
    return p.parse_args()


def points():
    """-> {offset in the section: name}"""
    said = subprocess.run(["readelf", "-p", "fault_points", f"{BUILD}/libshunt.so"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {int(at, 16): name for at, name in re.findall(r"^ +\[ *([0-9a-f]+)\]  (.*)$", said, re.M)}


def sum_up(where, counts):
    """Counts by offset -> by name: a name may stand at several places."""
    found = {}
    for at, name in where.items():
        n = counts[at] if at < len(counts) else 0
        if n:
            found[name] = found.get(name, 0) + n
    return found


def discover(lanes, where, report):
    """-> {(side, point): {letters: how often}}"""
    found = {}
    for case, answer in in_lanes(lanes, [{"letters": c} for c in CONVERSATIONS]):
        report(f"{case['letters']}: nobody dies", answer["wrong"] if answer else ["the lane that ran it died"])
        for side in SIDES if answer else ():
            for name, n in sum_up(where, answer["counts"][side]).items():
                found.setdefault((side, name), {})[case["letters"]] = n
    return found


def name_of(case):
    return f"{case['letters']}:{case['victim']}:{case['point']}@{case['nth']}:{case['action']}"


def parse(text):
    m = re.fullmatch(r"(\w+):(server|client):(.+)@(\d+):(kill|stop|cont|nap)", text)
    return m and dict(zip(("letters", "victim", "point"), m.groups()[:3]), nth=int(m[4]), action=m[5])


def plan(found, soak, rnd):
    """First there: killed at once. Later, if one comes there often: stopped, so that the other side does what it then does, and killed. Soak: both, and random ones. Where other threads of the process go on
    meanwhile, one that only naps."""
    cases, n_found = [], 0
    for (side, point), by in sorted(found.items(), key=lambda x: x[0][::-1]):
        n_found += 1
        for letters in [c for c in CONVERSATIONS if c in by][: None if soak else 1]:
            n = by[letters]
            ways = [(1, "kill"), (max(1, n // 2), "stop")]
            if soak:
                ways += [(rnd.randint(1, n), action) for action in ("kill", "stop", "cont") + ("nap",) * (letters in THREADED)]
            else:
                ways = ways[n_found % 2 :][:1]  # one role this way, the other one that
                if letters in THREADED:
                    ways += [(1, "nap")]
            cases += [{"letters": letters, "victim": side, "point": point, "nth": nth, "action": action} for nth, action in ways]
        if not soak:
            cases += [{"letters": letters, "victim": side, "point": point, "nth": nth, "action": "kill"} for letters in CONVERSATIONS if letters in HEIRS and goes_down(point) for nth in range(1, min(by.get(letters, 0), 3) + 1)]
            cases += [{"letters": letters, "victim": side, "point": point, "nth": 1, "action": "nap"} for letters in CONVERSATIONS if letters in ENDS_AMID & by.keys() and point.startswith("end:")]
    return cases


def goes_down(point):
    return point.partition(":")[0] in ("dup", "down", "heir")


def run(lanes, cases, found, report):
    for attempt in range(TRIES):
        missed = []
        for case, answer in in_lanes(lanes, cases):
            if not answer:
                report(name_of(case), ["the lane that ran it died"])
                return
            if answer["wrong"] or answer["reached"]:
                again = [f"once more: tests/run_faults.sh '{name_of(case)}'"] if answer["wrong"] else []
                report(name_of(case), answer["wrong"] + again)
            else:
                missed.append(case)
        # It may be another way there, and it need not be that late.
        cases = []
        for case in missed:
            ways = [c for c in CONVERSATIONS if c in found.get((case["victim"], case["point"]), {})] or [case["letters"]]
            cases.append(dict(case, letters=ways[(ways.index(case["letters"]) + 1) % len(ways)] if case["letters"] in ways else case["letters"], nth=1))
    for case in cases:
        why = RARE.get(case["point"])
        report(name_of(case), [] if why else ["nobody came there"], f"SKIP {why}" if why else "")


def missing(where, found):
    return sorted(set(where.values()) - {point for _, point in found} - set(RARE))


def all_are_reached(where, found, report):
    """A point that no conversation leads to is tested by nobody."""
    report("each point is reached", [f"nobody comes to: {point}" for point in missing(where, found)])
    report("the list of rare points is right", [f"no such point: {p}" for p in sorted(set(RARE) - set(where.values()))])


def main():
    opt = options()
    where, rnd = points(), random.Random(opt.s)
    words, *has = namespaces(False)
    lanes = [Lane(words, f"{HERE}/fault_lane.py", [BUILD, *has]) for _ in range(opt.j if words else 1)]
    report = Report()
    try:
        exact = [c for c in map(parse, opt.cases) if c]
        if exact:
            run(lanes, exact, {}, report)
        else:
            found = discover(lanes, where, report)
            for _ in range(TRIES - 1):  # a busy machine misses a moment
                if not missing(where, found):
                    break
                for key, by in discover(lanes, where, report).items():
                    found.setdefault(key, {}).update(by)
            if opt.l:
                for (side, point), by in sorted(found.items(), key=lambda x: x[0][::-1]):
                    print(f"# {point} | {side}: " + ", ".join(f"{c} {n}" for c, n in by.items()))
            all_are_reached(where, found, report)
            cases = [] if opt.l else plan(found, opt.soak, rnd)
            run(lanes, [c for c in cases if not opt.cases or any(re.search(f, name_of(c)) for f in opt.cases)], found, report)
    finally:
        for lane in lanes:
            lane.stop()
    print(f"1..{report.number}\n{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


sys.exit(main())
