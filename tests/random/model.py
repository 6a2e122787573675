# SPDX-License-Identifier: BSD-2-Clause
"""model.py - what the actors hold, as far as a plan must know it: is there a descriptor, would a call block, how much is unread.

It foretells no result: those are the kernel's to say. It keeps a program where the kernel's answers do not depend on time: what is unread stays below what the kernel would take, nobody
blocks whom no later step wakes (or a signal ends the call), and who waits is waited for as soon as he has what he waits for.
"""
from collections import namedtuple

N_SLOT, N_ACTOR, N_THREAD = 16, 4, 2
LOW = 12  # slot of the number 0; those of 1 and 2 follow; they are never closed
UNREAD_MAX, SENDS_MAX, UNACKED_MAX, DATAGRAMS_MAX, PENDING_MAX = 32768, 30, 8, 20, 5
SILENT, KICK = False, True

# What run does, in this order. `also`: what it must look for in the answer.
Do = namedtuple("Do", "id actor thread line blocks proto also")
Join = namedtuple("Join", "id actor thread kick vague")  # vague: how many are ready is not to be told
Par = namedtuple("Par", "id halves")  # of Do, at the same time
Skip = namedtuple("Skip", "id why")
Kill = namedtuple("Kill", "id actor")
Signal = namedtuple("Signal", "id actor")
Switch = namedtuple("Switch", "id actor off waits")


class Cannot(Exception):
    """This step makes no sense here (any more)."""


class Desc:
    """An open file description."""

    def __init__(self, kind, family=0, nonblock=False):
        self.kind, self.family, self.nonblock = kind, family, nonblock
        self.refs = 0
        self.peer = None  # of a connection
        self.unread = self.sends = 0
        self.unacked = 0  # sends since the peer's last one: with ten of them in flight the kernel keeps the next one back, and an acknowledgement may take 40 ms
        self.fin = self.reset = self.rd_shut = self.wr_shut = self.linger = self.timed = False
        self.closed = False
        self.port = self.wild = None  # name
        self.tried = None  # the family of an attempt to connect
        self.pending = []  # of a listener
        self.queue, self.to, self.error = [], None, False  # datagrams
        self.members, self.owner = {}, None  # of an epoll set: tag -> (desc, events); who has made it
        self.numbers = {}  # tag -> slot
        self.shared, self.whose = False, None  # by fork; the one that has changed it since
        self.edge = False  # in a set that reports edges: nothing may depend on acknowledgements
        self.edges = False  # edges alone: a change of the connection's state is one
        self.output = False  # ... of output
        self.filled = False  # a send may have met a full socket: an edge of output may come at any time since
        self.met = False  # a call that may wait for room has sent since there is a set that reports edges of output
        self.twice = False  # octets were unread when somebody was switched off: they may have come a second time, by the kernel
        self.size = self.at = 0  # of a file
        self.waiter = None

    def readable(self):
        if self.kind == "listen":
            return bool(self.pending)
        if self.kind == "udp":
            return bool(self.queue) or self.error or self.rd_shut
        if self.kind == "pipe" and self.peer:
            return self.peer.closed  # an error
        if self.kind in ("tcp", "unix", "pipe"):
            return self.unread > 0 or self.fin or self.reset or self.rd_shut
        return True

    def blocking(self):
        return not self.nonblock and not self.timed

    def ended(self):
        return self.fin or self.reset or self.rd_shut


class Wait:
    """A call that sleeps: until ready(); then done() has happened. in_part: also when a signal has ended it. fills: (actor, slot) that it puts a descriptor into.
    again: what is asked afterwards, since the call tells of the first of several that one step makes ready."""

    def __init__(self, step, ready, done, descs, restarts, in_part=False, fills=None, again=None):
        self.id, self.ready, self.done, self.descs, self.restarts, self.in_part = step, ready, done, descs, restarts, in_part
        self.fills, self.again = fills, again


class Actor:
    def __init__(self):
        self.slots = [None] * N_SLOT
        self.cloexec = [False] * N_SLOT
        self.came = [0] * N_SLOT  # the step by which its number came in a message and became a socket of its own; 0: it is one more for the first
        self.noted = {}  # of sockets that it has passed, or got so: what one more number that comes in a message is one more for
        self.threads = 1
        self.children = []


class Model:
    def __init__(self):
        self.actors = [Actor(), Actor(), None, None]
        self.used = [True, True, False, False]
        self.box = [[] for _ in range(N_ACTOR)]
        self.ports = {}
        self.waits = {}
        self.plan = []
        self.dead_children = [0] * N_ACTOR
        self.parent = [None] * N_ACTOR

    # ---- who and what ----

    def actor(self, a):
        if not self.actors[a]:
            raise Cannot("no actor")
        return self.actors[a]

    def free(self, a, t=0):
        """Thread t of a can be told something; whoever still sleeps there is woken by a signal."""
        if t >= self.actor(a).threads:
            raise Cannot("no thread")
        if (a, t) in self.waits:
            self.join(a, t, KICK)

    def all_free(self, a):
        for t in range(self.actor(a).threads):
            self.free(a, t)

    def desc(self, a, s, *kinds):
        d = self.actor(a).slots[s]
        if not d:
            raise Cannot("no descriptor")
        if kinds and d.kind not in kinds:
            raise Cannot("another kind")
        return d

    def is_empty(self, a, s):
        return not self.actor(a).slots[s] and all(wait.fills != (a, s) for wait in self.waits.values())

    def empty(self, a, s):
        if not self.is_empty(a, s):
            raise Cannot("slot in use")

    def holders(self, d):
        return [(a, s) for a, actor in enumerate(self.actors) if actor for s, x in enumerate(actor.slots) if x is d]

    def all(self, *kinds):
        """(actor, slot, desc) of all that somebody holds"""
        return [
            (a, s, d)
            for a, actor in enumerate(self.actors)
            if actor
            for s, d in enumerate(actor.slots)
            if d and (not kinds or d.kind in kinds)
        ]

    # ---- holding ----

    def put(self, a, s, d, cloexec=False, came=0):
        old = self.actors[a].slots[s]
        self.actors[a].slots[s], self.actors[a].cloexec[s], self.actors[a].came[s] = d, cloexec, came
        d.refs += 1
        if old:
            self.drop(old)

    def take(self, a, s):
        d = self.actors[a].slots[s]
        self.actors[a].slots[s] = None
        self.drop(d)

    def drop(self, d):
        d.refs -= 1
        if d.refs == 0:
            self.end(d)

    def end(self, d):
        d.closed = True
        if d.kind == "listen":
            for p in d.pending:
                p.peer.reset = True
                p.closed = True
        elif d.kind in ("tcp", "unix", "pipe") and d.peer:
            if d.kind != "pipe" and (d.unread or d.linger):
                d.peer.reset = True
            else:
                d.peer.fin = True
        if d.port and self.ports.get(d.port) is d:
            del self.ports[d.port]

    def gone(self, a):
        actor = self.actors[a]
        for s in range(N_SLOT):
            if actor.slots[s]:
                self.take(a, s)
        self.actors[a] = None
        if self.parent[a] is not None:
            self.dead_children[self.parent[a]] += 1

    # ---- the plan ----

    def tell(self, step, a, t, line, proto="t", also=None):
        self.plan.append(Do(step, a, t, line, False, proto, also))

    def sleep(self, step, a, t, line, wait, proto="t", also=None):
        self.plan.append(Do(step, a, t, line, True, proto, also))
        self.waits[a, t] = wait
        for d in wait.descs:
            d.waiter = (a, t)

    def join(self, a, t, kick):
        wait = self.waits.pop((a, t))
        for d in wait.descs:
            d.waiter = None
        self.plan.append(Join(wait.id, a, t, kick, bool(wait.again)))
        if not kick or wait.in_part:
            wait.done()
        if not kick and wait.again:
            self.tell(wait.id, a, t, wait.again)

    def settle(self):
        for a, t in sorted(self.waits):
            if self.waits[a, t].ready():
                self.join(a, t, SILENT)

    # ---- octets ----

    def room(self, d, n):
        """May n octets more be sent on d?"""
        p = d.peer
        if p and not p.closed and (p.unread + n > UNREAD_MAX or p.sends >= SENDS_MAX):
            raise Cannot("would not fit")
        if d.unacked >= UNACKED_MAX:
            raise Cannot("would be kept back")

    def sent(self, d, n):
        p = d.peer
        d.met |= d.output and not d.nonblock
        if not p or d.wr_shut or d.reset or not n:
            return
        if p.closed:
            d.reset = True
        else:
            p.unread += n
            p.sends += 1
            d.unacked += 1
            p.unacked = 0

    def read(self, d, n):
        d.unread -= min(n, d.unread)
        if not d.unread:
            d.sends = 0
