// SPDX-License-Identifier: GPL-2.0
/*
 * Single-stepping over the instructions, by TF and by a debugger: one trap after each of them,
 * like after any other instruction.
 */
#include "debugger.h"
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"
#include "wait.h"
#include "waiter.h"

/*
 * Every instruction from step_first to step_end has a place in step_rips, which the assembler
 * fills. rdi is the index for SENDUIPI. UIF ends as it began, clear.
 */
void stepped(uint64_t index);
extern const uint64_t step_rips[];
extern const uint64_t step_count;
extern char step_first[], step_end[];

#define STEP(insn)				\
"7771:	" insn "\n"				\
"	.pushsection .rodata\n"			\
"	.quad 7771b\n"				\
"	.popsection\n"

asm(
"	.pushsection .rodata\n"
"	.balign 8\n"
"step_rips:\n"
"	.popsection\n"
"	.pushsection .text\n"
"	.type stepped, @function\n"
"stepped:\n"
"step_first:\n"
STEP("nop")
STEP("stui")
STEP("testui")
STEP("setc %al")
STEP("clui")
STEP("testui")
STEP("setc %al")
STEP("senduipi %rdi")
STEP("nop")
STEP(".byte 0xf3, 0x48, 0x0f, 0xc7, 0xf7")	/* SENDUIPI with REX.W */
STEP("clui")
STEP("ret")
"step_end:\n"
"	.popsection\n"
"	.pushsection .rodata\n"
"step_count:	.quad (. - step_rips) / 8\n"
"	.popsection\n"
);

static uint64_t seen[64];
static volatile unsigned int n_seen;

static void note_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint64_t rip = uc->uc_mcontext.gregs[REG_RIP];

	(void)sig;
	(void)info;
	if (rip >= (uintptr_t)step_first && rip < (uintptr_t)step_end && n_seen < 64)
		seen[n_seen++] = rip;
}

static void compare(const uint64_t *rips, unsigned int count)
{
	unsigned int i;

	ktap_check(count == step_count, "%u traps in %lu instructions", count, step_count);
	for (i = 0; i < step_count && i < count; i++)
		ktap_assert(rips[i] == step_rips[i],
			    "trap %u is at +%ld, instruction %u is at +%ld", i,
			    (long)(rips[i] - step_rips[0]), i,
			    (long)(step_rips[i] - step_rips[0]));
}

static void by_trap_flag(void)
{
	struct sigaction action = { .sa_sigaction = note_trap, .sa_flags = SA_SIGINFO };
	uint64_t index = sender_to(receiver(0));

	ktap_ok(sigaction(SIGTRAP, &action, NULL));
	/* TF is set by POPFQ; the first trap comes after CALL, before the first instruction. */
	asm volatile("sub $128, %%rsp\n\t"
		     "pushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t"
		     "call stepped\n\t"
		     "pushfq\n\tandl $~0x100, (%%rsp)\n\tpopfq\n\t"
		     "add $128, %%rsp"
		     : "+D"(index) : : "rax", "cc", "memory");
	compare(seen, n_seen);
	ktap_check(!_testui(), "UIF is set");
	ktap_check(hits == 0, "delivered with UIF clear");
	_stui();
	ktap_check(spin_until(hits == 1), "what was sent is lost");
}

static volatile unsigned int n_traps, n_faults;
static uint64_t trap_rips[8];

static void count_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	trap_rips[n_traps++ % 8] = uc->uc_mcontext.gregs[REG_RIP];
}

/* Continue after the four bytes that faulted, without TF. */
static void skip_fault(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	n_faults++;
	uc->uc_mcontext.gregs[REG_RIP] += 4;
	uc->uc_mcontext.gregs[REG_EFL] &= ~FLAG_TF;
}

static void on(int sig, void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO };

	ktap_ok(sigaction(sig, &action, NULL));
}

/* SENDUIPI as the only instruction with TF set. */
void step_senduipi(uint64_t index);
extern char step_senduipi_next[];

asm(
"	.pushsection .text\n"
"	.type step_senduipi, @function\n"
"step_senduipi:\n"
"	pushfq\n"
"	orl $0x100, (%rsp)\n"
"	popfq\n"
"	senduipi %rdi\n"
"step_senduipi_next:\n"
"	pushfq\n"
"	andl $~0x100, (%rsp)\n"
"	popfq\n"
"	ret\n"
"	.popsection\n"
);

/* An instruction that faults is not complete: there is the fault's signal, and no trap. */
static void no_trap_after_a_fault(void)
{
	sender_to(receiver(0));
	on(SIGTRAP, count_trap);
	on(SIGSEGV, skip_fault);
	step_senduipi(UINTR_SENDERS);
	ktap_check(n_faults == 1, "%u faults", n_faults);
	ktap_check(n_traps == 0, "%u traps, the first at +%ld", n_traps,
		   (long)(trap_rips[0] - (uintptr_t)step_senduipi_next));
}

static void over_a_send_that_wakes(void)
{
	struct waiter waiter = {};

	need_uintr_wait();
	waiter_start(&waiter);
	on(SIGTRAP, count_trap);
	step_senduipi(sender_to(waiter.fd));
	thread_join(waiter.thread);
	ktap_check(hits == 1, "%lu interrupts", hits);
	ktap_check(n_traps == 4, "%u traps in 4 instructions", n_traps);
	ktap_check(trap_rips[0] == (uintptr_t)step_senduipi_next, "the first trap is at +%ld",
		   (long)(trap_rips[0] - (uintptr_t)step_senduipi_next));
}

static void traced(void *arg)
{
	uint64_t index = sender_to(receiver(0));

	(void)arg;
	debugger_wait();
	stepped(index);
	_stui();
	ktap_assert(spin_until(hits == 1), "what was sent is lost");
}

static void by_a_debugger(void)
{
	pid_t pid = debugger_start(traced);
	struct user_regs_struct regs;
	unsigned int n = 0, steps;
	uint64_t rips[64];

	for (steps = 0; steps < DEBUGGER_STEPS; steps++) {
		debugger_step(pid, &regs);
		if (regs.rip >= (uintptr_t)step_first && regs.rip < (uintptr_t)step_end) {
			/* A fault sets it, and an instruction's end clears it. */
			ktap_check(!(regs.eflags & 1UL << 16), "RF is set at +%ld",
				   (long)(regs.rip - (uintptr_t)step_first));
			if (n < 64)
				rips[n++] = regs.rip;
		} else if (n) {
			break;
		}
	}
	compare(rips, n);
	debugger_let_go(pid);
}

/*
 * Stopped by its debugger with an interrupt pending and let go again: it is delivered, with
 * whatever registers the debugger read in between.
 */
static void pends_while_traced(void *arg)
{
	int index = sender_to(receiver(0));

	(void)arg;
	ktap_ok(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	_senduipi(index);
	raise(SIGSTOP);
	_stui();
	ktap_assert(spin_until(hits == 1), "lost");
	_senduipi(index);
	raise(SIGSTOP);
	ktap_assert(spin_until(hits == 2), "lost");
}

static void pending_across_a_ptrace_stop(void)
{
	pid_t pid = child_start(pends_while_traced, NULL);
	struct user_regs_struct regs;
	int status, stop;

	for (stop = 0; stop < 2; stop++) {
		ktap_ok(waitpid(pid, &status, 0));
		ktap_assert(WIFSTOPPED(status), "wait status 0x%x", status);
		ktap_ok(ptrace(PTRACE_GETREGS, pid, NULL, &regs));
		ktap_ok(ptrace(PTRACE_SETREGS, pid, NULL, &regs));
		ktap_ok(ptrace(PTRACE_CONT, pid, NULL, NULL));
	}
	child_passes(pid);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(by_trap_flag, TRACE-1, INSN-22),
	KTAP_CASE(no_trap_after_a_fault, TRACE-1, INSN-10),
	KTAP_CASE(over_a_send_that_wakes, TRACE-1, WAIT-9),
	KTAP_CASE(by_a_debugger, TRACE-2),
	KTAP_CASE(pending_across_a_ptrace_stop, TRACE-3),
};

KTAP_MAIN(cases, uintr_missing())
