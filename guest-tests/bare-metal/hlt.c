// SPDX-License-Identifier: GPL-2.0-only
/* HLT at CPL 3 and under a step; when NMIs are taken, what holds them off, and what that leaves alone. */
#include "uintr.h"

static struct ui_cpu *const own = &ui[0];
/* Vectors and RIPs of what was taken, oldest first. */
static struct { u64 vector, rip; } seen[8];
static int count;

static void note_event(struct regs *regs)
{
	if (count < (int)ARRAY_SIZE(seen)) {
		seen[count].vector = regs->vector;
		seen[count].rip = regs->rip;
	}
	count++;
}

void test_setup(void)
{
	ui_setup();
	this_cpu()->mend = NULL;
	this_cpu()->on_irq = note_event;
	this_cpu()->on_nmi = note_event;
	count = 0;
}

extern u8 code_hlt[], code_nop[], code_uiret[];
asm(".pushsection .text\n"
    "code_hlt:		hlt\n"
    "code_nop:		nop\n"
    "			int $0x80\n"
    /* To code_nop. */
    "code_uiret:	movq %rsp, %rbx\n"
    "			pushq %rbx\n"
    "			pushfq\n"
    "			pushq $code_nop\n"
    "			.byte 0xf3, 0x0f, 0x01, 0xec\n"
    ".popsection");

static void expect_event(int n, u64 vector, const u8 *rip)
{
	EXPECT(n < count);
	EXPECT_EQ(seen[n].vector, vector);
	EXPECT_EQ(seen[n].rip, (u64)rip);
}

static void hlt_faults_at_user_level(void)
{
	struct trap trap;

	EXPECT_EQ(try_user(&trap, (void (*)(void *))code_hlt, NULL), TRAP_GP);
	EXPECT_EQ(trap.regs.error, 0);
	EXPECT_EQ(trap.regs.rip, (u64)code_hlt);
}

static bool end_step(struct regs *regs)
{
	if (regs->vector != TRAP_DB)
		return false;
	note_event(regs);
	regs->rflags &= ~RFLAGS_TF;
	return true;
}

/* With interrupts disabled nothing else ends it. */
static void a_step_ends_hlt(void)
{
	struct regs regs = {
		.rip = (u64)code_hlt,
		.cs = SEL_KCODE,
		.ss = SEL_KDATA,
		.rsp = user_stack(),
		.rflags = 2 | RFLAGS_TF,
	};

	if (on_bochs) {
		skip("Bochs stays halted");
		return;
	}
	this_cpu()->mend = end_step;
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	EXPECT_EQ(count, 1);
	expect_event(0, TRAP_DB, code_nop);
}

/* Have an NMI and an interrupt wait for code_nop at CPL 3. */
static void hold_nmi_and_interrupt(struct regs *regs)
{
	block_nmis();
	send_nmi();
	send_ipi(cpus[0].apic_id, 0x41);
	user_regs(regs, NULL, NULL);
	regs->rip = (u64)code_nop;
}

/* IRET ends the blocking, and what waits is taken before the instruction that it returns to. */
static void comes_before_interrupts(void)
{
	struct regs regs;

	hold_nmi_and_interrupt(&regs);
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	EXPECT_EQ(count, 2);
	expect_event(0, TRAP_NMI, code_nop);
	expect_event(1, 0x41, code_nop);
}

static void does_not_wait_for_if(void)
{
	struct regs regs;

	block_nmis();
	send_nmi();
	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)code_nop;
	regs.rflags = 2;
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	EXPECT_EQ(count, 1);
	expect_event(0, TRAP_NMI, code_nop);
}

static void one_waits_for_iret(void)
{
	block_nmis();
	send_nmi();
	send_nmi();
	asm volatile("nop; nop" ::: "memory");
	EXPECT_EQ(count, 0);
	EXPECT(unblock_nmis());
	EXPECT(!unblock_nmis());
}

/* Also that of a handler for something else. */
static void the_iret_of_any_handler_counts(void)
{
	struct regs regs;

	hold_nmi_and_interrupt(&regs);
	EXPECT_EQ(try_regs_blocked(NULL, &regs), VECTOR_DONE);
	EXPECT_EQ(count, 2);
	expect_event(0, 0x41, code_nop);
	expect_event(1, TRAP_NMI, code_nop);
}

static void uiret_does_not_count(void)
{
	struct regs regs;

	block_nmis();
	send_nmi();
	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)code_uiret;
	regs.rflags = 2;
	EXPECT_EQ(try_regs_blocked(NULL, &regs), VECTOR_DONE);
	EXPECT(testui());
	EXPECT_EQ(count, 0);
	EXPECT(unblock_nmis());
}

static void user_interrupts_do_not_wait(void)
{
	struct regs regs;

	own->upid.pir = BIT(7);
	stui();
	block_nmis();
	send_nmi();
	send_ipi(cpus[0].apic_id, UINV);
	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)code_nop;
	EXPECT_EQ(try_regs_blocked(NULL, &regs), VECTOR_DONE);
	EXPECT_EQ(count, 0);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)code_nop);
	EXPECT(unblock_nmis());
}

TESTS(
	TEST(hlt_faults_at_user_level, HALT-1),
	TEST(a_step_ends_hlt, HALT-3),
	TEST(comes_before_interrupts, NMI-1, NMI-2),
	TEST(does_not_wait_for_if, NMI-1),
	TEST(one_waits_for_iret, NMI-2),
	TEST(the_iret_of_any_handler_counts, NMI-2),
	TEST(uiret_does_not_count, NMI-3),
	TEST(user_interrupts_do_not_wait, NMI-4),
);
