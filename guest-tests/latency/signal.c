// SPDX-License-Identifier: GPL-2.0
/*
 * Signals: to a thread that runs and takes them in a handler, and to one that sleeps in
 * sigwaitinfo(). Real-time signals, which are queued and not merged.
 */
#include "latency.h"

static volatile unsigned long arrived[2];
static __thread int own_side;
static pid_t tids[2];
static pid_t pid;

static void arrive(int sig)
{
	(void)sig;
	arrived[own_side]++;
}

static void open_handled(int side)
{
	struct sigaction action = { .sa_handler = arrive };

	own_side = side;
	tids[side] = task_tid();
	pid = getpid();
	ktap_ok(sigaction(SIGRTMIN, &action, NULL));
}

static void open_waited(int side)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	open_handled(side);
}

static void connect_side(int side)
{
	(void)side;
}

static void send_side(int side)
{
	ktap_assert(!syscall(SYS_tgkill, pid, tids[!side], SIGRTMIN), "tgkill: %s",
		    ktap_errno(errno));
}

static void wait_running(int side, unsigned long round)
{
	while (arrived[side] <= round)
		latency_relax();
}

static void wait_blocked(int side, unsigned long round)
{
	sigset_t set;

	(void)side;
	(void)round;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	while (sigwaitinfo(&set, NULL) < 0)
		ktap_assert(errno == EINTR, "sigwaitinfo: %s", ktap_errno(errno));
}

static const struct mechanism handled = {
	"signal", open_handled, connect_side, send_side, wait_running,
};

static const struct mechanism waited = {
	"signal", open_waited, connect_side, send_side, wait_blocked,
};

LATENCY_CASES(handled, waited)

static const struct ktap_case cases[] = {
	LATENCY_KTAP_CASES,
};

KTAP_MAIN(cases, NULL)
