/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Wait for a user interrupt unless it has come already, without a race.
 *
 * A user interrupt may be handled between reading a counter and entering uintr_wait(), and the call
 * would then wait for the next one. The handler closes this gap: if RIP is between the read and
 * the SYSCALL instruction, it moves RIP past that instruction.
 *
 * The later ABI may lose an interrupt that comes during the call, before it sleeps. There the call
 * has a timeout, so that this costs time but does not hang; the caller then checks the counter.
 */
#ifndef GUEST_TESTS_WAIT_H
#define GUEST_TESTS_WAIT_H

#include "ktap.h"
#include "uintr.h"

#define WAIT_STRING_(x)	#x
#define WAIT_STRING(x)	WAIT_STRING_(x)

#if UINTR_ABI_RFC
#define WAIT_ARGUMENTS	"	xor %edi, %edi\n"
#else
#define WAIT_ARGUMENTS	"	mov $100000, %edi\n	xor %esi, %esi\n"	/* microseconds, flags */
#endif

/*
 * Wait if *counter is still seen. Returns 0 if no system call was made, else the call's result
 * (-errno, or 0 after the timeout).
 */
long wait_while(const volatile unsigned long *counter, unsigned long seen);
extern char wait_look[], wait_call[], wait_out[];

asm(
"	.pushsection .text\n"
"	.type wait_while, @function\n"
"wait_while:\n"
"	xor %eax, %eax\n"
"wait_look:\n"
"	cmp %rsi, (%rdi)\n"
"	jne wait_out\n"
"	mov $" WAIT_STRING(__NR_uintr_wait) ", %eax\n"
WAIT_ARGUMENTS
"wait_call:\n"
"	syscall\n"
"wait_out:\n"
"	ret\n"
"	.popsection\n"
);

/* Called by the handler, after it changed the counter. */
#define wait_fix(frame) do {							\
	volatile struct __uintr_frame *wait_frame = (frame);			\
	if (wait_frame->rip >= (uintptr_t)wait_look &&				\
	    wait_frame->rip <= (uintptr_t)wait_call)				\
		wait_frame->rip = (uintptr_t)wait_out;				\
} while (0)

/* Skip a case that waits if the kernel has no uintr_wait(). */
static inline void need_uintr_wait(void)
{
	const char *missing = uintr_wait_missing();

	if (missing)
		ktap_skip("%s", missing);
}

#endif /* GUEST_TESTS_WAIT_H */
