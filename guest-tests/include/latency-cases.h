/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The cases of every program in latency/: one list, so that mechanisms can be compared.
 *
 * A case is named like the mode of its samples, with dashes: first what is measured, then -blocked
 * or -fair, -same-cpu, -N-senders, and last -busy or -umwait, -processes, -self, -talk, -user,
 * -kernel.
 */
#ifndef GUEST_TESTS_LATENCY_CASES_H
#define GUEST_TESTS_LATENCY_CASES_H

#include "latency.h"

#define LATENCY_LIST(X)									\
X(ping_pong_fair,			PING_PONG,	FAIR,	 0, 1)			\
X(ping_pong_blocked,			PING_PONG,	BLOCKED, 0, 1)			\
X(ping_pong_fair_same_cpu,		PING_PONG,	FAIR,	 SAME_CPU, 1)		\
X(ping_pong_blocked_same_cpu,		PING_PONG,	BLOCKED, SAME_CPU, 1)		\
X(ping_pong_fair_processes,		PING_PONG,	FAIR,	 PROCESSES, 1)		\
X(ping_pong_blocked_processes,		PING_PONG,	BLOCKED, PROCESSES, 1)		\
X(ping_pong_blocked_same_cpu_processes,	PING_PONG,	BLOCKED, SAME_CPU | PROCESSES, 1) \
X(ping_pong_umwait,			PING_PONG,	UMWAIT,	 0, 1)			\
X(one_way_fair,				ONE_WAY,	FAIR,	 0, 1)			\
X(one_way_busy,				ONE_WAY,	BUSY,	 0, 1)			\
X(one_way_umwait,				ONE_WAY,	UMWAIT,	 0, 1)			\
X(one_way_blocked,			ONE_WAY,	BLOCKED, 0, 1)			\
X(one_way_blocked_same_cpu,		ONE_WAY,	BLOCKED, SAME_CPU, 1)		\
X(sender_fair,				SENDER,		FAIR,	 0, 1)			\
X(sender_busy,				SENDER,		BUSY,	 0, 1)			\
X(sender_umwait,				SENDER,		UMWAIT,	 0, 1)			\
X(sender_blocked,			SENDER,		BLOCKED, 0, 1)			\
X(sender_fair_same_cpu,			SENDER,		FAIR,	 SAME_CPU, 1)		\
X(sender_blocked_same_cpu,		SENDER,		BLOCKED, SAME_CPU, 1)		\
X(throughput_fair,			THROUGHPUT,	FAIR,	 0, 1)			\
X(throughput_umwait,			THROUGHPUT,	UMWAIT,	 0, 1)			\
X(throughput_blocked,			THROUGHPUT,	BLOCKED, 0, 1)			\
X(throughput_fair_same_cpu,		THROUGHPUT,	FAIR,	 SAME_CPU, 1)		\
X(throughput_blocked_same_cpu,		THROUGHPUT,	BLOCKED, SAME_CPU, 1)		\
X(throughput_fair_4_senders,		THROUGHPUT,	FAIR,	 0, 4)			\
X(throughput_fair_16_senders,		THROUGHPUT,	FAIR,	 0, 16)			\
X(throughput_fair_64_senders,		THROUGHPUT,	FAIR,	 0, 64)			\
X(throughput_blocked_16_senders,	THROUGHPUT,	BLOCKED, 0, 16)			\
X(sender_self,				SENDER_SELF,	FAIR,	 0, 1)			\
X(delivery,				DELIVERY,	FAIR,	 0, 1)			\
X(return,				RETURN,		FAIR,	 0, 1)			\
X(sender_self_user,			SENDER_SELF,	FAIR,	 SPLIT_USER, 1)		\
X(sender_self_kernel,			SENDER_SELF,	FAIR,	 SPLIT_KERNEL, 1)	\
X(delivery_user,			DELIVERY,	FAIR,	 SPLIT_USER, 1)		\
X(delivery_kernel,			DELIVERY,	FAIR,	 SPLIT_KERNEL, 1)

/*
 * The set-up of the figures in the talk, as far as it is described: no warm-up (here a tenth, as
 * in every case), no thread bound to a CPU, one ping-pong after the other, a byte or a count each.
 * Each program describes what its mechanism did in the talk.
 */
#define LATENCY_TALK(mechanism, take, flags)						\
static void latency_case_ping_pong_talk(void)						\
{											\
	latency_measure(&(mechanism),							\
			&(struct variant){ PING_PONG, take, (flags) | UNPINNED, 1 });	\
}

#define LATENCY_KTAP_TALK	{ .name = "ping_pong_talk", .fn = latency_case_ping_pong_talk },

#define LATENCY_FUNCTION(mode, kind, take, flags, senders)				\
static void latency_case_##mode(void)							\
{											\
	latency_measure(&latency_mechanism,						\
			&(struct variant){ kind, take, flags, senders });		\
}
#define LATENCY_KTAP(mode, kind, take, flags, senders)					\
	{ .name = #mode, .fn = latency_case_##mode },

/* --- the clocks, once in each program ------------------------------------------------------ */

struct clock_pair {
	uint64_t ticks, ns;
};

/* Read both clocks at the same moment: of many pairs, the one that took least. */
static struct clock_pair clock_pair(void)
{
	struct clock_pair best = {};
	uint64_t least = UINT64_MAX;
	int i;

	for (i = 0; i < 200; i++) {
		uint64_t before = latency_stamp(), ns = now_ns(), took = latency_stamp() - before;

		if (took < least) {
			least = took;
			best = (struct clock_pair){ before + took / 2, ns };
		}
	}
	return best;
}

static double clock_ns_per_tick(void)
{
	struct clock_pair first = clock_pair(), second;

	while (now_ns() - first.ns < 10000000)
		;
	second = clock_pair();
	return (double)(second.ns - first.ns) / (second.ticks - first.ticks);
}

/* Ticks of a number of turns of a loop of two instructions, undisturbed. */
static int64_t clock_loop(uint64_t turns)
{
	uint64_t least = UINT64_MAX, start, took, left;
	int i;

	for (i = 0; i < 5; i++) {
		left = turns;
		start = latency_stamp();
		asm volatile("1: dec %0\n\tjnz 1b" : "+r"(left) : : "cc");
		took = latency_stamp() - start;
		if (took < least)
			least = took;
	}
	return least;
}

/* The least number of ticks between two reads of the counter. */
static unsigned long latency_between_looks(void)
{
	unsigned long least = ULONG_MAX, took;
	uint64_t before;
	int i;

	for (i = 0; i < 1000; i++) {
		before = latency_stamp();
		took = latency_stamp() - before;
		if (took < least)
			least = took;
	}
	return least;
}

/*
 * The counter never goes back and keeps its rate against the system's clock. If $UINTR_CLOCK says
 * that it counts instructions, it does.
 */
static void latency_case_clocks(void)
{
	uint64_t before = latency_stamp(), ns = UINT64_MAX, now, moment;
	double rate, again;
	int64_t loop;
	int i;

	pin_to(0);
	for (i = 0; i < 10000; i++, before = now) {
		now = latency_stamp();
		ktap_assert(now > before, "the counter went from %llu to %llu",
			    (unsigned long long)before, (unsigned long long)now);
	}
	for (i = 0; i < 1000; i++) {
		moment = now_ns();
		moment = now_ns() - moment;
		if (moment < ns)
			ns = moment;
	}
	rate = clock_ns_per_tick();
	again = clock_ns_per_tick();
	ktap_check(rate / again > 0.99 && rate / again < 1.01,
		   "the counter's rate changes: %f, then %f ns a tick", rate, again);
	ktap_diag("%f ns a tick; between two looks %lu ticks, at the system's clock %llu ns",
		  rate, latency_between_looks(), (unsigned long long)ns);
	if (!latency_counts_instructions()) {
		ktap_diag("%.1f ns a PAUSE, %.1f ns a CPUID: spins %s PAUSE",
			  spin.pause * rate / SPIN_TURNS, spin.cpuid * rate / SPIN_TURNS,
			  spin.bare ? "without" : "with");
		return;
	}
	loop = clock_loop(5000) - clock_loop(1000);
	ktap_check(loop == 8000, "8000 instructions are %lld ticks", (long long)loop);
}

/*
 * Choose how all cases spin, before the first one. If instructions are counted, both sides share a
 * CPU, and nobody spins. Returns `missing`.
 */
static const char *latency_start(const char *missing)
{
	if (!missing && !latency_counts_instructions())
		spin_choose();
	return missing;
}

/*
 * main() of a program that defines latency_mechanism: all cases and `more`. missing is the reason
 * why none can run, see KTAP_MAIN.
 */
#define LATENCY_PROGRAM(more, missing)							\
LATENCY_LIST(LATENCY_FUNCTION)								\
static const struct ktap_case latency_cases[] = {					\
	{ .name = "clocks", .fn = latency_case_clocks },				\
	LATENCY_LIST(LATENCY_KTAP)							\
	more										\
};											\
KTAP_MAIN(latency_cases, latency_start(missing))

#endif /* GUEST_TESTS_LATENCY_CASES_H */
