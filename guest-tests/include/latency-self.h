/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Measurements of a thread that notifies itself: send, delivery and return separately, and how many
 * of their instructions are executed in user mode and in the kernel.
 */
#ifndef GUEST_TESTS_LATENCY_SELF_H
#define GUEST_TESTS_LATENCY_SELF_H

#include "latency-mechanism.h"
#include "steps.h"

static unsigned long latency_polled;

static void latency_send_self(void)
{
	latency_run.mechanism->send(0);
}

static void latency_poll_self(void)
{
	latency_polled = latency_run.mechanism->poll(0);
}

static void latency_unmask(void)
{
	latency_run.mechanism->mask(false);
}

struct span {
	uint64_t start, end;
};

/* Measure a function, with the same instructions around each one. */
static __attribute__((noinline)) struct span latency_span(void (*fn)(void))
{
	struct span span;

	span.start = latency_stamp();
	fn();
	span.end = latency_stamp();
	return span;
}

static uint64_t latency_ticks(struct span span)
{
	return span.end - span.start;
}

/* Measure a send to oneself that stays pending, and then is delivered. */
static uint64_t latency_self(void)
{
	const struct mechanism *m = latency_run.mechanism;
	struct span sending, taking;

	if (m->mask)
		m->mask(true);
	sending = latency_span(latency_send_self);
	latency_own.entered = latency_own.left = 0;
	taking = latency_span(m->mask ? latency_unmask : latency_poll_self);
	if (m->mask)
		latency_poll_self();
	ktap_assert(latency_polled == 1 && !m->mask == !latency_own.left,
		    "%lu notifications of 1", latency_polled);
	switch (latency_run.variant.kind) {
	case SENDER_SELF:
		return latency_ticks(sending);
	case DELIVERY:
		return m->mask ? latency_own.entered - taking.start : latency_ticks(taking);
	default:
		return taking.end - latency_own.left;
	}
}

/* Count the user-mode instructions of what latency_self() measures. */
static unsigned long latency_user_steps(void)
{
	const struct mechanism *m = latency_run.mechanism;
	bool sends = latency_run.variant.kind == SENDER_SELF;
	unsigned long count;

	if (m->mask)
		m->mask(true);
	if (!sends)
		m->send(0);
	count = steps_of(sends ? latency_send_self : latency_poll_self);
	if (m->mask)
		m->mask(false);
	if (sends)
		m->poll(0);
	return count;
}

static uint64_t latency_nothing(void)
{
	return latency_ticks(latency_span(steps_nothing));
}

/* The least of a few measurements, because one may contain the kernel's tick. */
static uint64_t latency_least(uint64_t (*measure)(void))
{
	uint64_t least = measure();
	int i;

	for (i = 0; i < 2; i++) {
		uint64_t ticks = measure();

		least = ticks < least ? ticks : least;
	}
	return least;
}

/* A round of one thread, in ticks, or in instructions of the variant's mode. */
static uint64_t latency_alone(void)
{
	int flags = latency_run.variant.flags;
	bool user_only = latency_run.mechanism->user_only;
	int64_t user, kernel;

	if (!(flags & (SPLIT_USER | SPLIT_KERNEL)))
		return latency_self();
	user = latency_user_steps();
	if (flags & SPLIT_USER)
		return user;
	kernel = user_only ? latency_least(latency_self) : latency_self();
	kernel -= latency_least(latency_nothing) + user;
	ktap_assert(kernel >= 0, "more instructions in user mode than in all: %ld", (long)kernel);
	if (user_only) {
		ktap_check(kernel == 0, "%ld instructions of nobody", (long)kernel);
		ktap_skip("the kernel has no part in it");
	}
	return kernel;
}

#endif /* GUEST_TESTS_LATENCY_SELF_H */
