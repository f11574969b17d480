// SPDX-License-Identifier: GPL-2.0
/*
 * The later ABI's connections: they belong to the process and not to a thread or a descriptor, and
 * are ended by their index.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

static void connecting_again_gives_another_index(void)
{
	int fd = receiver(3), one = sender_to(fd), other = sender_to(fd);

	ktap_assert(one != other, "index %d twice", one);
	_stui();
	_senduipi(one);
	ktap_check(spin_until(hits_of[3] == 1), "lost by the first");
	_senduipi(other);
	ktap_check(spin_until(hits_of[3] == 2), "lost by the second");
}

static void a_receiver_that_unregistered_is_no_error(void)
{
	int fd = receiver(0);

	ktap_ok(uintr_unregister_handler(0));
	ktap_ok(uintr_register_sender(fd, 0));
}

struct short_receiver {
	int fd;
	pid_t tid;
};

static void *short_receiver(void *arg)
{
	struct short_receiver *r = arg;

	r->fd = receiver(0);
	r->tid = task_tid();
	return NULL;
}

static void a_receiver_that_ended_is_shut_down(void)
{
	struct short_receiver r;

	in_thread(short_receiver, &r);
	thread_vanishes(r.tid);
	ktap_fails(uintr_register_sender(r.fd, 0), ESHUTDOWN);
}

static void connections_survive_the_registration(void)
{
	int index = sender_to(receiver(3)), i;

	_stui();
	for (i = 1; i <= 5; i++) {
		_senduipi(index);
		ktap_assert(spin_until(hits_of[3] == (unsigned long)i), "round %d: lost", i);
		ktap_ok(uintr_unregister_handler(0));
		ktap_ok(uintr_register_handler(count_hit, 0));
	}
}

static void the_index_disconnects(void)
{
	static const int never[] = { -1, UINTR_SENDERS - 1, UINTR_SENDERS, 1 << 30 };
	int index = sender_to(receiver(0)), stays = sender_to(ktap_ok(uintr_create_fd(1, 0)));
	unsigned int i;

	for (i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		ktap_fails(uintr_unregister_sender(never[i], 0), EINVAL);
	ktap_check(uintr_unregister_sender(index, 0) == 0, "%s", ktap_errno(errno));
	ktap_fails(uintr_unregister_sender(index, 0), EINVAL);
	ktap_check(senduipi_signal(index) == SIGSEGV, "the index still sends");
	_stui();
	_senduipi(stays);
	ktap_check(spin_until(hits_of[1] == 1), "lost by another connection");
	ktap_check(hits_of[0] == 0, "came after the end of the connection");
	ktap_ok(uintr_unregister_sender(stays, 0));
}

static void disconnecting_without_a_table(void)
{
	receiver(0);
	ktap_fails(uintr_unregister_sender(0, 0), EINVAL);
	ktap_fails(uintr_unregister_sender(0, 1), EINVAL);
}

static void *sends(void *arg)
{
	ktap_check(senduipi_signal(*(int *)arg) == 0, "another thread cannot send");
	return NULL;
}

static int second_fd;

static void *connects(void *arg)
{
	*(int *)arg = sender_to(second_fd);
	return NULL;
}

static void an_index_works_in_every_thread(void)
{
	int index = sender_to(receiver(3)), other;

	second_fd = ktap_ok(uintr_create_fd(4, 0));
	_stui();
	in_thread(sends, &index);
	ktap_check(spin_until(hits_of[3] == 1), "lost from another thread");
	in_thread(connects, &other);
	ktap_check(other != index, "index %d twice in a process", index);
	/* The thread that connected is gone, the connection is not. */
	ktap_check(senduipi_signal(other) == 0, "the connection went with its thread");
	ktap_check(spin_until(hits_of[4] == 1), "lost by what another thread connected");
	in_thread(sends, &other);
	ktap_check(spin_until(hits_of[4] == 2), "lost from a third thread");
}

struct family {
	int index;		/* connected by the parent */
	int fd;			/* for the child to connect to */
	int child_index;
	struct turn connected, sent;
};

static void child_connects(void *arg)
{
	struct family *family = arg;

	ktap_check(senduipi_signal(family->index) == 0, "the child cannot send");
	family->child_index = sender_to(family->fd);
	turn_give(&family->connected);
	/* Were the child's end the end of its connection, the parent could not send. */
	turn_take(&family->sent);
}

static void a_child_shares_the_table(void)
{
	struct family *family = shared_memory(sizeof(*family));
	pid_t child;

	family->index = sender_to(receiver(3));
	family->fd = ktap_ok(uintr_create_fd(4, 0));
	turn_init(&family->connected);
	turn_init(&family->sent);
	_stui();
	child = child_start(child_connects, family);
	turn_take(&family->connected);
	ktap_check(spin_until(hits_of[3] == 1), "lost from the child");
	ktap_check(family->child_index != family->index, "index %d twice in a table",
		   family->index);
	ktap_check(senduipi_signal(family->child_index) == 0, "the parent cannot send");
	ktap_check(spin_until(hits_of[4] == 1), "lost by what the child connected");
	turn_give(&family->sent);
	child_passes(child);
}

static void without_a_table_it_is_undefined(void)
{
	ktap_check(senduipi_signal(0) == SIGILL, "no handler, no table: %s",
		   fault_name(fault_seen.sig));
	receiver(0);
	ktap_check(senduipi_signal(0) == SIGILL, "a vector, but no table: %s",
		   fault_name(fault_seen.sig));
}

static const struct ktap_case cases[] = {
	KTAP_CASE(connecting_again_gives_another_index, NEXT-6),
	KTAP_CASE(a_receiver_that_unregistered_is_no_error, NEXT-7),
	KTAP_CASE(a_receiver_that_ended_is_shut_down, NEXT-7),
	KTAP_CASE(the_index_disconnects, NEXT-8),
	KTAP_CASE(disconnecting_without_a_table, NEXT-9),
	KTAP_CASE(an_index_works_in_every_thread, NEXT-10),
	KTAP_CASE(a_child_shares_the_table, NEXT-11),
	KTAP_CASE(without_a_table_it_is_undefined, NEXT-12),
	KTAP_CASE(connections_survive_the_registration, NEXT-13),
};

KTAP_MAIN(cases, uintr_later_missing())
