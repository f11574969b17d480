// SPDX-License-Identifier: GPL-2.0
/*
 * Signals by tgkill() that the receiver reads from a signalfd. Real-time signals, which are queued
 * and not merged; a reader takes all that is there.
 */
#include "latency-cases.h"

#include <sys/signalfd.h>

static int fds[2];
static sigset_t set;

static void setup(void)
{
	int flags = SFD_CLOEXEC | (latency_blocks() ? 0 : SFD_NONBLOCK), side;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (side = 0; side < 2; side++)
		fds[side] = latency_has(signalfd(-1, &set, flags));
}

static void nothing(int side)
{
	(void)side;
}

static void send_to(int to)
{
	const struct latency_shared *s = latency_run.shared;

	while (syscall(SYS_tgkill, s->pid[to], s->tid[to], SIGRTMIN)) {
		/* Many senders reach the limit of what may be pending. */
		ktap_assert(errno == EAGAIN, "tgkill: %s", ktap_errno(errno));
		sched_yield();
	}
}

/* The signals of the thread that reads, whichever process made the fd. */
static unsigned long receive(int side)
{
	struct signalfd_siginfo info[16];
	ssize_t n = read(fds[side], info, sizeof(info));

	if (n > 0)
		return n / sizeof(info[0]);
	ktap_assert(n < 0 && errno == EAGAIN, "read: %s", ktap_errno(errno));
	return 0;
}

static const struct mechanism latency_mechanism = {
	.name = "signalfd",
	.setup = setup,
	.open = nothing,
	.connect = nothing,
	.send = send_to,
	.poll = receive,
	.wait = receive,
};

LATENCY_PROGRAM(, NULL)
