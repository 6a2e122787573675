/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * switch.h - `shunt off` and `shunt on`: an operator takes a running process out of shared memory, and lets it back.
 *
 * The wish is one word in the process's own memory, in a struct that its mark makes known (cmd/poke.c finds it by /proc/PID/mem, which belongs to one program in one process: no number
 * that is used again is ever meant, and who may write there is the kernel's decision). So it costs a process nothing to be switchable, a child of fork has its parent's state, and the next
 * program gets it by SHUNT_OFF in its environment.
 *
 * Who writes the word also rings the service thread's bell, and that follows at once: for each linked socket FAM_OFF in the family record (nobody here goes up, or consents), SM_END_OFF in our end's
 * flags (nor does the peer), our own direction down, and the peer's service thread is rung, which takes down the other one. Readers then sleep in the kernel's own call, as in a channel that rests
 * (trial.h). What cannot be done at once, since somebody is in the middle of a call or an octet is on its way, is tried again each millisecond for a while; a sender sees to itself at its next call.
 * A process without the thread has no linked socket that is its own, and sees the word where it would link one.
 *
 * UDP sockets: dgswitch.c.
 */
#ifndef SHUNT_SWITCH_H
#define SHUNT_SWITCH_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "bell.h"

#define SWITCH_MAGIC "shunt-switch-\x7f\x01"
#define SWITCH_VERSION 2u
#define SWITCH_OFF 1u /* lowest bit of a wish; the others count the wishes */

/* switch_word.runs */
#define SWITCH_RINGS 1u	 /* the next two are valid: the service thread can be rung */
#define SWITCH_LOADED 2u /* this is the interposer of a process, and not its file that is mapped for another reason */

/* What the command reads and writes. */
struct switch_word {
	_Alignas(64) char magic[16]; /* SWITCH_MAGIC */
	uint32_t version, len;
	_Atomic uint32_t wish; /* the operator's */
	_Atomic uint32_t done; /* the one that has been carried out */
	_Atomic uint32_t runs; /* SWITCH_LOADED, SWITCH_RINGS */
	int32_t ring_fd;       /* a socket to ring from */
	uint8_t bell[BELL_NAME_LEN];
};
static_assert(sizeof(SWITCH_MAGIC) == 16, "the mark fills its place");
static_assert(sizeof(struct switch_word) == 64, "the command looks at each cache line");
extern struct switch_word switch_word;

static inline bool switch_is_off(void)
{
	return load_relaxed(&switch_word.wish) & SWITCH_OFF;
}

/* At the start, before other threads: $SHUNT_OFF, or NULL. */
void switch_init(const char *env);
/* The service thread can be rung. Under g_lock. */
void switch_has_bell(int ring_fd, const uint8_t bell[BELL_NAME_LEN]);
/* It is there no more. */
void switch_has_none(void);
void switch_fork_child(void);

/* Carry out what is wished, as far as that goes now. Service thread; or any thread that holds no token, in a process without. */
void switch_serve(void);
extern _Atomic uint32_t switch_again; /* what has been carried out is to be once more */
/* Is there something to do? */
static inline bool switch_is_due(void)
{
	return load_relaxed(&switch_word.wish) != load_relaxed(&switch_word.done) || load_relaxed(&switch_again);
}
/* Service thread: milliseconds until it shall be called again; -1: not. */
static inline int switch_ms(void)
{
	return switch_is_due() ? 1 : -1;
}
/* Slow paths, no token held: has the operator spoken, and nobody heard it? */
void switch_noticed(void);
static inline void switch_look(void)
{
	if (__builtin_expect(load_relaxed(&switch_word.wish) != load_relaxed(&switch_word.done), 0))
		switch_noticed();
}

struct sock;
struct chan;
/* A send, tx token held, linked: does it have to leave the ring, or to say that it stays out? Then down, and tell when the token is dropped. */
bool switch_moves(const struct sock *s);
void switch_down(struct sock *s);
void switch_tell(struct chan *c);
/* Service thread: the peer has rung for this channel. */
void switch_asked(struct sock *s);
/* A socket is linked in spite of all: another process of the family has done it. */
void switch_linked(void);
/* A call on a socket that is not linked, and may not be: for `shunt ps`. */
void switch_keeps(struct sock *s);

#endif
