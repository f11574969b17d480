// SPDX-License-Identifier: GPL-2.0-only
/* NMIs of CPU 0 to itself, see bare.h. */
#include "bare.h"

#define ICR_NMI 0x4400
#define MSR_X2APIC_ICR 0x830

bool take_nmi(struct regs *regs);

/* Whether NMIs are this file's own, and whether the handler leaves without IRET. */
static bool own, stay;
static u64 own_count;

bool take_nmi(struct regs *regs)
{
	if (own) {
		own_count++;
		return !stay;
	}
	if (!this_cpu()->on_nmi)
		return false;
	this_cpu()->on_nmi(regs);
	return true;
}

void send_nmi(void)
{
	if (x2apic) {
		wrmsr(MSR_X2APIC_ICR, (u64)cpus[0].apic_id << 32 | ICR_NMI);
		return;
	}
	apic_write(APIC_ICR_HIGH, cpus[0].apic_id << 24);
	apic_write(APIC_ICR, ICR_NMI);
}

static void send_and_wait(void *unused)
{
	(void)unused;
	send_nmi();
	for (;;)
		cpu_relax();
}

void block_nmis(void)
{
	own = stay = true;
	try_kernel(NULL, send_and_wait, NULL);
	own = stay = false;
}

bool unblock_nmis(void)
{
	u64 before = own_count;

	own = true;
	asm volatile("movq %%rsp, %%rax; pushq %0; pushq %%rax; pushfq; pushq %1; pushq $1f\n"
		     "	iretq\n"
		     "1:	nop"
		     :: "i"(SEL_KDATA), "i"(SEL_KCODE) : "rax", "memory", "cc");
	own = false;
	return own_count != before;
}

/*
 * By a far RET to CPL 3, or by JMP at CPL 0. If IF is to be set, that is in the shadow of STI, so
 * that no interrupt comes before.
 */
struct entry {
	u64 gprs[15];		/* as in struct regs */
	u64 rflags, rip, cs, rsp, ss;
};
u64 entry_rip, entry_rsp, entry_sti, entry_user;
void enter(struct entry *entry) __attribute__((noreturn));
asm(".pushsection .text\n"
    "enter:	movq	%rdi, %rsp\n"
    "	popq	%r15; popq %r14; popq %r13; popq %r12; popq %r11; popq %r10; popq %r9; popq %r8\n"
    "	popq	%rdi; popq %rsi; popq %rbp; popq %rbx; popq %rdx; popq %rcx; popq %rax\n"
    "	cmpb	$0, entry_user\n"
    "	je	2f\n"
    "	cmpb	$0, entry_sti\n"
    "	je	1f\n"
    "	popfq\n"
    "	sti\n"
    "	lretq\n"
    "1:	popfq\n"
    "	lretq\n"
    "2:	cmpb	$0, entry_sti\n"
    "	je	3f\n"
    "	popfq\n"
    "	movq	entry_rsp, %rsp\n"
    "	sti\n"
    "	jmpq	*entry_rip\n"
    "3:	popfq\n"
    "	movq	entry_rsp, %rsp\n"
    "	jmpq	*entry_rip\n"
    ".popsection");

static void enter_regs(void *argument)
{
	const struct regs *regs = argument;
	struct entry entry;

	memcpy(entry.gprs, regs, sizeof(entry.gprs));
	entry.rflags = regs->rflags & ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_RF);
	entry.rip = entry_rip = regs->rip;
	entry.cs = regs->cs;
	entry.rsp = entry_rsp = regs->rsp;
	entry.ss = regs->ss;
	entry_sti = !!(regs->rflags & RFLAGS_IF);
	entry_user = regs->cs != SEL_KCODE;
	enter(&entry);
}

int try_regs_blocked(struct trap *trap, const struct regs *regs)
{
	struct regs copy = *regs;

	return try_kernel(trap, enter_regs, &copy);
}
