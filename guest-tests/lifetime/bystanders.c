// SPDX-License-Identifier: GPL-2.0
/*
 * What others do with their vectors does not disturb a thread that has nothing to do with them.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#include <sys/sysinfo.h>

enum { CLOSES = 200 };

struct bystander {
	int fd;			/* it is connected to this */
	int cpu;		/* it runs here, in user mode; -1 before that */
	bool stop;
};

static void *computes(void *arg)
{
	struct bystander *bystander = arg;

	pin_to(1);
	sender_to(bystander->fd);
	shared_store(&bystander->cpu, sched_getcpu());
	while (!shared_load(&bystander->stop))
		;
	return NULL;
}

/* How many functions other CPUs have had a CPU call, by the row CAL of /proc/interrupts. */
static unsigned long calls_on(int cpu)
{
	unsigned long calls = 0;
	char line[1024], *at;
	FILE *f = fopen("/proc/interrupts", "re");

	ktap_assert(f, "/proc/interrupts: %s", ktap_errno(errno));
	while (fgets(line, sizeof(line), f)) {
		at = strstr(line, "CAL:");
		if (!at)
			continue;
		for (at += 4; cpu >= 0; cpu--)
			calls = strtoul(at, &at, 10);
	}
	fclose(f);
	return calls;
}

static void not_interrupted_by_a_close(void)
{
	struct bystander bystander = { .cpu = -1 };
	unsigned long before, calls;
	pthread_t thread;
	int i;

	if (get_nprocs() < 2)
		ktap_skip("needs two CPUs");
	pin_to(0);
	bystander.fd = receiver(0);
	thread = thread_start(computes, &bystander);
	ktap_assert(yield_until(shared_load(&bystander.cpu) >= 0), "no bystander");
	before = calls_on(bystander.cpu);
	for (i = 0; i < CLOSES; i++)
		close(ktap_ok(uintr_create_fd(1, 0)));
	calls = calls_on(bystander.cpu) - before;
	ktap_check(calls < CLOSES / 2, "%lu calls on its CPU for %d vectors that were closed", calls,
		   CLOSES);
	shared_store(&bystander.stop, true);
	thread_join(thread);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(not_interrupted_by_a_close, LIFE-19),
};

KTAP_MAIN(cases, uintr_rfc_missing())
