/* SPDX-License-Identifier: BSD-2-Clause */
/* epset_int.h - inside epoll sets: shared by epset.c (life), epmember.c (membership), epctl.c (epoll_ctl), epready.c (events), epedge.c (edges that are none) and epwait.c (waiting). */
#ifndef SHUNT_EPSET_INT_H
#define SHUNT_EPSET_INT_H

#include "assoc.h"
#include "bell.h"
#include "epset.h"
#include "spin.h"

#define N_HOT 64 /* idle members that stay hot; those with something to report do in any number */
#define IDLE_LOOKS                                                                                                             \
	64 /* looks in a row that found nothing, and a member goes cold: others are active, and each look at it is their time */
#define N_SLOT 128
#define N_CACHE 64
#define N_INNER 8 /* beyond, an inner set may report a readiness that has passed */

struct member {
	struct epset *set;
	struct sock *s;
	int fd;
	uint16_t gen;	 /* counts the uses of this struct */
	uint32_t events; /* as the program registered */
	epoll_data_t data;
	bool side;	/* registered in S (else in P) */
	bool in_kernel; /* S (or P) knows it; not: a ONESHOT that fired from the ring, or lazily deleted */
	bool dirty;	/* what S knows of it is out of date; such a member is hot (see ctl_lazy) */
	bool ghost;	/* deleted by the program; kept for the next ADD, or until its socket ends */
	bool disabled;	/* ONESHOT that has fired */
	bool hot;
	bool dgram;	 /* s is a UDP socket */
	uint16_t idle;	 /* looks in a row that found nothing to report */
	bool reset_told; /* ET: a reset has been reported, and nothing can come after it */
	bool force;	 /* ET: report present input once, as ADD and MOD do */
	bool fresh; /* ET: S has been told of it by ADD or MOD, and what that makes it say has not been seen: news, whatever it is */
	uint32_t kev;		  /* kernel events fetched from S, not yet reported */
	uint32_t kev_turn;	  /* in which turn of the set: those of an earlier one may be over */
	uint64_t et_tail;	  /* ET: the ring's tail at the last report */
	int64_t out_ns;		  /* ET: before the member was last found to have room for output; 0: since then it had none */
	struct member *next;	  /* of the same sock */
	struct member *next_free; /* free list */
};

/* A member in the data of S. An event of one that is gone is not the next one's: at the top of a pointer 16 bits are free. */
static inline uint64_t epset_data(const struct member *m)
{
	return (uint64_t)(uintptr_t)m | (uint64_t)m->gen << 48;
}

/* The set's bell in one association. */
struct slot {
	struct assoc *a;
	uint64_t nonce;
	struct sm_bell *bell;
	uint32_t idx;
};

struct epset {
	_Atomic uint32_t refs;	   /* descriptors */
	_Atomic uint32_t lock;	   /* guards all below; 0, or tid, high bit: waiters */
	_Atomic uint32_t sleepers; /* threads inside the kernel's wait */
	/* what follows begins anew when the struct is used again */
	int fd, bell_fd;  /* P; S and the bell are hidden, -1 until the first member needs them */
	_Atomic int side; /* also looked at without the lock */
	_Atomic int kept; /* closed while somebody slept here: P all the same, hidden; else -1 */
	uint8_t bell_name[BELL_NAME_LEN];
	bool exposed;		   /* P is member of another set, or polled */
	bool rung;		   /* we have rung our own bell to say so */
	uint32_t n_members;	   /* sockets, in P and S */
	_Atomic uint32_t n_other;  /* other descriptors in P (at least; closed ones are not counted out) */
	bool foreign;		   /* inherited over fork: kernel only here */
	bool shared;		   /* has been: who else has it may have taken members out */
	bool owed;		   /* the kernel's events left no room for those of rings: next time these come first */
	uint32_t turn;		   /* counts collects: see member.kev_turn */
	uint32_t start;		   /* where in the hot list the next report begins: each ready member gets its turn */
	_Atomic int64_t looked_ns; /* when the kernel was asked last */
	uint32_t n_hot, n_slot, n_side;
	uint32_t room; /* entries of hot: at least n_side */
	struct member **hot;
	struct member *cache[N_CACHE];		/* by descriptor number: the last one found */
	_Atomic(struct epset *) inner[N_INNER]; /* sets that are members of this one */
	struct slot slots[N_SLOT];
	struct spin spin;
	int64_t ended_ns;
	struct epset *next; /* all sets of the process, in use or free */
};

static inline int epset_side(const struct epset *e)
{
	return load_relaxed(&e->side);
}

/* The association may have been let go, and its range be another's: its bell is not ours to touch then. */
static inline bool slot_lives(const struct slot *sl)
{
	return load_acquire(&sl->a->live) && sl->a->seg.nonce == sl->nonce;
}

/*
 * Each wait asks this of each association, and the answer is hardly ever yes: so first what costs one line. (To read another's bell is harmless: segments stay
 * mapped.)
 */
static inline bool slot_rang(const struct slot *sl)
{
	return load_acquire(&sl->bell->any) && slot_lives(sl);
}

#define IN_BITS (EPOLLIN | EPOLLRDNORM)
#define OUT_BITS (EPOLLOUT | EPOLLWRNORM)

/* Has input in the ring to be told to this member? */
static inline bool epset_wants_ring(const struct member *m)
{
	return m->side && !m->disabled && !m->ghost && m->events & IN_BITS && load_acquire(&m->s->linked);
}

#define COOKIE UINT64_C(0x73686e745f736574)	 /* data of S in P */
#define COOKIE_BELL UINT64_C(0x73686e745f626c6c) /* and of the bell */

/* ---- epdgram.c: members that are UDP sockets */
#define EPSET_DG_BELL 1u /* in the data of S: the bell of the member's socket */
bool epset_dg_bell(struct epset *e, struct member *m);
/* A member has gone. Under both locks. */
void epset_dg_gone(struct epset *e, struct sock *s);
/* What to report, beside what the kernel has reported. */
uint32_t epset_dg_events(struct member *m, uint32_t kev);
bool epset_dg_news(struct member *m);
/* As epset_arm. */
bool epset_dg_arm(struct member *m);
bool epset_dg_spin_pays(struct member *m, int cpu);
uint32_t epset_ask_kernel(const struct member *m);

/* ---- epset.c */
void epset_lock(struct epset *e);
bool epset_lock_is_mine(const struct epset *e);
void epset_unlock(struct epset *e);
/* A thread leaves a set that no descriptor leads to any more. */
void epset_left(struct epset *e);
void epset_note_inner(struct epset *outer, struct epset *inner);
void epset_forget_inner(struct epset *outer, const struct epset *inner);

/* ---- epmember.c; all under the lock, what makes or ends a member under g_lock too */
struct member *epset_member(const struct epset *e, struct sock *s, int fd);
struct member *epset_new_member(struct epset *e, struct sock *s, int fd);
/* Whose event is it? NULL: nobody's any more. */
struct member *epset_data_member(const struct epset *e, uint64_t data);
void epset_unlink_member(struct epset *e, struct member *m);
/* Its socket is not this process's any more, and the set, which it shares with one that has it still, goes on reporting it. */
void epset_lose_member(struct member *m);
extern struct sock epset_nobody; /* whose members such are */
/* S and the bell exist, S is in P. false: no descriptors to be had. */
bool epset_make_side(struct epset *e);
/* The hot list has room for one more member of S. */
bool epset_grow_hot(struct epset *e);
void epset_heat(struct epset *e, struct member *m);
/* From S to P, and the set goes on without it being ours. */
void epset_move_to_program(struct epset *e, struct member *m);
/* It is there. */
void epset_is_programs(struct epset *e, struct member *m);
/* All members of the set that are this socket. */
void epset_heat_all(struct epset *e, const struct sock *s);
/* Has the set such a member? Not under any lock. */
bool epset_has(struct epset *e, const struct sock *s);
void epset_ring_self(struct epset *e);
/* Bell slot of the set in the member's association; NULL: none. */
struct slot *epset_slot(struct epset *e, struct assoc *a);
/* The same, made on need. false: none to be had. */
bool epset_make_slot(struct epset *e, struct assoc *a);

/* ---- epnumber.c; under the lock */
/* ONESHOT fired from the ring: the kernel's half must be silent too. */
void epset_detach(struct member *m);
/* From S to P, as the program has registered it: it is reported there once more, if it is ready. A one-shot that has fired stays silent, but for the end of its connection. */
void epset_to_program(struct epset *e, struct member *m);
/* Bring S up to date with what the program has asked for since. */
void epset_sync(struct member *m);

/* ---- epedge.c; under the lock */
/* What a linked member has to be told of the events `said` that the kernel has reported. */
uint32_t epset_news(const struct member *m, uint32_t said);
/* The kernel (or the ring, for it) has said `bits` when it was asked after `before_ns`. */
void epset_output_seen(struct member *m, uint32_t bits, int64_t before_ns);

/* ---- epready.c; all under the lock */
/* Events of the side's members, beginning behind the one that was reported last. */
int epset_collect(struct epset *e, struct epoll_event *ev, int max);
void epset_woken(struct epset *e);
/* Would a collect report something? */
bool epset_any_ready(struct epset *e);
/* Announce the member to its writer, and look once more. true: it has something to report already. */
bool epset_arm(struct epset *e, struct member *m);
void epset_take_bells(struct epset *e);
/* Events of S into the members; they are reported by the next collect. */
void epset_drain_side(struct epset *e);
/* All hot members go cold. true: nothing to report, the set may sleep. A bell that rings from now on stays in the queue, and P is readable. */
bool epset_make_cold(struct epset *e);
void epset_set_sleeping(struct epset *e, uint32_t v);

#endif
