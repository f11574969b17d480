/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracing of a child process: start, single steps, end.
 */
#ifndef GUEST_TESTS_DEBUGGER_H
#define GUEST_TESTS_DEBUGGER_H

#include "task.h"

#include <sys/ptrace.h>
#include <sys/user.h>

/* More steps than any case takes. */
#define DEBUGGER_STEPS	10000

/* Start a child whose fn() asks to be traced and stops. */
static inline pid_t debugger_start(void (*fn)(void *))
{
	pid_t pid = child_start(fn, NULL);
	int status;

	ktap_ok(waitpid(pid, &status, 0));
	ktap_assert(WIFSTOPPED(status), "wait status 0x%x", status);
	return pid;
}

/* One step, and the registers after it. */
static inline void debugger_step(pid_t pid, struct user_regs_struct *regs)
{
	int status;

	ktap_ok(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL));
	ktap_ok(waitpid(pid, &status, 0));
	ktap_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "a step: wait status 0x%x",
		    status);
	ktap_ok(ptrace(PTRACE_GETREGS, pid, NULL, regs));
}

/* In the child: stop until the debugger goes on. */
static inline void debugger_wait(void)
{
	ktap_ok(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	raise(SIGSTOP);
}

/* Let the child run to its end, which must be a pass. */
static inline void debugger_let_go(pid_t pid)
{
	ktap_ok(ptrace(PTRACE_CONT, pid, NULL, NULL));
	child_passes(pid);
}

#endif /* GUEST_TESTS_DEBUGGER_H */
