/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counts the instructions that a function executes in user mode, by single-stepping it.
 */
#ifndef GUEST_TESTS_STEPS_H
#define GUEST_TESTS_STEPS_H

#include "ktap.h"
#include "task.h"

static volatile struct {
	unsigned long count;
	uintptr_t after_syscall;	/* where the SYSCALL instruction that comes next ends */
} steps;

/*
 * Each trap is one instruction. Only the trap for SYSCALL comes one instruction late, and so counts
 * for two.
 */
static void steps_trap(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	uintptr_t rip = uc->uc_mcontext.gregs[REG_RIP];

	(void)sig;
	(void)info;
	steps.count += 1 + (steps.after_syscall && rip != steps.after_syscall);
	steps.after_syscall = !memcmp((void *)rip, "\x0f\x05", 2) ? rip + 2 : 0;
}

/* Set or clear the trap flag; below the red zone, in the same number of instructions. */
#define steps_on()	asm volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\t"		\
				     "orq $0x100, (%%rsp)\n\tpopfq\n\t"			\
				     "lea 128(%%rsp), %%rsp" : : : "memory", "cc")
#define steps_off()	asm volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\t"		\
				     "andq $~0x100, (%%rsp)\n\tpopfq\n\t"			\
				     "lea 128(%%rsp), %%rsp" : : : "memory", "cc")

static void steps_nothing(void)
{
}

static __attribute__((noinline)) unsigned long steps_raw(void (*fn)(void))
{
	steps.count = 0;
	steps.after_syscall = 0;
	steps_on();
	fn();
	steps_off();
	return steps.count;
}

/* Instructions of fn() in user mode, without its call and its RET. */
static unsigned long steps_of(void (*fn)(void))
{
	struct sigaction action = { .sa_sigaction = steps_trap, .sa_flags = SA_SIGINFO }, old;
	unsigned long nothing, count;

	ktap_ok(sigaction(SIGTRAP, &action, &old));
	nothing = steps_raw(steps_nothing);
	count = steps_raw(fn);
	ktap_ok(sigaction(SIGTRAP, &old, NULL));
	return count - nothing;
}

#endif /* GUEST_TESTS_STEPS_H */
