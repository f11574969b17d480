// SPDX-License-Identifier: GPL-2.0
/*
 * The feature switched off, as by uintr=off on the kernel's command line: all calls fail with
 * EOPNOTSUPP, whatever else is wrong with them, and the instructions do not exist. In the later
 * ABI the word is nouintr, and the error ENOSYS.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"

#include <sys/eventfd.h>

static void calls_fail(int error)
{
	int event = ktap_ok(eventfd(0, 0));
	unsigned int flags;

	for (flags = 0; flags < 2; flags++) {
		ktap_fails(uintr_register_handler(count_hit, flags), error);
		ktap_fails(uintr_register_handler(NULL, flags), error);
		ktap_fails(uintr_unregister_handler(flags), error);
		ktap_fails(uintr_create_fd(0, flags), error);
		ktap_fails(uintr_create_fd(UINTR_VECTORS, flags), error);
		ktap_fails(uintr_register_sender(event, flags), error);
		ktap_fails(uintr_register_sender(-1, flags), error);
		ktap_fails(uintr_unregister_sender(-1, flags), error);
		ktap_fails(uintr_wait(flags), error);
		if (UINTR_ABI_RFC)
			continue;
		ktap_fails(uintr_register_self(0, flags), error);
		ktap_fails(uintr_alt_stack(NULL, 0, flags), error);
		ktap_fails(uintr_ipi_fd(flags), error);
	}
}

static void calls_are_not_supported(void)
{
	need_the_rfc();
	calls_fail(EOPNOTSUPP);
}

static void calls_are_unknown(void)
{
	if (UINTR_ABI_RFC)
		ktap_skip("needs abi:later: the kernel's headers have no uintr_vector_fd");
	calls_fail(ENOSYS);
}

static void stui(void *unused)
{
	(void)unused;
	uintr_insn_stui();
}

static void clui(void *unused)
{
	(void)unused;
	uintr_insn_clui();
}

static void testui(void *unused)
{
	(void)unused;
	uintr_insn_testui();
}

static void uiret(void *unused)
{
	(void)unused;
	asm volatile("jmp raw_uiret");
}

static void instructions_are_undefined(void)
{
	static const struct {
		const char *name;
		void (*run)(void *);
	} all[] = {
		{ "STUI", stui }, { "CLUI", clui }, { "TESTUI", testui }, { "UIRET", uiret },
		{ "SENDUIPI", fault_senduipi },
	};
	unsigned int i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int sig = fault_of(all[i].run, NULL).sig;

		ktap_check(sig == SIGILL, "%s: signal %s", all[i].name, fault_name(sig));
	}
}

static const struct ktap_case cases[] = {
	KTAP_CASE(calls_are_not_supported, SYSTEM-1),
	KTAP_CASE(calls_are_unknown, NEXT-1),
	KTAP_CASE(instructions_are_undefined, SYSTEM-2),
};

/* Whether the command line turned it off, which the later ABI's error does not tell. */
static bool told_off(void)
{
	char line[4096] = "";
	FILE *f = fopen("/proc/cmdline", "re");

	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	return strstr(line, "nouintr");
}

static const char *on(void)
{
	if (!UINTR_ABI_RFC)
		return told_off() ? NULL : "nouintr is not on the kernel's command line";
	uintr_register_handler(NULL, ~0U);
	if (errno == ENOSYS)
		return "the kernel has no user interrupt system calls (ENOSYS)";
	return errno == EOPNOTSUPP ? NULL : "user interrupts are on; uintr=off turns them off";
}

KTAP_MAIN(cases, on())
