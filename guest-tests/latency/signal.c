// SPDX-License-Identifier: GPL-2.0
/*
 * Signals by tgkill(): to a thread that runs, or waits by UMWAIT, and takes them in a handler, and to
 * one that sleeps in sigwaitinfo(). Real-time signals, which are queued and not merged.
 *
 * In the talk: processes that signal their whole process group by kill(0), and so themselves, too.
 * Here each direction has its own signal; the sender ignores it.
 */
#include "latency-cases.h"

static __thread unsigned long taken;

static void count_only(int sig)
{
	(void)sig;
	latency_own.count++;
}

static void count_and_stamp(int sig)
{
	(void)sig;
	latency_own.entered = latency_stamp();
	latency_own.count++;
	latency_own.left = latency_stamp();
}

static void count_in_umwait(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)info;
	if (latency_run.stamps)
		count_and_stamp(sig);
	else
		count_only(sig);
	umwait_fix(&uc->uc_mcontext.gregs[REG_RIP]);
}

static sigset_t one(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return set;
}

static void mask(bool on)
{
	sigset_t set = one(SIGRTMIN);

	pthread_sigmask(on ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void open_side(int side)
{
	struct sigaction action = {
		.sa_handler = latency_run.stamps ? count_and_stamp : count_only,
	};

	(void)side;
	if (latency_run.variant.take == UMWAIT) {
		action.sa_sigaction = count_in_umwait;
		action.sa_flags = SA_SIGINFO;
	}
	mask(latency_blocks());
	ktap_ok(sigaction(SIGRTMIN, &action, NULL));
}

static void nothing(int to)
{
	(void)to;
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

static unsigned long poll_side(int side)
{
	unsigned long count = latency_own.count, fresh = count - taken;

	(void)side;
	taken = count;
	return fresh;
}

static unsigned long umwait_side(int side)
{
	while (latency_own.count == taken)
		umwait_while(&latency_own.count, taken, UMWAIT_FOREVER);
	return poll_side(side);
}

static unsigned long wait_for(int sig)
{
	sigset_t set = one(sig);

	while (sigwaitinfo(&set, NULL) < 0)
		ktap_assert(errno == EINTR, "sigwaitinfo: %s", ktap_errno(errno));
	return 1;
}

static unsigned long wait_side(int side)
{
	(void)side;
	return wait_for(SIGRTMIN);
}

static const struct mechanism latency_mechanism = {
	.name = "signal",
	.open = open_side,
	.connect = nothing,
	.send = send_to,
	.poll = poll_side,
	.wait = wait_side,
	.umwait = umwait_side,
	.mask = mask,
};

static const int talk_signals[2] = { SIGUSR1, SIGUSR2 };

static void talk_open(int side)
{
	sigset_t set = one(talk_signals[side]);

	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(talk_signals[!side], SIG_IGN);
}

static void talk_send(int to)
{
	ktap_assert(!kill(0, talk_signals[to]), "kill: %s", ktap_errno(errno));
}

static unsigned long talk_wait(int side)
{
	return wait_for(talk_signals[side]);
}

static const struct mechanism talk = {
	.name = "signal",
	.open = talk_open,
	.connect = nothing,
	.send = talk_send,
	.poll = talk_wait,
	.wait = talk_wait,
};

LATENCY_TALK(talk, BLOCKED, PROCESSES)
LATENCY_PROGRAM(LATENCY_KTAP_TALK, NULL)
