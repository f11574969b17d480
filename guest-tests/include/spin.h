/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Spin loops of a thread that waits for another one: with PAUSE, or without if PAUSE is expensive.
 *
 * On a processor PAUSE takes some tens of cycles, and the other hyperthread profits. QEMU's
 * translator leaves the translated code at each PAUSE and goes through its main loop and the lock
 * of that loop, which a notification of the thread needs, too. A spin loop with PAUSE then measures
 * QEMU's main loop and not the notification.
 *
 * spin_choose() chooses once, by comparing the time of PAUSE with that of CPUID. In an emulator,
 * CPUID is a function called from translated code; on a processor it is microcode that waits for
 * all earlier instructions, or even an exit to the hypervisor. So PAUSE takes 6 to 16 times as long
 * as CPUID if it leaves translated code, and at most twice as long on a processor. Both scale with
 * the speed of the machine. The least of many short runs is used, so other load adds nothing.
 */
#ifndef GUEST_TESTS_SPIN_H
#define GUEST_TESTS_SPIN_H

#include <cpuid.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#define SPIN_RUNS	100
#define SPIN_TURNS	8
/* PAUSE is expensive if it takes longer than this number of CPUID. */
#define SPIN_LIMIT	3

static struct {
	bool bare;			/* without PAUSE */
	uint64_t pause, cpuid;		/* ticks of SPIN_TURNS of them; 0: not measured */
} spin;

static inline void spin_relax(void)
{
	if (!spin.bare)
		__builtin_ia32_pause();
}

static inline void spin_do_pause(void)
{
	__builtin_ia32_pause();
}

static inline void spin_do_cpuid(void)
{
	unsigned int a, b, c, d;

	__cpuid_count(0, 0, a, b, c, d);
	(void)a, (void)b, (void)c, (void)d;
}

/* Ticks of SPIN_TURNS calls, undisturbed. */
static inline __attribute__((always_inline)) uint64_t spin_least(void (*what)(void))
{
	uint64_t least = UINT64_MAX, start, took;
	int run, i;

	for (run = 0; run < SPIN_RUNS; run++) {
		start = __rdtsc();
		for (i = 0; i < SPIN_TURNS; i++)
			what();
		took = __rdtsc() - start;
		if (took < least)
			least = took;
	}
	return least;
}

/* Measure both, and choose. */
static inline void spin_choose(void)
{
	spin.pause = spin_least(spin_do_pause);
	spin.cpuid = spin_least(spin_do_cpuid);
	spin.bare = spin.pause > SPIN_LIMIT * spin.cpuid;
}

/*
 * Write the choice beside the samples, to $UINTR_SAMPLES/spin: two latencies can be compared only
 * if both were measured with the same spin. Return false if the folder exists but the file cannot
 * be written.
 */
static inline bool spin_write(void)
{
	const char *folder = getenv("UINTR_SAMPLES");
	char path[512];
	FILE *f;
	bool ok;

	if (!folder || !folder[0])
		return true;
	snprintf(path, sizeof(path), "%s/spin", folder);
	f = fopen(path, "we");
	if (!f)
		return false;
	ok = fprintf(f, "%s\n", spin.bare ? "bare" : "pause") > 0;
	return !fclose(f) && ok;
}

#endif /* GUEST_TESTS_SPIN_H */
