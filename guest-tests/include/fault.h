/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The signal that an instruction raises, and its place: for cases that must survive a fault.
 */
#ifndef GUEST_TESTS_FAULT_H
#define GUEST_TESTS_FAULT_H

#include "ktap.h"
#include "uintr.h"

#include <setjmp.h>

struct fault {
	int sig;		/* 0: there was none */
	int code;		/* si_code */
	uint64_t rip;		/* of the faulting instruction */
	uint64_t address;	/* si_addr */
	int uif;		/* TESTUI in the signal handler; -1 unless asked for */
};

static __thread sigjmp_buf fault_return;
static __thread struct fault fault_seen;
static __thread bool fault_wants_uif;

static void fault_caught(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	fault_seen.sig = sig;
	fault_seen.code = info->si_code;
	fault_seen.address = (uintptr_t)info->si_addr;
	fault_seen.rip = uc->uc_mcontext.gregs[REG_RIP];
	if (fault_wants_uif)
		fault_seen.uif = _testui();
	siglongjmp(fault_return, 1);
}

static const int fault_signals[] = { SIGSEGV, SIGILL, SIGBUS, SIGTRAP };

#define FAULT_SIGNALS (sizeof(fault_signals) / sizeof(fault_signals[0]))

/*
 * Call fn(arg) and return the fault that ended it, if any. Signals are handled on a separate
 * stack, so fn may leave RSP anywhere. Signal actions belong to the whole process, so only one
 * thread may use this at a time.
 */
static __attribute__((noinline, unused)) struct fault fault_of(void (*fn)(void *), void *arg)
{
	struct sigaction old[FAULT_SIGNALS], action = {
		.sa_sigaction = fault_caught,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};
	static __thread char stack[65536];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) }, old_stack;
	unsigned int i;

	sigaltstack(&alternate, &old_stack);
	for (i = 0; i < FAULT_SIGNALS; i++)
		sigaction(fault_signals[i], &action, &old[i]);
	fault_seen = (struct fault){ .uif = -1 };
	if (!sigsetjmp(fault_return, 1))
		fn(arg);
	for (i = 0; i < FAULT_SIGNALS; i++)
		sigaction(fault_signals[i], &old[i], NULL);
	sigaltstack(&old_stack, NULL);
	return fault_seen;
}

static inline void fault_senduipi(void *index)
{
	_senduipi((uint64_t)index);
}

/* Return the signal that SENDUIPI with this index raises in this thread, or 0. */
static inline int senduipi_signal(uint64_t index)
{
	return fault_of(fault_senduipi, (void *)index).sig;
}

static inline const char *fault_name(int sig)
{
	return sig ? ktap_signal(sig) : "none";
}

#endif /* GUEST_TESTS_FAULT_H */
