# SPDX-License-Identifier: BSD-2-Clause
"""program.py - from a seed to a program (steps that each have a number, a word of steps.py, and its arguments), and from a program, or a part of it, to a plan."""
import random
import select

import steps
from model import LOW, N_ACTOR, Cannot, Model, Skip
from steps import DONTWAIT, PEEK, TRUNC, WAITALL
from steps_proc import EDGE, ONESHOT

LENGTHS = (0, 1, 2, 7, 64, 100, 511, 1000, 1460, 4096, 4097, 9000, 16384)
RECV_LENGTHS = LENGTHS + (20000, 40000)
BULK = (1000, 40000, 70000, 200000, 300000, 600000)
EVENTS = (select.POLLIN, select.POLLIN, select.POLLOUT, select.POLLIN | select.POLLOUT, select.POLLIN | 0x2000)


class Maker:
    """Makes the next step. It sees the model, so most make sense."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.m = Model()
        self.steps = []
        self.wants_udp = self.r.random() < 0.4
        self.start_off = [self.r.random() < 0.1 for _ in range(2)]

    def add(self, word, *args):
        step, before = (len(self.steps), word, *args), len(self.m.plan)
        try:
            steps.apply(self.m, step)
        except Cannot:
            if len(self.m.plan) == before:
                return False
            # Somebody's sleep has been ended for it: that is a part of the program.
        self.steps.append(step)
        return True

    # ---- choices ----

    def how(self, n):
        return self.r.randrange(n) if self.r.random() < 0.5 else 0

    def some(self, *kinds):
        return self.r.choice(self.m.all(*kinds) or [None])

    def who(self):
        return self.r.choice([a for a in range(N_ACTOR) if self.m.actors[a]])

    def thread(self, a):
        return self.r.randrange(self.m.actors[a].threads)

    def slot(self, a):
        return self.r.choice([s for s in range(LOW) if self.m.is_empty(a, s)] or [None])

    def connection(self):
        """(actor, slot, actor, slot) of both its ends"""
        found = self.m.all("tcp")
        self.r.shuffle(found)
        for a, s, d in found:
            others = [(b, z) for b, z in self.m.holders(d.peer) if b != a or self.m.actors[a].threads > 1]
            if others:
                return a, s, *self.r.choice(others)
        return None

    # ---- beginnings ----

    def begin_tcp(self):
        a, b = self.r.choice(((0, 1), (1, 0), (0, 0)) if self.r.random() < 0.1 else ((0, 1), (1, 0)))
        family, wild = self.r.choice(((4, 0), (4, 0), (6, 0), (6, 1), (4, 1)))
        listener = self.slot(a)
        self.add("socket", a, listener, family, 1, self.how(4))
        self.add("bind", a, listener, wild)
        port = f"p{len(self.steps) - 1}"
        self.add("listen", a, listener)
        for _ in range(self.r.choice((1, 1, 2, 3))):
            way = self.r.choice((4, 5, 6) if family == 6 and wild else (4, 4, 5) if family == 4 else (6,))
            s, t = self.slot(b), None
            self.add("socket", b, s, 4 if way == 4 else 6, 1, self.how(4))
            self.add("connect", b, s, way, port)
            t = self.slot(a)
            self.add("accept", a, 0, listener, t, self.how(3), self.how(4))
            if a != b and self.r.random() < 0.9:
                self.add("chat", b, 0, s, a, 0, t, self.r.choice((60, 90, 150)), self.r.choice((1, 10, 100, 1000)), self.how(10), self.how(10))
            if self.r.random() < 0.2:
                self.add("close", a, 0, listener, 0)
                break

    def begin_udp(self):
        ends = []
        family = self.r.choice((4, 6))
        for a in (0, 1):
            s = self.slot(a)
            self.add("socket", a, s, family, 2, self.how(4))
            self.add("bind", a, s, 0)
            ends.append((a, s, f"p{len(self.steps) - 1}"))
        if self.r.random() < 0.5:
            self.add("udp_to", *ends[0][:2], ends[1][2])
        if self.r.random() < 0.3:
            self.add("udp_to", *ends[1][:2], ends[0][2])
        self.add("dgchat", *ends[0][:2], *ends[1][:2], self.r.choice((20, 60, 90)), self.r.choice((0, 1, 100, 5000)), self.how(10), self.how(10))

    # ---- steps ----

    def one(self, word, *kinds, need=2):
        """The descriptor that it is about"""
        found = self.some(*kinds)
        return (word, *found[:need]) if found else None

    def make_send(self):
        a, s, _ = self.some("tcp", "tcp", "unix", "file", "pipe") or self.some()
        return "send", a, self.thread(a), s, self.r.choice(LENGTHS), self.how(10), self.how(32) & ~(PEEK | WAITALL | TRUNC)

    def make_recv(self):
        a, s, d = self.some("tcp", "tcp", "udp", "unix", "pipe") or self.some()
        flags = self.how(16)
        if not d.readable() and self.r.random() < 0.5:
            flags |= DONTWAIT
        return "recv", a, self.thread(a), s, self.r.choice(RECV_LENGTHS), self.how(10), flags

    def make_get(self):
        found = [(a, s) for a, s, d in self.m.all("tcp") if d.unread]
        a, s = self.r.choice(found)
        return "get", a, self.thread(a), s, self.how(10)

    def make_bulk(self):
        a, s, b, z = self.connection()
        return "bulk", a, self.thread(a), s, b, self.thread(b), z, self.r.choice(BULK), self.how(10), self.how(10)

    def make_chat(self):
        a, s, b, z = self.connection()
        turns, n = self.r.choice((1, 5, 20, 60)), self.r.choice((1, 10, 100, 1000, 5000))
        return "chat", a, self.thread(a), s, b, self.thread(b), z, turns, n, self.how(10), self.how(10)

    def make_sendto(self):
        a, s, d = self.some("udp")
        port = None if d.to else self.r.choice([x.port for _, _, x in self.m.all("udp") if x.port])
        how = self.r.choice((2, 4, 5, 7, 9)) if port else self.how(10)
        return "sendto", a, self.thread(a), s, self.r.choice(LENGTHS[:12]), how, self.how(2), port

    def make_recv_udp(self):
        a, s, d = self.some("udp")
        return "recv", a, self.thread(a), s, self.r.choice(LENGTHS[1:12]), self.how(10), self.how(16) | (not d.readable() and self.r.random() < 0.6)

    def make_dgchat(self):
        (a, s, _), (b, z, _) = self.some("udp"), self.some("udp")
        return "dgchat", a, s, b, z, self.r.choice((1, 10, 40)), self.r.choice((0, 1, 100, 5000)), self.how(10), self.how(10)

    def make_udp_to(self):
        a, s, d = self.some("udp")
        return "udp_to", a, s, None if d.to and self.r.random() < 0.5 else self.r.choice([x.port for _, _, x in self.m.all("udp") if x.port])

    def make_socket(self):
        a = self.who()
        return "socket", a, self.slot(a), self.r.choice((4, 6)), self.r.choice((1, 1, 2)), self.how(4)

    def make_bind(self):
        return (*self.one("bind", "udp", "new"), self.how(2))

    def make_listen(self):
        return self.one("listen", "new")

    def make_connect(self):
        a, s, d = self.some("new")
        port = self.r.choice(list(self.m.ports))
        return "connect", a, s, 4 if d.family == 4 else self.r.choice((5, 6)), port

    def make_accept(self):
        found = self.m.all("listen")
        found = [x for x in found if x[2].pending] or found
        a, s, _ = self.r.choice(found)
        return "accept", a, self.thread(a), s, self.slot(a), self.how(3), self.how(4)

    def make_another(self):
        """A connection more"""
        _, _, d = self.some("listen")
        a = self.who()
        s = self.slot(a)
        if s is None:
            return None
        way = d.family if d.family == 4 or not d.wild else self.r.choice((4, 5, 6))
        self.add("socket", a, s, 4 if way == 4 else 6, 1, self.how(4))
        return "connect", a, s, way, d.port

    def make_shut(self):
        a, s, _ = self.some("tcp", "udp", "unix")
        return "shut", a, self.thread(a), s, self.r.choice((0, 1, 1, 2)), self.how(2)

    def make_close(self):
        a, s, _ = self.some()
        return "close", a, self.thread(a), s, self.how(4)

    def make_dup(self):
        a, s, _ = self.some()
        how = self.how(6)
        to = self.slot(a)
        if how in (3, 5) and self.r.random() < 0.4:
            to = LOW + self.r.randrange(3)
        elif how >= 3:
            to = self.r.choice([z for z in range(LOW) if self.m.actors[a].slots[z]])
        return "dup", a, s, to, how

    def make_nonblock(self):
        return (*self.one("nonblock", "tcp", "udp", "listen"), self.r.randrange(2), self.how(3))

    def make_cloexec(self):
        return (*self.one("cloexec"), self.r.randrange(2))

    def make_unread(self):
        a, s, _ = self.some("tcp", "udp", "unix")
        return "unread", a, self.thread(a), s, self.how(2)

    def make_file(self):
        a = self.who()
        return "file", a, self.slot(a), self.r.choice(LENGTHS)

    def make_contents(self):
        return self.one("contents", "file")

    def make_pair(self):
        a = self.who()
        s = self.slot(a)
        to = self.slot(a)
        return "pair", a, s, to if to != s else s + 1, self.r.choice(("unix", "pipe"))

    def mine(self, a, kind):
        return [z for z, d in enumerate(self.m.actors[a].slots) if d and d.kind == kind]

    def make_sendfile(self):
        a, s, _ = self.some("tcp")
        if not self.mine(a, "file") or self.r.random() < 0.3:
            self.add("file", a, self.slot(a), self.r.choice(LENGTHS))
        return "sendfile", a, s, self.mine(a, "file")[-1], self.r.choice(LENGTHS)

    def make_splice(self):
        a, s, d = self.some("tcp")
        if not self.mine(a, "pipe"):
            x, y = [z for z in range(LOW) if self.m.is_empty(a, z)][:2]
            self.add("pair", a, x, y, "pipe")
        x, y = self.mine(a, "pipe")[:2]
        if d.unread and self.r.random() < 0.6:
            return "splice", a, s, y, self.r.choice((1, 100, 4000))
        if not self.m.actors[a].slots[x].unread:
            self.add("send", a, 0, y, self.r.choice(LENGTHS[1:10]), 1, 0)
        return "splice", a, x, s, self.r.choice((1, 100, 4000))

    def make_reuse(self):
        """A socket's number becomes a file's, or the other way round"""
        a, s, _ = self.some("tcp", "file")
        if not self.add("close", a, 0, s, self.how(3)):
            return None
        if self.r.random() < 0.3:
            return self.make_another()
        self.add("file", a, s, 100)
        self.add("send", a, 0, s, self.r.choice(LENGTHS), 1, 0)
        return "contents", a, s

    def make_stdio(self):
        return (*self.one("stdio", "tcp", "unix"), self.r.choice((1, 100, 5000)), self.r.randrange(2))

    def make_name(self):
        return (*self.one("name", "tcp", "udp", "listen"), self.r.randrange(2))

    def make_getopt(self):
        return (*self.one("getopt", "tcp", "udp", "listen"), self.how(10))

    def make_setopt(self):
        return (*self.one("setopt", "tcp", "listen"), self.r.choice((5, 6, 9, 11)), 1)

    def make_timeo(self):
        return (*self.one("timeo", "tcp", "udp"), self.r.choice((0, 3, 10)))

    def make_linger(self):
        return self.one("linger", "tcp")

    def make_poll(self):
        a = self.who()
        mine = [s for s, d in enumerate(self.m.actors[a].slots) if d and d.kind in ("tcp", "udp", "listen", "unix", "pipe")]
        chosen = self.r.sample(mine, min(len(mine), self.r.choice((1, 2, 4))))
        waits = self.r.random() < 0.4
        members = tuple((s, select.POLLIN if waits else self.r.choice(EVENTS)) for s in chosen)
        word = self.r.choice(("poll", "select"))
        return "poll", a, self.thread(a), word, self.how(3 if word == "poll" else 2), waits, members

    def make_epnew(self):
        a = self.who()
        return "epnew", a, self.slot(a), self.how(2)

    def make_epctl(self):
        if not self.m.all("epoll"):
            self.add(*self.make_epnew())
        a, e, d = self.some("epoll")
        s = self.r.choice([z for z, x in enumerate(self.m.actors[a].slots) if x and x.kind in ("tcp", "udp", "listen", "unix", "pipe", "new")])
        there = {id(x): tag for tag, (x, _) in d.members.items()}
        tag = there.get(id(self.m.actors[a].slots[s]))
        op = 1 if tag is None else self.r.choice((1, 2, 3, 3))
        events = self.r.choice(EVENTS) | self.r.choice((0, 0, EDGE, EDGE, ONESHOT, EDGE | ONESHOT))
        return "epctl", a, e, op, s, events, len(self.steps) if op == 1 or tag is None else tag

    def make_epwait(self):
        a, s, d = self.some("epoll")
        if not d.members:
            return None
        return "epwait", a, self.thread(a), s, self.how(4), self.r.random() < 0.5

    def make_fork(self):
        who = self.r.choice([a for a in range(N_ACTOR) if not self.m.used[a]])
        return "fork", self.who(), who

    def make_spawn(self):
        who = self.r.choice([a for a in range(N_ACTOR) if not self.m.used[a]])
        return "spawn", self.who(), who, self.how(3)

    def make_exec_(self):
        return "exec_", self.who(), self.how(2)

    def make_thread(self):
        return "thread", self.who()

    def make_wait(self):
        return "wait", self.r.choice([a for a in range(N_ACTOR) if self.m.actors[a] and self.m.dead_children[a]])

    def make_leave(self):
        return "leave", self.r.choice([a for a in (2, 3) if self.m.actors[a]] or [self.who()]), self.how(2)

    def make_kill(self):
        return "kill", self.r.choice([a for a in (2, 3) if self.m.actors[a]] or [self.who()])

    def make_signal(self):
        return "signal", self.who()

    def make_give(self):
        a, s, _ = self.some("tcp", "udp", "listen")
        return "give", a, s, self.r.choice([b for b in range(N_ACTOR) if self.m.actors[b]])

    def make_take(self):
        a = self.r.choice([b for b in range(N_ACTOR) if self.m.actors[b] and self.m.box[b]])
        return "take", a, self.slot(a), self.how(2)

    def make_switch(self):
        return "switch", self.who(), self.r.randrange(2), self.r.randrange(2)

    WEIGHTS = {
        "send": 14, "recv": 14, "get": 5, "bulk": 5, "chat": 8, "sendto": 6, "recv_udp": 6, "dgchat": 3, "udp_to": 1, "socket": 1, "bind": 1, "listen": 1, "connect": 1,
        "accept": 3, "another": 2, "shut": 2, "close": 4, "dup": 4, "nonblock": 3, "cloexec": 2, "unread": 3, "file": 1, "contents": 1, "pair": 0.6, "sendfile": 2, "splice": 2,
        "stdio": 1, "name": 1, "getopt": 2, "setopt": 1, "timeo": 1, "linger": 0.3, "poll": 7, "epnew": 1, "epctl": 9, "epwait": 16, "reuse": 1.5, "fork": 2, "spawn": 0.7, "exec_": 1.5,
        "thread": 1, "wait": 6, "leave": 0.7, "kill": 1, "signal": 1, "give": 2.5, "take": 8, "switch": 9,
    }  # fmt: skip

    def step(self):
        words = list(self.WEIGHTS)
        for _ in range(50):
            word = self.r.choices(words, list(self.WEIGHTS.values()))[0]
            try:
                made = getattr(self, "make_" + word)()
            except (IndexError, TypeError, ValueError):  # there is none to choose from
                continue
            if made and None not in made[:5] and self.add(*made):
                return

    def wake(self):
        """Somebody sleeps: what he waits for comes, or something else happens first"""
        (a, t), wait = self.r.choice(sorted(self.m.waits.items()))
        d = self.r.choice(wait.descs)
        if d.kind == "tcp":
            b, z = self.r.choice(self.m.holders(d.peer) or [(None, None)])
            if b is not None and (b, 0) != (a, t):
                u = self.thread(b)
                word = self.r.choice(("send",) * 6 + ("shut", "close"))
                if word == "send":
                    return self.add("send", b, u, z, self.r.choice(LENGTHS[1:11]), self.how(10), 0)
                return self.add("shut", b, u, z, 1, 0) if word == "shut" else self.add("close", b, u, z, 0)
        elif d.kind == "udp" and self.m.all("udp"):
            b, z, e = self.some("udp")
            return self.add("sendto", b, 0, z, 100, 4 if not e.to else 0, 0, None if e.to else d.port)
        elif d.kind == "listen":
            made = self.make_another()
            return bool(made) and self.add(*made)
        return self.add("signal", a)

    def end(self):
        for a, t in sorted(self.m.waits):
            self.m.waits.get((a, t)) and self.add("signal", a)
        for a, s, d in self.m.all("tcp"):
            if d.unread:
                self.add("get", a, 0, s, 0)
            self.add("recv", a, 0, s, 100, 0, DONTWAIT)
        for a in range(N_ACTOR):
            if self.m.actors[a]:
                self.add("leave", a, self.how(2))

    def make(self):
        if self.wants_udp:
            self.begin_udp()
        if not self.wants_udp or self.r.random() < 0.7:
            self.begin_tcp()
        for _ in range(self.r.choice((10, 20, 30, 50))):
            if self.m.waits and self.r.random() < 0.6 and self.wake():
                continue
            self.step()
        self.end()
        return self


def make_plan(program):
    """-> what is to be done, in order; steps that make no sense without those that were left out are left out too"""
    m = Model()
    for step in program:
        try:
            steps.apply(m, step)
        except Cannot as why:
            m.plan.append(Skip(step[0], str(why)))
    for a, t in sorted(m.waits):
        m.join(a, t, True)
    return m.plan


def text(step):
    return f"{step[0]:3} {step[1].rstrip('_')} " + " ".join(str(x) for x in step[2:])
