// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's choice between the processor's user interrupts, emulated ones and none, as its log
 * has it, and as the command line sets it.
 */
#include "ktap.h"
#include "task.h"
#include "uintr.h"
#include "which.h"

static void the_log_says_which(void)
{
	char said[128] = "";
	unsigned int count = which_says(said, sizeof(said));

	ktap_assert(count, "the log has no line %s", WHICH_PREFIX);
	ktap_check(!strcmp(said, "the processor's") || !strcmp(said, "emulated") ||
		   !strncmp(said, "off", 3), "the last line is: %s", said);
	ktap_check(!strncmp(said, "off", 3) == (uintr_missing() != NULL), "%s, and the calls say: %s",
		   said, uintr_missing() ?: "on");
}

static void the_command_line_decides(void)
{
	char words[4096] = "", said[128] = "", *word, *choice = NULL;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, words, sizeof(words) - 1) <= 0)
		ktap_skip("/proc/cmdline cannot be read");
	for (word = strtok(words, " \n"); word; word = strtok(NULL, " \n"))
		if (!strncmp(word, "uintr=", 6))
			choice = word + 6;
	if (!choice || !strcmp(choice, "auto"))
		ktap_skip("the command line leaves the choice to the kernel");
	which_says(said, sizeof(said));
	ktap_check(!strcmp(said, !strcmp(choice, "emulate") ? "emulated" : choice),
		   "%s was asked for, and the log says: %s", choice, said);
}

/* The processor would not find its tables there. */
static void not_the_processor_s_with_page_table_isolation(void)
{
	char said[128] = "";

	if (!strstr(which_log(), "page tables isolation: enabled"))
		ktap_skip("page tables are not isolated");
	which_says(said, sizeof(said));
	ktap_check(!strcmp(said, "emulated") || !strncmp(said, "off", 3),
		   "page tables are isolated, and the log says: %s", said);
}

/* Whether the first CPU has the flag in /proc/cpuinfo. */
static bool cpuinfo_has(const char *flag)
{
	char line[8192], *word;
	bool has = false;
	FILE *f = fopen("/proc/cpuinfo", "re");

	ktap_assert(f, "/proc/cpuinfo: %s", ktap_errno(errno));
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5))
			continue;
		for (word = strtok(line, " \t\n"); word; word = strtok(NULL, " \t\n"))
			has |= !strcmp(word, flag);
		break;
	}
	fclose(f);
	return has;
}

static void cpuinfo_shows_what_is_used(void)
{
	char said[128] = "";

	ktap_assert(which_says(said, sizeof(said)), "the log has no line %s", WHICH_PREFIX);
	ktap_check(cpuinfo_has("uintr") == !strcmp(said, "the processor's"),
		   "the log says: %s, and the flag is %s", said,
		   cpuinfo_has("uintr") ? "there" : "not there");
}

static const struct ktap_case cases[] = {
	KTAP_CASE(the_log_says_which, SYSTEM-4),
	KTAP_CASE(the_command_line_decides, SYSTEM-5),
	KTAP_CASE(not_the_processor_s_with_page_table_isolation, SYSTEM-8),
	KTAP_CASE(cpuinfo_shows_what_is_used, SYSTEM-10),
};

KTAP_MAIN(cases, UINTR_ABI_STATES_MORE ? NULL : "the kernel's ABI does not say what is logged")
