// SPDX-License-Identifier: GPL-2.0
/*
 * Delivery to a thread that runs: from another CPU, from itself, masked and unmasked, between
 * system calls, across migration. Each interrupt that was sent while none was pending is
 * delivered, and none is delivered twice.
 */
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>

/* Number of rounds; on a slow machine those within ENOUGH_MS. */
#define ROUNDS		200
#define ENOUGH_MS	3000

static uint64_t deadline;

static bool enough(int round)
{
	if (round == 1)
		deadline = now_ns() + ENOUGH_MS * 1000000ULL;
	return round > ROUNDS || (round > 10 && now_ns() > deadline);
}

static void while_running_user_code(void)
{
	struct sender s;
	int i;

	pin_to(0);
	sender_start(&s, receiver(5));
	_stui();
	for (i = 1; !enough(i); i++) {
		sender_ask(&s);
		/* No system call here: the kernel must interrupt the thread. */
		ktap_assert(spin_until(hits >= (unsigned long)i), "interrupt %d is lost", i);
	}
	sender_stop(&s);
	ktap_check(hits == (unsigned long)i - 1, "sent %d, handled %lu", i - 1, hits);
	ktap_check(hits_of[5] == hits, "some came with another vector");
}

static void to_itself(void)
{
	int index = sender_to(receiver(0)), i;

	_stui();
	for (i = 1; !enough(i); i++) {
		_senduipi(index);
		ktap_assert(spin_until(hits >= (unsigned long)i), "interrupt %d is lost", i);
	}
	ktap_check(hits == (unsigned long)i - 1, "sent %d, handled %lu", i - 1, hits);
}

static void uif_starts_clear(void)
{
	int index;

	ktap_check(!_testui(), "UIF is set in a new process");
	index = sender_to(receiver(0));
	ktap_check(!_testui(), "UIF is set after uintr_register_handler()");
	_senduipi(index);
	sleep_ms(NEVER_MS);
	ktap_check(hits == 0, "delivered with UIF clear");
}

static void its_flag_is_clear(void *what)
{
	ktap_check(!_testui(), "UIF is set in a new %s", (const char *)what);
}

static void *thread_with_a_clear_flag(void *unused)
{
	(void)unused;
	its_flag_is_clear("thread");
	return NULL;
}

/* UIF of the parent does not matter, nor whether the parent has a handler. */
static void uif_is_not_inherited(void)
{
	_stui();
	child_passes(child_start(its_flag_is_clear, "process"));
	thread_join(thread_start(thread_with_a_clear_flag, NULL));
	receiver(0);
	child_passes(child_start(its_flag_is_clear, "process"));
	thread_join(thread_start(thread_with_a_clear_flag, NULL));
	ktap_check(_testui(), "UIF of the parent is clear");
}

static void stui_and_clui_set_uif(void)
{
	ktap_ok(uintr_register_handler(count_hit, 0));
	_stui();
	ktap_check(_testui(), "UIF is clear after STUI");
	getppid();
	ktap_check(_testui(), "UIF is clear after a system call");
	_clui();
	ktap_check(!_testui(), "UIF is set after CLUI");
	getppid();
	ktap_check(!_testui(), "UIF is set after a system call");
}

static void masked_until_stui(void)
{
	struct sender s;
	int i;

	sender_start(&s, receiver(0));
	for (i = 1; i <= 20; i++) {
		_clui();
		sender_send(&s);
		getppid();
		ktap_check(hits == (unsigned long)i - 1, "delivered with UIF clear");
		_stui();
		ktap_assert(spin_until(hits == (unsigned long)i), "not delivered after STUI");
	}
	_clui();
	sender_send(&s);
	sleep_ms(NEVER_MS);
	ktap_check(hits == 20, "delivered with UIF clear");
	sender_stop(&s);
}

static volatile int uif_in_handler = -1;

static UINTR_HANDLER void look_at_uif(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	(void)vector;
	uif_in_handler = uintr_insn_testui();
	hits++;
}

static void uif_is_clear_in_handler_and_set_after(void)
{
	int index;

	ktap_ok(uintr_register_handler(look_at_uif, 0));
	index = sender_to(ktap_ok(uintr_create_fd(0, 0)));
	_stui();
	_senduipi(index);
	ktap_assert(spin_until(hits == 1), "not delivered");
	ktap_check(uif_in_handler == 0, "UIF in the handler is %d", uif_in_handler);
	ktap_check(_testui(), "UIF is clear after UIRET");
}

static void is_delivered_once(void)
{
	int index = sender_to(receiver(0)), i;

	_stui();
	_senduipi(index);
	ktap_assert(spin_until(hits == 1), "not delivered");
	for (i = 0; i < 1000; i++)
		getppid();
	sleep_ms(NEVER_MS);
	_clui();
	_stui();
	ktap_check(hits == 1, "one interrupt was handled %lu times", hits);
}

static void in_a_loop_of_system_calls(void)
{
	pid_t parent = getppid();
	struct sender s;
	int i, wrong = 0;

	pin_to(0);
	sender_start(&s, receiver(0));
	_stui();
	for (i = 1; !enough(i); i++) {
		uint64_t start = now_ns();

		sender_ask(&s);
		while (hits < (unsigned long)i && now_ns() - start < SOON_MS * 1000000ULL)
			wrong += syscall(SYS_getppid) != parent;
		ktap_assert(hits >= (unsigned long)i, "interrupt %d is lost", i);
	}
	sender_stop(&s);
	ktap_check(hits == (unsigned long)i - 1, "sent %d, handled %lu", i - 1, hits);
	ktap_check(!wrong, "%d system calls gave a wrong result", wrong);
}

static void while_it_migrates(void)
{
	struct sender s;
	int i;

	if (cpu_count() < 2)
		ktap_skip("one CPU: there is nowhere to migrate to");
	sender_start(&s, receiver(0));
	_stui();
	for (i = 1; !enough(i); i++) {
		sender_ask(&s);
		pin_to(i);
		ktap_assert(spin_until(hits >= (unsigned long)i), "interrupt %d is lost", i);
	}
	sender_stop(&s);
	ktap_check(hits == (unsigned long)i - 1, "sent %d, handled %lu", i - 1, hits);
}

static void *runs_for_cpu(void *arg)
{
	pin_to(0);
	while (!shared_load((bool *)arg))
		__builtin_ia32_pause();
	return NULL;
}

static void while_it_is_preempted(void)
{
	struct sender s;
	bool stop = false;
	pthread_t rival;
	int i;

	/* A rival on the same CPU: the interrupt often comes while the receiver is off it. */
	pin_to(0);
	rival = thread_start(runs_for_cpu, &stop);
	sender_start(&s, receiver(0));
	_stui();
	for (i = 1; i <= 40; i++) {
		sender_ask(&s);
		sched_yield();
		ktap_assert(spin_until(hits >= (unsigned long)i), "interrupt %d is lost", i);
	}
	shared_store(&stop, true);
	thread_join(rival);
	sender_stop(&s);
	ktap_check(hits == 40, "sent 40, handled %lu", hits);
}

/* Local timer interrupts that this CPU has had (LOC in /proc/interrupts), or -1. */
static long timer_interrupts(int cpu)
{
	char line[4096], name[16], *at;
	int column = -1, i;
	long count = -1;
	FILE *f;

	f = fopen("/proc/interrupts", "re");
	if (!f)
		return -1;
	snprintf(name, sizeof(name), "CPU%d", cpu);
	if (fgets(line, sizeof(line), f))
		for (i = 0, at = strtok(line, " \n"); at; at = strtok(NULL, " \n"), i++)
			if (!strcmp(at, name))
				column = i;
	while (column >= 0 && fgets(line, sizeof(line), f)) {
		at = strstr(line, "LOC:");
		if (!at)
			continue;
		for (i = 0, at += 4; i <= column; i++)
			count = strtol(at, &at, 10);
		break;
	}
	fclose(f);
	return count;
}

#define AT_ONCE_ROUNDS	600
#define AT_ONCE_ENOUGH	8

struct at_once {
	int fd;
	int cpu;
	pid_t receiver;
	int event;			/* tied to the vector, or -1 */
	int interrupts, signals;	/* that came without a tick */
	int rounds;			/* in which the signals came */
	bool done;
};

static volatile unsigned long signals_had;

static void count_signal(int sig)
{
	(void)sig;
	signals_had++;
}

/* How many of at most AT_ONCE_ROUNDS notifications come while a CPU has no tick. */
static int without_tick(struct at_once *a, int index, volatile unsigned long *had, int *rounds)
{
	unsigned long i, start = *had;
	uint64_t one = 1;
	int count = 0;
	long before;

	for (i = 1; i <= AT_ONCE_ROUNDS && count < AT_ONCE_ENOUGH; i++) {
		before = timer_interrupts(a->cpu);
		if (index >= 0 && a->event >= 0)
			ktap_ok(write(a->event, &one, sizeof(one)));
		else if (index >= 0)
			_senduipi(index);
		else
			ktap_ok(syscall(SYS_tgkill, getpid(), a->receiver, SIGUSR1));
		ktap_assert(spin_until(*had >= start + i), "notification %lu is lost", i);
		count += timer_interrupts(a->cpu) == before;
	}
	*rounds = i - 1;
	return count;
}

static void *counts_ticks(void *arg)
{
	struct at_once *a = arg;
	int index, rounds, again;

	pin_to(1);
	index = sender_to(a->fd);
	a->interrupts = without_tick(a, index, &hits, &rounds);
	if (a->interrupts < AT_ONCE_ENOUGH) {
		a->signals = without_tick(a, -1, &signals_had, &a->rounds);
		/* The machine may have been busier before than it was with signals. */
		again = without_tick(a, index, &hits, &rounds);
		if (again > a->interrupts)
			a->interrupts = again;
	}
	shared_store(&a->done, true);
	return NULL;
}

/*
 * A thread that computes on another CPU is interrupted at once, not when its CPU enters the kernel
 * for another reason, mostly the timer tick. So some interrupts must come in rounds in which that
 * CPU had no tick. A few are enough; the time of a round is not judged. A busy machine has ticks
 * in most rounds: there, such interrupts may be up to four times as rare as signals, which are
 * known to arrive at once. If signals never come without a tick either, the machine is too slow to
 * tell.
 */
static void at_once_from(bool kernel)
{
	struct at_once a = { .event = -1 };
	pthread_t thread;

	if (cpu_count() < 2)
		ktap_skip("one CPU: the sender runs only when the receiver does not");
	/* It was elsewhere before: interrupts go to where it is. */
	pin_to(1);
	a.fd = receiver(0);
	pin_to(0);
	a.cpu = sched_getcpu();
	a.receiver = gettid();
	if (timer_interrupts(a.cpu) < 0)
		ktap_skip("/proc/interrupts does not tell the timer interrupts");
	ktap_ok(signal(SIGUSR1, count_signal) == SIG_ERR ? -1 : 0);
#ifdef UINTR_FD_ATTACH
	if (kernel) {
		a.event = ktap_ok(eventfd(0, EFD_CLOEXEC));
		ktap_ok(ioctl(a.fd, UINTR_FD_ATTACH, a.event));
	}
#else
	if (kernel)
		ktap_skip("the kernel's ABI has no UINTR_FD_ATTACH");
#endif
	_stui();
	tsc_per_ms();
	thread = thread_start(counts_ticks, &a);
	while (!shared_load(&a.done))
		__builtin_ia32_pause();
	thread_join(thread);
	if (a.interrupts == AT_ONCE_ENOUGH)
		return;
	ktap_diag("without a timer tick: %d interrupts of %d, %d signals of %d", a.interrupts,
		  AT_ONCE_ROUNDS, a.signals, a.rounds);
	if (a.signals < AT_ONCE_ENOUGH)
		ktap_skip("a round takes longer than a tick, with signals as well");
	ktap_check(a.interrupts * 4 * a.rounds >= a.signals * AT_ONCE_ROUNDS,
		   "only %d came without a timer tick", a.interrupts);
}

static void at_once_and_not_with_the_tick(void)
{
	at_once_from(false);
}

/* The same for an interrupt that the kernel sends on a write to an eventfd. */
static void at_once_when_the_kernel_sends(void)
{
	at_once_from(true);
}

static volatile unsigned long hits_elsewhere;

static UINTR_HANDLER void count_elsewhere(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	(void)vector;
	hits_elsewhere++;
}

struct other {
	int fd;
	bool stop;
};

static void *other_receiver(void *arg)
{
	struct other *other = arg;

	ktap_ok(uintr_register_handler(count_elsewhere, 0));
	shared_store(&other->fd, ktap_ok(uintr_create_fd(0, 0)));
	_stui();
	ktap_check(spin_until(shared_load(&other->stop)), "not stopped");
	return NULL;
}

static void only_to_the_thread_that_registered(void)
{
	struct other other = { .fd = -1 };
	pthread_t thread = thread_start(other_receiver, &other);
	int here = sender_to(receiver(0)), there, i;

	ktap_assert(yield_until(shared_load(&other.fd) >= 0), "no fd");
	there = sender_to(other.fd);
	_stui();
	for (i = 1; i <= 20; i++) {
		_senduipi(here);
		ktap_assert(spin_until(hits >= (unsigned long)i), "lost here");
		_senduipi(there);
		ktap_assert(yield_until(hits_elsewhere >= (unsigned long)i), "lost there");
	}
	shared_store(&other.stop, true);
	thread_join(thread);
	ktap_check(hits == 20 && hits_elsewhere == 20, "20 each: %lu here, %lu there",
		   hits, hits_elsewhere);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(while_running_user_code, TASK-1, POST-8),
	KTAP_CASE(to_itself, TASK-3, POST-8),
	KTAP_CASE(uif_starts_clear, TASK-4, DELIVERY-2, HANDLER-15),
	KTAP_CASE(uif_is_not_inherited, TASK-4, TASK-5),
	KTAP_CASE(stui_and_clui_set_uif, INSN-17, TASK-6),
	KTAP_CASE(masked_until_stui, DELIVERY-2),
	KTAP_CASE(uif_is_clear_in_handler_and_set_after, FRAME-8, UIRET-1),
	KTAP_CASE(is_delivered_once, POST-8),
	KTAP_CASE(in_a_loop_of_system_calls, TASK-6, POST-8),
	KTAP_CASE(while_it_migrates, TASK-7),
	KTAP_CASE(while_it_is_preempted, TASK-8),
	KTAP_CASE(at_once_and_not_with_the_tick, TASK-2),
	KTAP_CASE(at_once_when_the_kernel_sends, TASK-2, EVENTFD-1),
	KTAP_CASE(only_to_the_thread_that_registered, HANDOVER-7),
};

KTAP_MAIN(cases, uintr_missing())
