// SPDX-License-Identifier: GPL-2.0
/*
 * eventfd, one for each direction.
 *
 * In the talk: processes that sleep on one eventfd for both directions. Each tells its own count
 * from the other's and writes back what it read of its own.
 */
#include "latency-cases.h"

#include <sys/eventfd.h>

static int fds[2];

static void setup(void)
{
	int flags = EFD_CLOEXEC | (latency_blocks() ? 0 : EFD_NONBLOCK), side;

	for (side = 0; side < 2; side++)
		fds[side] = latency_has(eventfd(0, flags));
}

static void nothing(int side)
{
	(void)side;
}

static void put(int fd, uint64_t count)
{
	ktap_assert(write(fd, &count, sizeof(count)) == sizeof(count), "write: %s",
		    ktap_errno(errno));
}

static void send_to(int to)
{
	put(fds[to], 1);
}

static unsigned long receive(int side)
{
	uint64_t count;

	if (read(fds[side], &count, sizeof(count)) == sizeof(count))
		return count;
	ktap_assert(errno == EAGAIN, "read: %s", ktap_errno(errno));
	return 0;
}

static const struct mechanism latency_mechanism = {
	.name = "eventfd",
	.setup = setup,
	.open = nothing,
	.connect = nothing,
	.send = send_to,
	.poll = receive,
	.wait = receive,
};

/* What is for side N is counted in units of N + 1; there is one notification at a time. */
static void talk_send(int to)
{
	put(fds[0], to + 1);
}

static unsigned long talk_wait(int side)
{
	uint64_t count;

	for (;;) {
		count = receive(0);
		if (count == (uint64_t)side + 1)
			return 1;
		put(fds[0], count);
	}
}

static const struct mechanism talk = {
	.name = "eventfd",
	.setup = setup,
	.open = nothing,
	.connect = nothing,
	.send = talk_send,
	.poll = talk_wait,
	.wait = talk_wait,
};

LATENCY_TALK(talk, BLOCKED, PROCESSES)
LATENCY_PROGRAM(LATENCY_KTAP_TALK, NULL)
