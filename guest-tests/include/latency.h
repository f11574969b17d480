/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The engine that measures a mechanism to notify another thread or process.
 *
 * A mechanism defines how to open, connect, send, poll and wait. Everything else is here, so that
 * two figures differ only by the mechanism. Side 0 measures, side 1 is the other; each is bound to
 * a CPU and has its own end in each direction.
 *
 * What a sample is:
 *	ping-pong	there and back, seen from side 0
 *	one-way		from before the send until the receiver has it, by two CPUs' counters
 *	sender		the time of one send for its sender, with the receiver ready each time
 *	throughput	the time until a burst is received, divided by its notifications
 *	sender-self	a send to oneself that stays pending
 *	delivery	of a pending notification: the call that receives it, or, if it
 *			interrupts, from unmasking to the handler's first instruction
 *	return		from the handler's last instruction to the one after the unmasking
 *	sender-self-user, sender-self-kernel, delivery-user, delivery-kernel
 *			their instructions in user mode, counted by single steps, and the
 *			rest; only where instructions are counted
 * What the receiver does meanwhile:
 *	-fair		it busy-waits in user mode and never sleeps, as does the other side: the
 *			same conditions for every mechanism
 *	-busy		it computes, and polls after each LATENCY_WORK steps
 *	-umwait		it waits by UMWAIT, in user mode, as does the other side of a ping-pong
 *	-blocked	it sleeps, by the mechanism's own call
 *
 * Samples are ticks of the time stamp counter, scaled to nanoseconds. If the counter counts
 * instructions ($UINTR_CLOCK=insn) they are not scaled, and no time limit applies. Reading the
 * counter is part of each sample; the case "clocks" measures it, and checks the counters.
 *
 * Busy-waiting uses PAUSE or not, the same in the whole program: see spin.h.
 */
#ifndef GUEST_TESTS_LATENCY_H
#define GUEST_TESTS_LATENCY_H

#include "latency-mechanism.h"
#include "latency-self.h"
#include "samples.h"

/* --- the sides ---------------------------------------------------------------------------- */

static void latency_pin(unsigned int cpu)
{
	const struct variant *v = &latency_run.variant;

	if (!(v->flags & UNPINNED))
		pin_to(v->flags & SAME_CPU ? 0 : cpu);
}

static void latency_meet(int *counter, int count)
{
	shared_add(counter, 1);
	ktap_assert(yield_until(shared_load(counter) == count), "the other side is not there");
}

static void latency_prepare(int side)
{
	const struct mechanism *m = latency_run.mechanism;
	struct latency_shared *s = latency_run.shared;

	latency_pin(side);
	latency_yields = latency_run.variant.flags & SAME_CPU;
	s->pid[side] = getpid();
	s->tid[side] = task_tid();
	m->open(side);
	latency_meet(&s->opened, 2);
	m->connect(!side);
	latency_meet(&s->connected, 1 + latency_run.variant.senders);
}

/* Side 1: receive all notifications, and answer them if the variant wants it. */
static void *latency_other(void *arg)
{
	const struct mechanism *m = latency_run.mechanism;
	struct latency_shared *s = latency_run.shared;
	enum latency_kind kind = latency_run.variant.kind;
	unsigned long received = 0, n;

	latency_prepare(1);
	if (kind == ONE_WAY) {
		unsigned long round;

		for (round = 0; round < LATENCY_MIN; round++) {
			while (shared_load(&s->offset_round) == round)
				latency_relax();
			s->offset_stamp = latency_stamp();
			shared_store(&s->offset_reply, round + 1);
		}
	}
	do {
		latency_own.entered = 0;
		n = latency_take(1);
		if (kind == ONE_WAY)
			s->arrived_at = latency_own.entered ? latency_own.entered : latency_stamp();
		/* A sender publishes first: all that is published is or will be notified. */
		received = m->merges ? shared_load(&s->published) : received + n;
		if (kind == PING_PONG)
			m->send(0);
		shared_store(&s->received, received);
	} while (!shared_load(&s->last) || received != shared_load(&s->target));
	return arg;
}

static void latency_other_process(void *unused)
{
	latency_other(unused);
}

/* Senders beyond the first. */
static void *latency_crowd(void *arg)
{
	struct latency_shared *s = latency_run.shared;
	unsigned long burst = 0, i;
	int number = (long)arg, others = cpu_count() - 1;

	/* On every CPU but the receiver's. */
	number = others > 0 ? number % others : 0;
	latency_pin(number >= 1 ? number + 1 : number);
	latency_yields = true;
	ktap_assert(yield_until(shared_load(&s->opened) == 2), "nobody to send to");
	latency_run.mechanism->connect(1);
	latency_meet(&s->connected, 1 + latency_run.variant.senders);
	while (!shared_load(&s->over)) {
		if (shared_load(&s->burst) == burst) {
			latency_relax();
			continue;
		}
		burst++;
		for (i = 0; i < LATENCY_BURST; i++) {
			shared_add(&s->published, 1);
			latency_run.mechanism->send(1);
		}
		shared_add(&s->sent, 1);
	}
	return NULL;
}

/* --- the measuring side ------------------------------------------------------------------- */

/* Wait until side 1 sleeps in the kernel; reading its state is not part of a sample. */
static void latency_asleep(void)
{
	static int stat = -1;
	char path[64], text[64], *end;
	ssize_t n;

	if (stat < 0) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat",
			 latency_run.shared->pid[1], latency_run.shared->tid[1]);
		stat = open(path, O_RDONLY | O_CLOEXEC);
	}
	for (;;) {
		n = pread(stat, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		end = strrchr(text, ')');
		if (n <= 0)
			sleep_ms(1);	/* no /proc: long enough for side 1 to sleep */
		if (n <= 0 || (end && end[1] && end[2] == 'S'))
			return;
		latency_relax();
	}
}

/* Let the receiver get to the state in which the next notification must find it. */
static void latency_settle(unsigned long sent)
{
	enum latency_kind kind = latency_run.variant.kind;
	int i;

	while (shared_load(&latency_run.shared->received) != sent)
		latency_relax();
	if (kind != ONE_WAY && kind != SENDER)
		return;
	if (latency_blocks())
		latency_asleep();
	/* Nobody can see whether it has begun its UMWAIT. */
	for (i = 0; i < LATENCY_WORKS && latency_run.variant.take == UMWAIT; i++)
		latency_work();
}

/* Measure a round, in ticks. */
static uint64_t latency_round(void)
{
	const struct mechanism *m = latency_run.mechanism;
	struct latency_shared *s = latency_run.shared;
	enum latency_kind kind = latency_run.variant.kind;
	uint64_t start, end;

	s->published++;
	start = latency_stamp();
	m->send(1);
	if (kind == PING_PONG)
		latency_take(0);
	end = latency_stamp();
	latency_settle(s->published);
	if (kind == ONE_WAY) {
		end = s->arrived_at;
		ktap_assert(end >= start, "it arrived %lu ticks before it was sent",
			    (unsigned long)(start - end));
	}
	return end - start;
}

/* Measure a burst by all senders, in ticks per notification. */
static uint64_t latency_burst(void)
{
	struct latency_shared *s = latency_run.shared;
	unsigned long each = latency_run.variant.senders * LATENCY_BURST, i, end, crowd;
	uint64_t start;

	end = shared_load(&s->received) + each;
	crowd = shared_load(&s->sent) + latency_run.variant.senders - 1;
	start = latency_stamp();
	shared_add(&s->burst, 1);
	for (i = 0; i < LATENCY_BURST; i++) {
		shared_add(&s->published, 1);
		latency_run.mechanism->send(1);
	}
	while (shared_load(&s->received) != end || shared_load(&s->sent) != crowd)
		latency_relax();
	return (latency_stamp() - start) / each;
}

/* Skip unless the counters of both CPUs agree within the precision of the comparison. */
static void latency_agree(void)
{
	struct latency_shared *s = latency_run.shared;
	int64_t least = INT64_MIN, most = INT64_MAX;
	unsigned long round;

	for (round = 1; round <= LATENCY_MIN; round++) {
		uint64_t before = latency_stamp(), after;

		shared_store(&s->offset_round, round);
		while (shared_load(&s->offset_reply) != round)
			latency_relax();
		after = latency_stamp();
		if ((int64_t)(s->offset_stamp - after) > least)
			least = s->offset_stamp - after;
		if ((int64_t)(s->offset_stamp - before) < most)
			most = s->offset_stamp - before;
	}
	if (least > 0 || most < 0)
		ktap_skip("the CPUs' counters differ: by %ld to %ld ticks", (long)least, (long)most);
	ktap_diag("the CPUs' counters differ by %ld to %ld ticks", (long)least, (long)most);
}

static unsigned long latency_rounds(uint64_t *samples)
{
	unsigned long most = latency_run.insn ? LATENCY_INSN_ROUNDS : LATENCY_ROUNDS, rounds = 0;
	struct latency_shared *s = latency_run.shared;
	const struct variant *v = &latency_run.variant;
	unsigned long least = v->senders > 1 ? LATENCY_MIN_CROWDED : LATENCY_MIN;
	uint64_t began = now_ns();

	while (!s->last) {
		if (rounds + 1 == most ||
		    (!latency_run.insn && rounds + 1 >= least &&
		     now_ns() - began > LATENCY_MS * 1000000ULL)) {
			s->target = s->published +
				    (v->kind == THROUGHPUT ? v->senders * LATENCY_BURST : 1);
			shared_store(&s->last, true);
		}
		samples[rounds++] = v->kind >= SENDER_SELF ? latency_alone() :
				    v->kind == THROUGHPUT ? latency_burst() : latency_round();
	}
	return rounds;
}

/* Skip a variant that is not possible here. */
static void latency_possible(void)
{
	const struct mechanism *m = latency_run.mechanism;
	const struct variant *v = &latency_run.variant;

	if (v->take == BLOCKED && !m->wait)
		ktap_skip("nobody can sleep until this comes");
	if (v->take == UMWAIT && !m->umwait)
		ktap_skip("nobody waits for this by UMWAIT");
	if (v->take == UMWAIT && waitpkg_missing())
		ktap_skip("%s", waitpkg_missing());
	if (v->kind == RETURN && !m->mask)
		ktap_skip("it interrupts nobody");
	if (v->flags & (SPLIT_USER | SPLIT_KERNEL) && !latency_run.insn)
		ktap_skip("time has no such parts");
	if (v->flags & (SPLIT_USER | SPLIT_KERNEL) && v->kind != SENDER_SELF && m->mask)
		ktap_skip("all but the unmasking and the handler's first instructions is the kernel's");
	if (v->kind < SENDER_SELF && !(v->flags & SAME_CPU) && cpu_count() < 2)
		ktap_skip("one CPU");
}

static void latency_write(uint64_t *samples, unsigned long rounds, double ns_per_tick)
{
	unsigned long warm_up = (rounds + 9) / 10, i;
	char mode[64], *p;

	for (i = 0; i < rounds && !latency_run.insn; i++)
		samples[i] = samples[i] * ns_per_tick + 0.5;
	/* A case is named like its mode. */
	snprintf(mode, sizeof(mode), "%s", ktap_name);
	for (p = mode; *p; p++)
		if (*p == '_')
			*p = '-';
	ktap_check(samples_write(latency_run.mechanism->name, mode,
				 latency_run.insn ? "insn" : "ns", samples + warm_up,
				 rounds - warm_up),
		   "cannot write samples: %s", ktap_errno(errno));
	ktap_check(latency_run.insn || spin_write(), "cannot write how it spins: %s",
		   ktap_errno(errno));
	ktap_diag("%lu samples", rounds - warm_up);
}

static bool latency_counts_instructions(void)
{
	const char *clock = getenv("UINTR_CLOCK");

	return clock && !strcmp(clock, "insn");
}

/* The threads and the process beside the measuring side. */
struct latency_others {
	pthread_t thread, crowd[64];
	pid_t child;
};

static void latency_begin(struct latency_others *others)
{
	const struct variant *v = &latency_run.variant;
	long i;

	if (v->kind >= SENDER_SELF) {
		latency_pin(0);
		latency_run.shared->pid[0] = getpid();
		latency_run.shared->tid[0] = task_tid();
		latency_run.mechanism->open(0);
		latency_run.mechanism->connect(0);
		return;
	}
	if (v->flags & PROCESSES)
		others->child = child_start(latency_other_process, NULL);
	else
		others->thread = thread_start(latency_other, NULL);
	for (i = 1; i < v->senders; i++)
		others->crowd[i] = thread_start(latency_crowd, (void *)i);
	latency_prepare(0);
	latency_yields |= v->senders > 1;
	if (v->kind == ONE_WAY)
		latency_agree();
}

static void latency_end(const struct latency_others *others)
{
	const struct variant *v = &latency_run.variant;
	int i;

	if (v->kind >= SENDER_SELF)
		return;
	shared_store(&latency_run.shared->over, true);
	for (i = 1; i < v->senders; i++)
		thread_join(others->crowd[i]);
	if (v->flags & PROCESSES)
		child_passes(others->child);
	else
		thread_join(others->thread);
}

/* Measure a mechanism in one variant, and write the samples. */
static void latency_measure(const struct mechanism *m, const struct variant *v)
{
	static uint64_t samples[LATENCY_ROUNDS];
	struct latency_others others = {};
	unsigned long rounds;
	uint64_t began, start;
	double ns_per_tick;

	latency_run.mechanism = m;
	latency_run.variant = *v;
	latency_run.insn = latency_counts_instructions();
	latency_run.stamps = v->kind == ONE_WAY || v->kind >= SENDER_SELF;
	latency_run.shared = shared_memory(sizeof(*latency_run.shared));
	latency_possible();
	tcdrain(STDOUT_FILENO);		/* a serial line would interrupt what follows */
	if (m->setup)
		m->setup();
	latency_begin(&others);

	began = now_ns();
	start = __rdtsc();
	rounds = latency_rounds(samples);
	/* The same time by both clocks gives the scale. */
	ns_per_tick = (double)(now_ns() - began) / (__rdtsc() - start);

	latency_end(&others);
	latency_write(samples, rounds, ns_per_tick);
}

#endif /* GUEST_TESTS_LATENCY_H */
