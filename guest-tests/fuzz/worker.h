/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The threads of a script. They do one step at a time, in the order of the script, and wait for
 * their turn in between: blocked in the kernel, or in user mode. The thread that gives the turns
 * is on the first CPU, where a turn is a context switch and need not wake an idle CPU.
 */
#ifndef GUEST_TESTS_FUZZ_WORKER_H
#define GUEST_TESTS_FUZZ_WORKER_H

#include "trip.h"

#include <linux/futex.h>

#define THREADS_MAX	4
#define WORDS_MAX	64
#define RESULT_MAX	512
/* Beyond the numbers of a script's descriptors. */
#define OWN_FDS		500

enum task { TASK_TOUCH, TASK_RUN, TASK_END };

struct worker;

struct op {
	const char *name;
	void (*run)(struct worker *w, char **args);
	int args;
	bool blocks;
};

struct worker {
	bool spins;		/* while it waits for its turn */
	unsigned int cpu;	/* where it begins */
	pthread_t thread;
	pid_t tid;
	int stat_fd;		/* of its files in /proc */
	int syscall_fd;
	unsigned int command;	/* a futex: one more for each task */
	unsigned int done;	/* a futex: the last command that was done */
	enum task task;
	const struct op *op;
	char *args[WORDS_MAX];
	char text[RESULT_MAX];	/* where args point to */
	char result[RESULT_MAX];
	bool in_call;		/* near a system call that may block */
	bool busy;		/* blocked in it */
	bool unblocked;		/* it has ended since the last step */
	int uif;
	struct log log;
};

static struct worker workers[THREADS_MAX];
static unsigned int worker_count;

static void futex_wait(unsigned int *word, unsigned int value, long timeout_ns)
{
	struct timespec limit = { .tv_nsec = timeout_ns };

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns ? &limit : NULL);
}

static void futex_wake(unsigned int *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}

static void await_turn(struct worker *w, unsigned int seen)
{
	unsigned int rounds = 0;

	while (shared_load(&w->command) == seen) {
		if (!w->spins)
			futex_wait(&w->command, seen, 0);
		else if (++rounds % 20000)
			__builtin_ia32_pause();
		else
			sched_yield();
	}
}

static void *worker_main(void *arg)
{
	static __thread char stack[65536];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct worker *w = arg;
	unsigned int seen = 0;
	int i;

	own_log = &w->log;
	sigaltstack(&alternate, NULL);
	pin_to(w->cpu);
	shared_store(&w->tid, task_tid());
	futex_wake((unsigned int *)&w->tid);
	for (;;) {
		await_turn(w, seen);
		seen = shared_load(&w->command);
		if (w->task == TASK_END)
			return NULL;
		if (w->task == TASK_RUN) {
			w->op->run(w, w->args);
			shared_store(&w->in_call, false);
		} else {
			/* An interrupt that is on its way to a CPU needs some instructions. */
			for (i = 0; i < 50; i++)
				__builtin_ia32_pause();
			w->uif = _testui();
		}
		shared_store(&w->done, seen);
		futex_wake(&w->done);
	}
}

static int worker_file(const struct worker *w, const char *name)
{
	char path[64];
	int fd, own;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", w->tid, name);
	fd = ktap_ok(open(path, O_RDONLY | O_CLOEXEC));
	own = ktap_ok(fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS));
	close(fd);
	return own;
}

static void worker_start(struct worker *w)
{
	w->command = w->done = 0;
	w->tid = 0;
	w->busy = w->unblocked = w->in_call = false;
	w->log.armed = 0;
	ktap_assert(!pthread_create(&w->thread, NULL, worker_main, w), "no thread");
	while (!shared_load(&w->tid))
		futex_wait((unsigned int *)&w->tid, 0, 0);
	w->stat_fd = worker_file(w, "stat");
	w->syscall_fd = worker_file(w, "syscall");
}

/*
 * Return whether the thread sleeps and has left its CPU. Its state letter changes a moment too
 * early: what is sent in that moment ends the sleep only when that CPU gets to it. Reading the
 * other file waits until the CPU is left, and gives "running" if the sleep has ended; but there a
 * thread that is being woken looks like one that sleeps.
 */
static bool worker_sleeps(const struct worker *w)
{
	char text[256], *state;
	ssize_t n = pread(w->stat_fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return false;
	text[n] = '\0';
	state = strrchr(text, ')');
	if (!state || strncmp(state, ") S", 3))
		return false;
	return pread(w->syscall_fd, text, sizeof(text), 0) > 0 && text[0] != 'r';
}

static void worker_ask(struct worker *w, enum task task)
{
	w->task = task;
	shared_store(&w->command, w->command + 1);
	futex_wake(&w->command);
}

/* Wait until the worker has done its task, or is blocked in it. Returns true if it is done. */
static bool worker_finishes(struct worker *w)
{
	bool may_block = w->task == TASK_RUN && w->op->blocks;
	unsigned int done;

	while ((done = shared_load(&w->done)) != w->command) {
		if (may_block && shared_load(&w->in_call) && worker_sleeps(w) &&
		    shared_load(&w->done) != w->command)
			return false;
		futex_wait(&w->done, done, may_block ? 50000 : 100000000);
	}
	return true;
}

/* End the thread, and wait until it is gone from the kernel. */
static void worker_end(struct worker *w)
{
	worker_ask(w, TASK_END);
	ktap_assert(!pthread_join(w->thread, NULL), "no end of a thread");
	while (!syscall(SYS_tgkill, getpid(), w->tid, 0))
		sched_yield();
	close(w->stat_fd);
	close(w->syscall_fd);
}

#endif /* GUEST_TESTS_FUZZ_WORKER_H */
