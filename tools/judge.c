// SPDX-License-Identifier: GPL-2.0
/*
 * judge MECHANISM FORM ROUNDS - two threads and one loop, which share no code with the bench.
 *
 * Prints the median and the mean, in nanoseconds, of a round trip: notify the other thread, wait
 * for its answer. FORM is "spins": on two CPUs, nobody sleeps; "sleeps": on two CPUs; "together":
 * both sleep on one CPU. Or of one way, on one CPU, to a thread that sleeps: "one-way": the sender
 * goes on once the other has answered; "paced": the way back of a round trip, before each of which
 * the CPU is idle for a millisecond, as in the programs of rt-tests.
 *
 * Exits with 4 if the kernel lacks the mechanism. Does not use the headers of guest-tests/, so that
 * a mistake there cannot be repeated here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86gprintrin.h>

#ifndef __NR_uintr_register_handler
#define __NR_uintr_register_handler	(-1)
#define __NR_uintr_create_fd		(-1)
#define __NR_uintr_register_sender	(-1)
#endif

static int in[2], out[2];		/* side N reads in[N]; its notifier writes out[N] */
static volatile int flag[2], ready[2];
static struct {
	uint32_t value;
} __attribute__((aligned(64))) word[2];
static uint32_t seen[2];
static long index_of[2];
static pid_t process, side_of[2];
static int rounds, spins, together, one_way, paced;
static volatile uint64_t sent, arrived;
static volatile int answered;
static const char *mechanism;

static void die(const char *what)
{
	int error = errno;

	perror(what);
	exit(error == ENOSYS || error == EOPNOTSUPP ? 4 : 1);
}

static int is(const char *name)
{
	return !strcmp(mechanism, name);
}

static void __attribute__((interrupt, target("general-regs-only")))
interrupted_0(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame, (void)vector;
	flag[0] = 1;
}

static void __attribute__((interrupt, target("general-regs-only")))
interrupted_1(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame, (void)vector;
	flag[1] = 1;
}

static void signalled(int number)
{
	flag[number == SIGUSR2] = 1;
}

static void tell_fd(int to)
{
	uint64_t one = 1;

	while (write(out[to], &one, is("eventfd") ? 8 : 1) < 0)
		if (errno != EAGAIN)
			die("write");
}

static void wait_fd(int me)
{
	uint64_t count;

	while (read(in[me], &count, is("eventfd") ? 8 : 1) < 0)
		if (errno != EAGAIN)
			die("read");
}

static void tell_futex(int to)
{
	__atomic_store_n(&word[to].value, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &word[to].value, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void wait_futex(int me)
{
	while (!__atomic_load_n(&word[me].value, __ATOMIC_SEQ_CST))
		if (!spins)
			syscall(SYS_futex, &word[me].value, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	__atomic_store_n(&word[me].value, 0, __ATOMIC_SEQ_CST);
}

/* One side writes each word, so that no instruction needs the bus lock. */
static void tell_count(int to)
{
	__atomic_store_n(&word[to].value, word[to].value + 1, __ATOMIC_RELEASE);
}

static void wait_count(int me)
{
	while (__atomic_load_n(&word[me].value, __ATOMIC_ACQUIRE) == seen[me])
		;
	seen[me]++;
}

static void tell_uintr(int to)
{
	_senduipi(index_of[to]);
}

/* Not pthread_kill(): the C library masks all signals around it, by two more system calls. */
static void tell_signal(int to)
{
	syscall(SYS_tgkill, process, side_of[to], to ? SIGUSR2 : SIGUSR1);
}

static void wait_flag(int me)
{
	while (!flag[me])
		;
	flag[me] = 0;
}

static void wait_signal(int me)
{
	sigset_t set;
	int got;

	sigemptyset(&set);
	sigaddset(&set, me ? SIGUSR2 : SIGUSR1);
	sigwait(&set, &got);
}

static void (*tell)(int), (*await)(int);

static void prepare(int me)
{
	cpu_set_t cpu;
	sigset_t set;
	long fd;

	CPU_ZERO(&cpu);
	CPU_SET(together ? 0 : me, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		die("sched_setaffinity");
	side_of[me] = gettid();
	if (is("signal")) {
		sigemptyset(&set);
		sigaddset(&set, me ? SIGUSR2 : SIGUSR1);
		pthread_sigmask(spins ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
	}
	if (is("uintr")) {
		if (syscall(__NR_uintr_register_handler, me ? interrupted_1 : interrupted_0, 0))
			die("uintr_register_handler");
		fd = syscall(__NR_uintr_create_fd, 0, 0);
		if (fd < 0)
			die("uintr_create_fd");
		in[me] = fd;
		_stui();
	}
	ready[me] = 1;
	while (!ready[!me])
		sched_yield();
	if (is("uintr")) {
		index_of[!me] = syscall(__NR_uintr_register_sender, in[!me], 0);
		if (index_of[!me] < 0)
			die("uintr_register_sender");
	}
	ready[me] = 2;
	while (ready[!me] != 2)
		sched_yield();
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void *other(void *unused)
{
	int i;

	prepare(1);
	for (i = 0; i < rounds; i++) {
		await(1);
		if (one_way) {
			arrived = now();
			answered = i + 1;
		} else {
			if (paced)
				sent = now();
			tell(0);
		}
	}
	return unused;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/*
 * What the clock itself takes, in ns. A round trip through shared memory takes hardly longer than
 * the C library's clock, and the bench reads a counter by one instruction.
 */
static uint64_t clock_cost(void)
{
	uint64_t took[1001], at;
	int i;

	for (i = 0; i < 1001; i++) {
		at = now();
		took[i] = now() - at;
	}
	qsort(took, 1001, sizeof(*took), by_size);
	return took[500];
}

static uint64_t round_trip(void)
{
	uint64_t at = now();

	tell(1);
	await(0);
	return now() - at;
}

/* The sender yields its CPU, so that the receiver runs; and once more, so that it sleeps again. */
static uint64_t one(int number)
{
	uint64_t at = now();

	tell(1);
	while (answered != number + 1)
		sched_yield();
	sched_yield();
	return arrived - at;
}

static uint64_t way_back(void)
{
	usleep(1000);
	tell(1);
	await(0);
	return now() - sent;
}

static void open_all(void)
{
	int flags = spins ? O_NONBLOCK : 0, fds[2], i;

	for (i = 0; i < 2; i++) {
		fds[0] = fds[1] = -1;
		if (is("eventfd"))
			fds[0] = fds[1] = eventfd(0, flags);
		else if (is("pipe") && pipe2(fds, flags))
			die("pipe");
		else if (is("unix") && socketpair(AF_UNIX, SOCK_STREAM | flags, 0, fds))
			die("socketpair");
		in[i] = fds[0];
		out[i] = fds[1];
	}
	signal(SIGUSR1, signalled);
	signal(SIGUSR2, signalled);
	tell = is("uintr") ? tell_uintr : is("signal") ? tell_signal :
	       is("futex") ? tell_futex : is("shm") ? tell_count : tell_fd;
	await = is("uintr") || (is("signal") && spins) ? wait_flag : is("signal") ? wait_signal :
		is("futex") ? wait_futex : is("shm") ? wait_count : wait_fd;
}

int main(int argc, char **argv)
{
	uint64_t *took, sum = 0, cost;
	pthread_t thread;
	int i;

	if (argc != 4 || (rounds = atoi(argv[3])) < 1)
		return 2;
	process = getpid();
	mechanism = argv[1];
	spins = !strcmp(argv[2], "spins");
	paced = !strcmp(argv[2], "paced");
	one_way = !strcmp(argv[2], "one-way");
	together = one_way || paced || !strcmp(argv[2], "together");
	took = calloc(rounds, sizeof(*took));
	open_all();
	pthread_create(&thread, NULL, other, NULL);
	prepare(0);
	cost = clock_cost();
	for (i = 0; i < rounds; i++) {
		took[i] = one_way ? one(i) : paced ? way_back() : round_trip();
		took[i] -= took[i] < cost ? took[i] : cost;
		sum += took[i];
	}
	pthread_join(thread, NULL);
	qsort(took, rounds, sizeof(*took), by_size);
	printf("median %llu mean %llu clock %llu\n", (unsigned long long)took[rounds / 2],
	       (unsigned long long)(sum / rounds), (unsigned long long)cost);
	return 0;
}
