# SPDX-License-Identifier: BSD-2-Clause
"""steps.py - what a step of a program does: to the model, and as commands to actors (actor.h). Each raises Cannot where it makes no sense; it is left out then."""
import steps_proc
from model import DATAGRAMS_MAX, PENDING_MAX, Cannot, Desc, Do, Par, Wait
from steps_proc import keeps_output, no_waiter

DONTWAIT, PEEK, WAITALL, TRUNC, NOSIGNAL = 1, 2, 4, 8, 16
READ_LIKE = (1, 3, 6, 8)  # recv's `how` that take no flags


# ---- making ----


def socket(m, i, a, s, family, kind, flags):
    m.free(a)
    m.empty(a, s)
    d = Desc("new" if kind == 1 else "udp", family, bool(flags & 1))
    m.put(a, s, d, bool(flags & 2))
    m.tell(i, a, 0, f"socket {s} {family} {kind} {flags}")


def bind(m, i, a, s, wild):
    m.free(a)
    d = m.desc(a, s, "new", "udp")
    if d.port or (d.kind == "udp" and d.to):
        raise Cannot("is bound")
    d.port, d.wild = f"p{i}", wild
    if d.kind == "udp":
        m.ports[d.port] = d
    m.tell(i, a, 0, f"bind {s} {d.family} {wild}", "u" if d.kind == "udp" else "t", d.port)


def listen(m, i, a, s):
    m.free(a)
    d = m.desc(a, s, "new", "listen")
    if not d.port:
        raise Cannot("is not bound")
    d.kind = "listen"
    m.ports[d.port] = d
    m.tell(i, a, 0, f"listen {s} 16")


def reaches(family, listener):
    """Does an address of this family lead to it?"""
    if listener.family == 4:
        return family in (4, 5)
    return family == 6 or listener.wild


def connect(m, i, a, s, family, port):
    m.free(a)
    d = m.desc(a, s, "new")
    to = m.ports.get(port)
    if d.port:
        raise Cannot("is bound")
    if (d.family == 4) != (family == 4):
        raise Cannot("another family")
    if d.tried not in (None, family):
        raise Cannot("refused over the other protocol, it has an address of that")
    d.tried = family
    if to and to.kind == "listen" and reaches(family, to):
        if len(to.pending) >= PENDING_MAX:
            raise Cannot("too many wait")
        other = Desc("tcp", to.family)
        other.peer, d.peer, d.kind = d, other, "tcp"
        other.timed = to.timed
        to.pending.append(other)
    m.tell(i, a, 0, f"connect {s} {family} {{{port}}}", "t", f"p{i}")


def accept(m, i, a, t, s, to, how, flags):
    m.free(a, t)
    d = m.desc(a, s, "listen")
    m.empty(a, to)
    no_waiter(d)
    line = f"accept {s} {to} {how} {flags}"
    if how == 0:
        flags = 0

    def done():
        other = d.pending.pop(0)
        other.nonblock = bool(flags & 1)
        m.put(a, to, other, bool(flags & 2))

    if d.pending:
        m.tell(i, a, t, line)
        done()
    elif not d.blocking():
        m.tell(i, a, t, line)
    else:
        m.sleep(i, a, t, line, Wait(i, lambda: d.pending, done, [d], not d.timed, fills=(a, to)))


def shut(m, i, a, t, s, how, number):
    m.free(a, t)
    d = m.desc(a, s, "tcp", "udp", "unix")
    if d.kind == "udp" and (d.queue or d.waiter):
        raise Cannot("datagrams wait")
    if d.edge and (d.reset or d.fin):
        raise Cannot("an edge without news")
    if d.edges and how in (1, 2):
        raise Cannot("the acknowledgement of a FIN is an edge")
    m.tell(i, a, t, f"shut {s} {how} {number}")
    if how in (0, 2):
        d.rd_shut = True
    if how in (1, 2):
        d.wr_shut = True
        if d.peer:
            d.peer.fin = True


# ---- octets ----


def send(m, i, a, t, s, n, how, flags):
    m.free(a, t)
    d = m.desc(a, s)
    if d.kind == "udp":
        raise Cannot("another kind")
    if d.kind == "pipe" and d.peer is None:
        raise Cannot("another kind")
    m.room(d, n)
    m.tell(i, a, t, f"send {s} {n} {i} {how} {flags}")
    if d.kind in ("tcp", "unix"):
        m.sent(d, n)
    elif d.kind == "pipe" and how in (1, 3, 8):
        m.sent(d, n)
    elif d.kind == "file" and how in (1, 3, 8):
        d.at += n
        d.size = max(d.size, d.at)
    elif d.kind == "file" and how == 6:
        d.at += n
        d.size = max(d.size, d.at)


def recv(m, i, a, t, s, n, how, flags):
    m.free(a, t)
    d = m.desc(a, s)
    no_waiter(d)
    line = f"recv {s} {n} {how} {flags}"
    if how in READ_LIKE:
        flags = 0
    elif d.kind in ("pipe", "file"):
        m.tell(i, a, t, line)
        return
    if d.kind == "file":
        m.tell(i, a, t, line)
        d.at = min(max(d.size, d.at), d.at + n)
        return
    if d.kind == "udp":
        receive(m, i, a, t, d, line, flags)
        return
    if d.kind == "pipe" and d.peer:  # its other end
        m.tell(i, a, t, line)
        return
    want = n if flags & WAITALL and n else 1  # for none, too, it waits until there is something

    def done():
        if not flags & PEEK:
            m.read(d, n)

    def ready():
        return d.kind not in ("tcp", "unix", "pipe") or d.unread >= want or d.ended()

    if ready() or not d.blocking() or flags & DONTWAIT or d.kind == "pipe" or (how in READ_LIKE and n == 0):
        m.tell(i, a, t, line)
        if d.kind in ("tcp", "unix", "pipe"):
            done()
    else:
        m.sleep(i, a, t, line, Wait(i, ready, done, [d], not d.timed, True))


def get(m, i, a, t, s, how):
    """All that is unread"""
    m.free(a, t)
    d = m.desc(a, s, "tcp", "unix")
    no_waiter(d)
    if not d.unread:
        raise Cannot("nothing is unread")
    m.tell(i, a, t, f"get {s} {d.unread} {how}")
    m.read(d, d.unread)


def both_ends(m, a, t, s, b, u, z):
    if (a, t) == (b, u):
        raise Cannot("one thread")
    m.free(a, t)
    m.free(b, u)
    d, e = m.desc(a, s, "tcp", "unix"), m.desc(b, z, "tcp", "unix")
    if d.peer is not e:
        raise Cannot("not connected")
    no_waiter(d, e)
    if d.wr_shut or d.reset or d.timed or e.timed or e.rd_shut:
        raise Cannot("has ended")
    return d, e


def bulk(m, i, a, t, s, b, u, z, n, how, how2):
    """As much as one likes, while it is read"""
    d, e = both_ends(m, a, t, s, b, u, z)
    if d.edge or e.edge:
        raise Cannot("edges are counted")
    get_line = f"get {z} {e.unread + n} {how2}"
    m.plan.append(
        Par(i, [Do(i, a, t, f"put {s} {n} {i} {how}", False, "t", None), Do(i, b, u, get_line, False, "t", None)])
    )
    m.read(e, e.unread)
    d.unacked, e.unacked = 1, 0
    d.filled = True


def chat(m, i, a, t, s, b, u, z, turns, n, how, how2):
    d, e = both_ends(m, a, t, s, b, u, z)
    both_ends(m, b, u, z, a, t, s)
    if d.unread + n > 8192 or e.unread + n > 8192 or (turns > 5 and (d.unread or e.unread)):
        raise Cannot("would not fit")
    if (d.fin and d.unread < n * turns) or (e.fin and e.unread < n * turns):
        raise Cannot("has ended")
    lines = f"chat {s} {turns} {n} {i} {how} 1", f"chat {z} {turns} {n} {i + 5000} {how2} 0"
    m.plan.append(Par(i, [Do(i, a, t, lines[0], False, "t", None), Do(i, b, u, lines[1], False, "t", None)]))
    d.unacked, e.unacked = (turns, turns) if d.unread or e.unread else (0, 1)


def sendfile(m, i, a, s, f, n):
    m.free(a)
    d, file = m.desc(a, s, "tcp", "unix"), m.desc(a, f, "file")
    n = max(0, min(n, file.size - file.at))
    if not d.peer or d.wr_shut or d.reset:
        raise Cannot("has ended")
    m.room(d, n)
    m.tell(i, a, 0, f"sendfile {s} {f} {n}")
    file.at += n
    m.sent(d, n)


def splice(m, i, a, x, y, n):
    m.free(a)
    d, e = m.desc(a, x, "tcp", "pipe"), m.desc(a, y, "tcp", "pipe")
    if d.kind == e.kind or (d.kind == "pipe" and d.peer) or (e.kind == "pipe" and not e.peer):
        raise Cannot("not from a pipe to a socket, or back")
    no_waiter(d, e)
    if not d.readable() or d.sends > 8:
        raise Cannot("nothing there")
    if d.kind == "tcp" and (d.reset or d.rd_shut or e.peer.closed or e.peer.unread + n > 4096 or e.peer.sends > 4):
        raise Cannot("would not fit")
    if e.kind == "tcp" and (e.reset or e.wr_shut or not e.peer or e.peer.closed):
        raise Cannot("has ended")
    m.room(e, n)
    n = min(n, d.unread)
    if not n:
        raise Cannot("nothing there")
    m.tell(i, a, 0, f"splice {x} {y} {n}")
    m.read(d, n)
    m.sent(e, n)


def stdio(m, i, a, s, n, write):
    m.free(a)
    d = m.desc(a, s, "tcp", "unix")
    keeps_output(d)
    if write:
        m.room(d, n)
        if d.peer and n > 4096:
            no_waiter(d.peer)  # stdio writes in parts
        m.tell(i, a, 0, f"stdio {s} {n} {i} 1")
        m.sent(d, n)
        return
    no_waiter(d)
    if d.unread < n and not d.ended() and d.blocking():
        raise Cannot("would block")
    m.tell(i, a, 0, f"stdio {s} {n} {i} 0")
    m.read(d, n)


# ---- datagrams ----


def udp_to(m, i, a, s, port):
    """connect; port None: AF_UNSPEC"""
    m.free(a)
    d = m.desc(a, s, "udp")
    to = m.ports.get(port) if port else None
    if d.queue or d.waiter or d.error:
        raise Cannot("datagrams wait")
    if port and (not to or to.kind != "udp" or to.family != d.family):
        raise Cannot("nobody there")
    if not d.port:
        d.port = f"p{i}"
        m.ports[d.port] = d
    elif not port:
        raise Cannot("would lose its port")
    d.to = port
    if port:
        m.tell(i, a, 0, f"connect {s} {d.family} {{{port}}}", "u", d.port)
    else:
        m.tell(i, a, 0, f"connect {s} 0 0", "u", None)


def deliver(m, d, port, n):
    to = m.ports.get(port)
    if not to or to.closed or (to.to and to.to != d.port):
        if d.to:
            d.error = True
        return
    to.queue.append((d.port, n))


def can_deliver(m, d, port):
    to = m.ports.get(port)
    if not d.port:
        raise Cannot("has no name yet")
    if to and (to.family != d.family or to.kind != "udp"):
        raise Cannot("another family")
    if to and to.queue and (to.queue[-1][0] != d.port or len(to.queue) >= DATAGRAMS_MAX):
        raise Cannot("others wait there")
    return to


def sendto(m, i, a, t, s, n, how, flags, port):
    m.free(a, t)
    d = m.desc(a, s, "udp")
    if d.wr_shut:
        raise Cannot("has ended")
    dest = port or d.to
    if not dest or (d.to and port) or (port and how in READ_LIKE + (0,)):
        raise Cannot("to nobody")
    if not n and how in READ_LIKE:
        raise Cannot("writev of nothing sends nothing")
    can_deliver(m, d, dest)
    pending = d.error
    m.tell(i, a, t, f"send {s} {n} {i} {how} {flags}" + (f" {d.family} {{{port}}}" if port else ""), "u")
    d.error = False
    if not pending:
        deliver(m, d, dest, n)


def receive(m, i, a, t, d, line, flags):
    if line.split()[2] == "0" and int(line.split()[3]) in READ_LIKE:
        raise Cannot("a read of nothing takes nothing")

    def done():
        if d.error:
            d.error = False
        elif d.queue and not flags & PEEK:
            d.queue.pop(0)

    if d.readable() or not d.blocking() or flags & DONTWAIT:
        m.tell(i, a, t, line, "u")
        done()
    else:
        m.sleep(i, a, t, line, Wait(i, d.readable, done, [d], not d.timed), "u")


def dgchat(m, i, a, s, b, z, turns, n, how, how2):
    if a == b:
        raise Cannot("one thread")
    m.free(a)
    m.free(b)
    ends = [m.desc(a, s, "udp"), m.desc(b, z, "udp")]
    if ends[0] is ends[1]:
        raise Cannot("one socket")
    no_waiter(*ends)
    lines = []
    for k, (d, e) in enumerate((ends, ends[::-1])):
        if d.queue or d.error or d.timed or d.rd_shut or d.wr_shut or not d.port or not e.port or d.family != e.family:
            raise Cannot("not quiet")
        if d.to and d.to != e.port:
            raise Cannot("to another")
        h = (how, how2)[k]
        if (not d.to and h not in (2, 4, 5, 7, 9)) or (not n and h in READ_LIKE):
            h = 4
        line = f"dgchat {(s, z)[k]} {turns} {n} {i} {h} {1 - k}"
        lines.append(line + ("" if d.to else f" {d.family} {{{e.port}}}"))
    m.plan.append(Par(i, [Do(i, a, 0, lines[0], False, "u", None), Do(i, b, 0, lines[1], False, "u", None)]))


WORDS = {**vars(steps_proc), **globals()}


def apply(m, step):
    i, word, *args = step
    try:
        WORDS[word](m, i, *args)
    finally:
        m.settle()
