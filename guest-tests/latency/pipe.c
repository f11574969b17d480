// SPDX-License-Identifier: GPL-2.0
/*
 * Pipes, one for each direction, a byte at a time: with readers that block, and with readers that
 * poll a non-blocking end.
 */
#include "latency.h"

static int fds[2][2];

static void open_blocking(int side)
{
	ktap_ok(pipe2(fds[side], O_CLOEXEC));
}

static void open_polled(int side)
{
	ktap_ok(pipe2(fds[side], O_CLOEXEC | O_NONBLOCK));
}

static void connect_side(int side)
{
	(void)side;
}

static void send_side(int side)
{
	char one = 1;

	ktap_assert(write(fds[!side][1], &one, 1) == 1, "write: %s",
		    ktap_errno(errno));
}

static void wait_blocked(int side, unsigned long round)
{
	char byte;

	(void)round;
	ktap_assert(read(fds[side][0], &byte, 1) == 1, "read: %s",
		    ktap_errno(errno));
}

static void wait_polling(int side, unsigned long round)
{
	char byte;

	(void)round;
	while (read(fds[side][0], &byte, 1) < 0) {
		ktap_assert(errno == EAGAIN, "read: %s", ktap_errno(errno));
		latency_relax();
	}
}

static const struct mechanism blocking = {
	"pipe", open_blocking, connect_side, send_side, wait_blocked,
};

static const struct mechanism polled = {
	"pipe", open_polled, connect_side, send_side, wait_polling,
};

LATENCY_CASES(polled, blocking)

static const struct ktap_case cases[] = {
	LATENCY_KTAP_CASES,
};

KTAP_MAIN(cases, NULL)
