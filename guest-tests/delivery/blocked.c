// SPDX-License-Identifier: GPL-2.0
/*
 * Delivery to a thread that is blocked in a system call other than uintr_wait(): the interrupt is
 * handled when the call returns, and does not affect the call: it completes with its normal
 * result, never with EINTR.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#include <linux/futex.h>
#include <sys/epoll.h>

struct scene {
	int fd;			/* the receiver's */
	pid_t receiver;
	void (*unblock)(struct scene *scene);
	int pipe[2];
	uint32_t futex;
	unsigned long early;	/* hits while the receiver was still blocked */
};

/* Send to the blocked receiver, see that nothing happens, then let its call complete. */
static void *disturb(void *arg)
{
	struct scene *scene = arg;
	int index = sender_to(scene->fd);

	ktap_check(task_reaches(getpid(), scene->receiver, 'S'), "the receiver does not block");
	sleep_ms(5);
	_senduipi(index);
	sleep_ms(NEVER_MS);
	scene->early = hits;
	if (scene->unblock)
		scene->unblock(scene);
	return NULL;
}

static pthread_t scene_start(struct scene *scene, void (*unblock)(struct scene *))
{
	scene->fd = receiver(1);
	scene->receiver = task_tid();
	scene->unblock = unblock;
	ktap_ok(pipe(scene->pipe));
	_stui();
	return thread_start(disturb, scene);
}

static void scene_end(struct scene *scene, pthread_t thread)
{
	/* The call has returned: now it is due. */
	ktap_check(spin_until(hits == 1), "not delivered when the call returned");
	thread_join(thread);
	ktap_check(scene->early == 0, "the handler ran while the call was blocked");
	ktap_check(hits == 1, "one interrupt was handled %lu times", hits);
}

static void write_pipe(struct scene *scene)
{
	ktap_ok(write(scene->pipe[1], "x", 1));
}

static void in_read(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene, write_pipe);
	char byte = 0;
	ssize_t n = read(scene.pipe[0], &byte, 1);

	ktap_check(n == 1 && byte == 'x', "read gave %zd, %s", n, ktap_errno(errno));
	scene_end(&scene, thread);
}

static void in_poll(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene, write_pipe);
	struct pollfd p = { .fd = scene.pipe[0], .events = POLLIN };
	int n = poll(&p, 1, -1);

	ktap_check(n == 1 && p.revents == POLLIN, "poll gave %d, %s", n, ktap_errno(errno));
	scene_end(&scene, thread);
}

static void in_epoll_wait(void)
{
	struct scene scene = {};
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = 77 };
	int epoll = ktap_ok(epoll_create1(EPOLL_CLOEXEC)), n;
	pthread_t thread = scene_start(&scene, write_pipe);

	ktap_ok(epoll_ctl(epoll, EPOLL_CTL_ADD, scene.pipe[0], &event));
	event.data.u32 = 0;
	n = epoll_wait(epoll, &event, 1, -1);
	ktap_check(n == 1 && event.data.u32 == 77, "epoll_wait gave %d, %s", n,
		   ktap_errno(errno));
	scene_end(&scene, thread);
}

static void wake_futex(struct scene *scene)
{
	shared_store(&scene->futex, 1);
	syscall(SYS_futex, &scene->futex, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void in_futex(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene, wake_futex);
	long n = syscall(SYS_futex, &scene.futex, FUTEX_WAIT, 0, NULL, NULL, 0);

	ktap_check(n == 0, "futex gave %ld, %s", n, ktap_errno(errno));
	ktap_check(shared_load(&scene.futex) == 1, "futex returned before it was woken");
	scene_end(&scene, thread);
}

static void in_nanosleep(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene, NULL);
	struct timespec t = { .tv_nsec = 900000000 }, left = {};
	uint64_t start = now_ns();
	int n = nanosleep(&t, &left);

	ktap_check(n == 0, "nanosleep gave %d, %s", n, ktap_errno(errno));
	ktap_check(now_ns() - start >= 900000000, "nanosleep returned early");
	scene_end(&scene, thread);
}

static void end_child(struct scene *scene)
{
	write_pipe(scene);
}

static void child_reads(void *arg)
{
	char byte;

	ktap_check(read(*(int *)arg, &byte, 1) == 1, "the child's read failed");
}

static void in_waitpid(void)
{
	struct scene scene = {};
	int fd[2], status, i;
	pthread_t thread;
	pid_t child;

	/* The child needs its end before there are threads. */
	ktap_ok(pipe(fd));
	child = child_start(child_reads, &fd[0]);
	thread = scene_start(&scene, end_child);
	for (i = 0; i < 2; i++)
		ktap_ok(dup2(fd[i], scene.pipe[i]));
	ktap_check(waitpid(child, &status, 0) == child, "waitpid gave %s", ktap_errno(errno));
	scene_end(&scene, thread);
}

/* Blocked with UIF clear: the interrupt must wait for STUI, not for the call. */
static void masked_in_read(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene, write_pipe);
	char byte = 0;
	ssize_t n;

	_clui();
	n = read(scene.pipe[0], &byte, 1);
	ktap_check(n == 1 && byte == 'x', "read gave %zd, %s", n, ktap_errno(errno));
	sleep_ms(5);
	ktap_check(hits == 0, "delivered with UIF clear");
	_stui();
	scene_end(&scene, thread);
}

static void write_later(struct scene *scene)
{
	int i;

	for (i = 0; i < 50; i++) {
		sleep_ms(1);
		ktap_ok(write(scene->pipe[1], "x", 1));
	}
}

/* Many short blocking calls after the interrupt: each gives its full result. */
static void in_many_reads(void)
{
	struct scene scene = {};
	pthread_t thread = scene_start(&scene, write_later);
	char byte;
	int i;

	for (i = 0; i < 50; i++)
		ktap_check(read(scene.pipe[0], &byte, 1) == 1, "read %d: %s", i,
			   ktap_errno(errno));
	scene_end(&scene, thread);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(in_read, BLOCKED-1, BLOCKED-2),
	KTAP_CASE(in_poll, BLOCKED-1, BLOCKED-2),
	KTAP_CASE(in_epoll_wait, BLOCKED-1, BLOCKED-2),
	KTAP_CASE(in_futex, BLOCKED-1, BLOCKED-2),
	KTAP_CASE(in_nanosleep, BLOCKED-1, BLOCKED-2),
	KTAP_CASE(in_waitpid, BLOCKED-1, BLOCKED-2),
	KTAP_CASE(masked_in_read, BLOCKED-1, DELIVERY-2),
	KTAP_CASE(in_many_reads, BLOCKED-1),
};

KTAP_MAIN(cases, uintr_missing())
