// SPDX-License-Identifier: GPL-2.0
/*
 * Registering, closing and exiting while others send: a sender always gets one of the documented
 * results, and the kernel survives. Results that depend on timing are not judged, only the state
 * afterwards.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#define RACE_MS 1500

static inline bool until(uint64_t start)
{
	return now_ns() - start < RACE_MS * 1000000ULL;
}

/* The sender's side: it may fault at any time, and then it connects again. */
static int shared_fd = -1;
static bool race_over;
static uint64_t faults, connects_n, shots;

static void shoot_until_over(void *arg)
{
	uint64_t index = (uint64_t)arg;

	while (!shared_load(&race_over)) {
		_senduipi(index);
		shots++;
	}
}

static void *reconnects(void *arg)
{
	(void)arg;
	pin_to(1);
	while (!shared_load(&race_over)) {
		int index = uintr_register_sender(shared_load(&shared_fd), 0);
		struct fault fault;

		if (index < 0) {
			/* EOPNOTSUPP: the number is another file's by now */
			ktap_check(errno == EBADF || errno == ESHUTDOWN || errno == EISCONN ||
				   errno == EOPNOTSUPP, "connecting gave %s", ktap_errno(errno));
			sched_yield();
			continue;
		}
		connects_n++;
		fault = fault_of(shoot_until_over, (void *)(uint64_t)index);
		ktap_check(fault.sig == 0 || fault.sig == SIGSEGV, "SENDUIPI: signal %s",
			   fault_name(fault.sig));
		faults += fault.sig != 0;
	}
	return NULL;
}

static void end_race(pthread_t thread, uint64_t rounds)
{
	shared_store(&race_over, true);
	thread_join(thread);
	ktap_diag("%lu rounds, %lu connections, %lu cut, %lu sent, %lu handled", rounds,
		  connects_n, faults, shots, hits);
}

static void check_still_works(void)
{
	unsigned long before;
	int index;

	uintr_unregister_handler(0);
	index = sender_to(receiver(62));
	_stui();
	before = hits_of[62];
	_senduipi(index);
	ktap_check(spin_until(hits_of[62] == before + 1), "nothing works any more");
}

static void close_while_sending(void)
{
	uint64_t start = now_ns(), rounds = 0;
	pthread_t thread;

	pin_to(0);
	ktap_ok(uintr_register_handler(count_hit, 0));
	_stui();
	thread = thread_start(reconnects, NULL);
	while (until(start)) {
		int fd = ktap_ok(uintr_create_fd(rounds % 62, 0));

		shared_store(&shared_fd, fd);
		if (rounds++ % 4)
			sched_yield();
		else
			sleep_ms(1);
		close(fd);
	}
	end_race(thread, rounds);
	ktap_check(hits <= shots + faults, "%lu handled of %lu sent", hits, shots);
	check_still_works();
}

/* What was sent to an fd before its close is not delivered for the next fd of that vector. */
static void closed_while_sending_is_closed(void)
{
	uint64_t start = now_ns(), rounds = 0, before;
	pthread_t thread;
	int fd, i;

	pin_to(0);
	ktap_ok(uintr_register_handler(count_hit, 0));
	thread = thread_start(reconnects, NULL);
	for (; until(start); rounds++) {
		before = shared_load(&connects_n);
		fd = ktap_ok(uintr_create_fd(5, 0));
		shared_store(&shared_fd, fd);
		ktap_assert(yield_until(shared_load(&connects_n) > before), "nobody connects");
		for (i = rounds % 64; i; i--)
			__builtin_ia32_pause();
		/* Before the close, so that nobody takes the next fd for this one. */
		shared_store(&shared_fd, -1);
		close(fd);
		fd = ktap_ok(uintr_create_fd(5, 0));
		_stui();
		for (i = 0; i < 5; i++)
			getppid();
		_clui();
		ktap_assert(hits == 0, "round %lu: delivered to an fd without a sender", rounds);
		close(fd);
	}
	end_race(thread, rounds);
	check_still_works();
}

static void unregister_while_sending(void)
{
	uint64_t start = now_ns(), rounds = 0;
	pthread_t thread;

	pin_to(0);
	_stui();
	thread = thread_start(reconnects, NULL);
	while (until(start)) {
		int fd = receiver(rounds % 62);

		shared_store(&shared_fd, fd);
		sleep_ms(rounds++ % 2);
		ktap_ok(uintr_unregister_handler(0));
		if (rounds % 3 == 0)
			sleep_ms(1);
		close(fd);
	}
	end_race(thread, rounds);
	check_still_works();
}

static void *short_life(void *arg)
{
	int fd = receiver((uintptr_t)arg % 62);

	_stui();
	shared_store(&shared_fd, fd);
	sched_yield();
	if ((uintptr_t)arg % 3 == 0)
		sleep_ms(1);
	if ((uintptr_t)arg % 2)
		close(fd);
	return (void *)(uintptr_t)fd;
}

static void receivers_exit_while_sending(void)
{
	uint64_t start = now_ns();
	uintptr_t rounds = 0;
	pthread_t thread;

	thread = thread_start(reconnects, NULL);
	for (; until(start); rounds++) {
		int fd = (uintptr_t)in_thread(short_life, (void *)rounds);

		if (rounds % 2 == 0)
			close(fd);
	}
	end_race(thread, rounds);
	check_still_works();
}

/* Senders come and go, some killed while sending. */
static void sends_until_killed(void *arg)
{
	int index = sender_to(*(int *)arg);

	for (;;)
		_senduipi(index);
}

static void senders_die_while_sending(void)
{
	uint64_t start = now_ns(), rounds = 0;
	int fd = receiver(0);

	_stui();
	while (until(start)) {
		pid_t pid = child_start(sends_until_killed, &fd);
		unsigned long before = hits;

		ktap_assert(yield_until(hits > before), "nothing comes");
		kill(pid, SIGKILL);
		child_dies(pid, SIGKILL);
		rounds++;
	}
	ktap_diag("%lu senders, %lu handled", rounds, hits);
	check_still_works();
}

/* Many threads connect to and leave the same fd. */
static void *connects_and_leaves(void *arg)
{
	int fd = *(int *)arg, index;
	uint64_t start = now_ns();

	while (until(start)) {
		index = ktap_ok(uintr_register_sender(fd, 0));
		_senduipi(index);
		ktap_ok(uintr_unregister_sender(fd, 0));
	}
	return NULL;
}

static void many_connect_and_leave(void)
{
	int fd = receiver(0), i;
	pthread_t thread[6];

	_stui();
	for (i = 0; i < 6; i++)
		thread[i] = thread_start(connects_and_leaves, &fd);
	for (i = 0; i < 6; i++)
		thread_join(thread[i]);
	ktap_check(hits > 0, "nothing came");
	check_still_works();
}

/* fork and exec of a receiver under fire. */
static void nothing(void *arg)
{
	(void)arg;
	ktap_check(uintr_unregister_handler(0) == -1 && errno == EINVAL, "inherited");
	ktap_check(!_testui(), "UIF is inherited");
}

static void receiver_forks_while_sending(void)
{
	uint64_t start = now_ns(), rounds = 0;
	pthread_t thread;
	int fd;

	pin_to(0);
	fd = receiver(0);
	_stui();
	shared_store(&shared_fd, fd);
	thread = thread_start(reconnects, NULL);
	while (until(start)) {
		pid_t pid = child_start(nothing, NULL);
		int status;

		while (waitpid(pid, &status, 0) < 0)
			ktap_assert(errno == EINTR, "waitpid: %s", ktap_errno(errno));
		ktap_check(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x", status);
		rounds++;
	}
	shared_store(&race_over, true);
	thread_join(thread);
	ktap_diag("%lu forks, %lu sent, %lu handled", rounds, shots, hits);
	ktap_check(hits <= shots + 1, "%lu handled of %lu sent", hits, shots);
	check_still_works();
}

static const struct ktap_case cases[] = {
	KTAP_CASE(close_while_sending, LIFE-16),
	KTAP_CASE(closed_while_sending_is_closed, LIFE-1, LIFE-16),
	KTAP_CASE(unregister_while_sending, LIFE-16),
	KTAP_CASE(receivers_exit_while_sending, LIFE-16),
	KTAP_CASE(senders_die_while_sending, LIFE-11, LIFE-16),
	KTAP_CASE(many_connect_and_leave, LIFE-16),
	KTAP_CASE(receiver_forks_while_sending, HANDLER-13, TASK-4, LIFE-16),
};

KTAP_MAIN(cases, uintr_rfc_missing())
