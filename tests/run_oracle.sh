#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# run_oracle.sh - runs every case of build/tests/sock_* four ways (no shunt, server only, client only, both) and compares the
# transcripts: the kernel is the oracle. In the fourth way the counters must prove that bytes went through shared memory.
#
# usage: run_oracle.sh [-1] [-l] [-t] [-v] [-H] [-j LANES] [-m MODES] [-n TIMES] [FILTER]...
#   -1  everything on one core            -l  list the cases that FILTERs select
#   -n  run each case TIMES times         -m  modes to run besides "none", of "server client both"; "" for none
#   -v  say for each case how many bytes went which way        -t  say how long each way took
#   -j  so many cases side by side (those that measure time run alone, afterwards)
#   -H  here: not in namespaces of its own
#   FILTER  a regular expression over PROGRAM/CASE
#
# It runs in a network and an IPC namespace of its own where that is possible, each lane in others: what is left there is ours.
set -u
cd "$(dirname "$0")/.." || exit 1
for arg; do
	case $arg in
	-h | --help) exec sed -n '3,14s/^# \{0,1\}//p' "$0" ;;
	esac
done
exec python3 -B tests/run_oracle.py "$@"
