// SPDX-License-Identifier: GPL-2.0
/*
 * A receiver that waits in user mode, by TPAUSE and UMWAIT. A user interrupt ends the wait and is
 * delivered behind it, whether the processor delivers it or the kernel interrupts the thread to do
 * so.
 *
 * A wait may also end for no reason that software can see, and a tick of the kernel ends it. So one
 * wait proves nothing. If IA32_UMWAIT_CONTROL ended it, CF is set: what is said to end a wait must
 * leave CF clear in most rounds, with a limit of less than a tick, and a time that never comes.
 */
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"
#include "umwait.h"

#include <sys/time.h>

#define CONTROL		"/sys/devices/system/cpu/umwait_control/max_time"
/* Ticks of the time stamp counter: under 1 ms, but enough for the other side to end the wait. */
#define LIMIT		2000000
/* Rounds with CF clear in excess of those with CF set. */
#define CLEAR		10

/* Wait until this time, with all arithmetic flags set before. Returns RFLAGS behind TPAUSE. */
uint64_t tpause_until(uint64_t time);
extern char tpause_behind[];

asm(
"	.pushsection .text\n"
"	.type tpause_until, @function\n"
"tpause_until:\n"
"	mov %rdi, %rax\n"
"	mov %rdi, %rdx\n"
"	shr $32, %rdx\n"
"	xor %ecx, %ecx\n"
"	push $0x8d7\n"
"	popfq\n"
"	tpause %ecx\n"
"tpause_behind:\n"
"	pushfq\n"
"	pop %rax\n"
"	ret\n"
"	.popsection\n"
);

/* Written by nobody, or by the thread that stores. */
static volatile unsigned long word __attribute__((aligned(64)));

static uint64_t pause_until(uint64_t time)
{
	return tpause_until(time);
}

static uint64_t watch_until(uint64_t time)
{
	return umwait_while(&word, 0, time);
}

/* Either instruction, and where a wait by it ends. */
static const struct wait {
	uint64_t (*until)(uint64_t time);
	const char *behind;
} tpause = { pause_until, tpause_behind }, umwait = { watch_until, umwait_behind };

/* --- the limit ----------------------------------------------------------------------------- */

static unsigned long limit_change(unsigned long limit)
{
	unsigned long old;
	char text[32];
	ssize_t n;
	int fd;

	fd = open(CONTROL, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		ktap_skip("%s cannot be changed (%s)", CONTROL, ktap_errno(errno));
	n = ktap_ok(read(fd, text, sizeof(text) - 1));
	text[n] = '\0';
	old = strtoul(text, NULL, 10);
	ktap_ok(dprintf(fd, "%lu", limit));
	close(fd);
	return old;
}

/* Run a function in a process of its own while IA32_UMWAIT_CONTROL has this limit; 0 is none. */
static void with_limit(unsigned long limit, void (*fn)(void *), const struct wait *wait)
{
	unsigned long old = limit_change(limit);

	child_passes(child_start(fn, (void *)wait));
	limit_change(old);
}

/* How waits ended, by those that count. */
struct ends {
	uint64_t began;
	int clear, set;
};

/* Whether another round is needed; fails the case if the waits do not end as they should. */
static bool more(struct ends *ends)
{
	if (!ends->began)
		ends->began = now_ns();
	if (ends->clear - ends->set >= CLEAR) {
		ktap_diag("%d with CF clear, %d ended by the limit", ends->clear, ends->set);
		return false;
	}
	ktap_assert(now_ns() - ends->began < SOON_MS * 1000000ULL,
		    "%d with CF clear, %d ended by the limit", ends->clear, ends->set);
	return true;
}

static void note(struct ends *ends, uint64_t rflags)
{
	if (rflags & FLAG_CF)
		ends->set++;
	else
		ends->clear++;
}

/* --- user interrupts ----------------------------------------------------------------------- */

static void is_interrupted(void *arg)
{
	const struct wait *wait = arg;
	struct ends ends = {};
	struct sender s;

	pin_to(0);
	ktap_ok(uintr_register_handler(raw_entry, 0));
	sender_start(&s, ktap_ok(uintr_create_fd(9, 0)));
	_stui();
	tsc_per_ms();
	while (more(&ends)) {
		uint64_t before = raw_count, start = __rdtsc();
		const struct raw_frame *frame = &raw_log[before % RAW_LOG];

		sender_ask(&s);
		while (raw_count == before) {
			wait->until(UMWAIT_FOREVER);
			ktap_assert(__rdtsc() - start < tsc_per_ms() * SOON_MS,
				    "interrupt %lu is lost", before + 1);
		}
		ktap_assert(raw_count == before + 1 && frame->vector == 9, "%lu came, vector %lu",
			    raw_count - before, frame->vector);
		if (frame->rip == (uintptr_t)wait->behind)
			note(&ends, frame->rflags);
	}
	sender_stop(&s);
	ktap_check(raw_count == s.sent, "%lu sent, %lu handled", s.sent, raw_count);
}

static void needs_two_cpus(void)
{
	if (cpu_count() < 2)
		ktap_skip("one CPU: nobody acts while the receiver waits");
}

static void user_interrupt_ends_tpause(void)
{
	needs_two_cpus();
	with_limit(LIMIT, is_interrupted, &tpause);
}

static void user_interrupt_ends_umwait(void)
{
	needs_two_cpus();
	with_limit(LIMIT, is_interrupted, &umwait);
}

/*
 * With UIF clear the interrupt is neither delivered nor lost. The wait may end or go on: a processor
 * takes the notification, and a kernel that emulates leaves the thread alone.
 */
static void masked_in(const struct wait *wait)
{
	struct sender s;
	int i, waits = 0;

	pin_to(0);
	sender_start(&s, receiver(0));
	for (i = 1; i <= 20; i++) {
		_clui();
		sender_ask(&s);
		do {
			wait->until(UMWAIT_FOREVER);
			waits++;
		} while (shared_load(&s.sent) != (unsigned long)i);
		wait->until(UMWAIT_FOREVER);
		ktap_assert(hits == (unsigned long)i - 1, "delivered with UIF clear");
		ktap_assert(!_testui(), "UIF is set after the wait");
		_stui();
		ktap_assert(spin_until(hits == (unsigned long)i), "not delivered after STUI");
	}
	sender_stop(&s);
	ktap_diag("%d waits", waits);
}

static void masked_in_tpause(void)
{
	masked_in(&tpause);
}

static void masked_in_umwait(void)
{
	masked_in(&umwait);
}

/* The loop that latencies are measured with: the handler closes the gap before UMWAIT. */
static volatile unsigned long arrived;

static UINTR_HANDLER void arrive(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)vector;
	arrived++;
	umwait_fix(&frame->rip);
}

static void each_is_handled_once(void)
{
	uint64_t deadline = now_ns() + 3000000000ULL;
	unsigned long i, rounds = 3000, waits = 0;
	struct sender s;
	unsigned int delay;

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
		while (arrived < i)
			waits += umwait_while(&arrived, i - 1, UMWAIT_FOREVER) != 0;
		ktap_assert(arrived == i, "round %lu: %lu arrived", i, arrived);
	}
	sender_stop(&s);
	ktap_diag("%lu waits in %lu rounds", waits, rounds);
}

/* --- what else ends a wait ----------------------------------------------------------------- */

static void waits_for_the_time(void *arg)
{
	const struct wait *wait = arg;
	int i;

	for (i = 0; i < 100; i++) {
		/* A time before the limit; each second one is in the past. */
		uint64_t rflags = wait->until(i % 2 ? 0 : __rdtsc() + LIMIT / 20);

		ktap_assert(!(rflags & FLAG_ARITHMETIC), "RFLAGS 0x%lx", rflags);
	}
}

static void time_ends_both(void)
{
	with_limit(LIMIT, waits_for_the_time, &tpause);
	with_limit(LIMIT, waits_for_the_time, &umwait);
	with_limit(0, waits_for_the_time, &tpause);
	with_limit(0, waits_for_the_time, &umwait);
}

/* Each CPU has its own MSR, and the kernel sets them all. */
static void waits_for_the_limit(void *arg)
{
	const struct wait *wait = arg;
	uint64_t rflags;
	int cpu;

	for (cpu = 0; cpu < cpu_count(); cpu++) {
		pin_to(cpu);
		ktap_assert(spin_until((rflags = wait->until(UMWAIT_FOREVER)) & FLAG_CF),
			    "CPU %d: the limit does not end it", cpu);
		ktap_check(!(rflags & FLAG_ARITHMETIC & ~FLAG_CF), "RFLAGS 0x%lx", rflags);
	}
}

static void waits_without_a_limit(void *arg)
{
	const struct wait *wait = arg;
	int cpu, i;

	for (cpu = 0; cpu < cpu_count(); cpu++) {
		pin_to(cpu);
		for (i = 0; i < 10; i++)
			ktap_assert(!(wait->until(UMWAIT_FOREVER) & FLAG_CF),
				    "CPU %d: ended by a limit that is not there", cpu);
	}
}

static void limit_sets_cf(void)
{
	with_limit(LIMIT / 100, waits_for_the_limit, &tpause);
	with_limit(LIMIT / 100, waits_for_the_limit, &umwait);
}

static void no_limit_leaves_cf(void)
{
	with_limit(0, waits_without_a_limit, &tpause);
	with_limit(0, waits_without_a_limit, &umwait);
}

struct storer {
	unsigned long asked;
	bool stop;
};

static void *stores(void *arg)
{
	struct storer *storer = arg;

	pin_to(1);
	while (!shared_load(&storer->stop)) {
		if (shared_load(&storer->asked) > word)
			word++;
		else
			sched_yield();
	}
	return NULL;
}

static void is_stored_to(void *unused)
{
	struct storer storer = {};
	struct ends ends = {};
	pthread_t thread;
	uint64_t rflags;
	unsigned long i;

	(void)unused;
	pin_to(0);
	thread = thread_start(stores, &storer);
	for (i = 1; more(&ends); i++) {
		rflags = 0;
		shared_store(&storer.asked, i);
		while (word != i)
			rflags = umwait_while(&word, i - 1, UMWAIT_FOREVER);
		if (rflags)
			note(&ends, rflags);
	}
	shared_store(&storer.stop, true);
	thread_join(thread);
}

static void store_ends_umwait(void)
{
	needs_two_cpus();
	with_limit(LIMIT, is_stored_to, &umwait);
}

static struct {
	const char *behind;
	struct ends ends;
	volatile unsigned long count;
} signals;

static void look_at_context(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	(void)sig;
	(void)info;
	if (uc->uc_mcontext.gregs[REG_RIP] == (greg_t)signals.behind)
		note(&signals.ends, uc->uc_mcontext.gregs[REG_EFL]);
	signals.count++;
}

/* The receiver's own timer: its interrupt ends the wait, and the wait is not begun again. */
static void is_signalled(void *arg)
{
	struct sigaction action = { .sa_sigaction = look_at_context, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerval timer = { .it_interval.tv_usec = 1500, .it_value.tv_usec = 1500 };
	const struct wait *wait = arg;
	unsigned long before = 0;

	signals.behind = wait->behind;
	receiver(0);
	_stui();
	ktap_ok(sigaction(SIGALRM, &action, NULL));
	ktap_ok(setitimer(ITIMER_REAL, &timer, NULL));
	for (; more(&signals.ends); before = signals.count)
		while (signals.count == before)
			wait->until(UMWAIT_FOREVER);
	ktap_check(_testui() && !hits, "UIF is %d, %lu interrupts", _testui(), hits);
}

static void signal_ends_tpause(void)
{
	with_limit(LIMIT, is_signalled, &tpause);
}

static void signal_ends_umwait(void)
{
	with_limit(LIMIT, is_signalled, &umwait);
}

static const char *missing(void)
{
	const char *reason = uintr_missing();

	return reason ? reason : waitpkg_missing();
}

static const struct ktap_case cases[] = {
	KTAP_CASE(user_interrupt_ends_tpause, DELIVERY-20),
	KTAP_CASE(user_interrupt_ends_umwait, DELIVERY-20),
	KTAP_CASE(masked_in_tpause, DELIVERY-2, WAITPKG-8),
	KTAP_CASE(masked_in_umwait, DELIVERY-2, WAITPKG-8),
	KTAP_CASE(each_is_handled_once, SEND-25),
	KTAP_CASE(time_ends_both, WAITPKG-2),
	KTAP_CASE(limit_sets_cf, WAITPKG-2, WAITPKG-3, WAITPKG-9),
	KTAP_CASE(no_limit_leaves_cf, WAITPKG-2, WAITPKG-9),
	KTAP_CASE(store_ends_umwait, WAITPKG-7),
	KTAP_CASE(signal_ends_tpause, WAITPKG-7, WAITPKG-10),
	KTAP_CASE(signal_ends_umwait, WAITPKG-7, WAITPKG-10),
};

KTAP_MAIN(cases, missing())
