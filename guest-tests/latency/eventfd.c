// SPDX-License-Identifier: GPL-2.0
/*
 * eventfd, one for each direction: with readers that block, and with readers that poll a
 * non-blocking fd, which is what a user interrupt to a running thread compares with.
 */
#include "latency.h"

#include <sys/eventfd.h>

static int fds[2];

static void open_blocking(int side)
{
	fds[side] = ktap_ok(eventfd(0, EFD_CLOEXEC));
}

static void open_polled(int side)
{
	fds[side] = ktap_ok(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void connect_side(int side)
{
	(void)side;
}

static void send_side(int side)
{
	uint64_t one = 1;

	ktap_assert(write(fds[!side], &one, sizeof(one)) == sizeof(one), "write: %s",
		    ktap_errno(errno));
}

static void wait_blocked(int side, unsigned long round)
{
	uint64_t count;

	(void)round;
	ktap_assert(read(fds[side], &count, sizeof(count)) == sizeof(count), "read: %s",
		    ktap_errno(errno));
}

static void wait_polling(int side, unsigned long round)
{
	uint64_t count;

	(void)round;
	while (read(fds[side], &count, sizeof(count)) < 0) {
		ktap_assert(errno == EAGAIN, "read: %s", ktap_errno(errno));
		latency_relax();
	}
}

static const struct mechanism blocking = {
	"eventfd", open_blocking, connect_side, send_side, wait_blocked,
};

static const struct mechanism polled = {
	"eventfd", open_polled, connect_side, send_side, wait_polling,
};

LATENCY_CASES(polled, blocking)

static const struct ktap_case cases[] = {
	LATENCY_KTAP_CASES,
};

KTAP_MAIN(cases, NULL)
