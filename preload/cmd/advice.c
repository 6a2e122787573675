/* SPDX-License-Identifier: BSD-2-Clause */
#include "advice.h"

#include <stdio.h>

#include "table.h"
#include "why.h"

/* No default: a reason without advice does not compile. */
static const char *advice(enum why why)
{
	switch (why) {
	case WHY_NONE:
		return "Nothing to do: it has no peer yet.";
	case WHY_UP:
		return "Nothing to do.";
	case WHY_NEW:
		return "Nothing to do: it moves after a few more calls. Programs that make a connection for each request gain "
		       "by keeping it "
		       "open.";
	case WHY_NO_ENDPOINT:
		return "Start the server by `shunt run` too; `shunt ep` lists what is published. Both need the same network "
		       "and IPC "
		       "namespaces, and the server's log (--log) says if it could not publish. A peer on another machine stays "
		       "in the kernel.";
	case WHY_NO_OFFER:
		return "Start the client by `shunt run` too. If it is, it offers after a few calls; its own line in `shunt ps` "
		       "says what keeps it.";
	case WHY_PEER:
		return "Look at the peer's own line in `shunt ps`: the reason is there. It passes when the peer next makes a "
		       "call on the socket.";
	case WHY_REMOTE:
		return "Nothing to do: shared memory reaches no other machine.";
	case WHY_FULL:
		return "The reader is slower than the writer; nothing is wrong. If it never comes back up, find out what keeps "
		       "the reader.";
	case WHY_STDIO:
		return "Give the program another descriptor than 0, 1 and 2, and let it use read, write, send or recv instead "
		       "of FILE: stdio's "
		       "own calls cannot be replaced.";
	case WHY_OOB:
		return "Leave MSG_OOB away: a connection on which urgent data was sent stays in the kernel.";
	case WHY_OPTION:
		return "Leave the option or flag away, if the program can be told to (socket filters, timestamps, kernel TLS, "
		       "MSG_ZEROCOPY, "
		       "ancillary data, O_ASYNC); docs/COMPATIBILITY.md lists them.";
	case WHY_SPLICE:
		return "Tell the program not to splice (haproxy: `no option splice-auto`); read and write are faster in shared "
		       "memory.";
	case WHY_EPOLL:
		return "Let the program add the socket to its epoll set after connect() or accept(), or level-triggered; and "
		       "make the set after a "
		       "fork, not before.";
	case WHY_EXEC:
		return "Open the socket with SOCK_CLOEXEC (accept4, socket), unless the child needs it: then each exec, "
		       "system() and popen() keeps "
		       "it out of the child. If the child shall have it, let the parent close its own.";
	case WHY_PROCESS:
		return "Start `shunt run` inside of the namespaces or the filter, not around what makes them; for a service, "
		       "let the unit set "
		       "them up before the program starts.";
	case WHY_PASSED:
		return "Close the descriptor here, once it is passed: then whoever received it goes on through memory, if it "
		       "runs "
		       "under shunt.";
	case WHY_ARRIVED:
		return "Let the process that it came from run under shunt, as the same user, and close its own descriptor. "
		       "What "
		       "was passed "
		       "twice, or kept by somebody in between, stays in the kernel.";
	case WHY_FORK:
		return "Close the socket in all processes but one: it is upgraded while one process holds it.";
	case WHY_REUSE:
		return "Clear SO_REUSEADDR and SO_REUSEPORT on the UDP socket, if no other shall share its port.";
	case WHY_SYSV:
		return "See `shunt doctor`: raise kernel.shmmni, kernel.shmall or kernel.sem (sysctl), and let both run in one "
		       "IPC namespace. "
		       "`shunt gc` removes what killed programs left.";
	case WHY_FDS:
		return "Raise the limits of the process (ulimit -n, ulimit -v; LimitNOFILE= in a unit).";
	case WHY_REFUSED:
		return "The log of both sides (--log) says who refused. A server that is stopped or overloaded answers late: "
		       "it is asked again. One "
		       "that runs with --share refuses other users; another build of shunt refuses ours.";
	case WHY_BROKEN:
		return "The peer damages the memory that it shares with us: find out what is wrong with it. If it is sound, "
		       "this is a bug of "
		       "shunt: please report it with the log.";
	case WHY_SLOWER:
		return "Nothing to do: it is tried again after some seconds. On a machine with few free CPUs, `--spin off` may "
		       "help.";
	case WHY_CALL:
		return "Nothing to do: it comes back with the next call.";
	case WHY_CLOSED:
		return "Nothing to do.";
	case WHY_RULE:
		return "`shunt rules --explain 'SOCKET'` tells which rule of which file; the log (--log) of the program too.";
	case WHY_SHARE:
		return "Run both sides as one user, or say --share group or --share all; the narrowest of all lists of rules "
		       "counts.";
	case WHY_AIO:
		return "Let the program use read and write on sockets: asynchronous I/O is done by the kernel, or by threads "
		       "of the C "
		       "library that shunt does not see, on what the kernel's socket holds.";
	case WHY_THREAD:
		return "Raise what limits the threads of the process or its user (ulimit -u, LimitNPROC=, TasksMax=), or let "
		       "it lower the "
		       "limit once it has its listening socket.";
	case WHY_CHROOT:
		return "Let the program connect before it changes its root directory, or leave the chroot out of its "
		       "configuration; what others "
		       "connect to it is not concerned.";
	case WHY_OFF:
		return "Switch it on again: `shunt on PID`.";
	case WHY_N:
		break;
	}
	return "?";
}

const char *why_advice(unsigned why)
{
	return why < WHY_N ? advice((enum why)why) : "?";
}

void print_reasons(unsigned width)
{
	for (unsigned w = WHY_UP + 1; w < WHY_N; w++) {
		char line[256];

		snprintf(line, sizeof(line), "%s: %s", why_word(w), why_text(w));
		print_wrapped(line, 0, 2, width);
		print_wrapped(why_advice(w), 4, 0, width);
	}
}
