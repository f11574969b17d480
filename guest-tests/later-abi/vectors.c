// SPDX-License-Identifier: GPL-2.0
/*
 * The later ABI's vectors: a vector can have several descriptors, and outlives them all.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

static void a_vector_has_several_descriptors(void)
{
	int first = receiver(7), second = ktap_ok(uintr_create_fd(7, 0)), one, other;

	ktap_assert(first != second, "the same descriptor");
	one = sender_to(first);
	other = sender_to(second);
	_stui();
	_senduipi(one);
	ktap_check(spin_until(hits_of[7] == 1), "lost by the first");
	_senduipi(other);
	ktap_check(spin_until(hits_of[7] == 2), "lost by the second");
	ktap_check(hits == 2, "%lu hits", hits);
}

/* Its existence shows only in that its senders can still send. */
static void a_vector_outlives_its_descriptors(void)
{
	int first = receiver(7), second = ktap_ok(uintr_create_fd(7, 0)), index = sender_to(first);

	close(first);
	close(second);
	_stui();
	ktap_assert(senduipi_signal(index) == 0, "the connection went with the descriptors");
	ktap_check(spin_until(hits_of[7] == 1), "lost");
	ktap_ok(uintr_create_fd(7, 0));
	_senduipi(index);
	ktap_check(spin_until(hits_of[7] == 2), "lost with a new descriptor");
}

static void fdinfo_tells_receiver_and_vector(void)
{
	static const unsigned int vectors[] = { 0, 21, 63 };
	unsigned int i, pid, vector, lines;
	char path[64], line[128];
	int fd;
	FILE *f;

	ktap_ok(uintr_register_handler(count_hit, 0));
	for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		fd = ktap_ok(uintr_create_fd(vectors[i], 0));
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		f = fopen(path, "re");
		if (!f && access("/proc/self", F_OK))
			ktap_skip("/proc is not mounted");
		ktap_assert(f, "%s: %s", path, ktap_errno(errno));
		lines = 0;
		while (fgets(line, sizeof(line), f)) {
			if (sscanf(line, "uintr: receiver: %u vector:%u", &pid, &vector) != 2)
				continue;
			lines++;
			ktap_check(pid == (unsigned int)getpid() && vector == vectors[i],
				   "vector %u of %d: %s", vectors[i], getpid(), line);
		}
		fclose(f);
		ktap_check(lines == 1, "vector %u: %u lines of receiver and vector", vectors[i],
			   lines);
	}
}

static const struct ktap_case cases[] = {
	KTAP_CASE(a_vector_has_several_descriptors, NEXT-2),
	KTAP_CASE(a_vector_outlives_its_descriptors, NEXT-3, NEXT-4),
	KTAP_CASE(fdinfo_tells_receiver_and_vector, NEXT-5),
};

KTAP_MAIN(cases, uintr_later_missing())
