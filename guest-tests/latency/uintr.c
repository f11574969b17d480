// SPDX-License-Identifier: GPL-2.0
/*
 * User interrupts: to a thread that runs, to one that waits by UMWAIT, and to one that sleeps in
 * uintr_wait(). All senders use one vector, so that interrupts that come close together merge, as
 * counts of an eventfd do.
 *
 * In the talk: two threads that spin on a flag which the handler sets.
 */
#include "latency-cases.h"
#include "uintr.h"
#include "wait.h"

static int fds[2], sockets[2][2];
static __thread int index_to[2];
static __thread unsigned long taken;

static UINTR_HANDLER void count_only(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)vector;
	latency_own.count++;
	wait_fix(frame);
}

static UINTR_HANDLER void count_and_stamp(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)vector;
	latency_own.entered = latency_stamp();
	latency_own.count++;
	wait_fix(frame);
	latency_own.left = latency_stamp();
}

static UINTR_HANDLER void count_in_umwait(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)vector;
	if (latency_run.stamps)
		latency_own.entered = latency_stamp();
	latency_own.count++;
	umwait_fix(&frame->rip);
}

static uintr_handler_t *handler(void)
{
	if (latency_run.variant.take == UMWAIT)
		return count_in_umwait;
	return latency_run.stamps ? count_and_stamp : count_only;
}

static bool between_processes(void)
{
	return latency_run.variant.flags & PROCESSES;
}

static void setup(void)
{
	int side;

	for (side = 0; between_processes() && side < 2; side++)
		ktap_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets[side]));
}

static void open_side(int side)
{
	if (latency_blocks())
		need_uintr_wait();
	ktap_ok(uintr_register_handler(handler(), latency_blocks() ? UINTR_WAKES : 0));
	fds[side] = ktap_ok(uintr_create_fd(0, 0));
	if (between_processes())
		fd_send(sockets[side][0], fds[side]);
	_stui();
}

static void connect_to(int to)
{
	int fd = between_processes() ? fd_receive(sockets[to][1]) : fds[to];

	index_to[to] = ktap_ok(uintr_register_sender(fd, 0));
}

static void send_to(int to)
{
	_senduipi(index_to[to]);
}

static unsigned long poll_side(int side)
{
	unsigned long count = latency_own.count, fresh = count - taken;

	(void)side;
	taken = count;
	return fresh;
}

static unsigned long wait_side(int side)
{
	while (latency_own.count == taken)
		wait_while(&latency_own.count, taken);
	return poll_side(side);
}

static unsigned long umwait_side(int side)
{
	while (latency_own.count == taken)
		umwait_while(&latency_own.count, taken, UMWAIT_FOREVER);
	return poll_side(side);
}

static void mask(bool on)
{
	if (on)
		_clui();
	else
		_stui();
}

static const struct mechanism latency_mechanism = {
	.name = "uintr",
	.setup = setup,
	.open = open_side,
	.connect = connect_to,
	.send = send_to,
	.poll = poll_side,
	.wait = wait_side,
	.umwait = umwait_side,
	.mask = mask,
	.merges = true,
};

LATENCY_TALK(latency_mechanism, FAIR, 0)
LATENCY_PROGRAM(LATENCY_KTAP_TALK, uintr_missing())
