# SPDX-License-Identifier: BSD-2-Clause
"""suites.py - the suites of tests/conformance/run: what each consists of, how it is run in namespaces of its own, and what became of each case."""
import collections
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
WAYS = {"kernel": None, "shunt": f"{BUILD}/shunt", "eager": f"{BUILD}/eager/shunt"}
PYTHON = "/usr/bin/python3.11"
MODULES = (
    "test_socket test_selectors test_socketserver test_asyncio test_ssl test_httplib test_ftplib test_smtplib test_poplib test_telnetlib test_xmlrpc "
    "test_epoll test_poll test_select test_signal test_subprocess test_multiprocessing_fork test_multiprocessing_forkserver test_multiprocessing_spawn"
).split()
GLIB = "/usr/libexec/installed-tests/glib/"
PROGRAMS = (
    "socket socket-address socket-listener socket-service gsocketclient-slow inet-address network-address network-monitor network-monitor-race proxy-test "
    "pollable unix-fd unix-streams gdbus-addresses gdbus-auth gdbus-non-socket gdbus-peer gdbus-peer-object-manager gdbus-server-auth credentials "
    "mainloop sleepy-stream io-channel io-channel-basic gsubprocess spawn-singlethread spawn-multithreaded spawn-test"
).split()
# Whose connections are many enough, and TCP: if none of their octets goes through memory, then shunt has not been tested.
THROUGH_MEMORY = (
    "test_socket test_socketserver test_asyncio test_ssl test_httplib test_ftplib test_smtplib test_poplib test_xmlrpc test_multiprocessing_fork "
    "test_multiprocessing_forkserver test_multiprocessing_spawn socket proxy-test gdbus-peer"
).split()
# Many tests of servers on this machine ask for "network" too; what asks hosts elsewhere finds none, in a network of its own.
RESOURCES = "all,-urlfetch,-gui,-audio,-largefile"
# Not about sockets of this machine alone: on a virtual machine that has no vsock of its own to itself they wait for ever.
LEFT_OUT = ["*VSOCK*"]
QUIET_S = 120  # so long may one case take
MODULE = "(the whole)"  # the id of what is said of a suite, and of no case of it
EXIT = {0: "ok", 2: "failed", 3: "environment changed"}  # regrtest's

# In a PID namespace the shell ends last, and with it whatever is left; what has a name is shown then.
INSIDE = """
ip link set lo up
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
"$@"
status=$?
"$SHUNT_SEEN" ps >/dev/null 2>&1
{ for kind in shm sem msg; do sed "1d; s/^/$kind /" /proc/sysvipc/$kind; done; find /dev/shm "$SHUNT_MAP" -mindepth 1 ! -type d; } >"$LEFT"
exit $status
"""


class Place:
    """Where runs are made: a folder for theirs, and the words before each that put it into namespaces of its own (none where that is not allowed)."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="shunt-c.")
        os.chmod(self.folder, 0o755)
        self.words = namespaces()


def namespaces():
    words = ["unshare"] + (["-r"] if os.geteuid() else []) + ["-inmpf", "--kill-child", "--mount-proc", "sh", "-c"]
    can = shutil.which("ip") and subprocess.run(words + ["ip link set lo up"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return words + [INSIDE, "sh"] if can else []


running = set()  # pids that lead process groups
starting = threading.Lock()


def kill_all():
    """Whatever runs; and nothing is started any more."""
    starting.acquire()
    for pid in list(running):
        os.killpg(pid, signal.SIGKILL)


class Run:
    """One run of a program, one way: its exit status (None: it has been stopped, nothing came any more), what it and shunt said."""

    def __init__(self, argv, way, place, record=None):
        self.folder = tempfile.mkdtemp(prefix="", dir=place.folder)
        os.mkdir(self.folder + "/map")
        os.chmod(self.folder, 0o755)
        os.chmod(self.folder + "/map", 0o1777)
        self.record = record and f"{self.folder}/record"
        argv = [a.replace("RECORD", self.record or "") for a in argv]
        shunt = WAYS[way]
        if shunt:
            # No log: it would be a descriptor more, and test_subprocess counts them.
            argv = [shunt, "run", "--stats", self.folder + "/stats", "--", *argv]
        self.status = self.wait(place.words + argv, shunt or "true")

    def file(self, name):
        try:
            with open(f"{self.folder}/{name}", errors="backslashreplace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait(self, argv, shunt):
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("SHUNT_", "LD_", "MAKE", "MFLAGS", "PYTHON"))}
        # In children too: regrtest has folders of its own below the one it is given, and removes them.
        told = {"LC_ALL": "C.UTF-8", "TMPDIR": self.folder, "SHUNT_MAP": self.folder + "/map", "SHUNT_SEEN": shunt, "LEFT": self.folder + "/left"}
        # A shell's background job ignores SIGINT, and so would what it starts.
        argv = ["env", "--default-signal=INT,QUIT", *argv]
        with open(self.folder + "/out", "wb") as out, starting:
            p = subprocess.Popen(argv, cwd=self.folder, env=keep | told, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
            running.add(p.pid)
        try:
            return self.watch(p)
        finally:
            running.discard(p.pid)

    def watch(self, p):
        """Its status; or None when it has been silent for too long, and is no more."""
        size, since = -1, time.monotonic()
        while True:
            try:
                return p.wait(0.5)
            except subprocess.TimeoutExpired:
                now = sum(os.path.getsize(f) for f in (self.record, self.folder + "/out") if f and os.path.exists(f))
                if now != size:
                    size, since = now, time.monotonic()
                elif time.monotonic() - since > QUIET_S:
                    os.killpg(p.pid, signal.SIGKILL)
                    p.wait()
                    return None

    def counts(self):
        """From shunt's statistics, a line for each process that came to its end."""
        lines = [json.loads(line) for line in self.file("stats").splitlines()]
        kernel = collections.Counter()
        for p in lines:
            kernel.update(p["kernel"])
        return {"processes": len(lines), "channels": sum(p["channels"] for p in lines), "bytes": sum(p["rx"]["shm_bytes"] for p in lines), "kernel": kernel}

    def done(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Python:
    """A module of CPython's own tests."""

    def __init__(self, name):
        self.name = name

    def available(self):
        return os.path.exists(f"/usr/lib/python3.11/test/{self.name}.py") or os.path.exists(f"/usr/lib/python3.11/test/{self.name}/__main__.py")

    @staticmethod
    def patterns(ids):
        """regrtest's, of the cases, and of all of a class that could not be set up."""
        return [re.sub(r"^(?:setUp|tearDown)(?:Class|Module) \((.*)\)$", r"\1.*", i) for i in ids]

    def run(self, way, place, ids=None):
        """-> the Runs, and the outcome and a note of each case. One that hangs or crashes is noted, and the rest is run without those that came before."""
        runs, found = [], {}
        while len(runs) < 5:
            argv = [PYTHON, f"{HERE}/cpython.py", "RECORD", "-u", RESOURCES, "-v", "--fail-env-changed"]
            for left_out in LEFT_OUT + list(found):
                argv += ["-i", left_out]
            for pattern in self.patterns(ids or []):
                argv += ["-m", pattern]
            runs.append(Run(argv + [self.name], way, place, record=True))
            seen, stuck = self.outcomes(runs[-1].file("record"))
            found |= seen
            status = runs[-1].status
            if status in EXIT:
                if not ids:
                    found[MODULE] = EXIT[status], ""
                break
            how = "hangs" if status is None else f"dies ({status})"
            if not stuck:
                found[MODULE] = how, runs[-1].file("out")[-500:]
                break
            found[stuck] = how, ""
        return runs, found

    @staticmethod
    def outcomes(record):
        found, begun = {}, None
        for line in record.splitlines():
            name, what, note = json.loads(line)
            if what == "begin":
                begun = name
                continue
            if begun == name:
                begun = None
            if found.get(name, ("ok",))[0] in ("ok", "skip"):  # what a subtest said stays
                found[name] = what, note
        return found, begun


class GLib:
    """A program of GLib's installed tests, which writes TAP."""

    def __init__(self, name):
        self.name = name

    def available(self):
        return os.access(GLIB + self.name, os.X_OK)

    def run(self, way, place, ids=None):
        """As Python's."""
        argv = [GLIB + self.name, "--tap", "-k"]
        if self.name == "gsocketclient-slow":  # has a library of its own in front of connect(), beside ours
            argv = ["sh", "-c", f'LD_PRELOAD={GLIB}slow-connect-preload.so${{LD_PRELOAD:+:$LD_PRELOAD}} exec "$@"', "sh"] + argv
        for i in ids or []:
            argv += ["-p", i]
        run, found = Run(argv, way, place), {}
        for no, name, rest in re.findall(r"^(not )?ok \d+ (\S+)(.*)$", run.file("out"), re.M):
            found[name] = "fail" if no else "skip" if "# SKIP" in rest else "ok", rest.strip()
        if not ids:
            found[MODULE] = "hangs" if run.status is None else f"exit {run.status}", ""
        return [run], found


ALL = [Python(m) for m in MODULES] + [GLib(p) for p in PROGRAMS]
