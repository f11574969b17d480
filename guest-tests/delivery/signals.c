// SPDX-License-Identifier: GPL-2.0
/*
 * User interrupts beside signals, and to a process that is stopped.
 *
 * Whether a signal handler starts with UIF as it was is left to the architecture: signals do not
 * touch UIF, so user interrupts may come in signal handlers, and no case forbids it.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#include <setjmp.h>
#include <sys/time.h>

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	(void)sig;
	signals++;
}

static void timer_start(unsigned int us)
{
	struct itimerval timer = {
		.it_interval.tv_usec = us,
		.it_value.tv_usec = us,
	};
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = SA_RESTART };

	ktap_ok(sigaction(SIGALRM, &action, NULL));
	ktap_ok(setitimer(ITIMER_REAL, &timer, NULL));
}

static void both_at_once(void)
{
	struct sender s;
	int i;

	pin_to(0);
	sender_start(&s, receiver(0));
	_stui();
	timer_start(1000);
	for (i = 1; i <= 300 || signals < 20; i++) {
		sender_ask(&s);
		ktap_assert(spin_until(hits >= (unsigned long)i), "interrupt %d is lost", i);
		ktap_assert(i < 1000000, "the timer signal does not come");
	}
	timer_start(0);
	ktap_check(hits == (unsigned long)i - 1, "sent %d, handled %lu", i - 1, hits);
	ktap_check(_testui(), "UIF is clear after it all");
	sender_stop(&s);
	ktap_diag("%d signals among %d interrupts", (int)signals, i - 1);
}

static int self_index;

static void send_in_signal(int sig)
{
	(void)sig;
	_senduipi(self_index);
	signals++;
}

static void sent_from_a_signal_handler(void)
{
	int i;

	signal(SIGUSR1, send_in_signal);
	self_index = sender_to(receiver(0));
	_stui();
	for (i = 1; i <= 100; i++) {
		ktap_ok(raise(SIGUSR1));
		ktap_assert(spin_until(hits == (unsigned long)i), "interrupt %d is lost", i);
	}
	ktap_check(signals == 100, "%d signals", (int)signals);
	ktap_check(_testui(), "UIF is clear after sigreturn");
}

static bool delivered_inside;

static void send_and_wait(int sig)
{
	unsigned long before = hits;

	(void)sig;
	_senduipi(self_index);
	delivered_inside = spin_until(hits == before + 1);
	signals++;
}

static void signal_handler_is_interrupted(void)
{
	signal(SIGUSR1, send_and_wait);
	self_index = sender_to(receiver(0));
	_stui();
	tsc_per_ms();
	ktap_ok(raise(SIGUSR1));
	ktap_check(signals == 1 && delivered_inside, "not delivered in the signal handler");
	ktap_check(hits == 1, "%lu hits", hits);
}

static volatile bool inside;
static bool escapes;
static sigjmp_buf outside;

/* Stays until the signal has come. */
static UINTR_HANDLER void wait_for_signal(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	(void)vector;
	inside = true;
	while (!signals)
		;
	hits++;
}

static void count_and_escape(int sig)
{
	(void)sig;
	signals++;
	if (escapes)
		siglongjmp(outside, 1);
}

static void *signals_when_inside(void *arg)
{
	ktap_assert(yield_until(inside), "the handler does not run");
	ktap_ok(syscall(SYS_tgkill, getpid(), *(pid_t *)arg, SIGUSR1));
	return NULL;
}

/* Be interrupted, and have the handler interrupted by a signal from another thread. */
static void interrupt_the_handler(void)
{
	static pid_t receiver;
	static pthread_t thread;

	receiver = task_tid();
	signal(SIGUSR1, count_and_escape);
	ktap_ok(uintr_register_handler(wait_for_signal, 0));
	self_index = sender_to(ktap_ok(uintr_create_fd(0, 0)));
	thread = thread_start(signals_when_inside, &receiver);
	_stui();
	if (!sigsetjmp(outside, 1)) {
		_senduipi(self_index);
		ktap_check(spin_until(signals), "no signal");
	}
	thread_join(thread);
	ktap_check(signals == 1, "%d signals", (int)signals);
}

static void handler_is_interrupted_by_a_signal(void)
{
	interrupt_the_handler();
	ktap_check(spin_until(hits == 1), "the handler did not go on");
	ktap_check(_testui(), "UIF is clear after UIRET");
}

/* The handler is left without UIRET, so UIF stays clear, as delivery left it. */
static void siglongjmp_out_of_the_handler(void)
{
	escapes = true;
	interrupt_the_handler();
	ktap_check(hits == 0, "the handler went on");
	ktap_check(!_testui(), "UIF is set");
	_senduipi(self_index);
	sleep_ms(5);
	ktap_check(hits == 0, "delivered with UIF clear");
	_stui();
	ktap_check(spin_until(hits == 1), "nothing is delivered any more");
}

/* With UIF clear, a signal and its return neither deliver nor lose what is pending. */
static void signal_with_one_pending(void)
{
	int i;

	signal(SIGUSR1, count_signal);
	self_index = sender_to(receiver(0));
	for (i = 1; i <= 50; i++) {
		_clui();
		_senduipi(self_index);
		ktap_ok(raise(SIGUSR1));
		ktap_check(hits == (unsigned long)i - 1, "delivered with UIF clear");
		_stui();
		ktap_assert(spin_until(hits == (unsigned long)i), "interrupt %d is lost", i);
	}
}

static volatile unsigned long *shared_hits;

static UINTR_HANDLER void count_shared(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	(void)vector;
	(*shared_hits)++;
}

struct stopping {
	int fd;
	pid_t parent;
};

static void stops_sends_continues(void *arg)
{
	struct stopping *stopping = arg;
	int index = sender_to(stopping->fd), i;

	for (i = 0; i < 5; i++) {
		ktap_ok(kill(stopping->parent, SIGSTOP));
		ktap_check(task_reaches(stopping->parent, stopping->parent, 'T'), "not stopped");
		_senduipi(index);
		sleep_ms(NEVER_MS);
		ktap_check(*shared_hits == (unsigned long)i, "delivered while stopped");
		ktap_ok(kill(stopping->parent, SIGCONT));
		ktap_assert(yield_until(*shared_hits == (unsigned long)i + 1),
			    "interrupt %d did not come after SIGCONT", i);
	}
}

static void stopped_then_continued(void)
{
	struct stopping stopping = { .parent = getpid() };
	pid_t child;

	shared_hits = shared_memory(sizeof(*shared_hits));
	ktap_ok(uintr_register_handler(count_shared, 0));
	stopping.fd = ktap_ok(uintr_create_fd(0, 0));
	child = child_start(stops_sends_continues, &stopping);
	_stui();
	ktap_check(spin_until(*shared_hits == 5), "%lu of 5 came", *shared_hits);
	child_passes(child);
}

/* A read that a signal restarts is restarted with user interrupts around, too. */
static void *writes_at_last(void *arg)
{
	int *pipes = arg;

	sleep_ms(200);
	ktap_ok(write(pipes[1], "x", 1));
	return NULL;
}

static void restarted_read_in_a_storm(void)
{
	int pipes[2];
	struct sender s;
	pthread_t thread;
	unsigned long before;
	sigset_t alarm;
	char byte;
	int i;

	ktap_ok(pipe(pipes));
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	/* Only this thread is to have the signals. */
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	sender_start(&s, receiver(0));
	thread = thread_start(writes_at_last, pipes);
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	_stui();
	timer_start(2000);
	for (i = 0; i < 20; i++)
		sender_ask(&s);
	ktap_check(read(pipes[0], &byte, 1) == 1, "read: %s", ktap_errno(errno));
	ktap_check(yield_until(shared_load(&s.sent) == 20), "the sender is stuck");
	sleep_ms(5);
	before = hits;
	sender_ask(&s);
	ktap_check(spin_until(hits == before + 1), "the last is lost");
	timer_start(0);
	thread_join(thread);
	sender_stop(&s);
	ktap_check(hits >= 1 && hits <= 21, "%lu hits of 21 sent", hits);
	ktap_check(signals > 0, "no signal came");
}

static const struct ktap_case cases[] = {
	KTAP_CASE(both_at_once, SIGNAL-1),
	KTAP_CASE(sent_from_a_signal_handler, SIGNAL-4, SIGNAL-8),
	KTAP_CASE(signal_handler_is_interrupted, SIGNAL-2, SIGNAL-8),
	KTAP_CASE(handler_is_interrupted_by_a_signal, SIGNAL-3),
	KTAP_CASE(siglongjmp_out_of_the_handler, SIGNAL-3, SIGNAL-5),
	KTAP_CASE(signal_with_one_pending, SIGNAL-6),
	KTAP_CASE(stopped_then_continued, SIGNAL-7),
	KTAP_CASE(restarted_read_in_a_storm, SIGNAL-1, BLOCKED-9),
};

KTAP_MAIN(cases, uintr_missing())
