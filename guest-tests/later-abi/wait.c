// SPDX-License-Identifier: GPL-2.0
/*
 * The later ABI's uintr_wait(), which has a time, and what a handler with a WAITING flag does to
 * calls that block.
 *
 * An interrupt that comes in a call, before it sleeps, may be missed there: the cases send to a
 * thread that sleeps.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

/* Far longer than a thread takes to be found asleep and sent to. */
#define LONG_US		8000000
/* Long enough for that on a machine that is not very slow, and not too long to wait for. */
#define SHORT_US	1000000

static void time_over_is_success(void)
{
	uint64_t start;

	receiver(0);
	ktap_check(uintr_wait_for(0, 0) == 0, "0: %s", ktap_errno(errno));
	start = now_ns();
	ktap_check(uintr_wait_for(20000, 0) == 0, "20 ms: %s", ktap_errno(errno));
	ktap_check(now_ns() - start >= 20000000, "returned early");
}

static void longer_than_the_longest_is_invalid(void)
{
	static const uint64_t too_long[] = {
		UINTR_WAIT_LONGEST + 1ULL, 1ULL << 32, 1ULL << 63, UINT64_MAX,
	};
	unsigned int i, registered;

	for (registered = 0; registered < 2; registered++) {
		for (i = 0; i < sizeof(too_long) / sizeof(too_long[0]); i++)
			ktap_fails(uintr_wait_for(too_long[i], 0), EINVAL);
		if (!registered) {
			/* The longest is refused for the lack of a handler alone. */
			ktap_fails(uintr_wait_for(UINTR_WAIT_LONGEST, 0), EOPNOTSUPP);
			receiver(0);
		}
	}
}

struct waker {
	int fd;
	pid_t receiver;
	int signal;		/* instead of a user interrupt */
};

static void *wakes(void *arg)
{
	struct waker *waker = arg;
	int index = waker->signal ? -1 : sender_to(waker->fd);

	ktap_check(task_reaches(getpid(), waker->receiver, 'S'), "it does not block");
	sleep_ms(NEVER_MS);
	if (waker->signal)
		syscall(SYS_tgkill, getpid(), waker->receiver, waker->signal);
	else
		_senduipi(index);
	return NULL;
}

/* Have the calling thread, with these flags, be woken once it sleeps. */
static pthread_t woken_soon(struct waker *waker, unsigned int flags)
{
	waker->fd = receiver_with(3, flags);
	waker->receiver = task_tid();
	_stui();
	return thread_start(wakes, waker);
}

static void flag_decides(unsigned int flags)
{
	struct waker waker = {};
	pthread_t thread = woken_soon(&waker, flags);

	ktap_fails(uintr_wait_for(LONG_US, 0), EINTR);
	ktap_check(spin_until(hits_of[3] == 1), "the handler did not run");
	thread_join(thread);
}

static void interrupt_ends_it_at_the_receivers_cost(void)
{
	flag_decides(UINTR_HANDLER_FLAG_WAITING_RECEIVER);
}

static void interrupt_ends_it_at_the_senders_cost(void)
{
	flag_decides(UINTR_HANDLER_FLAG_WAITING_SENDER);
}

static void interrupt_ends_it_with_both_flags(void)
{
	flag_decides(UINTR_HANDLER_FLAG_WAITING_ANY);
}

static void interrupt_without_a_flag_does_not(void)
{
	struct waker waker = {};
	pthread_t thread = woken_soon(&waker, 0);
	int ret = uintr_wait_for(SHORT_US, 0);

	ktap_check(ret == 0, "gave %d and %s", ret, ktap_errno(errno));
	thread_join(thread);
	ktap_check(spin_until(hits_of[3] == 1), "the handler did not run");
}

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	(void)sig;
	signals++;
}

static void signal_ends_it(void)
{
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = SA_RESTART };
	struct waker waker = { .signal = SIGUSR1 };
	pthread_t thread;

	ktap_ok(sigaction(SIGUSR1, &action, NULL));
	thread = woken_soon(&waker, 0);
	ktap_fails(uintr_wait_for(LONG_US, 0), EINTR);
	ktap_check(signals == 1, "%d signals", (int)signals);
	thread_join(thread);
}

static void in_read(void)
{
	int pipes[2];
	char byte;

	ktap_ok(pipe(pipes));
	ktap_fails(read(pipes[0], &byte, 1), EINTR);
}

static void in_nanosleep(void)
{
	struct timespec t = { .tv_sec = LONG_US / 1000000 };

	ktap_fails(nanosleep(&t, NULL), EINTR);
}

static void in_poll(void)
{
	ktap_fails(poll(NULL, 0, LONG_US / 1000), EINTR);
}

static void in_wait(void)
{
	ktap_fails(syscall(SYS_waitid, P_ALL, 0, NULL, WEXITED, NULL), EINTR);
}

static void sleeps(void *unused)
{
	(void)unused;
	sleep_ms(LONG_US / 1000);
}

/* Calls that a signal with SA_RESTART would restart among them. */
static void interrupt_ends_every_call(void)
{
	static void (*const calls[])(void) = { in_read, in_nanosleep, in_poll, in_wait };
	struct waker waker = {};
	pthread_t thread;
	unsigned int i;

	child_start(sleeps, NULL);
	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		thread = woken_soon(&waker, UINTR_HANDLER_FLAG_WAITING_ANY);
		calls[i]();
		ktap_check(spin_until(hits == i + 1), "call %u: the handler did not run", i);
		thread_join(thread);
		ktap_ok(uintr_unregister_handler(0));
	}
}

static const struct ktap_case cases[] = {
	KTAP_CASE(time_over_is_success, NEXT-14),
	KTAP_CASE(longer_than_the_longest_is_invalid, NEXT-15),
	KTAP_CASE(interrupt_ends_it_at_the_receivers_cost, NEXT-16, NEXT-17),
	KTAP_CASE(interrupt_ends_it_at_the_senders_cost, NEXT-16, NEXT-17),
	KTAP_CASE(interrupt_ends_it_with_both_flags, NEXT-16, NEXT-17),
	KTAP_CASE(interrupt_without_a_flag_does_not, NEXT-17),
	KTAP_CASE(signal_ends_it, NEXT-16),
	KTAP_CASE(interrupt_ends_every_call, NEXT-18),
};

static const char *missing(void)
{
	const char *reason = uintr_later_missing();

	return reason ? reason : uintr_wait_missing();
}

KTAP_MAIN(cases, missing())
