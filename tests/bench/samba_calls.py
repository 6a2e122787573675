#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""samba_calls.py - DCE RPC over ncacn_ip_tcp, by Samba's own client library, to Samba's samba-dcerpcd. That accepts, and passes each connection to a worker.

usage: samba_calls.py conf DIR LOW-HIGH          writes DIR/smb.conf of a server that keeps to DIR and to those ports (and 135)
       samba_calls.py calls CONF PORT -n CALLS   the same question again and again; says what was answered, and whether always the same
       samba_calls.py calls CONF PORT -t MS      for so long; says "rate R", in calls per second
       samba_calls.py map CONF -n CALLS          asks the endpoint mapper for all that it has
A file named behind CALLS: first as often as it takes until the file is there, and then so much the oftener.
"""
import os
import sys
import time

from samba.credentials import Credentials
from samba.dcerpc import epmapper, mgmt, misc
from samba.param import LoadParm

CONF = """[global]
	rpc start on demand helpers = false
	server role = standalone server
	interfaces = 127.0.0.1/8
	bind interfaces only = yes
	disable spoolss = yes
	load printers = no
	rpc server dynamic port range = {ports}
	private dir = {dir}/private
	lock directory = {dir}/lock
	state directory = {dir}/state
	cache directory = {dir}/cache
	pid directory = {dir}/pid
	ncalrpc dir = {dir}/ncalrpc
	log file = {dir}/samba.log
"""


def write_conf(folder, ports):
    for sub in ("private", "lock", "state", "cache", "pid", "ncalrpc"):
        os.makedirs(f"{folder}/{sub}", exist_ok=True)
    with open(f"{folder}/smb.conf", "w") as f:
        f.write(CONF.format(dir=folder, ports=ports))


def connect(interface, conf, port):
    lp = LoadParm()
    lp.load(conf)
    who = Credentials()
    who.guess(lp)
    who.set_anonymous()
    return interface(f"ncacn_ip_tcp:127.0.0.1[{port}]", lp, who)


def interfaces(peer):
    return sorted(f"{i.id.uuid} {i.id.if_version}" for i in peer.inq_if_ids().if_id)


def entries(peer):
    _, some, _ = peer.epm_Lookup(0, None, None, 0, misc.policy_handle(), 500)
    return sorted(f"{e.object} {e.annotation}" for e in some)


def rate(peer, ms):
    done, start = 0, time.monotonic()
    while time.monotonic() - start < ms / 1000:
        peer.inq_if_ids()
        done += 1
    print(f"rate {done / (time.monotonic() - start)}")


def compare(ask, peer, n, go=None):
    first = ask(peer)
    while go and not os.path.exists(go):
        ask(peer)
        n += 2
        time.sleep(0.02)
    same = all(ask(peer) == first for _ in range(n - 1))
    print(f"answers: {len(first)} each, {'all the same' if same else 'NOT THE SAME'}")
    for line in first:
        print(line)


def main(what, *args):
    if what == "conf":
        write_conf(*args)
    elif what == "map":
        compare(entries, connect(epmapper.epmapper, args[0], 135), int(args[2]), *args[3:])
    elif args[2] == "-t":
        rate(connect(mgmt.mgmt, *args[:2]), int(args[3]))
    else:
        compare(interfaces, connect(mgmt.mgmt, *args[:2]), int(args[3]), *args[4:])


main(*sys.argv[1:])
