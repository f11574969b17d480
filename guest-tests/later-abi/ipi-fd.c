// SPDX-License-Identifier: GPL-2.0
/*
 * uintr_ipi_fd(): a descriptor of the process's table of connections, by which another process gets
 * that table.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#include <sys/ioctl.h>

/* Without the later ABI's headers nothing here runs. */
#ifndef UIPI_SET_TARGET_TABLE
#define UIPI_SET_TARGET_TABLE	0
#define UIPI_CLEAR_TARGET_TABLE	0
#endif

static void gives_a_descriptor(void)
{
	unsigned int bit;
	int fd;

	sender_to(receiver(0));
	for (bit = 0; bit < 32; bit++)
		ktap_fails(uintr_ipi_fd(1U << bit), EINVAL);
	fd = ktap_ok(uintr_ipi_fd(0));
	ktap_check(fcntl(fd, F_GETFD) != -1, "%d is no descriptor", fd);
	ktap_check(ktap_ok(uintr_ipi_fd(0)) != fd, "the same descriptor again");
}

struct other {
	int sock[2];
	int index;
	struct turn begun, connected;
};

/* Begun before its parent had a table, so that it has none. */
static void takes_the_table(void *arg)
{
	struct other *other = arg;
	int fd;

	turn_give(&other->begun);
	fd = fd_receive(other->sock[1]);
	turn_take(&other->connected);
	ktap_check(senduipi_signal(other->index) == SIGILL, "it has a table already");
	ktap_check(ioctl(fd, UIPI_SET_TARGET_TABLE, 0) == 0, "UIPI_SET_TARGET_TABLE: %s",
		   ktap_errno(errno));
	ktap_check(senduipi_signal(other->index) == 0, "it has no table");
	ktap_fails(ioctl(fd, UIPI_SET_TARGET_TABLE, 0), EBUSY);
}

static void another_process_gets_the_table(void)
{
	struct other *other = shared_memory(sizeof(*other));
	pid_t child;

	ktap_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, other->sock));
	turn_init(&other->begun);
	turn_init(&other->connected);
	child = child_start(takes_the_table, other);
	turn_take(&other->begun);
	other->index = sender_to(receiver(3));
	fd_send(other->sock[0], ktap_ok(uintr_ipi_fd(0)));
	_stui();
	turn_give(&other->connected);
	ktap_check(spin_until(hits_of[3] == 1), "lost from the other process");
	child_passes(child);
	ktap_check(hits == 1, "%lu hits", hits);
}

static void connects_then_tries(void *arg)
{
	struct other *other = arg;
	int fd = fd_receive(other->sock[1]);

	sender_to(receiver(0));
	ktap_fails(ioctl(fd, UIPI_SET_TARGET_TABLE, 0), EBUSY);
}

static void a_process_with_a_table_keeps_it(void)
{
	struct other *other = shared_memory(sizeof(*other));
	pid_t child;
	int fd;

	ktap_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, other->sock));
	child = child_start(connects_then_tries, other);
	sender_to(receiver(0));
	fd = ktap_ok(uintr_ipi_fd(0));
	ktap_fails(ioctl(fd, UIPI_SET_TARGET_TABLE, 0), EBUSY);
	fd_send(other->sock[0], fd);
	child_passes(child);
}

static void clearing_is_invalid(void)
{
	sender_to(receiver(0));
	ktap_fails(ioctl(ktap_ok(uintr_ipi_fd(0)), UIPI_CLEAR_TARGET_TABLE, 0), EINVAL);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(gives_a_descriptor, NEXT-23),
	KTAP_CASE(another_process_gets_the_table, NEXT-24),
	KTAP_CASE(a_process_with_a_table_keeps_it, NEXT-24),
	KTAP_CASE(clearing_is_invalid, NEXT-25),
};

KTAP_MAIN(cases, uintr_later_missing())
