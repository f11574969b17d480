// SPDX-License-Identifier: GPL-2.0
/*
 * A counter that its receiver polls, or sleeps on by FUTEX_WAIT. Its sender always calls
 * FUTEX_WAKE, because it does not know whether the receiver sleeps. "shm" is the same without that
 * call.
 */
#include "latency-cases.h"

#include <linux/futex.h>

struct word {
	uint32_t value;
} __attribute__((aligned(64)));

static struct word *words;
static __thread uint32_t taken;

static long futex(uint32_t *word, int operation, uint32_t value)
{
	if (!(latency_run.variant.flags & PROCESSES))
		operation |= FUTEX_PRIVATE_FLAG;
	return syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void setup(void)
{
	words = shared_memory(2 * sizeof(*words));
	latency_has(futex(&words[0].value, FUTEX_WAKE, 1));
}

static void nothing(int side)
{
	(void)side;
}

static void send_to(int to)
{
	shared_add(&words[to].value, 1);
	ktap_assert(futex(&words[to].value, FUTEX_WAKE, 1) >= 0, "FUTEX_WAKE: %s",
		    ktap_errno(errno));
}

static unsigned long poll_side(int side)
{
	uint32_t value = shared_load(&words[side].value), fresh = value - taken;

	taken = value;
	return fresh;
}

static unsigned long wait_side(int side)
{
	unsigned long fresh;

	while (!(fresh = poll_side(side)))
		ktap_assert(!futex(&words[side].value, FUTEX_WAIT, taken) ||
			    errno == EAGAIN || errno == EINTR,
			    "FUTEX_WAIT: %s", ktap_errno(errno));
	return fresh;
}

static const struct mechanism latency_mechanism = {
	.name = "futex",
	.setup = setup,
	.open = nothing,
	.connect = nothing,
	.send = send_to,
	.poll = poll_side,
	.wait = wait_side,
};

LATENCY_PROGRAM(, NULL)
