// SPDX-License-Identifier: GPL-2.0
/*
 * A counter in shared memory that its receiver polls, or waits for by UMWAIT: a lower bound, without
 * a way to sleep.
 */
#include "latency-cases.h"

struct word {
	unsigned long value;
} __attribute__((aligned(64)));

static struct word *words;
static __thread unsigned long taken;

static void setup(void)
{
	words = shared_memory(2 * sizeof(*words));
}

static void nothing(int side)
{
	(void)side;
}

static void send_to(int to)
{
	shared_add(&words[to].value, 1);
}

static unsigned long poll_side(int side)
{
	unsigned long value = shared_load(&words[side].value), fresh = value - taken;

	taken = value;
	return fresh;
}

static unsigned long umwait_side(int side)
{
	unsigned long fresh;

	while (!(fresh = poll_side(side)))
		umwait_while(&words[side].value, taken, UMWAIT_FOREVER);
	return fresh;
}

static const struct mechanism latency_mechanism = {
	.name = "shm",
	.setup = setup,
	.open = nothing,
	.connect = nothing,
	.send = send_to,
	.poll = poll_side,
	.umwait = umwait_side,
	.user_only = true,
};

LATENCY_PROGRAM(, NULL)
