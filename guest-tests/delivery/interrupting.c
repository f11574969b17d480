// SPDX-License-Identifier: GPL-2.0
/*
 * A receiver that registered with UINTR_HANDLER_FLAG_WAITING_ANY: a user interrupt ends the system
 * call that it is blocked in, with EINTR, after the handler has run. Calls that a signal's handler
 * does not end are not ended either.
 */
#include "ktap.h"
#include "peer.h"
#include "ring.h"
#include "task.h"
#include "uintr.h"

#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/msg.h>

struct scene {
	int fd;			/* the receiver's */
	pid_t receiver;
	unsigned int times;	/* to send, each time that the receiver blocks */
	int pipe[2];
};

static int interruptible_receiver(unsigned int vector)
{
	ktap_ok(uintr_register_handler(count_hit, UINTR_HANDLER_FLAG_WAITING_ANY));
	return ktap_ok(uintr_create_fd(vector, 0));
}

static void *disturb(void *arg)
{
	struct scene *scene = arg;
	int index = sender_to(scene->fd);
	unsigned int i;

	for (i = 0; i < scene->times; i++) {
		unsigned long before = shared_load(&hits);

		ktap_check(task_reaches(getpid(), scene->receiver, 'S'), "does not block");
		_senduipi(index);
		ktap_assert(yield_until(shared_load(&hits) > before), "the call is not ended");
	}
	return NULL;
}

static pthread_t scene_start(struct scene *scene)
{
	scene->fd = interruptible_receiver(1);
	scene->receiver = task_tid();
	scene->times = 1;
	ktap_ok(pipe(scene->pipe));
	_stui();
	return thread_start(disturb, scene);
}

#define expect_eintr(call) do {							\
	errno = 0;								\
	ktap_check((call) == -1 && errno == EINTR, "%s: errno %s", #call,	\
		   ktap_errno(errno));						\
	ktap_check(hits == 1, "%lu interrupts when the call had returned", hits);	\
} while (0)

static void in_read(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene);
	char byte;

	expect_eintr(read(scene.pipe[0], &byte, 1));
	thread_join(thread);
}

/* The call has no effect, and can be made again. */
static void in_read_that_is_made_again(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene);
	char byte = 0;

	expect_eintr(read(scene.pipe[0], &byte, 1));
	thread_join(thread);
	ktap_ok(write(scene.pipe[1], "x", 1));
	ktap_check(read(scene.pipe[0], &byte, 1) == 1 && byte == 'x', "the second read failed");
	ktap_check(hits == 1, "%lu interrupts", hits);
}

static void in_poll(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene);
	struct pollfd p = { .fd = scene.pipe[0], .events = POLLIN };

	expect_eintr(poll(&p, 1, -1));
	thread_join(thread);
}

static void in_epoll_wait(void)
{
	struct scene scene = {};
	struct epoll_event event;
	int epoll = ktap_ok(epoll_create1(EPOLL_CLOEXEC));
	pthread_t thread = scene_start(&scene);

	expect_eintr(epoll_wait(epoll, &event, 1, -1));
	thread_join(thread);
}

static void in_futex(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene);
	uint32_t word = 0;

	expect_eintr(syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0));
	thread_join(thread);
}

/* The remaining time is returned, as after a signal. */
static void in_nanosleep(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene);
	struct timespec t = { .tv_sec = 1000 };

	expect_eintr(nanosleep(&t, &t));
	ktap_check(t.tv_sec < 1000 && t.tv_sec > 900, "%ld seconds are left", (long)t.tv_sec);
	thread_join(thread);
}

static void in_waitpid(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene);
	pid_t child = fork();

	ktap_assert(child >= 0, "fork: %s", ktap_errno(errno));
	if (!child) {
		pause();
		_exit(0);
	}
	expect_eintr(waitpid(child, NULL, 0));
	thread_join(thread);
	ktap_ok(kill(child, SIGKILL));
	child_wait(child);
}

static void in_pause(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene);

	expect_eintr(pause());
	thread_join(thread);
}

/* Its wait clears part of the state of an interruption, and goes on. */
static void in_io_uring_enter(void)
{
	struct scene scene = {};
	pthread_t thread;
	struct ring ring;

	ring_open(&ring);
	thread = scene_start(&scene);
	expect_eintr(ring_wait(&ring, NULL));
	thread_join(thread);
}

static void in_uintr_wait(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene);

	expect_eintr(uintr_wait(0));
	thread_join(thread);
}

static void *write_later(void *arg)
{
	struct scene *scene = arg;

	ktap_check(task_reaches(getpid(), scene->receiver, 'S'), "does not block");
	_senduipi(sender_to(scene->fd));
	sleep_ms(NEVER_MS);
	ktap_ok(write(scene->pipe[1], "x", 1));
	return NULL;
}

/* As with a blocked signal, no handler can run, so the call is not ended. */
static void not_while_masked(void)
{
	struct scene scene = { .fd = interruptible_receiver(1), .receiver = task_tid() };
	pthread_t thread;
	char byte;
	ssize_t n;

	ktap_ok(pipe(scene.pipe));
	thread = thread_start(write_later, &scene);
	n = read(scene.pipe[0], &byte, 1);
	ktap_check(n == 1, "read gave %zd, %s", n, ktap_errno(errno));
	ktap_check(hits == 0, "handled while masked");
	thread_join(thread);
	_stui();
	ktap_check(spin_until(hits == 1), "not delivered when it was allowed");
}

static bool sent;
static unsigned long early;

static void *sends_to_a_parent(void *arg)
{
	struct scene *scene = arg;

	ktap_check(task_reaches(getpid(), scene->receiver, 'D'), "vfork() does not block");
	_senduipi(sender_to(scene->fd));
	shared_store(&sent, true);
	return NULL;
}

/* A parent waits for the end of vfork() as long as it takes, whatever signals it gets. */
static void not_what_a_signal_would_not_end(void)
{
	static struct scene scene;
	static pthread_t thread;
	pid_t child;

	scene.fd = interruptible_receiver(1);
	scene.receiver = task_tid();
	_stui();
	thread = thread_start(sends_to_a_parent, &scene);
	child = vfork();
	if (!child) {
		/* It has the parent's memory, and is not the receiver. */
		if (!yield_until(shared_load(&sent)))
			_exit(KTAP_EXIT_FAIL);
		sleep_ms(NEVER_MS);
		early = hits;
		_exit(KTAP_EXIT_PASS);
	}
	ktap_assert(child > 0, "vfork gave %d, %s", child, ktap_errno(errno));
	child_passes(child);
	ktap_check(early == 0, "handled in the middle of vfork()");
	ktap_check(spin_until(hits == 1), "not delivered when the call returned");
	thread_join(thread);
}

/* Without the flag the call goes on: the registration decides, not the kernel. */
static void not_without_the_flag(void)
{
	struct scene scene = { .fd = receiver(1), .receiver = task_tid() };
	pthread_t thread;
	char byte;
	ssize_t n;

	ktap_ok(pipe(scene.pipe));
	_stui();
	thread = thread_start(write_later, &scene);
	n = read(scene.pipe[0], &byte, 1);
	ktap_check(n == 1, "read gave %zd, %s", n, ktap_errno(errno));
	ktap_check(spin_until(hits == 1), "not delivered when the call returned");
	thread_join(thread);
}

/* The next registration does not inherit the choice of the one before. */
static void the_flag_ends_with_the_registration(void)
{
	ktap_ok(uintr_register_handler(count_hit, UINTR_HANDLER_FLAG_WAITING_ANY));
	ktap_ok(uintr_unregister_handler(0));
	not_without_the_flag();
}

enum { ROUNDS = 1000 };

/* A call to block in, and a function that lets it go on. */
struct call {
	long (*block)(struct scene *scene);	/* -1 if it failed */
	void (*let_go_on)(struct scene *scene);
};

static unsigned long ready;	/* rounds in which the receiver is about to block */

struct meeting_point {
	struct scene scene;
	const struct call *call;
};

/* Send around the time at which the receiver blocks; only what was handled lets it go on. */
static void *meet(void *arg)
{
	struct meeting_point *point = arg;
	int index;
	unsigned long i;

	pin_to(1);
	index = sender_to(point->scene.fd);
	for (i = 1; i <= ROUNDS; i++) {
		unsigned long spin;

		ktap_assert(yield_until(shared_load(&ready) >= i), "the receiver is stuck");
		for (spin = 0; spin < i % 64 * 32; spin++)
			__builtin_ia32_pause();
		_senduipi(index);
		ktap_assert(yield_until(shared_load(&hits) >= i), "round %lu is missed", i);
		point->call->let_go_on(&point->scene);
	}
	return NULL;
}

static void expect_none_missed(const struct call *call)
{
	struct meeting_point point = { .call = call };
	unsigned long i, ended = 0;
	pthread_t thread;
	long n;

	pin_to(0);
	point.scene.fd = interruptible_receiver(1);
	ktap_ok(pipe(point.scene.pipe));
	_stui();
	thread = thread_start(meet, &point);
	for (i = 1; i <= ROUNDS; i++) {
		shared_store(&ready, i);
		n = call->block(&point.scene);
		if (n == -1 && errno == EINTR) {
			ended++;
			n = call->block(&point.scene);
		}
		ktap_assert(n >= 0, "the call gave %s", ktap_errno(errno));
	}
	thread_join(thread);
	ktap_check(hits == ROUNDS, "%lu of %d", hits, ROUNDS);
	ktap_check(ended > 0, "no call was ended");
}

static long block_in_read(struct scene *scene)
{
	char byte;

	return read(scene->pipe[0], &byte, 1);
}

static void write_a_byte(struct scene *scene)
{
	ktap_ok(write(scene->pipe[1], "x", 1));
}

/* No interrupt is missed, at whatever time of the call's entry it is sent. */
static void none_is_missed(void)
{
	static const struct call call = { block_in_read, write_a_byte };

	expect_none_missed(&call);
}

static struct ring the_ring;

/* The call blocks a signal, and looks whether others are pending, before it sleeps. */
static long block_in_io_uring_enter(struct scene *scene)
{
	sigset_t blocked;
	long n;

	(void)scene;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	n = ring_wait(&the_ring, &blocked);
	if (n >= 0)
		ring_see(&the_ring);
	return n;
}

static void complete_an_operation(struct scene *scene)
{
	(void)scene;
	ring_nop(&the_ring);
}

static void none_is_missed_in_io_uring_enter(void)
{
	static const struct call call = { block_in_io_uring_enter, complete_an_operation };

	ring_open(&the_ring);
	expect_none_missed(&call);
}

static bool signalled;

static void on_signal(int sig)
{
	(void)sig;
	signalled = true;
}

static void *signal_it(void *arg)
{
	struct scene *scene = arg;

	ktap_check(task_reaches(getpid(), scene->receiver, 'S'), "does not block");
	ktap_ok(syscall(SYS_tgkill, getpid(), scene->receiver, SIGUSR1));
	ktap_assert(yield_until(shared_load(&signalled)), "no signal");
	ktap_check(task_reaches(getpid(), scene->receiver, 'S'), "the call is not restarted");
	ktap_ok(write(scene->pipe[1], "x", 1));
	return NULL;
}

static void expect_restart(struct scene *scene)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	pthread_t thread;
	char byte;
	ssize_t n;

	ktap_ok(sigaction(SIGUSR1, &action, NULL));
	thread = thread_start(signal_it, scene);
	n = read(scene->pipe[0], &byte, 1);
	ktap_check(n == 1, "read gave %zd, %s", n, ktap_errno(errno));
	thread_join(thread);
}

/* SA_RESTART keeps its meaning: the flag is about user interrupts only. */
static void signals_restart_as_before(void)
{
	struct scene scene = { .fd = interruptible_receiver(1), .receiver = task_tid() };

	ktap_ok(pipe(scene.pipe));
	_stui();
	expect_restart(&scene);
}

/* An ended call does not affect the next one. */
static void signals_restart_after_an_interruption(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene);
	char byte;

	expect_eintr(read(scene.pipe[0], &byte, 1));
	thread_join(thread);
	expect_restart(&scene);
}

/* Both come before the receiver runs: the completion for its call, and the interrupt. */
static void *send_and_complete(void *arg)
{
	struct scene *scene = arg;
	const struct sched_param first = { .sched_priority = 1 };
	int index = sender_to(scene->fd);

	ktap_check(task_reaches(getpid(), scene->receiver, 'S'), "does not block");
	ktap_ok(sched_setscheduler(0, SCHED_FIFO, &first));
	_senduipi(index);
	ring_nop(&the_ring);
	return NULL;
}

/* A call that has what it waits for succeeds, and leaves nothing to the next one. */
static void signals_restart_after_a_call_that_succeeds(void)
{
	struct scene scene = {};
	pthread_t thread;

	pin_to(0);
	ring_open(&the_ring);
	scene.fd = interruptible_receiver(1);
	scene.receiver = task_tid();
	ktap_ok(pipe(scene.pipe));
	_stui();
	thread = thread_start(send_and_complete, &scene);
	ktap_ok(ring_wait(&the_ring, NULL));
	ktap_check(spin_until(hits == 1), "not delivered when the call had returned");
	thread_join(thread);
	expect_restart(&scene);
}

struct meeting {
	struct scene scene;
	bool signal_first;
};

/* The receiver shares this thread's CPU and does not get it before both have been sent. */
static void *send_and_signal(void *arg)
{
	struct meeting *meeting = arg;
	struct scene *scene = &meeting->scene;
	const struct sched_param first = { .sched_priority = 1 }, last = {};
	int index = sender_to(scene->fd);

	ktap_check(task_reaches(getpid(), scene->receiver, 'S'), "does not block");
	ktap_ok(sched_setscheduler(0, SCHED_FIFO, &first));
	if (!meeting->signal_first)
		_senduipi(index);
	ktap_ok(syscall(SYS_tgkill, getpid(), scene->receiver, SIGUSR1));
	if (meeting->signal_first)
		_senduipi(index);
	ktap_check(!shared_load(&hits) && !shared_load(&signalled),
		   "one was handled before the other was sent");
	ktap_ok(sched_setscheduler(0, SCHED_OTHER, &last));
	/* For a call that is not ended. */
	yield_until(shared_load(&hits) && shared_load(&signalled));
	ktap_ok(write(scene->pipe[1], "x", 1));
	return NULL;
}

static void expect_no_restart(bool signal_first)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct meeting meeting = { .signal_first = signal_first };
	struct scene *scene = &meeting.scene;
	pthread_t thread;
	char byte;

	pin_to(0);
	ktap_ok(sigaction(SIGUSR1, &action, NULL));
	scene->fd = interruptible_receiver(1);
	scene->receiver = task_tid();
	ktap_ok(pipe(scene->pipe));
	_stui();
	thread = thread_start(send_and_signal, &meeting);
	expect_eintr(read(scene->pipe[0], &byte, 1));
	ktap_check(signalled, "no signal when the call had returned");
	thread_join(thread);
}

static void not_restarted_by_a_signal_after_it(void)
{
	expect_no_restart(false);
}

static void not_restarted_by_a_signal_before_it(void)
{
	expect_no_restart(true);
}

enum { MANY = 5000 };

static void *send_many(void *arg)
{
	struct scene *scene = arg;
	int index, i;

	pin_to(1);
	index = sender_to(scene->fd);
	for (i = 0; i < MANY; i++) {
		unsigned int spin;

		_senduipi(index);
		for (spin = 0; spin < i % 16 * 16U; spin++)
			__builtin_ia32_pause();
	}
	ktap_ok(write(scene->pipe[1], "x", 1));
	return NULL;
}

/* What was handled before a call does not end it, however late its sender is done. */
static void not_by_an_interrupt_before_it(void)
{
	int epoll = ktap_ok(epoll_create1(EPOLL_CLOEXEC)), n;
	struct epoll_event event = { .events = EPOLLIN };
	unsigned long before, ended = 0, wrong = 0;
	struct scene scene = {};
	pthread_t thread;

	pin_to(0);
	scene.fd = interruptible_receiver(1);
	ktap_ok(pipe(scene.pipe));
	ktap_ok(epoll_ctl(epoll, EPOLL_CTL_ADD, scene.pipe[0], &event));
	_stui();
	thread = thread_start(send_many, &scene);
	do {
		before = hits;
		n = epoll_wait(epoll, &event, 1, -1);
		if (n == -1 && ktap_check(errno == EINTR, "epoll_wait: %s", ktap_errno(errno))) {
			ended++;
			wrong += hits == before;
		}
	} while (n == -1);
	thread_join(thread);
	ktap_check(ended > 0, "no call was ended");
	ktap_check(!wrong, "%lu of %lu calls were ended by no interrupt", wrong, ended);
}

static uint32_t pi_lock;

static void *holds_the_lock(void *arg)
{
	struct scene *scene = arg;
	int index = sender_to(scene->fd);

	ktap_ok(syscall(SYS_futex, &pi_lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	shared_store(&ready, 1);
	ktap_check(task_reaches(getpid(), scene->receiver, 'S'), "does not block");
	_senduipi(index);
	ktap_check(yield_until(shared_load(&hits) == 1), "not delivered");
	ktap_check(task_reaches(getpid(), scene->receiver, 'S'), "does not block again");
	ktap_ok(syscall(SYS_futex, &pi_lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	return NULL;
}

/* Signals interrupt the wait for such a lock, but it always goes on; so it does here. */
static void not_in_a_call_that_signals_do_not_end(void)
{
	struct scene scene = { .fd = interruptible_receiver(1), .receiver = task_tid() };
	pthread_t thread;
	long n;

	_stui();
	thread = thread_start(holds_the_lock, &scene);
	ktap_assert(yield_until(shared_load(&ready)), "nobody holds the lock");
	n = syscall(SYS_futex, &pi_lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	if (n == -1 && errno == ENOSYS)
		ktap_skip("the kernel has no such futexes");
	ktap_check(n == 0, "the lock gave %ld, %s", n, ktap_errno(errno));
	thread_join(thread);
	ktap_check(hits == 1, "%lu interrupts", hits);
}

/* Outside of a system call RAX is not a result, whatever its value. */
static void registers_are_no_results(void)
{
	static const long restarts[] = { -512, -513, -514, -516 };
	struct sender s;
	unsigned long i;
	long rax;

	pin_to(0);
	sender_start(&s, interruptible_receiver(1));
	_stui();
	for (i = 0; i < 40; i++) {
		rax = restarts[i % 4];
		sender_ask(&s);
		asm volatile("1:	pause\n\tcmp %1, %2\n\tje 1b"
			     : "+a"(rax) : "r"(i), "m"(hits) : "cc", "memory");
		ktap_check(rax == restarts[i % 4], "RAX is %ld, not %ld", rax, restarts[i % 4]);
	}
	sender_stop(&s);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(in_read, BLOCKED-3),
	KTAP_CASE(in_read_that_is_made_again, BLOCKED-3, BLOCKED-4),
	KTAP_CASE(in_poll, BLOCKED-3),
	KTAP_CASE(in_epoll_wait, BLOCKED-3),
	KTAP_CASE(in_futex, BLOCKED-3),
	KTAP_CASE(in_nanosleep, BLOCKED-3, BLOCKED-5),
	KTAP_CASE(in_waitpid, BLOCKED-3),
	KTAP_CASE(in_pause, BLOCKED-3),
	KTAP_CASE(in_io_uring_enter, BLOCKED-3),
	KTAP_CASE(in_uintr_wait, BLOCKED-3, WAIT-4),
	KTAP_CASE(not_while_masked, BLOCKED-6),
	KTAP_CASE(not_what_a_signal_would_not_end, BLOCKED-11),
	KTAP_CASE(not_without_the_flag, BLOCKED-1),
	KTAP_CASE(the_flag_ends_with_the_registration, BLOCKED-7),
	KTAP_CASE(none_is_missed, BLOCKED-8),
	KTAP_CASE(none_is_missed_in_io_uring_enter, BLOCKED-8),
	KTAP_CASE(signals_restart_as_before, BLOCKED-9),
	KTAP_CASE(signals_restart_after_an_interruption, BLOCKED-9),
	KTAP_CASE(signals_restart_after_a_call_that_succeeds, BLOCKED-9),
	KTAP_CASE(not_by_an_interrupt_before_it, BLOCKED-17),
	KTAP_CASE(not_restarted_by_a_signal_after_it, BLOCKED-10),
	KTAP_CASE(not_restarted_by_a_signal_before_it, BLOCKED-10),
	KTAP_CASE(not_in_a_call_that_signals_do_not_end, BLOCKED-11),
	KTAP_CASE(registers_are_no_results, TASK-13),
};

KTAP_MAIN(cases, uintr_waiting_missing())
