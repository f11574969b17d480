// SPDX-License-Identifier: GPL-2.0
/*
 * Unix-domain stream sockets, a pair for each direction, a byte for each notification; a reader
 * takes all that is there.
 *
 * In the talk: processes that sleep, with one pair for both directions.
 */
#include "latency-cases.h"

static int pairs[2][2];

static void setup(void)
{
	int type = SOCK_STREAM | SOCK_CLOEXEC | (latency_blocks() ? 0 : SOCK_NONBLOCK), side;

	for (side = 0; side < 2; side++)
		latency_has(socketpair(AF_UNIX, type, 0, pairs[side]));
}

static void nothing(int side)
{
	(void)side;
}

static void put(int fd)
{
	char one = 1;

	while (send(fd, &one, 1, 0) != 1) {
		/* Many senders fill the buffer. */
		ktap_assert(errno == EAGAIN, "send: %s", ktap_errno(errno));
		sched_yield();
	}
}

static unsigned long take(int fd)
{
	char bytes[256];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	if (n > 0)
		return n;
	ktap_assert(n < 0 && errno == EAGAIN, "recv: %s", ktap_errno(errno));
	return 0;
}

static void send_to(int to)
{
	put(pairs[to][1]);
}

static unsigned long receive(int side)
{
	return take(pairs[side][0]);
}

static const struct mechanism latency_mechanism = {
	.name = "unix",
	.setup = setup,
	.open = nothing,
	.connect = nothing,
	.send = send_to,
	.poll = receive,
	.wait = receive,
};

static void talk_send(int to)
{
	put(pairs[0][!to]);
}

static unsigned long talk_wait(int side)
{
	return take(pairs[0][side]);
}

static const struct mechanism talk = {
	.name = "unix",
	.setup = setup,
	.open = nothing,
	.connect = nothing,
	.send = talk_send,
	.poll = talk_wait,
	.wait = talk_wait,
};

LATENCY_TALK(talk, BLOCKED, PROCESSES)
LATENCY_PROGRAM(LATENCY_KTAP_TALK, NULL)
