/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A ring of io_uring, used by its system calls.
 */
#ifndef GUEST_TESTS_RING_H
#define GUEST_TESTS_RING_H

#include "task.h"

#include <linux/io_uring.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct ring {
	int fd;
	struct io_uring_params params;
	char *queues;		/* submissions and completions */
	struct io_uring_sqe *entries;
};

static inline void *ring_map(const struct ring *ring, size_t size, uint64_t what)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, what);

	ktap_assert(p != MAP_FAILED, "mmap of the ring: %s", ktap_errno(errno));
	return p;
}

static inline void ring_open(struct ring *ring)
{
	*ring = (struct ring){};
	ring->fd = syscall(SYS_io_uring_setup, 4, &ring->params);
	if (ring->fd < 0)
		ktap_skip("there is no io_uring (%s)", ktap_errno(errno));
	ktap_assert(ring->params.features & IORING_FEAT_SINGLE_MMAP, "two mappings");
	ring->queues = ring_map(ring, ring->params.cq_off.cqes +
				ring->params.cq_entries * sizeof(struct io_uring_cqe),
				IORING_OFF_SQ_RING);
	ring->entries = ring_map(ring, ring->params.sq_entries * sizeof(*ring->entries),
				 IORING_OFF_SQES);
}

/* An operation that does nothing and completes. */
static inline void ring_nop(const struct ring *ring)
{
	uint32_t *tail = (uint32_t *)(ring->queues + ring->params.sq_off.tail);
	uint32_t *array = (uint32_t *)(ring->queues + ring->params.sq_off.array);
	uint32_t place = *tail % ring->params.sq_entries;

	ring->entries[place] = (struct io_uring_sqe){ .opcode = IORING_OP_NOP };
	array[place] = place;
	shared_store(tail, *tail + 1);
	ktap_ok(syscall(SYS_io_uring_enter, ring->fd, 1, 0, 0, NULL, 0));
}

/* Mark the completions as seen, which makes room in the ring. */
static inline void ring_see(const struct ring *ring)
{
	uint32_t *head = (uint32_t *)(ring->queues + ring->params.cq_off.head);
	uint32_t *tail = (uint32_t *)(ring->queues + ring->params.cq_off.tail);

	shared_store(head, shared_load(tail));
}

/* Wait for a completion, with these signals blocked unless NULL; return the call's result. */
static inline int ring_wait(const struct ring *ring, const sigset_t *blocked)
{
	return syscall(SYS_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, blocked,
		       _NSIG / 8);
}

#endif /* GUEST_TESTS_RING_H */
