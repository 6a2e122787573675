# SPDX-License-Identifier: BSD-2-Clause
"""steps_proc.py - the other half of steps.py: descriptors, waiting, processes."""
import select

from model import KICK, LOW, N_SLOT, Actor, Cannot, Desc, Kill, Signal, Switch, Wait

EDGE, ONESHOT = 1 << 16, 1 << 17


def no_waiter(*descs):
    if any(d.waiter for d in descs):
        raise Cannot("somebody waits there")


def keeps_edges(m, a, *slots):
    """
    docs/COMPATIBILITY.md: a member whose last number here is closed, while others hold the socket, is told of once more. So do numbers here that have come in a message from
    another process which has it by fork.
    """
    sets, actor = [e for _, _, e in m.all("epoll")], m.actors[a]
    for d, came in {(id(actor.slots[s]), actor.came[s]): (actor.slots[s], actor.came[s]) for s in slots if actor.slots[s]}.values():
        mine = [s for s, x in enumerate(actor.slots) if x is d and actor.came[s] == came]
        edges = any(x is d and events & (EDGE | ONESHOT) for e in sets for x, events in e.members.values())
        if edges and set(mine) <= set(slots) and d.refs > len(mine):
            raise Cannot("an edge would be told of again")


def keeps_output(d):
    """docs/COMPATIBILITY.md: a member that leaves memory for good is told of output once more than in the kernel, or once less, if it has been told that there is room"""
    if d.output:
        raise Cannot("an edge of output without news")


# ---- descriptors ----


def close(m, i, a, t, s, how):
    m.free(a, t)
    d = m.desc(a, s)
    if d.waiter:
        raise Cannot("somebody waits there")
    if s >= LOW or (how == 3 and d.kind == "epoll"):
        raise Cannot("stays")
    keeps_edges(m, a, s)
    m.tell(i, a, t, f"close {s} {how}")
    m.take(a, s)


def dup(m, i, a, s, to, how):
    m.free(a)
    d = m.desc(a, s)
    number = -1
    if to >= LOW:
        number = to - LOW
        if how not in (3, 5) or s >= LOW:
            raise Cannot("not there")
        if d.kind == "udp" and d.queue:  # docs/COMPATIBILITY.md: stdio's; those of senders that have ended are lost
            raise Cannot("datagrams wait")
    elif how in (3, 4, 5):
        m.desc(a, to)
        if to == s:
            raise Cannot("the same")
    else:
        m.empty(a, to)
    if m.actors[a].slots[to]:
        no_waiter(m.actors[a].slots[to])
        keeps_edges(m, a, to)
    m.tell(i, a, 0, f"dup {s} {to} {how} {number}")
    m.put(a, to, d, how in (2, 4), m.actors[a].came[s])


def nonblock(m, i, a, s, on, how):
    m.free(a)
    d = m.desc(a, s)
    if d.kind in ("pipe", "unix", "epoll", "file"):
        raise Cannot("another kind")
    no_waiter(d)
    m.tell(i, a, 0, f"nonblock {s} {on} {how}")
    d.nonblock = bool(on)


def cloexec(m, i, a, s, on):
    m.free(a)
    m.desc(a, s)
    if s >= LOW:
        raise Cannot("stays")
    m.tell(i, a, 0, f"cloexec {s} {on}")
    m.actors[a].cloexec[s] = bool(on)


def unread(m, i, a, t, s, how):
    m.free(a, t)
    no_waiter(m.desc(a, s, "tcp", "udp", "unix", "pipe", "new"))  # who may be about to take what it asks for
    m.tell(i, a, t, f"unread {s} {how}")


def file(m, i, a, s, n):
    m.free(a)
    m.empty(a, s)
    d = Desc("file")
    d.size = n
    m.put(a, s, d)
    m.tell(i, a, 0, f"file {s} {n} {i}")


def contents(m, i, a, s):
    m.free(a)
    m.desc(a, s, "file")
    m.tell(i, a, 0, f"contents {s}")


def pair(m, i, a, s, to, kind):
    m.free(a)
    m.empty(a, s)
    m.empty(a, to)
    d, e = Desc(kind, nonblock=True), Desc(kind, nonblock=True)
    e.peer = d
    if kind == "unix":
        d.peer = e
    m.put(a, s, d)
    m.put(a, to, e)
    m.tell(i, a, 0, f"{'pair' if kind == 'unix' else 'pipe'} {s} {to}")


def name(m, i, a, s, which):
    m.free(a)
    d = m.desc(a, s, "tcp", "udp", "listen", "new")
    m.tell(i, a, 0, f"name {s} {which}", "u" if d.kind == "udp" else "t")


def getopt(m, i, a, s, which):
    m.free(a)
    d = m.desc(a, s, "tcp", "udp", "listen", "new")
    m.tell(i, a, 0, f"getopt {s} {which}")
    if which == 0 and d.kind == "udp":
        d.error = False


def setopt(m, i, a, s, which, value):
    m.free(a)
    d = m.desc(a, s, "tcp", "udp", "listen", "new")
    if d.kind == "udp" and which != 6:
        raise Cannot("another kind")
    if d.edge and which == 5:
        raise Cannot("SO_RCVLOWAT is an edge")
    m.tell(i, a, 0, f"setopt {s} {which} {value}")


def timeo(m, i, a, s, ms):
    m.free(a)
    d = m.desc(a, s, "tcp", "udp", "listen")
    no_waiter(d)
    d.timed = ms > 0
    m.tell(i, a, 0, f"timeo {s} {ms}")


def linger(m, i, a, s):
    m.free(a)
    m.desc(a, s, "tcp").linger = True
    m.tell(i, a, 0, f"linger {s}")


# ---- waiting ----


def poll(m, i, a, t, word, how, waits, members):
    """word: poll or select; members: ((slot, events), ...)"""
    m.free(a, t)
    descs = [(m.desc(a, s), events) for s, events in members]
    rest = " ".join(f"{s} {events}" for s, events in members)
    if waits and descs and all(events == select.POLLIN and not d.readable() for d, events in descs):
        only = [d for d, _ in descs]
        no_waiter(*only)
        again = f"{word} {how} 0 {rest}" if len(only) > 1 else None
        wait = Wait(i, lambda: any(d.readable() for d in only), lambda: None, only, False, again=again)
        m.sleep(i, a, t, f"{word} {how} -1 {rest}", wait)
    else:
        m.tell(i, a, t, f"{word} {how} 0 {rest}")


def epnew(m, i, a, s, flag):
    m.free(a)
    m.empty(a, s)
    d = Desc("epoll")
    d.owner = a
    m.put(a, s, d, bool(flag))
    m.tell(i, a, 0, f"epnew {s} {flag}")


def whose_set(m, a, e):
    """docs/COMPATIBILITY.md: what one process adds or modifies in a set that several have by fork, others do not know"""
    if e.whose not in (None, a):
        raise Cannot("another process has changed the set")


def epctl(m, i, a, s, op, member, events, tag):
    """op: 1 add, 2 del, 3 mod; tag: of the step that has added it"""
    m.free(a)
    e, d = m.desc(a, s, "epoll"), m.desc(a, member)
    if d.kind in ("epoll", "file"):
        raise Cannot("another kind")
    no_waiter(e)
    if e.shared and (events & ONESHOT or any(ev & ONESHOT for _, ev in e.members.values())):
        raise Cannot("a one-shot in a shared set")
    whose_set(m, a, e)
    if d.kind == "udp" and events & EDGE and events & select.POLLOUT:
        raise Cannot("each datagram sent is an edge")
    if d.filled and events & EDGE and events & select.POLLOUT:
        raise Cannot("an edge of output may be owed")
    if d.wr_shut and d.kind == "tcp" and events & EDGE:
        raise Cannot("the acknowledgement of a FIN is an edge")
    m.tell(i, a, 0, f"epctl {s} {op} {member} {events} {tag}")
    if e.shared and op != 2:
        e.whose = a
    mine = [k for k, (x, _) in e.members.items() if x is d and e.numbers[k] == member]
    if op == 2:
        e.members = {k: v for k, v in e.members.items() if k not in mine}
    elif (op == 3) == bool(mine):  # else it is refused: a member is known by its number, too
        e.members[tag], e.numbers[tag] = (d, events), member
        d.edge |= bool(events & (EDGE | ONESHOT)) or bool(events & select.POLLOUT)
        d.edges |= d.kind == "tcp" and bool(events & EDGE)
        d.output |= bool(events & EDGE and events & select.POLLOUT)


def epwait(m, i, a, t, s, how, waits):
    m.free(a, t)
    e = m.desc(a, s, "epoll")
    whose_set(m, a, e)
    no_waiter(e)
    descs = [d for d, _ in e.members.values()]
    if e.owner != a and any(ev & select.POLLIN and all(x is not d for x in m.actors[a].slots) for d, ev in e.members.values()):
        raise Cannot("input of a member that is closed here comes through memory")  # docs/COMPATIBILITY.md
    if e.owner != a and any(ev & EDGE and d.unread for d, ev in e.members.values()):
        raise Cannot("edges in a shared set")
    if any(ev & EDGE and ev & select.POLLOUT and d.met and d.twice for d, ev in e.members.values()):
        raise Cannot("an edge of output may be owed")  # docs/COMPATIBILITY.md: whose send may have waited for room is told of it with what comes twice
    if any(ev & EDGE and d.rd_shut and d.twice for d, ev in e.members.values()):
        raise Cannot("its own hang-up hides that it has come twice")  # docs/COMPATIBILITY.md: whose input has been shut down here is told of that once more
    quiet = all(events == select.POLLIN and not d.readable() for d, events in e.members.values())
    if waits and descs and quiet and not any(d.waiter for d in descs) and all(m.holders(d) for d in descs):
        again = f"epwait {s} {how} 0" if len(descs) > 1 else None
        wait = Wait(i, lambda: any(d.readable() for d in descs), lambda: None, [e] + descs, False, again=again)
        m.sleep(i, a, t, f"epwait {s} {how} -1", wait)
    else:
        m.tell(i, a, t, f"epwait {s} {how} 0")


# ---- processes ----


def no_datagrams(m, a):
    if any(d and d.kind == "udp" and d.queue for d in m.actor(a).slots):
        raise Cannot("datagrams wait")


def no_sets(m, a, becomes):
    """docs/COMPATIBILITY.md: an epoll set that another program inherits: from a process that goes on, or that has it by fork itself; edges; and what others have changed in it"""
    for s, d in enumerate(m.actor(a).slots):
        if d and d.kind == "epoll" and not m.actors[a].cloexec[s]:
            whose_set(m, a, d)
            if not becomes or d.owner != a or any(events & (EDGE | ONESHOT) for _, events in d.members.values()):
                raise Cannot("a set is inherited")


def inherited(actor):
    """Of one socket a new program knows all numbers"""
    return {d: 0 for d in actor.slots if d and d.kind == "tcp"}


def new_actor(m, i, a, who, line, cloexec):
    m.free(a)
    if m.used[who]:
        raise Cannot("is there")
    no_datagrams(m, a)
    if cloexec:
        no_sets(m, a, False)
    for s, d in enumerate(m.actors[a].slots):
        if d and cloexec and not m.actors[a].cloexec[s]:
            keeps_output(d)
    m.used[who] = True
    m.actors[who] = Actor()
    m.parent[who] = a
    for s, d in enumerate(m.actors[a].slots):
        if d and not (cloexec and m.actors[a].cloexec[s]):
            m.put(who, s, d, m.actors[a].cloexec[s], 0 if cloexec else m.actors[a].came[s])
    m.actors[who].noted = inherited(m.actors[who]) if cloexec else dict(m.actors[a].noted)
    m.tell(i, a, 0, line, "t", ("child", who))


def fork(m, i, a, who):
    sets = [d for d in m.actor(a).slots if d and d.kind == "epoll"]
    if any(events & ONESHOT for d in sets for _, events in d.members.values()):
        raise Cannot("a one-shot in a shared set")
    if any(events & EDGE and x.unread for d in sets for x, events in d.members.values()):
        raise Cannot("an edge would be told of again")
    for d in sets:
        for x, _ in d.members.values():
            keeps_output(x)
        d.shared = True
    new_actor(m, i, a, who, f"fork {who}", False)


def spawn(m, i, a, who, how):
    new_actor(m, i, a, who, f"spawn {who} {how}", True)


def exec_(m, i, a, how):
    m.all_free(a)
    no_datagrams(m, a)
    no_sets(m, a, True)
    m.tell(i, a, 0, f"exec {how}")
    m.actors[a].threads = 1
    for s in range(N_SLOT):
        if m.actors[a].slots[s] and m.actors[a].cloexec[s]:
            m.take(a, s)
    m.actors[a].came, m.actors[a].noted = [0] * N_SLOT, inherited(m.actors[a])


def thread(m, i, a):
    m.free(a)
    if m.actors[a].threads == 2:
        raise Cannot("is there")
    m.actors[a].threads = 2
    m.tell(i, a, 0, "thread")


def wait(m, i, a):
    m.free(a)
    if not m.dead_children[a]:
        raise Cannot("no child has ended")
    m.dead_children[a] -= 1
    m.tell(i, a, 0, "wait")


def leave(m, i, a, how):
    m.all_free(a)
    if any(d and d.waiter for d in m.actors[a].slots):
        raise Cannot("somebody waits there")
    m.tell(i, a, 0, f"exit {how}", "t", "ends")
    m.gone(a)


def kill(m, i, a):
    """A reader that is killed has read all, and looked again (docs/COMPATIBILITY.md, what cannot be repaired)."""
    m.all_free(a)
    mine = [(s, d) for s, d in enumerate(m.actors[a].slots) if d]
    for _, d in mine:
        if d.waiter or d.unread or d.queue or (d.peer and d.peer.unread) or d.pending:
            raise Cannot("not quiet")
        if d.wr_shut and d.peer and not d.peer.closed:
            raise Cannot("its end has been told already")  # docs/COMPATIBILITY.md
    for s, d in mine:
        if d.kind == "tcp":
            m.tell(i, a, 0, f"recv {s} 1 0 1")
    m.plan.append(Kill(i, a))
    m.gone(a)


def signal(m, i, a):
    """SA_RESTART: recv and accept go on, others end."""
    m.actor(a)
    wait_ = m.waits.get((a, 0))
    if wait_ and not wait_.restarts:
        m.join(a, 0, KICK)
    else:
        m.plan.append(Signal(i, a))


def give(m, i, a, s, who):
    m.free(a)
    d = m.desc(a, s)
    if not m.actors[who] or d.kind == "epoll":
        raise Cannot("no actor")
    if d.kind == "udp" and d.queue:
        raise Cannot("datagrams wait")
    keeps_output(d)
    d.refs += 1
    if d.kind == "tcp":
        m.actors[a].noted.setdefault(d, m.actors[a].came[s])
    m.box[who].append(d)
    m.tell(i, a, 0, f"give {s} {who}")


def take(m, i, a, s, cloexec_):
    m.free(a)
    m.empty(a, s)
    m.tell(i, a, 0, f"take {s} {cloexec_}")
    if m.box[a]:
        d = m.box[a].pop(0)
        actor = m.actors[a]
        came = actor.noted.get(d)
        if all(x is not d or actor.came[z] != came for z, x in enumerate(actor.slots)):
            came = i
        m.put(a, s, d, bool(cloexec_), came)
        if d.kind == "tcp":
            actor.noted[d] = came
        d.refs -= 1


def switch(m, i, a, off, waits):
    m.actor(a)
    for _, _, d in m.all("tcp"):
        d.twice |= bool(off and d.unread)
    m.plan.append(Switch(i, a, off, waits))
