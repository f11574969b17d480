// SPDX-License-Identifier: GPL-2.0
/*
 * Two pairs of threads send to each other in turns: one receiver runs, the other waits. Meanwhile
 * they are disturbed from outside. A send is answered before the next one, so a single lost one
 * stops its pair forever.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"
#include "wait.h"

#include <sys/ptrace.h>
#include <sys/sysinfo.h>

enum { PAIRS = 2, WAITS = 1 };

#define DISTURBED_MS	1500

struct pair {
	volatile unsigned long sent;
	volatile unsigned long handled;
	int fd;
	bool connected;
	pid_t receiver, sender;
};

struct scene {
	struct pair pairs[PAIRS];
	bool stop;
	unsigned long faults;	/* what a disturbance could not do, and should have */
};

static struct scene *scene;
static __thread struct pair *mine;

static UINTR_HANDLER void answer(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)vector;
	mine->handled = mine->sent;
	wait_fix(frame);
}

static void *receives(void *arg)
{
	struct pair *pair = arg;

	mine = pair;
	ktap_ok(uintr_register_handler(answer, pair == &scene->pairs[WAITS] ? UINTR_WAKES : 0));
	pair->fd = ktap_ok(uintr_create_fd(3, 0));
	shared_store(&pair->receiver, task_tid());
	_stui();
	while (!shared_load(&scene->stop)) {
		if (pair == &scene->pairs[WAITS])
			wait_while(&pair->handled, pair->handled);
		else
			__builtin_ia32_pause();
	}
	return NULL;
}

static void *sends(void *arg)
{
	struct pair *pair = arg;
	int index;

	ktap_assert(yield_until(shared_load(&pair->receiver)), "no receiver");
	index = ktap_ok(uintr_register_sender(pair->fd, 0));
	shared_store(&pair->sender, task_tid());
	while (!shared_load(&scene->stop)) {
		pair->sent++;
		_senduipi(index);
		while (pair->handled != pair->sent && !shared_load(&scene->stop))
			sched_yield();
	}
	/* So that a receiver that waits sees the end. */
	pair->sent++;
	_senduipi(index);
	return NULL;
}

static void nothing(int sig)
{
	(void)sig;
}

static void play(void *arg)
{
	pthread_t threads[2 * PAIRS];
	int i;

	(void)arg;
	signal(SIGUSR1, nothing);
	for (i = 0; i < PAIRS; i++) {
		threads[2 * i] = thread_start(receives, &scene->pairs[i]);
		threads[2 * i + 1] = thread_start(sends, &scene->pairs[i]);
	}
	for (i = 0; i < 2 * PAIRS; i++)
		thread_join(threads[i]);
}

static bool all_go_on(const unsigned long *before)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		if (scene->pairs[i].handled < before[i] + 20)
			return false;
	return true;
}

/* Check that each pair makes progress. */
static void check_progress(const char *when)
{
	unsigned long before[PAIRS];
	int i;

	for (i = 0; i < PAIRS; i++)
		before[i] = scene->pairs[i].handled;
	if (yield_until(all_go_on(before)))
		return;
	for (i = 0; i < PAIRS; i++)
		ktap_check(scene->pairs[i].handled >= before[i] + 20,
			   "%s: the receiver that %s has handled %lu of %lu", when,
			   i == WAITS ? "waits" : "runs", scene->pairs[i].handled,
			   scene->pairs[i].sent);
}

static bool all_are_there(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		if (!shared_load(&scene->pairs[i].sender))
			return false;
	return true;
}

/* Disturb the threads of a child repeatedly, then check that they still make progress. */
static void disturb(void (*fn)(pid_t child, unsigned long round))
{
	unsigned long round = 0;
	uint64_t start;
	pid_t child;

	need_uintr_wait();
	scene = shared_memory(sizeof(*scene));
	child = child_start(play, NULL);
	ktap_assert(yield_until(all_are_there()), "the threads did not start");
	check_progress("before");
	start = now_ns();
	while (now_ns() - start < DISTURBED_MS * 1000000ULL)
		fn(child, round++);
	check_progress("afterwards");
	ktap_check(!scene->faults, "%lu of %lu disturbances failed", scene->faults, round);
	shared_store(&scene->stop, true);
	child_passes(child);
}

static pid_t thread_of(unsigned long n)
{
	struct pair *pair = &scene->pairs[n / 2 % PAIRS];

	return n % 2 ? pair->sender : pair->receiver;
}

static void move(pid_t child, unsigned long round)
{
	cpu_set_t set;

	(void)child;
	CPU_ZERO(&set);
	CPU_SET(round / 4 % cpu_count(), &set);
	if (sched_setaffinity(thread_of(round), sizeof(set), &set))
		scene->faults++;
	if (round % 4 == 3)
		sleep_ms(1);
}

static void moved_between_cpus(void)
{
	if (cpu_count() < 2)
		ktap_skip("needs two CPUs");
	disturb(move);
}

static void stop_and_continue(pid_t child, unsigned long round)
{
	kill(child, SIGSTOP);
	sleep_ms(round % 3);
	kill(child, SIGCONT);
	sleep_ms(round % 2);
}

static void stopped_and_continued(void)
{
	disturb(stop_and_continue);
}

static void signal_one(pid_t child, unsigned long round)
{
	syscall(SYS_tgkill, child, thread_of(round), SIGUSR1);
	if (round % 16 == 15)
		sched_yield();
}

static void shot_at_with_signals(void)
{
	disturb(signal_one);
}

/* Wait until a traced thread stops, and return the signal that stopped it; 0 if none does. */
static int traced_stop(pid_t tid)
{
	int status;

	if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status))
		return 0;
	return WSTOPSIG(status);
}

static void trace(pid_t tid, unsigned int steps)
{
	int sig;

	if (ptrace(PTRACE_ATTACH, tid, 0, 0) || !traced_stop(tid)) {
		scene->faults++;
		return;
	}
	while (steps--) {
		if (ptrace(PTRACE_SINGLESTEP, tid, 0, 0))
			break;
		sig = traced_stop(tid);
		if (sig != SIGTRAP) {
			scene->faults++;
			break;
		}
	}
	if (ptrace(PTRACE_DETACH, tid, 0, 0))
		scene->faults++;
}

static void attach(pid_t child, unsigned long round)
{
	(void)child;
	trace(thread_of(round), 0);
}

static void attached_to_and_let_go(void)
{
	disturb(attach);
}

/* A thread that waits makes no step before it is woken. */
static void step(pid_t child, unsigned long round)
{
	struct pair *pair = &scene->pairs[!WAITS];

	(void)child;
	trace(round % 2 ? pair->sender : pair->receiver, 50);
}

static void single_stepped(void)
{
	disturb(step);
}

static bool tell(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return done;
}

static bool cpu_online(int cpu, bool online)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return tell(path, online ? "1" : "0");
}

static int last_cpu;

static void unplug(pid_t child, unsigned long round)
{
	int cpu = 1 + round % last_cpu;

	(void)child;
	if (!cpu_online(cpu, false)) {
		scene->faults++;
		return;
	}
	sleep_ms(5);
	if (!cpu_online(cpu, true))
		scene->faults++;
}

static void on_cpus_that_come_and_go(void)
{
	if (get_nprocs() < 2)
		ktap_skip("needs two CPUs");
	if (access("/sys/devices/system/cpu/cpu1/online", W_OK))
		ktap_skip("CPUs cannot be taken offline here");
	last_cpu = get_nprocs() - 1;
	disturb(unplug);
}

#define UINTR_MISC	0x988
#define MISC_UINV	(0xeaULL << 32)

/* After kexec a CPU has what the kernel before has left, here a notification vector. */
static void on_a_cpu_that_another_kernel_has_used(void)
{
	const uint64_t misc = MISC_UINV;
	int fd, index;

	if (get_nprocs() < 2)
		ktap_skip("needs two CPUs");
	fd = open("/dev/cpu/1/msr", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		ktap_skip("MSRs cannot be written (%s); fragment msr", ktap_errno(errno));
	if (pwrite(fd, &misc, sizeof(misc), UINTR_MISC) != sizeof(misc))
		ktap_skip("the processor has no user interrupts");
	close(fd);
	ktap_assert(cpu_online(1, false) && cpu_online(1, true), "CPU 1 does not go and come");
	pin_to(1);
	index = sender_to(receiver(0));
	_stui();
	_senduipi(index);
	ktap_check(spin_until(hits == 1), "nothing is delivered there");
}

#define POWER_STATE	"/sys/power/state"
#define WAKE_ALARM	"/sys/class/rtc/rtc0/wakealarm"

static void need_suspend(void)
{
	char states[64] = "";
	int fd = open(POWER_STATE, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, states, sizeof(states) - 1) <= 0 || !strstr(states, "mem"))
		ktap_skip("the machine cannot be suspended");
	close(fd);
	if (access(WAKE_ALARM, W_OK))
		ktap_skip("nothing would wake the machine up");
}

/* Long enough for the machine to be asleep by then. */
static void suspend(pid_t child, unsigned long round)
{
	(void)child;
	(void)round;
	if (!tell(WAKE_ALARM, "0") || !tell(WAKE_ALARM, "+5") || !tell(POWER_STATE, "mem"))
		scene->faults++;
}

static void over_a_suspend(void)
{
	need_suspend();
	disturb(suspend);
}

static volatile unsigned long own_hits;

static UINTR_HANDLER void own_hit(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	(void)vector;
	own_hits++;
}

/* The thread that has the machine suspended is not frozen with the others. */
static void of_the_thread_that_suspends(void)
{
	int index, i;

	need_suspend();
	scene = shared_memory(sizeof(*scene));
	ktap_ok(uintr_register_handler(own_hit, 0));
	index = ktap_ok(uintr_register_sender(ktap_ok(uintr_create_fd(3, 0)), 0));
	suspend(0, 0);
	ktap_assert(!scene->faults, "the machine was not suspended");
	_senduipi(index);
	ktap_check(own_hits == 0, "delivered with the flag clear");
	_stui();
	ktap_check(yield_until(own_hits == 1), "the first is lost");
	suspend(0, 0);
	ktap_assert(!scene->faults, "the machine was not suspended again");
	for (i = 2; i < 10; i++) {
		_senduipi(index);
		ktap_check(yield_until(own_hits == (unsigned long)i), "%d is lost", i);
	}
}

/* Use half of the free memory, so that the kernel must reclaim, but kills no process. */
static void take_memory(pid_t child, unsigned long round)
{
	struct sysinfo info;
	size_t size;
	char *p;

	(void)child;
	(void)round;
	if (sysinfo(&info))
		return;
	size = info.freeram / 2 * info.mem_unit;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p != MAP_FAILED)
		munmap(p, size);
}

static void short_of_memory(void)
{
	disturb(take_memory);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(moved_between_cpus, TASK-7),
	KTAP_CASE(stopped_and_continued, SIGNAL-7),
	KTAP_CASE(shot_at_with_signals, SIGNAL-1),
	KTAP_CASE(attached_to_and_let_go, TRACE-4),
	KTAP_CASE(single_stepped, TRACE-4),
	KTAP_CASE(on_cpus_that_come_and_go, TASK-9),
	KTAP_CASE(on_a_cpu_that_another_kernel_has_used, TASK-19),
	KTAP_CASE(over_a_suspend, TASK-10),
	KTAP_CASE(of_the_thread_that_suspends, TASK-10),
	KTAP_CASE(short_of_memory, TASK-11),
};

KTAP_MAIN(cases, uintr_missing())
