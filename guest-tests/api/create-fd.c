// SPDX-License-Identifier: GPL-2.0
/*
 * uintr_create_fd(): success, every documented error, and the properties of its file. The later
 * ABI calls it uintr_vector_fd().
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#include <sys/resource.h>

static void creates_for_every_vector(void)
{
	unsigned int vector;

	ktap_ok(uintr_register_handler(count_hit, 0));
	for (vector = 0; vector < UINTR_VECTORS; vector++)
		ktap_check(uintr_create_fd(vector, 0) >= 0, "vector %u: %s", vector,
			   ktap_errno(errno));
}

static void without_handler_is_invalid(void)
{
	ktap_fails(uintr_create_fd(0, 0), EINVAL);
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_ok(uintr_unregister_handler(0));
	ktap_fails(uintr_create_fd(0, 0), EINVAL);
}

static void flags_are_invalid(void)
{
	unsigned int bit;

	ktap_ok(uintr_register_handler(count_hit, 0));
	for (bit = 0; bit < 32; bit++)
		ktap_fails(uintr_create_fd(0, 1U << bit), EINVAL);
	ktap_ok(uintr_create_fd(0, 0));
}

static void vector_out_of_range_is_nospc(void)
{
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_fails(uintr_create_fd(UINTR_VECTORS, 0), ENOSPC);
	/* The argument is 64 bits wide and must not be truncated to a small vector. */
	ktap_fails(uintr_create_fd(1ULL << 32, 0), ENOSPC);
	ktap_fails(uintr_create_fd(1ULL << 63, 0), ENOSPC);
	ktap_fails(uintr_create_fd(UINT64_MAX, 0), ENOSPC);
}

static void vector_twice_is_busy(void)
{
	need_the_rfc();
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_ok(uintr_create_fd(7, 0));
	ktap_fails(uintr_create_fd(7, 0), EBUSY);
	ktap_ok(uintr_create_fd(8, 0));
}

static void einval_comes_first(void)
{
	need_the_rfc();
	ktap_fails(uintr_create_fd(UINTR_VECTORS, 0), EINVAL);
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_ok(uintr_create_fd(7, 0));
	ktap_fails(uintr_create_fd(UINTR_VECTORS, 1), EINVAL);
	ktap_fails(uintr_create_fd(7, 1), EINVAL);
}

static void vector_is_free_after_close(void)
{
	int i, fd;

	need_the_rfc();
	ktap_ok(uintr_register_handler(count_hit, 0));
	for (i = 0; i < 100; i++) {
		fd = ktap_ok(uintr_create_fd(63, 0));
		close(fd);
	}
}

static void vector_stays_taken_until_last_close(void)
{
	int fd, copy;

	need_the_rfc();
	ktap_ok(uintr_register_handler(count_hit, 0));
	fd = ktap_ok(uintr_create_fd(3, 0));
	copy = ktap_ok(dup(fd));
	close(fd);
	ktap_fails(uintr_create_fd(3, 0), EBUSY);
	close(copy);
	ktap_ok(uintr_create_fd(3, 0));
}

static void *creates_same_vector(void *arg)
{
	(void)arg;
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_ok(uintr_create_fd(5, 0));
	return NULL;
}

static void vectors_are_per_thread(void)
{
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_ok(uintr_create_fd(5, 0));
	in_thread(creates_same_vector, NULL);
	if (UINTR_ABI_RFC)
		ktap_fails(uintr_create_fd(5, 0), EBUSY);
}

static void out_of_fds_is_emfile(void)
{
	struct rlimit none = { 0, 0 }, old;

	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_ok(getrlimit(RLIMIT_NOFILE, &old));
	none.rlim_max = old.rlim_max;
	ktap_ok(setrlimit(RLIMIT_NOFILE, &none));
	ktap_fails(uintr_create_fd(9, 0), EMFILE);
	ktap_ok(setrlimit(RLIMIT_NOFILE, &old));
	/* The failed call must not have kept the vector. */
	ktap_ok(uintr_create_fd(9, 0));
}

static void is_close_on_exec(void)
{
	int fd = receiver(0);

	ktap_check(fcntl(fd, F_GETFD) & FD_CLOEXEC, "FD_CLOEXEC is not set");
}

static void is_for_reading_and_non_blocking(void)
{
	int flags = ktap_ok(fcntl(receiver(0), F_GETFL));

	ktap_check((flags & O_ACCMODE) == O_RDONLY, "access mode %d", flags & O_ACCMODE);
	ktap_check(flags & O_NONBLOCK, "O_NONBLOCK is not set");
}

static void cannot_be_read_or_written(void)
{
	int fd = receiver(0);
	uint64_t word = 1;

	ktap_check(read(fd, &word, sizeof(word)) == -1, "read succeeded");
	ktap_check(write(fd, &word, sizeof(word)) == -1, "write succeeded");
}

static void fdinfo_tells_the_vector(void)
{
	char path[64], line[128];
	unsigned int vector;
	bool found;
	int fd;
	FILE *f;

	need_the_rfc();
	ktap_ok(uintr_register_handler(count_hit, 0));
	for (vector = 0; vector < UINTR_VECTORS; vector += 21) {
		fd = ktap_ok(uintr_create_fd(vector, 0));
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		f = fopen(path, "re");
		if (!f && access("/proc/self", F_OK))
			ktap_skip("/proc is not mounted");
		ktap_assert(f, "%s: %s", path, ktap_errno(errno));
		found = false;
		while (fgets(line, sizeof(line), f)) {
			unsigned int seen;

			if (sscanf(line, "user_vector:%u", &seen) != 1)
				continue;
			found = true;
			ktap_check(seen == vector, "vector %u: %s", vector, line);
		}
		fclose(f);
		ktap_check(found, "vector %u: no line user_vector:N", vector);
	}
}

static void outlives_its_handler(void)
{
	int fd = receiver(1);

	ktap_ok(uintr_unregister_handler(0));
	ktap_check(fcntl(fd, F_GETFD) != -1, "the fd is gone");
	ktap_ok(close(fd));
}

static const struct ktap_case cases[] = {
	KTAP_CASE(creates_for_every_vector, VECTOR-1),
	KTAP_CASE(without_handler_is_invalid, VECTOR-3, HANDLER-8),
	KTAP_CASE(flags_are_invalid, VECTOR-2),
	KTAP_CASE(vector_out_of_range_is_nospc, VECTOR-4),
	KTAP_CASE(vector_twice_is_busy, VECTOR-5),
	KTAP_CASE(einval_comes_first, VECTOR-6),
	KTAP_CASE(vector_is_free_after_close, VECTOR-8),
	KTAP_CASE(vector_stays_taken_until_last_close, VECTOR-8, LIFE-2),
	KTAP_CASE(vectors_are_per_thread, VECTOR-7),
	KTAP_CASE(out_of_fds_is_emfile, VECTOR-9),
	KTAP_CASE(is_close_on_exec, VECTOR-11),
	KTAP_CASE(is_for_reading_and_non_blocking, VECTOR-12),
	KTAP_CASE(cannot_be_read_or_written, VECTOR-13),
	KTAP_CASE(fdinfo_tells_the_vector, VECTOR-14),
	KTAP_CASE(outlives_its_handler, VECTOR-15),
};

KTAP_MAIN(cases, uintr_missing())
