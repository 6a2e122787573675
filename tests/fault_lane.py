# SPDX-License-Identifier: BSD-2-Clause
"""fault_lane.py - one lane of tests/run_faults.py: a server and a client (tests/mortal), one of which is killed at one point, and what the other one saw of it.

The rules are the kernel's. What the victim's calls had sent arrives, and nothing else; then the end: a reset if it died with octets unread, an end of file if it had read all. Where its
death fell into a call nobody can tell what that call had done, and either is right. Afterwards the survivor must get a connection through memory to (or from) a new process, everybody must
end when told to, and nothing may be left.
"""
import json
import mmap
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from fault_side import LIMIT, SIDES, Counts, Side, held_back, state_of
from lanes import names, own_network, processes, wait_for

QUIET = 0.03  # s: who has not moved for so long waits for somebody
GC = 4.0  # s: garbage collection must have removed everything by then
FAMILY = set("fFmMkKgGxXvVlLiI")  # letters with several processes on one side, which may finish without the victim
LOSSY = set("AbBscCjJuUn")  # resets that overtake octets, as the kernel's do
DUPLICATES = set("AbBscCjJhtTfFmMkKgGxXvVlLiIon")  # a direction leaves the ring with octets unread: a reader that dies then may look as if it had not read (docs/COMPATIBILITY.md)
RESETS = set("uUcCjJ")
ENDS = {"client": set("E"), "server": set("eA")}  # exits in the middle of it
AMID = set("A")  # while the client sends and receives: it may find either end
LOSES = {f"dg {p}, before sent again" for p in ("down: undone", "back: down")} | {"dg back: request seen, before down", "svc: request taken, before served"}  # of datagrams, and only there: docs/COMPATIBILITY.md
HANDED_ON = set("tTxXgGlL")  # a reader asks the writer for what is unread, before stdio, another program or another process has the connection
AFTER_DEATHS = "z"  # in front of the letters
EXECUTES = set("xy")  # the server starts again, as another program


class Lane:
    def __init__(self, build):
        self.shunt = f"{build}/shunt"
        self.mortal = f"{build}/tests/mortal/mortal"
        self.lib = os.path.abspath(f"{build}/libshunt.so")
        self.dir = tempfile.mkdtemp(prefix="faults.")
        self.witness_path = self.dir + "/witness"
        self.map_dir = self.dir + "/map"
        os.mkdir(self.map_dir)
        self.mark = f"FAULTS_RUN=faults.{os.getpid()}.{time.monotonic_ns()}"
        os.environ["SHUNT_MAP"] = self.map_dir
        self.env = dict(os.environ, LD_PRELOAD=self.lib, FAULTS_RUN=self.mark.partition("=")[2])
        self.sides = {}
        self.before = names(self.map_dir)
        self.wrong = []

    # ---- memory that the programs share with us

    def open_witness(self):
        with open(self.witness_path, "wb") as f:
            f.truncate(4096)
        with open(self.witness_path, "r+b") as f:
            self.witness = mmap.mmap(f.fileno(), 4096)

    def counts(self, side):
        return Counts(struct.unpack_from("5Q", self.witness, 40 * SIDES.index(side)))

    def stage(self):
        return struct.unpack_from("II", self.witness, 88)

    def board(self, side):
        """-> how often the point was reached, its victim, the counts of all points"""
        try:
            with open(f"{self.dir}/{side}.board", "rb") as f:
                data = f.read()
        except OSError:
            return 0, 0, []
        if len(data) < 8:
            return 0, 0, []
        return (*struct.unpack_from("II", data), [n for n, in struct.iter_unpack("I", data[8 : len(data) & ~3])])

    # ---- the two

    def start(self, side, letters, fault=None):
        env = dict(self.env, SHUNT_LOG=f"{self.dir}/{side}.log")
        if fault is not None:
            env.update(fault, SHUNT_FAULT_BOARD=f"{self.dir}/{side}.board")
        self.sides[side] = Side(self, side, letters, env)
        return self.sides[side]

    def say(self, what):
        self.wrong.append(what)

    def switch(self):
        """Switches the client off, and on, and the server, when the client is at that stage."""
        stage, reached = self.stage()
        if stage == reached:
            return
        self.command("off" if stage % 2 else "on", SIDES[1 if stage <= 2 else 0])
        struct.pack_into("I", self.witness, 92, stage)

    def command(self, word, *sides):
        """shunt WORD, for those of the two that are there."""
        pids = [str(self.sides[side].pid) for side in sides if self.sides[side].alive()]
        env = {k: v for k, v in self.env.items() if k != "LD_PRELOAD"}
        subprocess.run([self.shunt, word, *pids], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    def fired(self, side):
        return self.board(side)[1]

    def until_fired(self, victim, is_over):
        """The pid of who was struck; 0: it was over before that; None: neither."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            for s in self.sides.values():
                s.look(0.001)
            pid = self.fired(victim) if victim else 0
            if pid or is_over():
                return pid or (self.fired(victim) if victim else 0)
            self.switch()
        return None

    def is_gone(self, pid):
        for s in self.sides.values():
            if s.pid == pid:
                return not s.alive()
        return state_of(pid) in "ZX"

    def strike(self, pid, action, survivor):
        """-> what the survivor had certainly sent when the victim died; None: not known"""
        if action == "kill":
            if not wait_for(lambda: self.is_gone(pid), LIMIT):
                self.say(f"process {pid} was killed, and lives")
            return None
        if not wait_for(lambda: state_of(pid) == "T", LIMIT):
            self.say(f"process {pid} was stopped, and runs")
        seen, since = None, time.monotonic()
        end = since + 1
        while time.monotonic() < end and (time.monotonic() < since + QUIET or held_back()):
            now = self.witness[:80]
            if now != seen:
                seen, since = now, time.monotonic()
            for s in self.sides.values():
                s.look(0.002)
        sent = self.counts(survivor)
        os.kill(pid, signal.SIGCONT if action == "cont" else signal.SIGKILL)
        if action != "cont" and not wait_for(lambda: self.is_gone(pid), LIMIT):
            self.say(f"process {pid} was killed, and lives")
        return sent

    # ---- what the survivor saw

    def judge(self, line, victim, v, sent, letters, point):
        """A survivor's line about a connection. v: the victim's counts; sent: the survivor's when it died."""
        m = re.match(r"conn (\d+) got (\d+) sent (\d+) (.*)", line)
        if not m:
            return
        conn, got, done, how = int(m[1]), int(m[2]), int(m[3]), m[4]
        letters = set(letters)
        if how not in ("ok", "eof", "reset", "refused"):
            self.say(f"the survivor: {line}")
            return
        if conn != v.conn:
            if how == "ok" or (victim == "server" and (how == "refused" or got == 0)) or (how == "reset" and letters & RESETS):
                return
            self.say(f"the survivor: {line}, on a connection that the victim had no part in")
            return
        if got > v.begun:
            self.say(f"the survivor: {line}: more than the {v.begun} octets that were ever sent")
        if how == "refused":
            self.say(f"the survivor: {line}: it was connected")
        lost = "d" in letters and point in LOSES or letters & HANDED_ON and self.was_not_taken_back(victim)
        if got < v.done and not lost and not (how == "reset" and letters & LOSSY) and not (how == "ok" and letters & RESETS):
            self.say(f"the survivor: {line}: {v.done} octets had been sent")
        if how == "reset" and done == v.got and done and not letters & (DUPLICATES | RESETS):
            self.say(f"the survivor: {line}: a reset, though the victim had read all")
        if how == "eof" and sent and "d" not in letters and sent.conn == conn and sent.done > v.asked:
            self.say(f"the survivor: {line}: an end of file, though {sent.done - v.asked} octets were unread")
        if how == "ok" and not letters & (FAMILY | RESETS) and got < v.done:
            self.say(f"the survivor: {line}: no end")

    def was_not_taken_back(self, victim):
        """The survivor asked a writer that had been killed: its connection ends there, and it says so; or stopped, and was killed when it had left the ring to him (docs/COMPATIBILITY.md: what cannot be repaired)."""
        with open(f"{self.dir}/{SIDES[1 - SIDES.index(victim)]}.log", errors="replace") as f:
            return re.search("unread octets (could not be taken back|will come when)", f.read()) is not None

    # ---- a case

    def again(self):
        """One more connection, through memory: of this client, or of a new one."""
        server, client = self.sides["server"], self.sides["client"]
        said = client.says(r"^conn \d+ ")
        if not said or not said.endswith("memory"):
            self.say(f"a new connection afterwards: {said}")
            return
        conn = said.split()[1]
        for s in server, client:
            line = s.says(rf"^conn {conn} ")
            if not line or not line.endswith("ok"):
                self.say(f"a new connection afterwards, the {s.side}: {line}")

    def accepts(self):
        """A server that executes itself says so before it reports that connection, and listens when it is ready once more."""
        server = self.sides["server"]
        if not server.letters & EXECUTES:
            return
        server.says(r"^conn \d+ ")
        if not wait_for(lambda: server.look(0) or server.heard.count("ready") > server.heard.count("executes"), LIMIT):
            self.say("the server that has executed itself does not start")

    def once_more(self):
        client = self.sides["client"]
        self.accepts()
        del client.lines[:]
        client.order(b"again\n")
        self.again()

    def afterwards(self, victim, sent, letters, point):
        """Somebody on that side has died: its first process, or another one and that goes on."""
        survivor = SIDES[1 - SIDES.index(victim)]
        dead = self.sides[victim]
        lives = dead.alive() and not dead.process.stdin.closed  # or it ends, as it was told to
        if "client" not in self.sides:  # the server died before it could be connected to
            if not lives:
                self.restart("server", letters)
            self.start("client", self.short(letters))
            self.again()
            return
        heard, has_left = self.sides[survivor].heard, self.leaves(survivor, letters)
        if not has_left and (survivor == "client" or lives) and not self.client_is_done():
            self.say(f"the client hangs: {self.sides['client'].heard}")
            return
        if not lives and not wait_for(lambda: not dead.group_alive(), LIMIT):
            self.say(f"of the {victim}'s processes some go on")
        v = self.counts(victim)
        if self.stage()[0]:
            self.command("on", *SIDES)
        dead.look(0)
        for line in dead.heard:
            if "WRONG" in line:
                self.say(f"another process of the {victim}: {line}")
        gone = {victim: not lives, survivor: has_left}
        for side in SIDES:
            if gone[side]:
                self.restart(side, letters)
        if gone["client"]:
            self.again()
        else:
            self.once_more()
        upto = heard.index("done") if "done" in heard else len(heard) if has_left else -1
        for line in heard[:upto]:
            self.judge(line, victim, v, sent, letters, point)

    def client_is_done(self):
        client = self.sides["client"]
        wait_for(lambda: self.switch() or client.look(0) or client.ended or "done" in client.heard, LIMIT)
        return "done" in client.heard

    def leaves(self, side, letters):
        """Whose part is to exit may have come to that before the other one died."""
        s = self.sides[side]
        if not set(letters) & ENDS[side] or not (s.says(r"^conn \d+ ") or "").endswith(" ok"):
            return False
        if not wait_for(lambda: not s.alive(), LIMIT):
            self.say(f"the {side} does not end: {s.heard}")
        return True

    @staticmethod
    def short(letters):
        return "da" if letters.startswith("d") else "a"

    def restart(self, side, letters):
        for line in self.sides[side].kill():
            self.say(f"the {side} said: {line}")
        if side == "client":
            self.accepts()
        new = self.start(side, self.short(letters))
        if side == "server" and new.says("^ready") is None:
            self.say("a new server does not start")

    def left_behind(self):
        """What the next server finds: an endpoint, semaphores and a segment whose owners have been killed."""
        self.start("server", "pp").says("^ready")
        for point in "rdv: names made, before lock", "seg: made, before attached":
            client = self.start("client", "p", {"SHUNT_FAULT": point})
            if not self.until_fired("client", lambda: False):
                self.say(f"nobody came to: {point}")
            client.kill()
            os.unlink(f"{self.dir}/client.board")
        self.forget_sides()

    def forget_sides(self):
        for s in self.sides.values():
            s.kill()
        self.sides = {}
        for side in SIDES:
            for kind in "board", "log":
                try:
                    os.unlink(f"{self.dir}/{side}.{kind}")
                except OSError:
                    pass
        self.open_witness()

    def logs(self):
        """What shunt had to say about it, for who has to find out."""
        said = []
        for side in SIDES:
            try:
                with open(f"{self.dir}/{side}.log", errors="replace") as f:
                    said += [f"  the {side}'s log: {line}" for line in f.read().splitlines()[-12:]]
            except OSError:
                pass
        return said

    def play(self, case):
        letters, victim = case["letters"], case.get("victim")
        if letters.startswith(AFTER_DEATHS):
            letters = letters[len(AFTER_DEATHS) :]
            self.left_behind()
        fault = {}
        if victim:
            fault = {"SHUNT_FAULT": f"{case['point']}@{case['nth']}", "SHUNT_FAULT_ACTION": "stop" if case["action"] == "cont" else case["action"]}
        count = victim is None
        server = self.start("server", letters, fault if count or victim == "server" else None)
        pid = self.until_fired(victim, lambda: server.lines or server.ended)
        if not pid and server.lines:
            del server.lines[:]
            client = self.start("client", letters, fault if count or victim == "client" else None)
            pid = self.until_fired(victim, lambda: "done" in client.heard or client.ended)
            if pid == 0 and victim:  # perhaps at its end
                self.sides[victim].let_end()
                pid = self.until_fired(victim, lambda: not self.sides[victim].alive())
        if pid is None:
            self.say(f"nothing more happens: { {name: s.heard for name, s in self.sides.items()} }")
        elif pid and case["action"] == "nap":
            self.goes_on(letters)
        elif pid:
            survivor = SIDES[1 - SIDES.index(victim)]
            sent = self.strike(pid, case["action"], survivor)
            if case["action"] == "cont":
                self.goes_on(letters)
            else:
                self.afterwards(victim, sent, letters, case["point"])
        elif not victim:
            self.goes_on(letters)
        return bool(pid)

    def goes_on(self, letters):
        """Nobody has died: each connection comes to its own end, and one more."""
        client = self.sides.get("client")
        if client is None:
            if self.sides["server"].says("^ready") is None:
                self.say("the server does not start")
            client = self.start("client", letters)
        if not self.client_is_done() and not set(letters) & ENDS["client"]:
            self.say(f"the client hangs: {client.heard}")
            return
        ended = [side for side in SIDES if set(letters) & ENDS[side] and not self.sides[side].process.stdin.closed]
        for side in ended:
            if not wait_for(lambda side=side: not self.sides[side].alive(), LIMIT):
                self.say(f"the {side} does not end: {self.sides[side].heard}")
            wait_for(lambda side=side: self.sides[side].look(0) or self.sides[side].ended, LIMIT)  # its last words
        for side in SIDES:
            for line in self.sides[side].heard:
                if line.startswith("conn ") and not (line.endswith("ok") or line.endswith("reset") and set(letters) & RESETS or side == "client" and line.endswith(("reset", "eof")) and set(letters) & AMID):
                    self.say(f"the {side}: {line}")
        if any(s.process.stdin.closed for s in self.sides.values()):
            return
        for side in ended:
            self.restart(side, letters)
        if "client" in ended:
            self.again()
        else:
            self.once_more()

    def end_all(self):
        for s in self.sides.values():
            s.let_end()
        for s in self.sides.values():
            if not wait_for(lambda s=s: not s.alive(), LIMIT):
                self.say(f"the {s.side} does not end")
            elif s.process.returncode not in (0, -9):
                self.say(f"the {s.side} ended with {s.process.returncode}")
            for line in s.kill():
                self.say(f"the {s.side} said: {line}")
        self.sides = {}

    def nothing_left(self):
        if not names(self.map_dir) - self.before:
            return

        def gone():
            self.command("gc")
            return not names(self.map_dir) - self.before

        if not wait_for(gone, GC):
            for what in sorted(names(self.map_dir) - self.before):
                self.say(f"left: {what}")
            self.before |= names(self.map_dir)

    def case(self, case):
        begin = time.monotonic()
        self.wrong, self.sides = [], {}
        self.forget_sides()
        reached = self.play(case)
        counts = {side: self.board(side)[2] for side in SIDES} if not case.get("victim") else None
        self.end_all()
        if not case.get("victim"):
            counts = {side: self.board(side)[2] for side in SIDES}
        self.nothing_left()
        wait_for(lambda: not processes(self.mark))
        self.wrong += processes(self.mark)
        if self.wrong:
            self.wrong += self.logs()
        return {"wrong": self.wrong, "reached": reached, "counts": counts, "seconds": time.monotonic() - begin}

    def stop(self):
        for s in self.sides.values():
            s.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    build, has_net, has_mount = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if has_net:
        own_network()
    if has_mount:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm"], check=True)
    lane = Lane(build)
    try:
        for line in sys.stdin:
            print(json.dumps(lane.case(json.loads(line))), flush=True)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        lane.stop()


main()
