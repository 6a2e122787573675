# SPDX-License-Identifier: BSD-2-Clause
"""waiting.py - the figures of waiting: many idle connections, rare messages, CPU hogs beside.

Here a connection outlives its measurement. A `Pair` is rr_server and hold_client, with or without shunt; the pairs to compare are there at the
same time, and take turns; who does not have its turn sleeps.
"""
import contextlib
import json
import os
import re
import resource
import select
import statistics
import subprocess
import time

from common import BENCH, CORES, LIMIT_S, SHUNT, Failed, cpu_s, finish, human, in_turn, port_of, ratio, shm_share, start, stop

MANY = 10000
GIVEN_BACK_MS = 6500  # after that the rings of quiet connections have given their pages back (preload/trim.h)
N_CLIENTS = 50
MODES = ("blocking", "epoll")
WAYS = ("kernel", "shunt")


class Told:
    """A program that answers each line with a line."""

    def __init__(self, name, argv, shunt, one_core, stats):
        self.name = name
        self.p = start(argv, shunt, one_core, stats, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def say(self, line):
        try:
            self.p.stdin.write(line + "\n")
            self.p.stdin.flush()
        except BrokenPipeError:
            pass  # hear() says why

    def hear(self):
        if not select.select([self.p.stdout], [], [], LIMIT_S)[0]:
            raise Failed(f"{self.name}: no answer in {LIMIT_S} s")
        line = self.p.stdout.readline()
        if not line:
            raise Failed(f"{self.name}: status {self.p.wait()}: {self.p.stderr.read().strip()[-200:]}")
        return line

    def ask(self, line):
        self.say(line)
        return self.hear()

    def end(self):
        self.p.stdin.close()
        self.p.stdin = None
        finish(self.p, self.name)


class Pair:
    """A server and its clients. They leave with the block; then `share` is known."""

    def __init__(self, tmp, shunt, mode, one_core=False, conns=1, clients=1):
        self.name = f"{'shunt' if shunt else 'kernel'}, {mode}, {conns}"
        self.shunt, self.mode, self.one_core, self.conns, self.n_clients = shunt, mode, one_core, conns, clients
        self.stats = f"{tmp}/stats-{id(self)}"
        self.clients, self.share, self.no_connections = [], None, None

    def __enter__(self):
        open(self.stats, "w").close()
        server_mode = "epoll" if self.mode == "epoll" else "serial"
        self.server = start([BENCH + "rr_server", "-m", server_mode, "-n", str(self.conns)], self.shunt, self.one_core, self.stats,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            port = port_of(self.server, self.name)
            for _ in range(self.n_clients):
                argv = [BENCH + "hold_client", "-p", port, "-m", self.mode]
                self.clients.append(Told(self.name, argv, self.shunt, self.one_core, self.stats))
            self.all("idle 1")  # they have started
            self.no_connections = self.memory()
            self.all(f"open {self.conns // self.n_clients}")
            self.all("use 4" if self.conns > 1 else "use 200")
        except BaseException:
            self.__exit__(Failed, None, None)
            raise
        return self

    def __exit__(self, kind, _value, _trace):
        try:
            if kind is None:
                for c in self.clients:
                    c.end()
                finish(self.server, self.name)  # leaves when its connections have ended
                self.share = shm_share(self.stats)
        finally:
            for p in [c.p for c in self.clients] + [self.server]:
                stop(p)
                if p.stderr:
                    p.stderr.close()

    def all(self, line):
        """All clients at once."""
        for c in self.clients:
            c.say(line)
        return [c.hear() for c in self.clients]

    def ask(self, line):
        return self.clients[0].ask(line)

    def rate(self, ms):
        return float(re.search(r"rate (\S+)", self.ask(f"rate {ms}"))[1])

    def pids(self):
        return [self.server.pid] + [c.p.pid for c in self.clients]

    def cpu_s(self):
        """Of the server, and of its clients."""
        t = [cpu_s(p) for p in self.pids()]
        return t[0], sum(t[1:])

    def memory(self):
        """Bytes: what the processes have mapped, a page that several share counted once, and their page tables; and what the whole system has
        in use of the kinds that processes and sockets are the cause of. The second also sees pages that nobody has mapped, and the
        kernel's records of sockets, epoll and pages; and whatever others do at the same time."""
        own = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as f:
                own += int(re.search(r"^Pss: +(\d+)", f.read(), re.M)[1])
            with open(f"/proc/{pid}/status") as f:
                own += int(re.search(r"^VmPTE:\s+(\d+)", f.read(), re.M)[1])
        with open("/proc/meminfo") as f:
            info = dict(re.findall(r"^(\w+): +(\d+)", f.read(), re.M))
        system = sum(int(info[k]) for k in ("AnonPages", "Shmem", "PageTables", "KernelStack")) * 1024
        return own * 1024, system + (slab() or int(info["Slab"]) * 1024)

    def memory_per_connection(self):
        return [(now - then) / self.conns for now, then in zip(self.memory(), self.no_connections)]


def slab():
    """Bytes of kernel objects in use, but for what a look into /proc or a connection of the past leaves behind. None: only root may know."""
    try:
        with open("/proc/slabinfo") as f:
            lines = [line.split() for line in f][2:]
    except PermissionError:
        return None
    kept = ("sock_inode_cache", "shmem_inode_cache")
    past = re.compile(r"dentry|.*inode_cache|buffer_head|tw_sock.*|pid|seq_file|names_cache")
    return sum(int(x[1]) * int(x[3]) for x in lines if x[0] in kept or not past.fullmatch(x[0]))


def sysv_objects():
    n = 0
    for kind in ("shm", "sem", "msg"):
        with open(f"/proc/sysvipc/{kind}") as f:
            n += sum(1 for _ in f) - 1
    return n


def upgraded(pids):
    """How many TCP connections of these processes have both directions in shared memory, as `shunt ps` says."""
    ps = subprocess.run([SHUNT, "ps", "--json"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if ps.returncode:
        raise Failed(f"shunt ps --json: {ps.stderr.strip()}")
    return sum(s.get("tx", {}).get("path") == "shm" and s["rx"]["path"] == "shm"
               for p in json.loads(ps.stdout) if p["pid"] in pids for s in p["sockets"])


def few_files(n):
    """Why n connections cannot be held, or None."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return f"{n} connections need {n + 100} descriptors, and the hard limit is {hard}" if hard != -1 and hard < n + 100 else None


def one_core_only():
    return "needs two cores" if len(CORES) < 2 else None


def cpu_percent(pairs, seconds):
    """Percent of a core that server and client of each idle pair use, and how often their threads were switched."""

    def switches(pair):
        n = 0
        for pid in pair.pids():
            for t in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{t}/status") as f:
                    n += sum(int(x) for x in re.findall(r"ctxt_switches:\s+(\d+)", f.read()))
        return n

    for p in pairs:
        p.clients[0].say(f"idle {int(seconds * 1000) + 500}")
    time.sleep(0.2)
    before = [(p.cpu_s(), switches(p)) for p in pairs]
    time.sleep(seconds)
    after = [(p.cpu_s(), switches(p)) for p in pairs]
    for p in pairs:
        p.clients[0].hear()
    return [[(b - a) / seconds * 100 for a, b in zip(x[0], y[0])] + [y[1] - x[1]] for x, y in zip(before, after)]


class Idle:
    """One connection among MANY that have carried traffic and are idle; what those cost."""

    name = f"1 active among {MANY} idle ones, epoll"

    def missing(self):
        return few_files(MANY)

    def figures(self, rounds, ms, tmp, result):
        ipc = sysv_objects()
        rates = {}
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context
            # What the system has in use is looked at around each pair: the large ones first, one after the other.
            many = {}
            for way in WAYS:
                many[way] = enter(Pair(tmp, way == "shunt", "epoll", conns=MANY))
                many[way].ask(f"idle {GIVEN_BACK_MS if way == 'shunt' else 300}")
                result[f"{way}: bytes a connection (processes, system)"] = many[way].memory_per_connection()
            objects, up = sysv_objects() - ipc, upgraded(many["shunt"].pids())
            pairs = {("kernel", MANY): many["kernel"], ("shunt", MANY): many["shunt"]}
            for way in WAYS:
                pairs[way, 1] = enter(Pair(tmp, way == "shunt", "epoll"))
            for r in range(rounds):
                for p in in_turn(pairs, r):
                    rates.setdefault(p, []).append(pairs[p].rate(ms))
        result["rates"] = {f"{w}, {n}": r for (w, n), r in rates.items()}
        result["shm_share"] = many["shunt"].share
        print("  " + "   ".join(f"{w}, {n} connections: {human(statistics.median(r))}/s" for (w, n), r in rates.items()))
        print(f"  through shared memory: {many['shunt'].share:.1%}")
        yield "round trip / with 1 connection", ratio(rates, ("shunt", 1), ("shunt", MANY)), "<=", 1.3
        yield "the same in the kernel", ratio(rates, ("kernel", 1), ("kernel", MANY)), None, None
        yield "rate / kernel's among as many", ratio(rates, ("shunt", MANY), ("kernel", MANY)), None, None
        for i, how in enumerate(("processes'", "system's")):
            a, b = (result[f"{way}: bytes a connection (processes, system)"][i] / 1024 for way in ("shunt", "kernel"))
            yield f"KiB more a connection, {how} count", a - b, "<=", 12
        yield f"upgraded of 2 x {MANY} ends", up, ">=", 2 * MANY
        yield "System V objects", objects, "<=", 199


class Held:
    """MANY connections of N_CLIENTS processes. (Those of one process are held in Idle.)"""

    name = f"{MANY} connections of {N_CLIENTS} processes, each used in turn"

    def missing(self):
        return few_files(MANY)

    def figures(self, _rounds, _ms, tmp, result):
        ipc = sysv_objects()
        begin = time.monotonic()
        with Pair(tmp, True, "epoll", conns=MANY, clients=N_CLIENTS) as pair:
            objects, up = sysv_objects() - ipc, upgraded(pair.pids())
            seconds = time.monotonic() - begin
        result["shm_share"] = pair.share
        print(f"  no error; through shared memory: {pair.share:.1%}; opened and used 5 times each in {seconds:.1f} s")
        yield f"upgraded of 2 x {MANY} ends", up, ">=", 2 * MANY
        yield "System V objects", objects, "<=", 199


class IdleServer:
    name = "an idle server with 1000 connections"

    def missing(self):
        return few_files(1000)

    def figures(self, _rounds, ms, tmp, result):
        seconds = min(10, ms / 30)
        with Pair(tmp, True, "epoll", conns=1000) as s, Pair(tmp, False, "epoll", conns=1000) as k:
            up = upgraded(s.pids())
            before = s.cpu_s()
            s.clients[0].ask(f"idle {GIVEN_BACK_MS}")
            result["ms to give pages back: server, client"] = once = [(b - a) * 1000 for a, b in zip(before, s.cpu_s())]
            idle = cpu_percent([s, k], seconds)
        result["percent of a core: server, client; switches"] = {"shunt": idle[0], "kernel": idle[1]}
        print(f"  giving the rings' pages back, once, {GIVEN_BACK_MS / 1000} s after traffic: {once[0]:.1f} ms of the server's CPU, {once[1]:.1f} of the client's")
        print(f"  over the {seconds:.3g} s after that; context switches, both sides: {idle[0][2]}, without shunt {idle[1][2]}; upgraded: {up} of 2000 ends")
        yield "percent of a core, server", idle[0][0], "<=", 0.1
        yield "percent of a core, client", idle[0][1], "<=", 0.1


class Hogs:
    """Request/response beside processes that compute."""

    def __init__(self, hogs, one_core, mode):
        self.hogs, self.one_core, self.mode = hogs, one_core, mode
        self.name = f"beside {hogs} CPU hogs on {'1 core' if one_core else '2 cores'}, {mode}"

    def missing(self):
        return None if self.one_core else one_core_only()

    def figures(self, rounds, ms, tmp, result):
        rates, progress = {}, {}
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context
            pairs = {w: enter(Pair(tmp, w == "shunt", self.mode, self.one_core)) for w in WAYS}
            hogs = Told("hog", [BENCH + "hog", str(self.hogs)], False, self.one_core, None)
            stack.callback(stop, hogs.p)
            for r in range(rounds):
                for w in in_turn(pairs, r):
                    a = [int(x) for x in re.findall(r"\d+", hogs.ask("?"))]
                    rates.setdefault(w, []).append(pairs[w].rate(ms * 2))
                    b = [int(x) for x in re.findall(r"\d+", hogs.ask("?"))]
                    progress.setdefault(w, []).append((b[0] - a[0]) / (b[1] - a[1]))
            hogs.end()
        share = pairs["shunt"].share
        result.update(rates=rates, progress=progress, shm_share=share)
        print("  " + "   ".join(f"{w} {human(statistics.median(r))}/s" for w, r in rates.items()) + f"   through shared memory: {share:.1%}")
        yield "rate / kernel's", ratio(rates, "shunt", "kernel"), ">=", 1.0
        yield "the hogs' progress / beside the kernel's", ratio(progress, "shunt", "kernel"), ">=", 0.95


class Rare:
    """A message now and then: what it costs, and how long the answer takes.

    New pairs each round, since it depends on the CPUs that the scheduler has put a pair on. Where there is room between two messages several
    pairs take turns within it; each is asleep all the time between its own. The first two messages of a pair follow on the busy time of its
    beginning, and are not counted: that is what First is about.
    """

    def __init__(self, every_ms, n, copies):
        self.every_ms, self.n, self.copies = every_ms, n, copies  # n: messages of a pair a round, when a round is to take 300 ms
        self.name = f"a message every {every_ms} ms"

    def missing(self):
        return None

    def one_round(self, round_no, n, tmp, ns, cpu, share):
        with contextlib.ExitStack() as stack:
            pairs = [(w, m, stack.enter_context(Pair(tmp, w == "shunt", m))) for _ in range(self.copies) for m in MODES for w in WAYS]
            before = {}
            group = len(pairs) if self.every_ms >= 10 else 1
            order = in_turn(pairs, round_no)
            for i in range(0, len(order), group):
                for _, _, p in order[i:i + group]:
                    before[p] = p.cpu_s()
                    p.clients[0].say(f"every {self.every_ms * 1000} {n + 2}")
                    if group > 1:
                        time.sleep(self.every_ms / 1000 / group)
                for w, m, p in order[i:i + group]:
                    ns[w, m][-1] += [int(x) for x in p.clients[0].hear().split()[3:]]
                    cpu[w, m][-1] += sum(p.cpu_s()) - sum(before[p])
        for w, m, p in pairs:
            if w == "shunt":
                share[m] = min(share.get(m, 1), p.share)

    def figures(self, rounds, ms, tmp, result):
        n = max(5, self.n * ms // 300)
        kinds = [(w, m) for m in MODES for w in WAYS]
        ns, cpu, share = {k: [] for k in kinds}, {k: [] for k in kinds}, {}
        for r in range(rounds):
            for k in kinds:
                ns[k].append([])
                cpu[k].append(0)
            self.one_round(r, n, tmp, ns, cpu, share)
        result.update(shm_share=share, us={})
        for m in MODES:
            med, p99, both = {}, {}, {}
            for w in WAYS:
                med[w] = [statistics.median(x) / 1000 for x in ns[w, m]]
                every = sorted(x / 1000 for r in ns[w, m] for x in r)
                p99[w] = every[len(every) * 99 // 100]
                both[w] = [t / (len(x) + 2 * self.copies) * 1e6 for t, x in zip(cpu[w, m], ns[w, m])]
                result["us"][f"{w}, {m}"] = {"median": med[w], "p99": p99[w], "cpu of both sides": both[w], "n": len(every)}
            print(f"  {m}, us: " + "   ".join(
                f"{w}: median {statistics.median(med[w]):.1f}, p99 {p99[w]:.0f}, CPU {statistics.median(both[w]):.1f}" for w in WAYS) +
                f"   through shared memory: {share[m]:.0%}")
            yield f"{m}: median latency / kernel's", ratio(med, "shunt", "kernel"), "<=", 1.05
            yield f"{m}: 99th percentile / kernel's", p99["shunt"] / p99["kernel"], "<=", 1.05
            yield f"{m}: CPU of both sides / kernel's", ratio(both, "shunt", "kernel"), "<=", 1.05


class First:
    """After a busy time and an idle second: the next message."""

    name = "the first message after an idle second"
    slot_s, copies = 0.045, 6

    def missing(self):
        return None

    def figures(self, rounds, ms, tmp, result):
        cycles = max(2, rounds * ms // 190)
        ns = {}
        with contextlib.ExitStack() as stack:
            pairs = [(w, m, stack.enter_context(Pair(tmp, w == "shunt", m))) for _ in range(self.copies) for m in MODES for w in WAYS]
            for c in range(cycles + 1):
                for w, m, pair in pairs:
                    t = time.monotonic()
                    got = int(pair.ask("first 200").split()[1])
                    if c:  # before the first cycle none has been idle for a second
                        ns.setdefault((w, m), []).append(got / 1000)
                    time.sleep(max(0, t + self.slot_s - time.monotonic()))
        result["us"] = {f"{w}, {m}": v for (w, m), v in ns.items()}
        result["shm_share"] = min(p.share for w, _, p in pairs if w == "shunt")
        print(f"  through shared memory: {result['shm_share']:.1%}")
        for m in MODES:
            k, s = (statistics.median(ns[w, m]) for w in WAYS)
            print(f"  {m}: kernel {k:.1f} us   shunt {s:.1f} us   ({len(ns['shunt', m])} each)")
            yield f"{m}: median latency / kernel's", s / k, "<=", 1.05


class Bells:
    """What it costs to wake a sleeper, by each means: for docs/PERFORMANCE.md; nothing to reach."""

    name = "bells"

    def missing(self):
        return None

    def figures(self, _rounds, ms, _tmp, result):
        out = finish(start([BENCH + "bell_bench", "-t", str(ms)], False, False, None, stdout=subprocess.PIPE, stderr=subprocess.PIPE), "bell_bench")
        result["table"] = out
        print(re.sub(r"^", "  ", out.rstrip(), flags=re.M))
        return ()


CASES = [Idle(), Held(), IdleServer()]
CASES += [Hogs(n, one_core, mode) for one_core in (False, True) for n in (2, 4) for mode in MODES]
CASES += [Rare(1, 300, 1), Rare(10, 80, 1), Rare(100, 20, 4), First(), Bells()]
