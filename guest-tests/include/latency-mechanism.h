/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mechanisms, the variants of a measurement, and the data that its sides share.
 */
#ifndef GUEST_TESTS_LATENCY_MECHANISM_H
#define GUEST_TESTS_LATENCY_MECHANISM_H

#include "ktap.h"
#include "spin.h"
#include "task.h"
#include "umwait.h"

#include <limits.h>
#include <termios.h>

/*
 * Rounds of a case. The first tenth is a warm-up without samples. A machine with fewer cores than
 * the guest has CPUs can be a thousand times slower than others: after LATENCY_MS a case ends with
 * the rounds so far, but not before LATENCY_MIN. Counted instructions need few rounds.
 */
#define LATENCY_ROUNDS		1100
#define LATENCY_MIN		22
#define LATENCY_MIN_CROWDED	4	/* with several senders */
#define LATENCY_MS		50
#define LATENCY_INSN_ROUNDS	330
/* Notifications of each sender in a burst. */
#define LATENCY_BURST		16
/* Steps of a computing receiver (a multiplication and an addition) between two polls. */
#define LATENCY_WORK		200
/* So many times that work is how long a receiver gets to begin its UMWAIT. */
#define LATENCY_WORKS		10

/* The last three use a single thread. */
enum latency_kind { PING_PONG, ONE_WAY, SENDER, THROUGHPUT, SENDER_SELF, DELIVERY, RETURN };
enum latency_take { FAIR, BUSY, BLOCKED, UMWAIT };

#define SAME_CPU	1	/* both sides on one CPU; the waiting one yields */
#define PROCESSES	2	/* side 1 is a process, not a thread */
#define UNPINNED	4	/* the scheduler decides where the sides run */
#define SPLIT_USER	8	/* only the instructions in user mode */
#define SPLIT_KERNEL	16	/* only the others */

struct variant {
	enum latency_kind kind;
	enum latency_take take;
	int flags;
	int senders;		/* to side 1; all but the first are threads on the other CPUs */
};

struct mechanism {
	const char *name;
	/* Set up what the sides share, before they start. May skip the case. */
	void (*setup)(void);
	/* Open this side's receiving end; connect the calling thread as a sender to a side. */
	void (*open)(int side);
	void (*connect)(int to);
	void (*send)(int to);
	/* Return the notifications for this side since the last call; never sleeps. */
	unsigned long (*poll)(int side);
	/* The same, but sleep until there is one. NULL if the mechanism cannot sleep. */
	unsigned long (*wait)(int side);
	/* The same, but wait by UMWAIT. NULL if no receiver does that. */
	unsigned long (*umwait)(int side);
	/* If notifications interrupt a thread: keep them pending, or let them in. */
	void (*mask)(bool on);
	/* Several sends may arrive as one. */
	bool merges;
	/* Sending and polling do not enter the kernel. */
	bool user_only;
};

/* Shared by both sides; side 1 may be a process. Each cache line has one writer at a time. */
struct latency_shared {
	int opened, connected;
	pid_t pid[2], tid[2];
	unsigned long target;			/* notifications until the end, once last */
	bool last, over;
	unsigned long offset_round __attribute__((aligned(64)));
	unsigned long offset_reply __attribute__((aligned(64)));
	uint64_t offset_stamp;
	unsigned long received __attribute__((aligned(64)));
	uint64_t arrived_at;
	unsigned long published __attribute__((aligned(64)));
	unsigned long burst __attribute__((aligned(64)));
	unsigned long sent;
};

static struct {
	const struct mechanism *mechanism;
	struct variant variant;
	bool insn;		/* the counter counts instructions */
	bool stamps;		/* handlers note when they run */
	struct latency_shared *shared;
} latency_run;

/* Set by a handler for its own thread. */
static __thread volatile struct {
	unsigned long count;
	uint64_t entered, left;
} latency_own;

/* Whether the calling thread shares its CPU with one that it waits for. */
static __thread bool latency_yields;

/* Read the counter, after all earlier and before all later instructions. */
#define latency_stamp() ({							\
	uint32_t latency_low, latency_high;					\
	asm volatile("lfence\n\trdtsc\n\tlfence"				\
		     : "=a"(latency_low), "=d"(latency_high) : : "memory");	\
	(uint64_t)latency_high << 32 | latency_low; })

static inline void latency_relax(void)
{
	if (latency_yields)
		sched_yield();
	else
		spin_relax();
}

static inline void latency_work(void)
{
	static __thread volatile uint64_t result;
	uint64_t x = result;
	int i;

	for (i = 0; i < LATENCY_WORK; i++)
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
	result = x;
}

/* Skip the case if the kernel lacks a call; another error is a failure. Returns the result. */
#define latency_has(call) ({							\
	long latency_ret = (long)(call);					\
	if (latency_ret == -1 && (errno == ENOSYS || errno == EAFNOSUPPORT))	\
		ktap_skip("the kernel lacks it: %s gave %s", #call, ktap_errno(errno)); \
	ktap_assert(latency_ret != -1, "%s gave %s", #call, ktap_errno(errno));	\
	latency_ret; })

static inline bool latency_blocks(void)
{
	return latency_run.variant.take == BLOCKED;
}

/* Receive as the variant does, and return the number of notifications, at least one. */
static unsigned long latency_take(int side)
{
	const struct mechanism *m = latency_run.mechanism;
	unsigned long n;

	if (latency_run.variant.take >= BLOCKED)
		return latency_blocks() ? m->wait(side) : m->umwait(side);
	while (!(n = m->poll(side))) {
		if (latency_run.variant.take == BUSY)
			latency_work();
		else
			latency_relax();
	}
	return n;
}

#endif /* GUEST_TESTS_LATENCY_MECHANISM_H */
