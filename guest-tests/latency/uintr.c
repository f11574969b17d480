// SPDX-License-Identifier: GPL-2.0
/*
 * User interrupts: to a thread that runs, and to one that sleeps in uintr_wait().
 */
#include "latency.h"
#include "sides.h"
#include "uintr.h"
#include "wait.h"

static int fds[2], indices[2];

static void open_side(int side)
{
	register_side(side);
	fds[side] = ktap_ok(uintr_create_fd(0, 0));
	_stui();
}

static void connect_side(int side)
{
	indices[side] = ktap_ok(uintr_register_sender(fds[!side], 0));
}

static void send_side(int side)
{
	_senduipi(indices[side]);
}

static void wait_running(int side, unsigned long round)
{
	while (arrived[side] <= round)
		latency_relax();
}

static void wait_blocked(int side, unsigned long round)
{
	while (arrived[side] <= round)
		wait_while(&arrived[side], round);
}

static const struct mechanism running = {
	"uintr", open_side, connect_side, send_side, wait_running,
};

static const struct mechanism blocked = {
	"uintr", open_side, connect_side, send_side, wait_blocked,
};

LATENCY_CASES(running, blocked)
LATENCY_CASE(ping_pong_same_cpu, running, "ping-pong", true, true)

static const struct ktap_case cases[] = {
	LATENCY_KTAP_CASES,
	KTAP_CASE(ping_pong_same_cpu),
};

KTAP_MAIN(cases, uintr_rfc_missing())
