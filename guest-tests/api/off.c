// SPDX-License-Identifier: GPL-2.0
/*
 * What is left where the feature is off, as with uintr=off on the kernel's command line: calls that
 * all fail with EOPNOTSUPP, whatever else is wrong with them, and instructions that do not exist.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"

#include <sys/eventfd.h>

static void calls_are_not_supported(void)
{
	int event = ktap_ok(eventfd(0, 0));
	unsigned int flags;

	for (flags = 0; flags < 2; flags++) {
		ktap_fails(uintr_register_handler(count_hit, flags), EOPNOTSUPP);
		ktap_fails(uintr_register_handler(NULL, flags), EOPNOTSUPP);
		ktap_fails(uintr_unregister_handler(flags), EOPNOTSUPP);
		ktap_fails(uintr_create_fd(0, flags), EOPNOTSUPP);
		ktap_fails(uintr_create_fd(UINTR_VECTORS, flags), EOPNOTSUPP);
		ktap_fails(uintr_register_sender(event, flags), EOPNOTSUPP);
		ktap_fails(uintr_register_sender(-1, flags), EOPNOTSUPP);
		ktap_fails(uintr_unregister_sender(-1, flags), EOPNOTSUPP);
		ktap_fails(uintr_wait(flags), EOPNOTSUPP);
	}
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
	KTAP_CASE(instructions_are_undefined, SYSTEM-2),
};

static const char *on(void)
{
	uintr_register_handler(NULL, ~0U);
	if (errno == ENOSYS)
		return "the kernel has no user interrupt system calls (ENOSYS)";
	return errno == EOPNOTSUPP ? NULL : "user interrupts are on; uintr=off turns them off";
}

KTAP_MAIN(cases, on())
