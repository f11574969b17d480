// SPDX-License-Identifier: GPL-2.0
/*
 * A ring of io_uring that notifies a vector of its completions.
 *
 * The operations are names of an enum in the later ABI's headers, which the preprocessor cannot
 * test, so their numbers are used here. A kernel with other operations under these numbers, or
 * without this one, returns EINVAL.
 */
#include "ktap.h"
#include "peer.h"
#include "ring.h"
#include "task.h"
#include "uintr.h"

#include <sys/eventfd.h>

#define REGISTER_UINTR		31
#define UNREGISTER_UINTR	32

static int ring_register(const struct ring *ring, int fd)
{
	int32_t arg = fd;

	return syscall(SYS_io_uring_register, ring->fd, REGISTER_UINTR, &arg, 1);
}

static int ring_unregister(const struct ring *ring)
{
	return syscall(SYS_io_uring_register, ring->fd, UNREGISTER_UINTR, NULL, 0);
}

/* Attach a ring to a descriptor; skip the case if the ring does not know user interrupts. */
static void ring_attach(const struct ring *ring, int fd)
{
	if (ring_register(ring, fd) == 0)
		return;
	if (errno == EINVAL)
		ktap_skip("this io_uring notifies no vectors (EINVAL)");
	ktap_assert(false, "registering a vector gave %s", ktap_errno(errno));
}

static void each_completion_notifies(void)
{
	struct ring ring;
	unsigned int i;

	ring_open(&ring);
	ring_attach(&ring, receiver(9));
	_stui();
	/* One after the other: what comes close together may merge. */
	for (i = 1; i <= ring.params.cq_entries; i++) {
		ring_nop(&ring);
		ktap_assert(spin_until(hits_of[9] >= i), "completion %u is not notified", i);
	}
	ktap_check(hits == i - 1, "%lu notifications of %u completions", hits, i - 1);
	ktap_ok(ring_unregister(&ring));
	ring_nop(&ring);
	sleep_ms(NEVER_MS);
	ktap_check(hits == i - 1, "notified after unregistering");
}

static void one_vector_at_a_time(void)
{
	int fd = receiver(9), other = ktap_ok(uintr_create_fd(10, 0));
	struct ring ring;

	ring_open(&ring);
	ring_attach(&ring, fd);
	ktap_fails(ring_register(&ring, other), EBUSY);
	ktap_fails(ring_register(&ring, fd), EBUSY);
	ktap_ok(ring_unregister(&ring));
	ktap_fails(ring_unregister(&ring), ENXIO);
	ktap_ok(ring_register(&ring, other));
}

static void another_file_is_invalid(void)
{
	struct ring ring;

	ring_open(&ring);
	ring_attach(&ring, receiver(9));
	ktap_ok(ring_unregister(&ring));
	ktap_fails(ring_register(&ring, ktap_ok(eventfd(0, 0))), EINVAL);
	ktap_fails(ring_unregister(&ring), ENXIO);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(each_completion_notifies, NEXT-26),
	KTAP_CASE(one_vector_at_a_time, NEXT-27),
	KTAP_CASE(another_file_is_invalid, NEXT-27),
};

KTAP_MAIN(cases, uintr_later_missing())
