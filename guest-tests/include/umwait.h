/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Wait for a user interrupt, a signal or a store by UMWAIT, in user mode, without a race.
 *
 * As in wait.h, the handler moves RIP past UMWAIT if the thread has looked at its counter already.
 * A wait ends for any interrupt, for the limit that the kernel has set, and for no reason that
 * software can see: the caller looks at its counter, and waits again.
 *
 * A kernel that emulates user interrupts delivers one by interrupting the thread, which ends the
 * wait, too.
 */
#ifndef GUEST_TESTS_UMWAIT_H
#define GUEST_TESTS_UMWAIT_H

#include "uintr.h"

#include <cpuid.h>

/* A time that never comes. */
#define UMWAIT_FOREVER	UINT64_MAX

/*
 * Wait until this time, or for a store to the counter's line, if *counter is still seen. Returns
 * RFLAGS behind UMWAIT, or 0 if it did not wait.
 */
uint64_t umwait_while(const volatile unsigned long *counter, unsigned long seen, uint64_t time);
extern char umwait_look[], umwait_itself[], umwait_behind[], umwait_not[];

asm(
"	.pushsection .text\n"
"	.type umwait_while, @function\n"
"umwait_while:\n"
"	mov %rdx, %rax\n"
"	shr $32, %rdx\n"
"	xor %ecx, %ecx\n"	/* C0.2, the deeper state */
"	umonitor %rdi\n"
"umwait_look:\n"
"	cmp %rsi, (%rdi)\n"
"	jne umwait_not\n"
"umwait_itself:\n"
"	umwait %ecx\n"
"umwait_behind:\n"
"	pushfq\n"
"	pop %rax\n"
"	ret\n"
"umwait_not:\n"
"	xor %eax, %eax\n"
"	ret\n"
"	.popsection\n"
);

/* Called by the handler of a user interrupt or signal, with where its frame has RIP. */
#define umwait_fix(place) do {							\
	volatile uint64_t *umwait_rip = (volatile uint64_t *)(place);		\
	if (*umwait_rip >= (uintptr_t)umwait_look &&				\
	    *umwait_rip <= (uintptr_t)umwait_itself)				\
		*umwait_rip = (uintptr_t)umwait_not;				\
} while (0)

/* Return why no program can wait so, or NULL. */
static inline const char *waitpkg_missing(void)
{
	unsigned int a, b, c, d;

	if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && c & (1 << 5))
		return NULL;
	return "the CPU model has no waitpkg (CPUID.(EAX=7,ECX=0):ECX[5])";
}

#endif /* GUEST_TESTS_UMWAIT_H */
