/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A thread that waits in uintr_wait() for one user interrupt.
 */
#ifndef GUEST_TESTS_WAITER_H
#define GUEST_TESTS_WAITER_H

#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"
#include "wait.h"

struct waiter {
	int fd;
	pid_t tid;
	pthread_t thread;
};

static void *waiter_waits(void *arg)
{
	struct waiter *waiter = arg;

	waiter->fd = receiver_with(0, UINTR_WAKES);
	_stui();
	shared_store(&waiter->tid, task_tid());
	ktap_fails(uintr_wait(0), EINTR);
	return NULL;
}

/* Start it, and wait until it blocks; join it with thread_join(). */
static inline void waiter_start(struct waiter *waiter)
{
	waiter->thread = thread_start(waiter_waits, waiter);
	ktap_assert(yield_until(shared_load(&waiter->tid)), "no waiter");
	ktap_check(task_reaches(getpid(), waiter->tid, 'S'), "does not block");
}

#endif /* GUEST_TESTS_WAITER_H */
