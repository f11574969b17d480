// SPDX-License-Identifier: GPL-2.0
/*
 * Pipes, one for each direction, a byte for each notification; a reader takes all that is there.
 *
 * In the talk: processes that also signal each other for each message, and wait for the signal
 * before they read.
 */
#include "latency-cases.h"

static int fds[2][2];

static void setup(void)
{
	int flags = O_CLOEXEC | (latency_blocks() ? 0 : O_NONBLOCK), side;

	for (side = 0; side < 2; side++)
		ktap_ok(pipe2(fds[side], flags));
}

static void nothing(int side)
{
	(void)side;
}

static void send_to(int to)
{
	char one = 1;

	ktap_assert(write(fds[to][1], &one, 1) == 1, "write: %s", ktap_errno(errno));
}

static unsigned long receive(int side)
{
	char bytes[256];
	ssize_t n = read(fds[side][0], bytes, sizeof(bytes));

	if (n > 0)
		return n;
	ktap_assert(n < 0 && errno == EAGAIN, "read: %s", ktap_errno(errno));
	return 0;
}

static const struct mechanism latency_mechanism = {
	.name = "pipe",
	.setup = setup,
	.open = nothing,
	.connect = nothing,
	.send = send_to,
	.poll = receive,
	.wait = receive,
};

static sigset_t talk_set(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return set;
}

static void talk_setup(void)
{
	sigset_t set = talk_set();

	setup();
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void talk_send(int to)
{
	send_to(to);
	ktap_assert(!kill(latency_run.shared->pid[to], SIGUSR1), "kill: %s", ktap_errno(errno));
}

static unsigned long talk_wait(int side)
{
	sigset_t set = talk_set();
	int sig;

	ktap_assert(!sigwait(&set, &sig), "sigwait");
	return receive(side);
}

static const struct mechanism talk = {
	.name = "pipe",
	.setup = talk_setup,
	.open = nothing,
	.connect = nothing,
	.send = talk_send,
	.poll = talk_wait,
	.wait = talk_wait,
};

LATENCY_TALK(talk, BLOCKED, PROCESSES)
LATENCY_PROGRAM(LATENCY_KTAP_TALK, NULL)
