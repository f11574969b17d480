/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Raw samples for the harness: $UINTR_SAMPLES/MECHANISM.MODE.UNIT.u64, little-endian u64 each.
 */
#ifndef GUEST_TESTS_SAMPLES_H
#define GUEST_TESTS_SAMPLES_H

#include "ktap.h"

#include <stdint.h>

/* Return false if the folder exists but the file cannot be written in full. */
static inline bool samples_write(const char *mechanism, const char *mode, const char *unit,
				 const uint64_t *samples, size_t count)
{
	const char *folder = getenv("UINTR_SAMPLES");
	char path[512];
	bool ok;
	FILE *f;

	if (!folder || !folder[0])
		return true;
	snprintf(path, sizeof(path), "%s/%s.%s.%s.u64", folder, mechanism, mode, unit);
	f = fopen(path, "we");
	if (!f)
		return false;
	ok = fwrite(samples, sizeof(*samples), count, f) == count;
	return !fclose(f) && ok;
}

#endif /* GUEST_TESTS_SAMPLES_H */
