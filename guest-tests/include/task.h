/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Threads, processes and waiting, for several programs.
 */
#ifndef GUEST_TESTS_TASK_H
#define GUEST_TESTS_TASK_H

#include "ktap.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <x86gprintrin.h>

/* Long enough for anything that must happen, on the slowest guest; a case fails after it. */
#define SOON_MS		8000
/* Time to wait for something that must not happen. */
#define NEVER_MS	60

static inline pid_t task_tid(void)
{
	return syscall(SYS_gettid);
}

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static inline void sleep_ms(unsigned int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/*
 * Time stamp counter ticks in a millisecond, measured once. If the measurement is preempted, the
 * figure is too large, and a wait too long, but never too short.
 */
static inline uint64_t tsc_per_ms(void)
{
	static uint64_t rate;
	uint64_t start, began, elapsed;

	if (!rate) {
		start = __rdtsc();
		began = now_ns();
		do {
			elapsed = now_ns() - began;
		} while (elapsed < 20000000);
		rate = (__rdtsc() - start) / (elapsed / 1000000) + 1;
	}
	return rate;
}

/*
 * Wait in user mode, without any system call, until the condition holds or SOON_MS have passed.
 * Returns true if it held.
 */
#define spin_until(cond) ({							\
	uint64_t spin_limit = tsc_per_ms() * SOON_MS, spin_start = __rdtsc();	\
	bool spin_ok;								\
	while (!(spin_ok = (cond)) && __rdtsc() - spin_start < spin_limit)	\
		__builtin_ia32_pause();						\
	spin_ok; })

/* The same, but yield the CPU, by system calls. */
#define yield_until(cond) ({							\
	uint64_t yield_start = now_ns();					\
	bool yield_ok;								\
	while (!(yield_ok = (cond)) &&						\
	       now_ns() - yield_start < SOON_MS * 1000000ULL)			\
		sched_yield();							\
	yield_ok; })

#define shared_load(p)		__atomic_load_n((p), __ATOMIC_SEQ_CST)
#define shared_store(p, v)	__atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define shared_add(p, v)	__atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)

/* The CPUs that this program was started with, before pin_to() reduced them. */
static inline const cpu_set_t *cpus(void)
{
	static cpu_set_t set;
	static bool known;

	if (!known) {
		if (sched_getaffinity(0, sizeof(set), &set))
			CPU_SET(0, &set);
		known = true;
	}
	return &set;
}

static inline int cpu_count(void)
{
	return CPU_COUNT(cpus());
}

/* Bind the calling thread to the n-th CPU of the program, modulo their number. */
static inline void pin_to(unsigned int n)
{
	cpu_set_t one;
	int cpu;

	n %= cpu_count();
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, cpus()) && n-- == 0)
			break;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	ktap_ok(sched_setaffinity(0, sizeof(one), &one));
}

/* The state letter of a thread in /proc, or '?'. */
static inline char task_state(pid_t pid, pid_t tid)
{
	char path[64], text[256], *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '?';
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return '?';
	text[n] = '\0';
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : '?';
}

/*
 * Wait until a thread is in this state ('S' blocked, 'T' stopped, 'Z' dead). If /proc is not
 * mounted, wait a while instead.
 */
static inline bool task_reaches(pid_t pid, pid_t tid, char state)
{
	uint64_t start = now_ns();
	char seen;

	while (now_ns() - start < SOON_MS * 1000000ULL) {
		seen = task_state(pid, tid);
		if (seen == state)
			return true;
		if (seen == '?') {
			sleep_ms(4 * NEVER_MS);
			return true;
		}
		sleep_ms(1);
	}
	return false;
}

static inline pthread_t thread_start(void *(*fn)(void *), void *arg)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, fn, arg);

	ktap_assert(!error, "pthread_create: %s", ktap_errno(error));
	return thread;
}

static inline void *thread_join(pthread_t thread)
{
	void *result = NULL;
	int error = pthread_join(thread, &result);

	ktap_assert(!error, "pthread_join: %s", ktap_errno(error));
	return result;
}

/*
 * Wait until a thread is gone from the kernel: pthread_join() returns a little before the kernel
 * has cleaned up after the thread.
 */
static inline void thread_vanishes(pid_t tid)
{
	ktap_assert(yield_until(syscall(SYS_tgkill, getpid(), tid, 0) == -1 && errno == ESRCH),
		    "thread %d does not end", tid);
}

/* Run a function in a new thread and wait for its end. */
static inline void *in_thread(void *(*fn)(void *), void *arg)
{
	return thread_join(thread_start(fn, arg));
}

/* Memory that children made by fork share with this process. */
static inline void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ktap_assert(p != MAP_FAILED, "mmap: %s", ktap_errno(errno));
	return p;
}

/* A child process that dies with this one, takes every fault by default, and runs fn(arg). */
static inline pid_t child_start(void (*fn)(void *), void *arg)
{
	static const int fatal[] = { SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGTRAP };
	pid_t parent = getpid(), pid;
	unsigned int i;

	fflush(stdout);
	pid = fork();
	ktap_assert(pid >= 0, "fork: %s", ktap_errno(errno));
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(KTAP_EXIT_FAIL);
	for (i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		signal(fatal[i], SIG_DFL);
	fn(arg);
	_exit(KTAP_EXIT_PASS);
}

/* Wait for a child's end; return its wait status. */
static inline int child_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		ktap_assert(errno == EINTR, "waitpid: %s", ktap_errno(errno));
	return status;
}

/* Wait for a child, which must exit with 0. */
static inline void child_passes(pid_t pid)
{
	int status = child_wait(pid);

	ktap_check(WIFEXITED(status) && WEXITSTATUS(status) == KTAP_EXIT_PASS,
		   "child: wait status 0x%x", status);
}

/* Wait for a child, which must be killed by this signal. */
static inline void child_dies(pid_t pid, int sig)
{
	int status = child_wait(pid);

	ktap_check(WIFSIGNALED(status) && WTERMSIG(status) == sig,
		   "child: expected death by SIG%s, got wait status 0x%x",
		   ktap_signal(sig), status);
}

/* Send an fd, with one byte, over a Unix socket. */
static inline void fd_send(int sock, int fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec io = { .iov_base = "f", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	ktap_ok(sendmsg(sock, &msg, 0));
}

static inline int fd_receive(int sock)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	char byte;
	struct iovec io = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	int fd = -1;

	ktap_ok(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC));
	c = CMSG_FIRSTHDR(&msg);
	ktap_assert(c && c->cmsg_type == SCM_RIGHTS, "no fd in the message");
	memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

/* One-byte pipes to take turns between processes and threads. */
struct turn {
	int fd[2];
};

static inline void turn_init(struct turn *t)
{
	ktap_ok(pipe(t->fd));
}

static inline void turn_give(struct turn *t)
{
	char byte = 't';

	while (write(t->fd[1], &byte, 1) != 1)
		ktap_assert(errno == EINTR, "turn: %s", ktap_errno(errno));
}

static inline void turn_take(struct turn *t)
{
	char byte;
	ssize_t n;

	while ((n = read(t->fd[0], &byte, 1)) != 1)
		ktap_assert(n < 0 && errno == EINTR, "turn: other side gone");
}

#endif /* GUEST_TESTS_TASK_H */
