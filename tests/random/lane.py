# SPDX-License-Identifier: BSD-2-Clause
"""lane.py - one lane of tests/random/run: a process, in namespaces of its own, that runs programs. It is told by lines of JSON on its stdin, and answers by such lines.

The actors of a program are started anew for each run of it. One thing happens after the other: who is told something has answered, or sleeps in the call, before the next is told.
"""
import ctypes
import difflib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
from lanes import names, wait_for  # noqa: E402
from model import N_ACTOR, N_THREAD, Do, Join, Kill, Par, Signal, Skip, Switch  # noqa: E402
from program import Maker, make_plan, text  # noqa: E402

CHANNEL, BOX = 100, 120  # actor.h
LIMIT = 60.0  # s: for an answer, on however busy a machine
COLLISIONS = 8  # in a row: it is no accident
TIMES = 10  # a program that differs is run so often, to tell how often it does
MINIMISE = 60.0  # s: for finding the fewest steps
ADDRESS = re.compile(r"@(\d):(\d+)@")
SOME = re.compile(r" = [1-9].*")
PR_SET_CHILD_SUBREAPER = 36


class Hung(Exception):
    """No answer has come."""


class Collision(Exception):
    """Two sockets had one port, or one had two, one after the other: the names in the transcript would depend on that."""


class Barrier:
    """What has been sent over loopback has arrived: a probe behind it has, through each processor's queue."""

    def __init__(self):
        self.probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.probe.bind(("127.0.0.1", 0))
        self.probe.connect(self.probe.getsockname())
        self.cores = os.sched_getaffinity(0)

    def __call__(self):
        for core in self.cores:
            os.sched_setaffinity(0, {core})
            self.probe.send(b"x")
            self.probe.recv(1)
        os.sched_setaffinity(0, self.cores)


def sleeps(pid):
    """All its threads but the first"""
    if pid is None:
        return True
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/stat", "rb") as f:
                if int(tid) != pid and f.read().rpartition(b")")[2].split(None, 1)[0] == b"R":
                    return False
    except OSError:  # it has ended
        pass
    return True


class Run:
    """One run of a plan: its actors, and what they have said."""

    def __init__(self, lane, prefixes):
        self.lane = lane
        self.said, self.pids, self.alive = [], [None] * N_ACTOR, [None] * N_ACTOR
        self.ports, self.names = {}, {}
        self.switched = 0
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(N_ACTOR * N_THREAD)]
        boxes = [s for _ in range(N_ACTOR) for s in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
        self.channels = [mine for mine, _ in pairs]
        theirs = [(s, CHANNEL + k) for k, (_, s) in enumerate(pairs)] + [(s, BOX + k) for k, s in enumerate(boxes)]
        actions = [(os.POSIX_SPAWN_OPEN, n, "/dev/null", os.O_RDWR, 0) for n in (0, 1)]
        actions.append((os.POSIX_SPAWN_OPEN, 2, lane.dir + "/err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        actions += [(os.POSIX_SPAWN_DUP2, s.fileno(), to) for s, to in theirs]
        for a, prefix in enumerate(prefixes):
            argv = prefix + [lane.actor, str(a)]
            self.born(a, os.posix_spawn(argv[0], argv, os.environ, file_actions=actions))
        for s, _ in theirs:
            s.close()
        for a in range(2):
            self.answer(a, 0)

    def born(self, a, pid):
        self.pids[a], self.alive[a] = pid, os.pidfd_open(pid)

    # ---- talking ----

    def tell(self, do):
        line = re.sub(r"\{(p\d+)\}", lambda x: str(self.ports.get((do.proto, x[1]), 1)), do.line)
        try:
            self.channels[do.actor * N_THREAD + do.thread].send(line.encode(), socket.MSG_NOSIGNAL)
        except OSError:
            pass

    def answer(self, a, t, limit=LIMIT):
        channel, end = self.channels[a * N_THREAD + t], time.monotonic() + limit
        poller = select.poll()
        poller.register(channel, select.POLLIN)
        poller.register(self.alive[a], select.POLLIN)
        while True:
            ready = poller.poll(max(0, (end - time.monotonic()) * 1000))
            if not ready:
                raise Hung(f"actor {a}")
            if any(fd == channel.fileno() for fd, _ in ready):
                return channel.recv(8192).decode()
            return "ended"

    def heard(self, do, text):
        seen, _, hidden = text.partition("|")
        if isinstance(do.also, str) and do.also.startswith("p") and ADDRESS.search(seen):
            port = ADDRESS.search(seen)[2]
            if self.lane.strict and self.names.get((do.proto, port), do.also) != do.also:
                raise Collision
            self.ports[do.proto, do.also] = port
            self.names.setdefault((do.proto, port), do.also)
        if isinstance(do.also, tuple) and hidden and int(hidden) > 0:
            self.born(do.also[1], int(hidden))
            seen += " " + self.answer(do.also[1], 0)
        return ADDRESS.sub(lambda x: f"{x[1]}:{self.names.get((do.proto, x[2]), 'unknown')}", seen)

    def asleep(self, do):
        """Until the thread sleeps in the call (or it has answered): then the next step meets a sleeper. Nothing depends on it."""
        if do.thread:
            return
        channel = self.channels[do.actor * N_THREAD]
        for _ in range(100):
            if select.select([channel], [], [], 0.0002)[0]:
                return
            try:
                with open(f"/proc/{self.pids[do.actor]}/syscall") as f:
                    words = f.read().split()
            except OSError:
                return
            if words[0] != "running" and int(words[1], 16) != CHANNEL + N_THREAD * do.actor:
                return

    # ---- doing ----

    def do(self, what):
        self.tell(what)
        if what.blocks:
            self.asleep(what)
            self.said.append([what.id, f"{what.actor}.{what.thread} {what.line} ..."])
            return
        text = self.heard(what, self.answer(what.actor, what.thread))
        if what.also == "ends":
            self.wait_for_end(what.actor)
        self.said.append([what.id, f"{what.actor}.{what.thread} {what.line}{text}"])

    def join(self, what):
        if what.kick:
            text = self.kick(what.actor, what.thread)
        else:
            text = self.answer(what.actor, what.thread)
        if what.vague:
            text = SOME.sub(" = some", text)
        self.said.append([what.id, f"{what.actor}.{what.thread} ...{self.heard(self.told[what.id], text)}"])

    def kick(self, a, t):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            os.kill(self.pids[a], signal.SIGRTMIN + t)
            try:
                return self.answer(a, t, 0.01)
            except Hung:
                pass
        raise Hung(f"actor {a} in spite of signals")

    def par(self, what):
        for do in what.halves:
            self.tell(do)
        for do in what.halves:
            self.said.append([what.id, f"{do.actor}.{do.thread} {do.line}{self.heard(do, self.answer(do.actor, do.thread))}"])

    def wait_for_end(self, a):
        poller = select.poll()
        poller.register(self.alive[a], select.POLLIN)
        if not poller.poll(LIMIT * 1000):
            raise Hung(f"actor {a} does not end")

    def kill(self, what):
        os.kill(self.pids[what.actor], signal.SIGKILL)
        self.wait_for_end(what.actor)
        self.said.append([what.id, f"{what.actor} killed"])

    def signal(self, what):
        os.kill(self.pids[what.actor], signal.SIGUSR2)

    def switch(self, what):
        if self.lane.under:
            self.switched += self.lane.operator(self.pids[what.actor], what.off, what.waits)

    def skip(self, what):
        self.said.append([what.id, f"left out: {what.why}"])

    def quiet(self):
        """What a step has set off in threads that are not the actor's own has been done: they all sleep, seen twice, since one may have woken another before it fell asleep."""
        end = time.monotonic() + LIMIT
        calm = 0
        while calm < 2 and time.monotonic() < end:
            calm = calm + 1 if all(map(sleeps, self.pids)) else 0

    def perform(self, plan):
        acts = {Do: self.do, Join: self.join, Par: self.par, Kill: self.kill, Signal: self.signal, Switch: self.switch, Skip: self.skip}
        self.told = {what.id: what for what in plan if isinstance(what, Do)}
        for what in plan:
            try:
                acts[type(what)](what)
            except Hung as who:
                self.said.append([what.id, f"HUNG: {who}; {what}"])
                self.hung = True
                return
            if not isinstance(what, (Skip, Switch)):
                self.lane.barrier()
                if self.lane.under:
                    self.quiet()

    hung = False

    def stop(self):
        if self.hung and "RANDOM_KEEP" in os.environ:
            print(f"hung, for a debugger: {self.pids}", file=sys.stderr, flush=True)
            time.sleep(float(os.environ["RANDOM_KEEP"]))
        for pid, fd in zip(self.pids, self.alive):
            if fd is not None:
                try:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                os.close(fd)
        for c in self.channels:
            c.close()
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            pass


class Operator:
    """Who switches processes off and on (switcher.c)."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.owed = 0

    def __call__(self, pid, off, waits):
        self.process.stdin.write(f"{'off' if off else 'on'} {pid}\n".encode())
        self.owed += 1
        return self.catch_up() if waits else 0

    def catch_up(self):
        n = 0
        while self.owed:
            n += self.process.stdout.readline() == b"1\n"
            self.owed -= 1
        return n

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Lane:
    def __init__(self, build, shunt):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.actor, self.switcher, self.shunt = build + "/tests/random/actor", build + "/tests/random/switcher", shunt
        self.dir = tempfile.mkdtemp(prefix="random.")
        self.map = self.dir + "/map"
        os.mkdir(self.map)
        os.environ["SHUNT_MAP"] = self.map
        os.environ["RANDOM_RUN"] = os.path.basename(self.dir)
        self.at_start = names(self.map)
        self.barrier = Barrier()
        self.under, self.operator = False, None
        self.strict = True  # a port has one name

    def run(self, seed, keep, under):
        """-> what was said, in order; counters"""
        made = Maker(seed).make()
        plan = make_plan([step for step in made.steps if keep is None or step[0] in keep])
        stats = self.dir + "/stats"
        prefixes = [[], []]
        self.under = under
        if under:
            self.operator = Operator(self.switcher)
            prefixes = [[self.shunt, "run"] + ["--start-off"] * off + ["--stats", stats, "--"] for off in made.start_off]
        run = Run(self, prefixes)
        try:
            run.perform(plan)
            if under:
                run.switched += self.operator.catch_up()
        finally:
            if under:
                self.operator.stop()
            run.stop()
        run.said += [[len(made.steps), "stderr: " + line] for line in self.file("err").splitlines()]
        counted = self.file("stats")
        return run.said, [sum(map(int, re.findall(rf'"{p}_bytes": *([0-9]+)', counted))) for p in ("shm", "kernel")] + [run.switched]

    def file(self, name):
        try:
            with open(f"{self.dir}/{name}", errors="backslashreplace") as f:
                text = f.read()
            os.unlink(f"{self.dir}/{name}")
            return text
        except FileNotFoundError:
            return ""

    def side(self, seed, keep, under):
        """A refused connect may always get the same port, under another name each time: it keeps its first one then."""
        for n in range(COLLISIONS + 1):
            self.strict = n < COLLISIONS
            try:
                return self.run(seed, keep, under)
            except Collision:
                pass
        raise AssertionError

    def compare(self, seed, keep=None):
        """-> the differences, a line each; counters"""
        kernel, _ = self.side(seed, keep, False)
        shunt, counted = self.side(seed, keep, True)
        hung = [text for _, text in kernel if text.startswith("HUNG")]
        a, b = [[f"{i:3} {text}" for i, text in said] for said in (kernel, shunt)]
        return hung or list(difflib.unified_diff(a, b, "kernel", "shunt", lineterm="", n=1)), counted

    # ---- a failure ----

    def explain(self, seed, keep, wrong):
        """What it was, and how to have it again; how often it fails and the fewest steps that do are another question, which takes its time."""
        only = "" if keep is None else f" -k {ranges(keep)}"
        return wrong[:40] + [f"again: tests/random/run -s {seed}{only} -r {TIMES}", f"the fewest steps: tests/random/run -s {seed}{only} -m"]

    def minimise(self, seed, keep, wrong):
        """How often it fails, the fewest steps that do, and how to have it again."""
        everything = [step[0] for step in Maker(seed).make().steps]
        keep = everything if keep is None else keep
        often = 1 + sum(bool(self.compare(seed, keep)[0]) for _ in range(TIMES - 1))
        lines = wrong[:40]
        lines.append(f"differs in {often} of {TIMES} runs")
        unlike = sum(self.side(seed, keep, False)[0] != self.side(seed, keep, False)[0] for _ in range(TIMES))
        if unlike:
            lines.append(f"the kernel alone differs from itself, in {unlike} of {TIMES} runs: the program is at fault")
        tries = 1 if often == TIMES else min(30, 3 * TIMES // often)
        keep = self.fewest(seed, keep, tries)
        lines.append(f"the fewest steps found that differ, {len(keep)} of {len(everything)}:")
        lines += ["  " + text(step) for step in Maker(seed).make().steps if step[0] in keep]
        for _ in range(tries):
            wrong = self.compare(seed, keep)[0]
            if wrong:
                lines += wrong[:40]
                break
        times = "" if tries == 1 else f" -r {10 * tries}"
        lines.append(f"again: tests/random/run -s {seed} -k {ranges(keep)}{times}")
        return lines

    def fewest(self, seed, keep, tries):
        """Delta debugging: leaves out ever smaller pieces, as long as it differs without them."""
        end = time.monotonic() + MINIMISE
        size = len(keep) // 2
        while size and time.monotonic() < end:
            at = 0
            while at < len(keep) and time.monotonic() < end:
                fewer = keep[:at] + keep[at + size :]
                if any(self.compare(seed, fewer)[0] for _ in range(tries)):
                    keep = fewer
                else:
                    at += size
            size //= 2
        return keep

    def end(self):
        """What is left at the very end. Names of killed processes are removed by the next shunt process that looks."""
        def is_gone():
            subprocess.run([self.shunt, "ps"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            return not names(self.map) - self.at_start

        wait_for(is_gone, LIMIT)  # what had not even got its values is told by its age
        return [f"left: {what}" for what in sorted(names(self.map) - self.at_start)]

    def answer(self, told):
        if "end" in told:
            return {"wrong": self.end(), "counted": [0, 0, 0]}
        wrong, counted = self.compare(told["seed"], told["keep"])
        if wrong:
            wrong = (self.minimise if told["minimise"] else self.explain)(told["seed"], told["keep"], wrong)
        return {"wrong": wrong, "counted": counted}


def ranges(numbers):
    """0-3,7"""
    parts = []
    for n in numbers:
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def main():
    build, shunt, has_net, has_mount = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if has_net:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if has_mount:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm"], check=True)
    lane = Lane(build, shunt)
    try:
        for line in sys.stdin:
            print(json.dumps(lane.answer(json.loads(line))), flush=True)
    finally:
        shutil.rmtree(lane.dir, ignore_errors=True)


if __name__ == "__main__":
    main()
