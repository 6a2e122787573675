/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe.h - static probes (USDT) of provider `shunt`, for bpftrace, perf and gdb; libshunt(7) lists them with what they tell. A probe is one nop until a tracer
 * puts a breakpoint there, and a note in the library. They stand where a direction moves, and where a thread sleeps or is woken: never in fast.h's path. Without
 * <sys/sdt.h> (systemtap-sdt-dev) at build time there are none.
 */
#ifndef SHUNT_PROBE_H
#define SHUNT_PROBE_H

#ifdef HAVE_SDT
#include <sys/sdt.h>
#define PROBE0(name) DTRACE_PROBE(shunt, name)
#define PROBE1(name, a) DTRACE_PROBE1(shunt, name, a)
#define PROBE2(name, a, b) DTRACE_PROBE2(shunt, name, a, b)
#define PROBE3(name, a, b, c) DTRACE_PROBE3(shunt, name, a, b, c)
#else
#define PROBE0(name) ((void)0)
#define PROBE1(name, a) ((void)(a))
#define PROBE2(name, a, b) ((void)(a), (void)(b))
#define PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

#endif
