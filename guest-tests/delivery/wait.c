// SPDX-License-Identifier: GPL-2.0
/*
 * uintr_wait(): a user interrupt or a signal wakes it with EINTR, and no wake-up is lost.
 *
 * The RFC does not state what it does with UIF clear: the cases that ask are skipped there.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"
#include "wait.h"

struct waker {
	int fd;
	pid_t receiver;
	int signal;		/* send this instead of a user interrupt */
	unsigned long early;
};

static void *wakes(void *arg)
{
	struct waker *waker = arg;
	int index = waker->signal ? -1 : sender_to(waker->fd);

	ktap_check(task_reaches(getpid(), waker->receiver, 'S'), "uintr_wait() does not block");
	sleep_ms(NEVER_MS);
	ktap_check(task_state(getpid(), waker->receiver) != 'R', "uintr_wait() does not stay blocked");
	waker->early = hits;
	if (waker->signal)
		syscall(SYS_tgkill, getpid(), waker->receiver, waker->signal);
	else
		_senduipi(index);
	return NULL;
}

static void user_interrupt_wakes(void)
{
	struct waker waker = { .fd = receiver(3), .receiver = task_tid() };
	pthread_t thread;

	_stui();
	thread = thread_start(wakes, &waker);
	ktap_fails(uintr_wait(0), EINTR);
	ktap_check(spin_until(hits == 1), "woken, but the handler did not run");
	thread_join(thread);
	ktap_check(waker.early == 0 && hits_of[3] == 1, "%lu early, %lu in all", waker.early, hits);
}

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	(void)sig;
	signals++;
}

static void signal_wakes_with(int flags)
{
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = flags };
	struct waker waker = { .receiver = task_tid(), .signal = SIGUSR1 };
	pthread_t thread;

	receiver(0);
	ktap_ok(sigaction(SIGUSR1, &action, NULL));
	_stui();
	thread = thread_start(wakes, &waker);
	ktap_fails(uintr_wait(0), EINTR);
	ktap_check(signals == 1, "the signal handler ran %d times", (int)signals);
	thread_join(thread);
	ktap_check(hits == 0, "a user interrupt out of nowhere");
}

static void signal_wakes(void)
{
	signal_wakes_with(0);
}

/* The call always returns EINTR: it is never restarted. */
static void restarting_signal_wakes(void)
{
	signal_wakes_with(SA_RESTART);
}

static void *sends_thrice(void *arg)
{
	struct waker *waker = arg;
	int index = sender_to(waker->fd), i;

	for (i = 0; i < 3; i++) {
		ktap_check(task_reaches(getpid(), waker->receiver, 'S'), "not blocked again");
		sleep_ms(NEVER_MS);
		_senduipi(index);
		ktap_assert(yield_until(hits == (unsigned long)i + 1), "not delivered");
	}
	return NULL;
}

static void wakes_every_time(void)
{
	struct waker waker = { .fd = receiver(0), .receiver = task_tid() };
	pthread_t thread;
	int i;

	_stui();
	thread = thread_start(sends_thrice, &waker);
	for (i = 0; i < 3; i++) {
		ktap_fails(uintr_wait(0), EINTR);
		ktap_check(spin_until(hits == (unsigned long)i + 1), "woken without the handler");
	}
	thread_join(thread);
}

static volatile unsigned long arrived;
static volatile unsigned long arrived_of[UINTR_VECTORS];

static UINTR_HANDLER void arrive(struct __uintr_frame *frame, unsigned long long vector)
{
	arrived_of[vector % UINTR_VECTORS]++;
	arrived++;
	wait_fix(frame);
}

/*
 * Interrupts at any distance from the call: before it, on its way to sleep, and long after. Each
 * round has one, so a lost wake-up hangs the case.
 */
static void no_wake_up_is_lost(void)
{
	unsigned long i, rounds = 3000, slept = 0;
	uint64_t deadline = now_ns() + 5000000000ULL;
	struct sender s;
	unsigned int delay;
	long ret;

	pin_to(0);
	ktap_ok(uintr_register_handler(arrive, 0));
	sender_start(&s, ktap_ok(uintr_create_fd(0, 0)));
	_stui();
	for (i = 1; i <= rounds; i++) {
		/* Fewer on a slow machine. */
		if (now_ns() > deadline)
			rounds = i;
		sender_ask(&s);
		for (delay = i * 37 % 1000; delay; delay--)
			__builtin_ia32_pause();
		while (arrived < i) {
			ret = wait_while(&arrived, i - 1);
			slept += ret != 0;
			ktap_assert(ret == 0 || ret == -EINTR, "round %lu: gave %ld", i, ret);
		}
		ktap_assert(arrived == i, "round %lu: %lu arrived", i, arrived);
	}
	sender_stop(&s);
	ktap_diag("%lu of %lu rounds reached the call", slept, rounds);
}

#define CROWD		4
#define CROWD_ROUNDS	400

struct member {
	unsigned int vector;
	int fd;
};

static void *sends_and_waits_for_it(void *arg)
{
	const struct member *m = arg;
	unsigned int delay;
	unsigned long i;
	int index;

	pin_to(m->vector + 1);
	index = sender_to(m->fd);
	for (i = 1; i <= CROWD_ROUNDS; i++) {
		_senduipi(index);
		ktap_assert(yield_until(arrived_of[m->vector] == i),
			    "sender %u: %lu sent, %lu handled", m->vector, i,
			    arrived_of[m->vector]);
		for (delay = (i + m->vector) * 37 % 1000; delay; delay--)
			__builtin_ia32_pause();
	}
	return NULL;
}

/*
 * Each of several senders waits for its own interrupt to be handled before it sends again. A sender
 * may still be on its way to wake the receiver when that has been woken by another, has received
 * both, and waits again.
 */
static void several_senders_wake(void)
{
	struct member crowd[CROWD];
	pthread_t thread[CROWD];
	unsigned long seen;
	int i;

	pin_to(0);
	ktap_ok(uintr_register_handler(arrive, 0));
	_stui();
	for (i = 0; i < CROWD; i++) {
		crowd[i].vector = i;
		crowd[i].fd = ktap_ok(uintr_create_fd(i, 0));
		thread[i] = thread_start(sends_and_waits_for_it, &crowd[i]);
	}
	while ((seen = arrived) < CROWD * CROWD_ROUNDS)
		wait_while(&arrived, seen);
	for (i = 0; i < CROWD; i++)
		thread_join(thread[i]);
}

/* Pending since before the call, and UIF set only right before it: EINTR at once, not a wait. */
static void pending_before_the_call(void)
{
	int index, i;

	ktap_ok(uintr_register_handler(arrive, 0));
	index = sender_to(ktap_ok(uintr_create_fd(0, 0)));
	for (i = 0; i < 200; i++) {
		_clui();
		_senduipi(index);
		_stui();
		/* The handler runs before the call, or the call returns EINTR; either ends it. */
		wait_while(&arrived, i);
		ktap_assert(spin_until(arrived == (unsigned long)i + 1), "round %d: not delivered", i);
	}
}

/* With UIF clear it stays pending, and the call still returns. */
static void pending_and_masked_returns_at_once(void)
{
	int index, i;

	need_more_than_the_rfc();
	index = sender_to(receiver(0));
	for (i = 1; i <= 20; i++) {
		_clui();
		_senduipi(index);
		ktap_fails(uintr_wait(0), EINTR);
		ktap_check(hits == (unsigned long)i - 1, "delivered with UIF clear");
		_stui();
		ktap_assert(spin_until(hits == (unsigned long)i), "round %d: not delivered", i);
	}
}

/* As uintr_wait(2) and uintr.rst have it; a wake-up that is missed hangs the case. */
static void the_loop_of_the_manual(void)
{
	unsigned long i, rounds = 1000, slept = 0;
	uint64_t deadline = now_ns() + 5000000000ULL;
	struct sender s;
	unsigned int delay;

	need_more_than_the_rfc();
	pin_to(0);
	sender_start(&s, receiver(0));
	for (i = 1; i <= rounds; i++) {
		if (now_ns() > deadline)
			rounds = i;
		sender_ask(&s);
		for (delay = i * 37 % 1000; delay; delay--)
			__builtin_ia32_pause();
		_clui();
		while (hits < i) {
			ktap_fails(uintr_wait(0), EINTR);
			slept++;
			_stui();
			_clui();
		}
		_stui();
	}
	sender_stop(&s);
	ktap_check(hits == rounds, "%lu of %lu", hits, rounds);
	ktap_diag("%lu calls in %lu rounds", slept, rounds);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(user_interrupt_wakes, WAIT-3, WAIT-4),
	KTAP_CASE(signal_wakes, WAIT-3, WAIT-5),
	KTAP_CASE(restarting_signal_wakes, WAIT-5, WAIT-6),
	KTAP_CASE(wakes_every_time, WAIT-3, WAIT-4),
	KTAP_CASE(no_wake_up_is_lost, WAIT-9),
	KTAP_CASE(several_senders_wake, WAIT-9),
	KTAP_CASE(pending_before_the_call, WAIT-9),
	KTAP_CASE(pending_and_masked_returns_at_once, WAIT-7, WAIT-8),
	KTAP_CASE(the_loop_of_the_manual, WAIT-8, WAIT-10),
};

KTAP_MAIN(cases, uintr_rfc_missing())
