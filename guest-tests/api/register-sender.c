// SPDX-License-Identifier: GPL-2.0
/*
 * uintr_register_sender() and uintr_unregister_sender(): success, every documented error, and that
 * a sender's table belongs to one thread alone.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#include <sys/eventfd.h>

static void registers(void)
{
	int fd = receiver(0), index;

	index = sender_to(fd);
	ktap_check(index >= 0, "negative index");
	ktap_ok(uintr_disconnect(fd, index));
}

static void lowest_free_index_is_given(void)
{
	int fd[3], i;

	ktap_ok(uintr_register_handler(count_hit, 0));
	for (i = 0; i < 3; i++) {
		fd[i] = ktap_ok(uintr_create_fd(i, 0));
		ktap_check(uintr_register_sender(fd[i], 0) == i, "index is not %d", i);
	}
	ktap_ok(uintr_disconnect(fd[1], 1));
	ktap_check(uintr_register_sender(fd[1], 0) == 1, "index 1 is not used again");
}

static void register_flags_are_invalid(void)
{
	int fd = receiver(0);
	unsigned int bit;

	for (bit = 0; bit < 32; bit++)
		ktap_fails(uintr_register_sender(fd, 1U << bit), EINVAL);
	ktap_fails(uintr_register_sender(-1, 1), EINVAL);
	ktap_ok(uintr_register_sender(fd, 0));
}

static void register_bad_fd(void)
{
	ktap_fails(uintr_register_sender(-1, 0), EBADF);
	ktap_fails(uintr_register_sender(1000, 0), EBADF);
}

static void register_other_files(void)
{
	int event = ktap_ok(eventfd(0, 0)), pipes[2];

	ktap_ok(pipe(pipes));
	ktap_fails(uintr_register_sender(event, 0), EOPNOTSUPP);
	ktap_fails(uintr_register_sender(pipes[0], 0), EOPNOTSUPP);
	ktap_fails(uintr_register_sender(STDOUT_FILENO, 0), EOPNOTSUPP);
}

static void register_twice_is_connected(void)
{
	int fd, copy;

	need_the_rfc();
	fd = receiver(0);
	copy = ktap_ok(dup(fd));
	sender_to(fd);
	ktap_fails(uintr_register_sender(fd, 0), EISCONN);
	/* A copy is the same file, and the connection is the file's. */
	ktap_fails(uintr_register_sender(copy, 0), EISCONN);
	ktap_ok(uintr_unregister_sender(copy, 0));
	sender_to(fd);
}

static void register_after_unregistered_handler(void)
{
	int fd;

	need_the_rfc();
	fd = receiver(0);
	ktap_ok(uintr_unregister_handler(0));
	ktap_fails(uintr_register_sender(fd, 0), ESHUTDOWN);
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

static void register_after_receiver_exit(void)
{
	struct short_receiver r;

	in_thread(short_receiver, &r);
	thread_vanishes(r.tid);
	ktap_fails(uintr_register_sender(r.fd, 0), ESHUTDOWN);
}

/* One receiver has 64 fds, so a full table takes several receivers. */
struct many_fds {
	pthread_t thread;
	int fd[UINTR_VECTORS];
	bool ready;
	bool stop;
};

static void *receives_on_all(void *arg)
{
	struct many_fds *many = arg;
	unsigned int i;

	ktap_ok(uintr_register_handler(count_hit, 0));
	for (i = 0; i < UINTR_VECTORS; i++)
		many->fd[i] = ktap_ok(uintr_create_fd(i, 0));
	shared_store(&many->ready, true);
	while (!shared_load(&many->stop))
		sleep_ms(1);
	return NULL;
}

static void table_full_is_nospc(void)
{
	static struct many_fds many[UINTR_SENDERS / UINTR_VECTORS + 1];
	unsigned int i, j, n = 0;
	int index;

	for (i = 0; i < UINTR_SENDERS / UINTR_VECTORS + 1; i++) {
		many[i].thread = thread_start(receives_on_all, &many[i]);
		ktap_assert(yield_until(shared_load(&many[i].ready)), "no fds");
	}
	for (i = 0; i < UINTR_SENDERS / UINTR_VECTORS; i++) {
		for (j = 0; j < UINTR_VECTORS; j++, n++) {
			index = ktap_ok(uintr_register_sender(many[i].fd[j], 0));
			ktap_check(index == (int)n, "index %d for connection %u", index, n);
		}
	}
	ktap_fails(uintr_register_sender(many[i].fd[0], 0), ENOSPC);
	ktap_check(senduipi_signal(UINTR_SENDERS - 1) == 0, "the last index does not send");
	/* One goes, one fits, and only one. */
	ktap_ok(uintr_disconnect(many[1].fd[5], UINTR_VECTORS + 5));
	ktap_check(uintr_register_sender(many[i].fd[0], 0) == UINTR_VECTORS + 5,
		   "the freed index is not used again");
	ktap_fails(uintr_register_sender(many[i].fd[1], 0), ENOSPC);
	for (i = 0; i < UINTR_SENDERS / UINTR_VECTORS + 1; i++) {
		shared_store(&many[i].stop, true);
		thread_join(many[i].thread);
	}
}

static void *connects(void *arg)
{
	int fd = *(int *)arg;

	ktap_fails(uintr_unregister_sender(fd, 0), EINVAL);
	ktap_check(uintr_register_sender(fd, 0) == 0, "the first index of a thread is not 0");
	ktap_ok(uintr_unregister_sender(fd, 0));
	return NULL;
}

static void table_is_per_thread(void)
{
	int fd;

	need_the_rfc();
	fd = receiver(0);
	sender_to(fd);
	in_thread(connects, &fd);
	ktap_fails(uintr_register_sender(fd, 0), EISCONN);
	ktap_ok(uintr_unregister_sender(fd, 0));
}

static void connects_in_child(void *arg)
{
	connects(arg);
}

static void table_is_not_inherited_by_fork(void)
{
	int fd;

	need_the_rfc();
	fd = receiver(0);
	sender_to(fd);
	child_passes(child_start(connects_in_child, &fd));
	ktap_ok(uintr_unregister_sender(fd, 0));
}

static void unregister_flags_are_invalid(void)
{
	int fd = receiver(0), index = sender_to(fd);
	unsigned int bit;

	for (bit = 0; bit < 32; bit++)
		ktap_fails(uintr_unregister_sender(UINTR_ABI_RFC ? fd : index, 1U << bit), EINVAL);
	ktap_ok(uintr_disconnect(fd, index));
}

static void unregister_bad_fd(void)
{
	need_the_rfc();
	sender_to(receiver(0));
	ktap_fails(uintr_unregister_sender(-1, 0), EBADF);
	ktap_fails(uintr_unregister_sender(1000, 0), EBADF);
}

static void unregister_other_files(void)
{
	need_the_rfc();
	sender_to(receiver(0));
	ktap_fails(uintr_unregister_sender(ktap_ok(eventfd(0, 0)), 0), EOPNOTSUPP);
	ktap_fails(uintr_unregister_sender(STDOUT_FILENO, 0), EOPNOTSUPP);
}

static void unregister_unconnected_is_invalid(void)
{
	int fd, other;

	need_the_rfc();
	fd = receiver(0);
	other = ktap_ok(uintr_create_fd(1, 0));
	ktap_fails(uintr_unregister_sender(fd, 0), EINVAL);
	sender_to(fd);
	ktap_fails(uintr_unregister_sender(other, 0), EINVAL);
	ktap_ok(uintr_unregister_sender(fd, 0));
	ktap_fails(uintr_unregister_sender(fd, 0), EINVAL);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(registers, SENDER-1, SENDER-12),
	KTAP_CASE(lowest_free_index_is_given, SENDER-2, SENDER-12),
	KTAP_CASE(register_flags_are_invalid, SENDER-3),
	KTAP_CASE(register_bad_fd, SENDER-4),
	KTAP_CASE(register_other_files, SENDER-5),
	KTAP_CASE(register_twice_is_connected, SENDER-6),
	KTAP_CASE(register_after_unregistered_handler, SENDER-7),
	KTAP_CASE(register_after_receiver_exit, SENDER-8),
	KTAP_CASE(table_full_is_nospc, SENDER-2, SENDER-9, SENDER-12),
	KTAP_CASE(table_is_per_thread, SENDER-10),
	KTAP_CASE(table_is_not_inherited_by_fork, SENDER-11),
	KTAP_CASE(unregister_flags_are_invalid, SENDER-13),
	KTAP_CASE(unregister_bad_fd, SENDER-14),
	KTAP_CASE(unregister_other_files, SENDER-15),
	KTAP_CASE(unregister_unconnected_is_invalid, SENDER-16),
};

KTAP_MAIN(cases, uintr_missing())
