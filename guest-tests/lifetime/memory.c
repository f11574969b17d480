// SPDX-License-Identifier: GPL-2.0
/*
 * No memory is kept after the last one of receiver, fd and sender is gone. The kernel's memory
 * that cannot be reclaimed is compared before and after many rounds, so that a few dozen bytes per
 * round show. Per-CPU caches fill up once and look the same, but not repeatedly.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>

/* KiB of the kernel's own objects that cannot be reclaimed (SUnreclaim in /proc/meminfo), or -1. */
static long kernel_memory(void)
{
	char line[128];
	long size = -1;
	FILE *f = fopen("/proc/meminfo", "re");

	if (!f)
		return -1;
	while (size < 0 && fgets(line, sizeof(line), f))
		sscanf(line, "SUnreclaim: %ld kB", &size);
	fclose(f);
	return size;
}

/* Whether the kernel delays the reuse of freed memory, as KASAN does. */
static bool keeps_what_is_freed(void)
{
	char line[256];
	bool found = false;
	FILE *f = fopen("/proc/kallsyms", "re");

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, " kasan_quarantine_put\n");
	fclose(f);
	return found;
}

/* Growth of the kernel's memory by a number of rounds, in KiB; waits until it is below a limit. */
static long left_of(void (*round)(void), unsigned int rounds, long limit)
{
	long before = kernel_memory(), now = 0;
	unsigned int i;

	for (i = 0; i < rounds; i++)
		round();
	/* Some things are freed a while later. */
	yield_until((now = kernel_memory() - before) < limit);
	ktap_diag("%ld KiB after %u rounds", now, rounds);
	return now;
}

/* Check that a round leaves fewer bytes; what rounds share is allocated before. */
static void leaves_less_than(unsigned int bytes, void (*round)(void), unsigned int rounds)
{
	long limit = (long)rounds * bytes / 1024, left = limit;
	unsigned int i;

	if (kernel_memory() < 0)
		ktap_skip("/proc/meminfo does not tell what the kernel holds");
	if (keeps_what_is_freed())
		ktap_skip("KASAN keeps what is freed; kmemleak finds what is not");
	for (i = 0; i < rounds / 10; i++)
		round();
	sleep_ms(100);
	for (i = 0; i < 3 && left >= limit; i++)
		left = left_of(round, rounds, limit);
	ktap_check(left < limit, "%ld KiB are left of each %u rounds", left, rounds);
}

static void receive_and_end(void)
{
	int fd = receiver(0);

	ktap_ok(uintr_unregister_handler(0));
	close(fd);
}

static void receivers_and_fds(void)
{
	leaves_less_than(48, receive_and_end, 10000);
}

static int standing_fd;

static void connect_and_leave(void)
{
	ktap_ok(uintr_register_sender(standing_fd, 0));
	ktap_ok(uintr_unregister_sender(standing_fd, 0));
}

static void connections(void)
{
	standing_fd = receiver(0);
	leaves_less_than(32, connect_and_leave, 20000);
}

static void connect_and_close(void)
{
	int fd = receiver(0);

	sender_to(fd);
	close(fd);
	ktap_ok(uintr_unregister_handler(0));
}

static void connections_of_a_closed_fd(void)
{
	leaves_less_than(32, connect_and_close, 10000);
}

static void *connects(void *arg)
{
	(void)arg;
	_stui();
	sender_to(standing_fd);
	return NULL;
}

static void connect_and_exit(void)
{
	in_thread(connects, NULL);
}

static void threads_that_send(void)
{
	standing_fd = receiver(0);
	leaves_less_than(320, connect_and_exit, 1500);
}

static void *receives(void *arg)
{
	(void)arg;
	_stui();
	close(receiver(0));
	return NULL;
}

static void receive_and_exit(void)
{
	in_thread(receives, NULL);
}

static void threads_that_receive(void)
{
	leaves_less_than(320, receive_and_exit, 1500);
}

#ifdef UINTR_FD_ATTACH
static void attach_and_detach(void)
{
	int event = ktap_ok(eventfd(0, EFD_CLOEXEC));

	ktap_ok(ioctl(standing_fd, UINTR_FD_ATTACH, event));
	ktap_ok(ioctl(standing_fd, UINTR_FD_ATTACH, -1));
	close(event);
}

static void eventfds(void)
{
	standing_fd = receiver(0);
	leaves_less_than(32, attach_and_detach, 15000);
}
#endif

static const struct ktap_case cases[] = {
	KTAP_SLOW_CASE(receivers_and_fds, 60, LIFE-17),
	KTAP_SLOW_CASE(connections, 60, LIFE-17),
	KTAP_SLOW_CASE(connections_of_a_closed_fd, 60, LIFE-17),
	KTAP_SLOW_CASE(threads_that_send, 60, LIFE-17),
	KTAP_SLOW_CASE(threads_that_receive, 60, LIFE-17),
#ifdef UINTR_FD_ATTACH
	KTAP_SLOW_CASE(eventfds, 60, LIFE-17),
#endif
};

KTAP_MAIN(cases, uintr_rfc_missing())
