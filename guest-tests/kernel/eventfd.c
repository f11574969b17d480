// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel as the sender: an eventfd tied to a vector by UINTR_FD_ATTACH. Each signal of the
 * eventfd, by a write or by the completion of an asynchronous read, interrupts the receiver.
 */
#include "ktap.h"
#include "peer.h"
#include "ring.h"
#include "task.h"
#include "uintr.h"

#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#ifndef UINTR_FD_ATTACH
#define UINTR_FD_ATTACH	0
#endif

static int event_fd(void)
{
	return ktap_ok(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void signal_event(int event)
{
	uint64_t one = 1;

	ktap_ok(write(event, &one, sizeof(one)));
}

/* Waits for one more interrupt than there were. */
static void expect_one(unsigned long before)
{
	ktap_check(spin_until(hits > before), "not delivered");
	sleep_ms(NEVER_MS);
	ktap_check(hits == before + 1, "%lu for one signal", hits - before);
}

static void expect_none(void)
{
	unsigned long before = hits;

	sleep_ms(NEVER_MS);
	ktap_check(hits == before, "delivered %lu", hits - before);
}

static void a_write_interrupts(void)
{
	int fd = receiver(5), event = event_fd();
	uint64_t count = 0;

	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	_stui();
	signal_event(event);
	expect_one(0);
	ktap_check(hits_of[5] == 1, "another vector");
	/* The eventfd works as always: its counter is for the receiver to read. */
	ktap_ok(read(event, &count, sizeof(count)));
	ktap_check(count == 1, "the counter is %lu", (unsigned long)count);
	signal_event(event);
	expect_one(1);
}

/* A counter that is not read does not hold later signals back. */
static void each_signal_interrupts_without_a_read(void)
{
	int fd = receiver(5), event = event_fd();
	unsigned long i;

	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	_stui();
	for (i = 0; i < 100; i++) {
		signal_event(event);
		ktap_assert(spin_until(hits == i + 1), "signal %lu is missing", i);
	}
}

/* A signal before the attachment counts as one at the attachment. */
static void what_is_there_already_interrupts_at_once(void)
{
	int fd = receiver(5), event = event_fd();

	signal_event(event);
	_stui();
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	expect_one(0);
}

static void write_it(void *arg)
{
	sleep_ms(20);
	signal_event(*(int *)arg);
}

static void another_process_signals(void)
{
	int fd = receiver(5), event = event_fd();
	pid_t child;

	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	_stui();
	child = child_start(write_it, &event);
	expect_one(0);
	child_passes(child);
}

static void ends_uintr_wait(void)
{
	int fd = receiver(5), event = event_fd();
	pid_t child;

	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	child = child_start(write_it, &event);
	/* Masked until the call returns, so that the signal cannot come before it unseen. */
	ktap_fails(uintr_wait(0), EINTR);
	_stui();
	expect_one(0);
	child_passes(child);
}

static void completion_of_a_read(void)
{
	int fd = receiver(5), event = event_fd();
	int file = ktap_ok(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	struct io_event done = {};
	aio_context_t context = 0;
	char data[4] = {};
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = file,
		.aio_buf = (uintptr_t)data,
		.aio_nbytes = sizeof(data),
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = event,
	}, *list = &cb;

	ktap_ok(syscall(SYS_io_setup, 1, &context));
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	_stui();
	ktap_check(syscall(SYS_io_submit, context, 1, &list) == 1, "io_submit: %s",
		   ktap_errno(errno));
	expect_one(0);
	ktap_check(syscall(SYS_io_getevents, context, 1, 1, &done, NULL) == 1, "no completion");
	ktap_check(done.res == 4 && !memcmp(data, "\177ELF", 4), "read %lld", (long long)done.res);
}

static void completions_of_a_ring(void)
{
	int fd = receiver(5), event = event_fd();
	struct ring ring;
	unsigned long i;

	ring_open(&ring);
	ktap_ok(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_EVENTFD, &event, 1));
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	_stui();
	for (i = 0; i < 100; i++) {
		ring_nop(&ring);
		ktap_assert(spin_until(hits == i + 1), "completion %lu is missing", i);
		ring_see(&ring);
	}
}

static void detaches(void)
{
	int fd = receiver(5), event = event_fd();

	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	_stui();
	signal_event(event);
	expect_one(0);
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, -1));
	signal_event(event);
	expect_none();
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	expect_one(1);
}

static void one_eventfd_at_a_time(void)
{
	int fd = receiver(5), event = event_fd();

	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	ktap_fails(ioctl(fd, UINTR_FD_ATTACH, event), EBUSY);
	ktap_fails(ioctl(fd, UINTR_FD_ATTACH, event_fd()), EBUSY);
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, -1));
	ktap_fails(ioctl(fd, UINTR_FD_ATTACH, -1), EINVAL);
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
}

static void wrong_files(void)
{
	int fd = receiver(5), tube[2];

	ktap_ok(pipe(tube));
	ktap_fails(ioctl(fd, UINTR_FD_ATTACH, tube[0]), EINVAL);
	ktap_fails(ioctl(fd, UINTR_FD_ATTACH, fd), EINVAL);
	ktap_fails(ioctl(fd, UINTR_FD_ATTACH, 1000), EBADF);
	ktap_fails(ioctl(fd, UINTR_FD_ATTACH, -2), EBADF);
	ktap_fails(ioctl(fd, UINTR_FD_ATTACH + 1, tube[0]), ENOTTY);
}

/* One eventfd for several vectors of a receiver: all are interrupted. */
static void one_eventfd_for_many_vectors(void)
{
	int fd[2] = { receiver(5), ktap_ok(uintr_create_fd(6, 0)) }, event = event_fd();

	ktap_ok(ioctl(fd[0], UINTR_FD_ATTACH, event));
	ktap_ok(ioctl(fd[1], UINTR_FD_ATTACH, event));
	_stui();
	signal_event(event);
	ktap_check(spin_until(hits_of[5] == 1 && hits_of[6] == 1), "%lu and %lu", hits_of[5],
		   hits_of[6]);
}

static void the_eventfd_goes_first(void)
{
	int fd = receiver(5), event = event_fd();

	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	_stui();
	close(event);
	expect_none();
	/* Still attached, to an eventfd that cannot be signalled any more. */
	ktap_fails(ioctl(fd, UINTR_FD_ATTACH, event_fd()), EBUSY);
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, -1));
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event_fd()));
}

static void the_vector_goes_first(void)
{
	int fd = receiver(5), event = event_fd();

	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	_stui();
	close(fd);
	signal_event(event);
	expect_none();
	fd = ktap_ok(uintr_create_fd(5, 0));
	signal_event(event);
	expect_none();
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	expect_one(0);
}

static void the_receiver_goes_first(void)
{
	int fd = receiver(5), event = event_fd();

	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
	_stui();
	ktap_ok(uintr_unregister_handler(0));
	signal_event(event);
	expect_none();
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, -1));
	ktap_ok(ioctl(fd, UINTR_FD_ATTACH, event));
}

static int storm_event;
static bool storm_over;

static void *storm(void *arg)
{
	(void)arg;
	while (!shared_load(&storm_over))
		signal_event(storm_event);
	return NULL;
}

/* Attaching and detaching while it is signalled from elsewhere. */
static void comes_and_goes_in_a_storm(void)
{
	int fd = receiver(5), i;
	pthread_t thread;

	storm_event = event_fd();
	_stui();
	thread = thread_start(storm, NULL);
	for (i = 0; i < 300; i++) {
		unsigned long before = hits;

		ktap_ok(ioctl(fd, UINTR_FD_ATTACH, storm_event));
		ktap_assert(yield_until(hits > before), "attached, and nothing arrives");
		ktap_ok(ioctl(fd, UINTR_FD_ATTACH, -1));
	}
	shared_store(&storm_over, true);
	thread_join(thread);
	expect_none();
}

static const struct ktap_case cases[] = {
	KTAP_CASE(a_write_interrupts, EVENTFD-1, EVENTFD-4),
	KTAP_CASE(each_signal_interrupts_without_a_read, EVENTFD-1, EVENTFD-5),
	KTAP_CASE(what_is_there_already_interrupts_at_once, EVENTFD-6),
	KTAP_CASE(another_process_signals, EVENTFD-2),
	KTAP_CASE(ends_uintr_wait, EVENTFD-17, WAIT-8),
	KTAP_CASE(completion_of_a_read, EVENTFD-3),
	KTAP_CASE(completions_of_a_ring, EVENTFD-3),
	KTAP_CASE(detaches, EVENTFD-6, EVENTFD-7),
	KTAP_CASE(one_eventfd_at_a_time, EVENTFD-8, EVENTFD-9),
	KTAP_CASE(wrong_files, EVENTFD-10, EVENTFD-11, EVENTFD-12),
	KTAP_CASE(one_eventfd_for_many_vectors, EVENTFD-13),
	KTAP_CASE(the_eventfd_goes_first, EVENTFD-15),
	KTAP_CASE(the_vector_goes_first, EVENTFD-14),
	KTAP_CASE(the_receiver_goes_first, EVENTFD-16),
	KTAP_CASE(comes_and_goes_in_a_storm, EVENTFD-6, EVENTFD-7),
};

static const char *missing(void)
{
	const char *reason = uintr_rfc_missing();

	if (!reason && !UINTR_FD_ATTACH)
		reason = "the kernel's headers have no UINTR_FD_ATTACH";
	return reason;
}

KTAP_MAIN(cases, missing())
