// SPDX-License-Identifier: GPL-2.0
/*
 * Work of a fixed amount, timed from outside: one kind per run. It prints the
 * result of the work, which is the same on every correct machine.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t random_state = 88172645463325252u;

/* Marsaglia's xorshift64. */
static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Branches, calls through pointers, multiplication, division. */
static uint64_t integer(void)
{
	static uint64_t numbers[40000];
	const size_t count = sizeof(numbers) / sizeof(*numbers);
	uint64_t sum = 0;

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < count; i++)
			numbers[i] = next_random();
		qsort(numbers, count, sizeof(*numbers), compare);
		for (size_t i = 1; i < count; i++)
			sum = sum * 31 + numbers[i] % ((numbers[i] - numbers[i - 1]) | 1);
	}
	return sum;
}

/* A chain of dependent loads over more pages than any TLB holds, and copies. */
static uint64_t memory(void)
{
	const size_t count = 4u << 20;
	uint32_t *next = malloc(count * sizeof(*next));
	uint64_t sum = 0;
	uint32_t at = 0;

	if (!next)
		exit(1);
	for (size_t i = 0; i < count; i++)
		next[i] = (i * 2654435761u + 12345) % count;
	for (size_t i = 0; i < 400000; i++) {
		at = next[at] ^ (uint32_t)(i & 1023);
		sum += at;
	}
	for (int i = 0; i < 40; i++)
		memcpy(next + (i & 1 ? 0 : count / 2), next + (i & 1 ? count / 2 : 0), 1u << 20);
	sum += next[sum % count];
	free(next);
	return sum;
}

/* Doubles in SSE registers: additions, multiplications, divisions, roots. */
static uint64_t floating(void)
{
	enum { SIZE = 96 };
	static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];
	double sum = 0;

	for (int i = 0; i < SIZE; i++)
		for (int j = 0; j < SIZE; j++) {
			a[i][j] = 1.0 / (i + j + 1);
			b[i][j] = __builtin_sqrt(i * SIZE + j);
		}
	for (int round = 0; round < 40; round++)
		for (int i = 0; i < SIZE; i++)
			for (int j = 0; j < SIZE; j++) {
				double dot = 0;

				for (int k = 0; k < SIZE; k++)
					dot += a[i][k] * b[k][j];
				c[i][j] = dot / (round + 1);
				sum += c[i][j];
			}
	return (uint64_t)sum;
}

static uint64_t syscalls(void)
{
	uint64_t calls = 0;

	while (calls < 1500000) {
		syscall(SYS_getppid);
		calls++;
	}
	return calls;
}

/* Two tasks that pass a byte back and forth, with SSE registers in use. */
static uint64_t switches(void)
{
	const int rounds = 10000;
	double value = 1;
	int to[2], from[2];
	char byte = 0;

	if (pipe(to) || pipe(from))
		exit(1);
	pid_t child = fork();

	for (int i = 0; i < rounds; i++) {
		if (child) {
			if (write(to[1], &byte, 1) != 1 || read(from[0], &byte, 1) != 1)
				exit(1);
		} else if (read(to[0], &byte, 1) != 1 || write(from[1], &byte, 1) != 1) {
			_exit(1);
		}
		value = value * 1.0000001 + 1;
	}
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	return (uint64_t)value;
}

static volatile sig_atomic_t handled;

static void handler(int number)
{
	handled += number == SIGUSR1;
}

/* Signal frames, which hold the registers in the standard format. */
static uint64_t signals(void)
{
	struct sigaction action = { .sa_handler = handler };

	sigaction(SIGUSR1, &action, NULL);
	while (handled < 20000)
		raise(SIGUSR1);
	return (uint64_t)handled;
}

/* Page faults, mmap() and munmap(). */
static uint64_t faults(void)
{
	const size_t size = 256 * 4096;
	uint64_t sum = 0;

	for (int round = 0; round < 150; round++) {
		volatile char *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (at == MAP_FAILED)
			exit(1);
		for (size_t i = 0; i < size; i += 4096)
			sum += ++at[i];
		munmap((void *)at, size);
	}
	return sum;
}

/* Starts a thread on each CPU, and waits for all. */
static void on_each_cpu(void *(*body)(void *))
{
	pthread_t threads[64];
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	if (count > 64)
		exit(1);
	for (long i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, body, NULL))
			exit(1);
	for (long i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

enum { TURNS = 400000 };
static uint64_t turns;

/* A ticket lock that spins with PAUSE, as the locks of a kernel do. */
static void *take_turns(void *unused)
{
	static uint64_t next, served, last;

	(void)unused;
	while (!__atomic_load_n(&last, __ATOMIC_RELAXED)) {
		uint64_t mine = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);

		while (__atomic_load_n(&served, __ATOMIC_ACQUIRE) != mine)
			__builtin_ia32_pause();
		if (turns < TURNS)
			turns++;
		else
			__atomic_store_n(&last, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&served, mine + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static uint64_t tickets(void)
{
	on_each_cpu(take_turns);
	return turns;
}

static uint64_t opened;

/* Opens and closes in one table of files, which has one spin lock in the kernel. */
static void *open_files(void *unused)
{
	(void)unused;
	while (__atomic_fetch_add(&opened, 1, __ATOMIC_RELAXED) < 200000)
		close(dup(0));
	return NULL;
}

static uint64_t files(void)
{
	on_each_cpu(open_files);
	return opened >= 200000;
}

static uint64_t forked;

/* Processes that start, touch memory and end, as in a build. */
static void *fork_children(void *unused)
{
	(void)unused;
	while (__atomic_fetch_add(&forked, 1, __ATOMIC_RELAXED) < 1000) {
		pid_t child = vfork();

		if (child < 0)
			exit(1);
		if (!child) {
			execl("/proc/self/exe", "speed", "nothing", NULL);
			_exit(127);
		}
		int status;

		if (waitpid(child, &status, 0) != child || status)
			exit(1);
	}
	return NULL;
}

static uint64_t forks(void)
{
	on_each_cpu(fork_children);
	return forked >= 1000;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		uint64_t (*work)(void);
	} kinds[] = {
		{ "integer", integer },	  { "memory", memory },	    { "floating", floating },
		{ "syscalls", syscalls }, { "switches", switches }, { "signals", signals },
		{ "faults", faults },	  { "tickets", tickets },   { "files", files },
		{ "forks", forks },
	};

	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 0;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (argc > 1 && !strcmp(argv[1], kinds[i].name)) {
			printf("%llu\n", (unsigned long long)kinds[i].work());
			return 0;
		}
	return 2;
}
