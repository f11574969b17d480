/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The two sides of most cases: a receiver with a counting handler, and a thread that sends when told.
 */
#ifndef GUEST_TESTS_PEER_H
#define GUEST_TESTS_PEER_H

#include "task.h"
#include "uintr.h"

/* Written by the counting handler only. */
static volatile unsigned long hits;
static volatile unsigned long hits_of[UINTR_VECTORS];

static UINTR_HANDLER void count_hit(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	hits_of[vector % UINTR_VECTORS]++;
	hits++;
}

/* Skip a case that needs more than the RFC states. */
static inline void need_more_than_the_rfc(void)
{
	if (!UINTR_ABI_RFC)
		ktap_skip("needs abi:rfc: the later ABI does not say");
	if (!UINTR_ABI_STATES_MORE)
		ktap_skip("the RFC does not say; the kernel's headers have no <asm/uintr.h>");
}

/* Skip a case for which the later ABI states something else, or nothing. */
static inline void need_the_rfc(void)
{
	if (!UINTR_ABI_RFC)
		ktap_skip("needs abi:rfc: the kernel's headers have the later ABI");
}

/* Make the calling thread a receiver with the counting handler; user interrupts stay masked. */
static inline int receiver_with(unsigned int vector, unsigned int flags)
{
	ktap_ok(uintr_register_handler(count_hit, flags));
	return ktap_ok(uintr_create_fd(vector, 0));
}

static inline int receiver(unsigned int vector)
{
	return receiver_with(vector, 0);
}

/* Make the calling thread a sender to itself; return the index. */
static inline int sender_to(int fd)
{
	return ktap_ok(uintr_register_sender(fd, 0));
}

struct sender {
	pthread_t thread;
	int fd;
	unsigned int cpu;
	int index;		/* -1 until connected */
	unsigned long asked;
	unsigned long sent;
	bool stop;
};

static inline void *sender_thread(void *arg)
{
	struct sender *s = arg;

	pin_to(s->cpu);
	shared_store(&s->index, sender_to(s->fd));
	while (!shared_load(&s->stop)) {
		if (shared_load(&s->asked) > s->sent) {
			_senduipi(s->index);
			shared_add(&s->sent, 1);
		} else {
			sched_yield();
		}
	}
	return NULL;
}

/* Start a connected sender on the second CPU, if there is one. */
static inline void sender_start(struct sender *s, int fd)
{
	*s = (struct sender){ .fd = fd, .cpu = 1, .index = -1 };
	s->thread = thread_start(sender_thread, s);
	ktap_assert(yield_until(shared_load(&s->index) >= 0), "the sender did not connect");
}

/* Have it send once more, without waiting and without a system call. */
static inline void sender_ask(struct sender *s)
{
	shared_add(&s->asked, 1);
}

/* Have it send, and wait until it has. */
static inline void sender_send(struct sender *s)
{
	sender_ask(s);
	ktap_assert(yield_until(shared_load(&s->sent) == shared_load(&s->asked)),
		    "the sender did not send");
}

static inline void sender_stop(struct sender *s)
{
	shared_store(&s->stop, true);
	thread_join(s->thread);
}

#endif /* GUEST_TESTS_PEER_H */
