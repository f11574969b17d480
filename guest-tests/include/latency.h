/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Measuring a way to notify another thread: two threads, sides 0 and 1, each bound to a CPU.
 *
 * Modes: "ping-pong" samples are round trips, there and back, seen from side 0. "sender" samples
 * are the time that one send takes its sender, with the receiver ready each time. Receivers run
 * or poll in user mode; "-blocked" ones sleep in the kernel. "-same-cpu" puts both sides on one
 * CPU, where whoever polls yields.
 *
 * Samples are nanoseconds, taken by the time stamp counter on one CPU and scaled. A case checks
 * that every round came back, and nothing about its time.
 */
#ifndef GUEST_TESTS_LATENCY_H
#define GUEST_TESTS_LATENCY_H

#include "ktap.h"
#include "samples.h"
#include "task.h"

/*
 * Rounds of a case, the first tenth of which warms up and gives no samples. A machine with fewer
 * cores than the guest has CPUs can be a thousand times slower than another: after LATENCY_MS a
 * case ends with the rounds it has, but not before LATENCY_MIN.
 */
#define LATENCY_ROUNDS	2200
#define LATENCY_MIN	220
#define LATENCY_MS	4000

struct mechanism {
	const char *name;
	/* Called by each side: what it receives by, and then how it sends to the other. */
	void (*open)(int side);
	void (*connect)(int side);
	void (*send)(int side);
	/* Return once the round-th (from 0) notification for this side is here. */
	void (*wait)(int side, unsigned long round);
};

static bool latency_same_cpu;

/* For receivers that poll. */
static inline void latency_relax(void)
{
	if (latency_same_cpu)
		sched_yield();
	else
		__builtin_ia32_pause();
}

static struct {
	const struct mechanism *mechanism;
	bool answers;
	int opened, connected;
	unsigned long received;	/* rounds that the other side has had */
	bool last;		/* set before the last round is sent */
} latency_run;

static void latency_prepare(int side)
{
	pin_to(latency_same_cpu ? 0 : side);
	latency_run.mechanism->open(side);
	add(&latency_run.opened, 1);
	ktap_assert(yield_until(load(&latency_run.opened) == 2), "the other side is not open");
	latency_run.mechanism->connect(side);
	add(&latency_run.connected, 1);
	ktap_assert(yield_until(load(&latency_run.connected) == 2), "the other side is not there");
}

static void *latency_other(void *arg)
{
	const struct mechanism *m = latency_run.mechanism;
	unsigned long i;
	bool last;

	latency_prepare(1);
	for (i = 0, last = false; !last; i++) {
		m->wait(1, i);
		last = load(&latency_run.last);
		if (latency_run.answers)
			m->send(1);
		store(&latency_run.received, i + 1);
	}
	return arg;
}

static void latency_measure(const struct mechanism *m, const char *mode, bool answers,
			    bool same_cpu)
{
	static uint64_t samples[LATENCY_ROUNDS];
	unsigned long i, rounds = 0, warm_up;
	uint64_t began, start;
	double ns_per_tick;
	pthread_t thread;
	char full[64];

	if (!same_cpu && cpu_count() < 2)
		ktap_skip("one CPU");
	latency_same_cpu = same_cpu;
	latency_run.mechanism = m;
	latency_run.answers = answers;
	thread = thread_start(latency_other, NULL);
	latency_prepare(0);

	began = now_ns();
	start = __rdtsc();
	while (!latency_run.last) {
		uint64_t before;

		if (rounds + 1 == LATENCY_ROUNDS ||
		    (rounds + 1 >= LATENCY_MIN && now_ns() - began > LATENCY_MS * 1000000ULL))
			store(&latency_run.last, true);
		before = __rdtsc();
		m->send(0);
		if (answers)
			m->wait(0, rounds);
		samples[rounds++] = __rdtsc() - before;
		/* Let the receiver settle where the next one is to find it. */
		while (load(&latency_run.received) < rounds)
			latency_relax();
	}
	/* The same time by both clocks gives the scale. */
	ns_per_tick = (double)(now_ns() - began) / (__rdtsc() - start);
	thread_join(thread);
	for (i = 0; i < rounds; i++)
		samples[i] = samples[i] * ns_per_tick + 0.5;

	ktap_check(latency_run.received == rounds, "%lu of %lu rounds", latency_run.received,
		   rounds);
	warm_up = rounds / 10;
	snprintf(full, sizeof(full), "%s%s", mode, same_cpu ? "-same-cpu" : "");
	ktap_check(samples_write(m->name, full, "ns", samples + warm_up, rounds - warm_up),
		   "cannot write samples: %s", ktap_errno(errno));
	ktap_diag("%lu samples", rounds - warm_up);
}

/* Define the case function, which measures a struct mechanism in one mode. */
#define LATENCY_CASE(function, mechanism, mode, answers, same_cpu)	\
static void function(void)						\
{									\
	latency_measure(&(mechanism), mode, answers, same_cpu);		\
}

/*
 * Define the cases that every mechanism has, so that they compare: with a struct mechanism whose
 * receivers run or poll, and with one whose receivers block. LATENCY_KTAP_CASES lists them.
 */
#define LATENCY_CASES(running, blocked)							\
LATENCY_CASE(ping_pong, running, "ping-pong", true, false)				\
LATENCY_CASE(ping_pong_blocked, blocked, "ping-pong-blocked", true, false)		\
LATENCY_CASE(ping_pong_blocked_same_cpu, blocked, "ping-pong-blocked", true, true)	\
LATENCY_CASE(sender, running, "sender", false, false)					\
LATENCY_CASE(sender_blocked, blocked, "sender-blocked", false, false)			\
LATENCY_CASE(sender_same_cpu, running, "sender", false, true)

#define LATENCY_KTAP_CASES			\
	KTAP_CASE(ping_pong),			\
	KTAP_CASE(ping_pong_blocked),		\
	KTAP_CASE(ping_pong_blocked_same_cpu),	\
	KTAP_CASE(sender),			\
	KTAP_CASE(sender_blocked),		\
	KTAP_CASE(sender_same_cpu)

#endif /* GUEST_TESTS_LATENCY_H */
