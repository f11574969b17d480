/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tells whether the processor executes the instructions or the kernel emulates them. No system call
 * tells, because a program need not know; the kernel's log does.
 */
#ifndef GUEST_TESTS_WHICH_H
#define GUEST_TESTS_WHICH_H

#include "ktap.h"

#include <sys/klog.h>

#define WHICH_READ_ALL	3
#define WHICH_PREFIX	"x86/uintr: "

/* The kernel's log from the boot on. */
static inline const char *which_log(void)
{
	static char log[1 << 20];
	int n = klogctl(WHICH_READ_ALL, log, sizeof(log) - 1);

	if (n < 0)
		ktap_skip("the log cannot be read (%s)", ktap_errno(errno));
	log[n] = '\0';
	if (!strstr(log, "Linux version"))
		ktap_skip("the log does not go back to the boot any more");
	return log;
}

/* Store what follows the last occurrence of a prefix in the log; return how often it occurs. */
static inline unsigned int which_says(char *said, size_t size)
{
	const char *at = which_log();
	unsigned int count = 0;

	for (; (at = strstr(at, WHICH_PREFIX)); count++) {
		at += strlen(WHICH_PREFIX);
		snprintf(said, size, "%.*s", (int)strcspn(at, "\n"), at);
	}
	return count;
}

/* Return whether the kernel emulates them; skip the case if that cannot be told. */
static inline bool which_emulated(void)
{
	char said[128] = "";

	which_says(said, sizeof(said));
	if (strcmp(said, "emulated") && strcmp(said, "the processor's"))
		ktap_skip("the log does not tell whether they are emulated");
	return !strcmp(said, "emulated");
}

#endif /* GUEST_TESTS_WHICH_H */
