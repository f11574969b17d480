// SPDX-License-Identifier: GPL-2.0
/*
 * Differences of an emulated delivery from the processor's, because it goes through the kernel: a
 * debugger's step ends in the handler, and a restartable sequence is aborted.
 */
#include "debugger.h"
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"
#include "which.h"

#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

/* Let in what is pending, between two labels. */
void let_in(void);
extern char let_in_end[];

asm(
"	.pushsection .text\n"
"	.type let_in, @function\n"
"let_in:\n"
"	stui\n"
"	nop\n"
"	nop\n"
"	nop\n"
"let_in_end:\n"
"	ret\n"
"	.popsection\n"
);

static void have_one_pending(int index)
{
	int i;

	_clui();
	_senduipi(index);
	for (i = 0; i < 1000; i++)
		__builtin_ia32_pause();
}

static void traced(void *arg)
{
	int index;

	(void)arg;
	ktap_ok(uintr_register_handler(raw_entry, 0));
	index = sender_to(ktap_ok(uintr_create_fd(0, 0)));
	have_one_pending(index);
	debugger_wait();
	let_in();
	ktap_check(raw_count == 1, "%lu interrupts", raw_count);
}

static void a_debuggers_step_to_a_delivery(void)
{
	bool emulated = which_emulated();
	pid_t pid = debugger_start(traced);
	unsigned int steps, inside = 0;
	struct user_regs_struct regs;

	for (steps = 0; steps < DEBUGGER_STEPS; steps++) {
		debugger_step(pid, &regs);
		if (regs.rip == (uintptr_t)let_in_end)
			break;
		inside += regs.rip >= (uintptr_t)raw_entry && regs.rip <= (uintptr_t)raw_uiret;
	}
	ktap_check(regs.rip == (uintptr_t)let_in_end, "%u steps and no end", steps);
	if (emulated)
		ktap_check(inside > 20, "%u steps in the handler", inside);
	else
		ktap_check(inside == 0, "%u steps in the handler", inside);
	debugger_let_go(pid);
}

/*
 * Let in what is pending, in a restartable sequence; rseq_cs is the thread's field of this name.
 * Returns whether the sequence was aborted.
 */
long in_sequence(volatile uint64_t *rseq_cs);

asm(
"	.pushsection .data\n"
"	.balign 32\n"
"sequence:\n"
"	.long 0, 0\n"
"	.quad sequence_begin, sequence_end - sequence_begin, sequence_abort\n"
"	.popsection\n"
"	.pushsection .text\n"
"	.type in_sequence, @function\n"
"in_sequence:\n"
"	lea sequence(%rip), %rax\n"
"	mov %rax, (%rdi)\n"
"sequence_begin:\n"
"	stui\n"
"	nop\n"
"	nop\n"
"	nop\n"
"sequence_end:\n"
"	movq $0, (%rdi)\n"
"	xor %eax, %eax\n"
"	ret\n"
"	.byte 0x0f, 0xb9, 0x3d\n"		/* UD1, whose operand is the signature */
"	.long 0x53053053\n"
"sequence_abort:\n"
"	mov $1, %eax\n"
"	ret\n"
"	.popsection\n"
);

#define SEQUENCES	100

static void a_restartable_sequence(void)
{
#ifdef RSEQ_SIG
	bool emulated = which_emulated();
	unsigned int aborted = 0, i;
	struct rseq *rseq;
	int index;

	if (!__rseq_size)
		ktap_skip("the thread has no area for restartable sequences");
	rseq = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	index = sender_to(receiver(0));
	for (i = 0; i < SEQUENCES; i++) {
		have_one_pending(index);
		aborted += in_sequence((volatile uint64_t *)&rseq->rseq_cs);
		ktap_assert(spin_until(hits == i + 1), "round %u: %lu interrupts", i, hits);
	}
	/* What else aborts one, such as being preempted, is rare. */
	if (emulated)
		ktap_check(aborted == SEQUENCES, "%u of %d aborted", aborted, SEQUENCES);
	else
		ktap_check(aborted < SEQUENCES / 2, "%u of %d aborted", aborted, SEQUENCES);
#else
	ktap_skip("the C library has no <sys/rseq.h>");
#endif
}

static const struct ktap_case cases[] = {
	KTAP_CASE(a_debuggers_step_to_a_delivery, TRACE-5),
	KTAP_CASE(a_restartable_sequence, TRACE-6),
};

KTAP_MAIN(cases, UINTR_ABI_STATES_MORE ? uintr_missing() : "the kernel's ABI states neither")
