// SPDX-License-Identifier: GPL-2.0-only
/*
 * UMONITOR, UMWAIT and TPAUSE, by which a receiver waits at CPL 3. All of them may end for no
 * reason that software can see, so that a case says what ends them, and never that they wait.
 */
#include "uintr.h"

#define MSR_UMWAIT_CONTROL 0xe1
#define CR4_TSD BIT(2)
#define ALL_FLAGS 0x8d5UL	/* CF, PF, AF, ZF, SF, OF */
#define FOREVER (~0UL)

static struct ui_cpu *const own = &ui[0];
static u64 word __attribute__((aligned(64)));

extern u8 code_tpause[], code_behind_tpause[], code_umwait[], code_umonitor[];
asm(".pushsection .text\n"
    "code_tpause:		.byte 0x66, 0x0f, 0xae, 0xf1\n"
    "code_behind_tpause:	int $0x80\n"
    "code_umonitor:		.byte 0xf3, 0x0f, 0xae, 0xf3\n"
    "			int $0x80\n"
    /* At most RSI times, while the word at RBX is 0. */
    "code_umwait:		.byte 0xf3, 0x0f, 0xae, 0xf3\n"
    "			cmpq $0, (%rbx)\n"
    "			jne 1f\n"
    "			.byte 0xf2, 0x0f, 0xae, 0xf1\n"
    "			decq %rsi\n"
    "			jnz code_umwait\n"
    "1:			int $0x80\n"
    ".popsection");

static bool has_waitpkg(void)
{
	u32 a, b, c, d;

	cpuid(7, 0, &a, &b, &c, &d);
	if (!(c & BIT(5)))
		skip("the CPU has no WAITPKG");
	return c & BIT(5);
}

void test_setup(void)
{
	if (cpu_has_uintr())
		ui_setup();
	memset(cpus[0].irqs, 0, sizeof(cpus[0].irqs));
	this_cpu()->mend = NULL;
	this_cpu()->on_irq = NULL;
	word = 0;
}

/* Run code with an operand and a deadline. */
static int run(const u8 *code, u64 cs, u32 state, u64 deadline, struct trap *trap)
{
	struct regs regs;

	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)code;
	regs.rflags = 2 | ALL_FLAGS | (cs == SEL_UCODE ? RFLAGS_IF : 0);
	regs.rcx = state;
	regs.rax = (u32)deadline;
	regs.rdx = deadline >> 32;
	regs.rbx = (u64)&word;
	regs.rsi = 1;
	if (cs == SEL_KCODE) {
		regs.cs = cs;
		regs.ss = SEL_KDATA;
	}
	return try_regs(trap, &regs);
}

static void the_time_ends_tpause(void)
{
	struct trap trap;
	u64 deadline;
	int i;

	if (!has_waitpkg())
		return;
	wrmsr(MSR_UMWAIT_CONTROL, 0);
	for (i = 0; i < 4; i++) {
		deadline = i & 1 ? 0 : rdtsc() + 100000;
		EXPECT_EQ(run(code_tpause, i & 2 ? SEL_KCODE : SEL_UCODE, i & 1, deadline, &trap),
			  VECTOR_DONE);
		EXPECT_EQ(trap.regs.rflags & ALL_FLAGS, 0);
		EXPECT_EQ(trap.regs.rax | trap.regs.rdx << 32, deadline);
	}
}

/* Until it does: what ends them without a reason leaves CF clear. */
static void the_limit_sets_cf(void)
{
	struct trap trap;
	u64 until = deadline_ms(2000);

	if (!has_waitpkg())
		return;
	wrmsr(MSR_UMWAIT_CONTROL, 100000);
	do {
		EXPECT_EQ(run(code_tpause, SEL_UCODE, 0, FOREVER, &trap), VECTOR_DONE);
		EXPECT_EQ(trap.regs.rflags & ALL_FLAGS & ~RFLAGS_CF, 0);
	} while (!(trap.regs.rflags & RFLAGS_CF) && !expired(until));
	EXPECT(trap.regs.rflags & RFLAGS_CF);
	/* A deadline before the limit: CF stays clear. */
	EXPECT_EQ(run(code_tpause, SEL_UCODE, 0, rdtsc() + 1000, &trap), VECTOR_DONE);
	EXPECT_EQ(trap.regs.rflags & ALL_FLAGS, 0);
	wrmsr(MSR_UMWAIT_CONTROL, 0);
}

static void reserved_bits_are_gp(void)
{
	struct trap trap;
	u64 last = 0;
	int bit;

	if (!has_waitpkg())
		return;
	wrmsr(MSR_UMWAIT_CONTROL, 0);
	for (bit = 1; bit < 32; bit++) {
		EXPECT_EQ(run(code_tpause, SEL_UCODE, BIT(bit), 0, &trap), TRAP_GP);
		EXPECT_EQ(trap.regs.error, 0);
		EXPECT_EQ(trap.regs.rip, (u64)code_tpause);
		EXPECT_EQ(run(code_umwait, SEL_KCODE, BIT(bit), 0, &trap), TRAP_GP);
	}
	for (bit = 0; bit < 64; bit++) {
		bool reserved = bit == 1 || bit > 31;

		EXPECT_EQ(try_wrmsr(MSR_UMWAIT_CONTROL, BIT(bit)), reserved ? TRAP_GP : VECTOR_DONE);
		if (!reserved)
			last = BIT(bit);
		EXPECT_EQ(rdmsr(MSR_UMWAIT_CONTROL), last);
	}
	wrmsr(MSR_UMWAIT_CONTROL, 0);
}

static void tsd_is_gp_at_user_level(void)
{
	if (!has_waitpkg())
		return;
	write_cr4(read_cr4() | CR4_TSD);
	EXPECT_EQ(run(code_tpause, SEL_UCODE, 0, 0, NULL), TRAP_GP);
	EXPECT_EQ(run(code_tpause, SEL_KCODE, 0, 0, NULL), VECTOR_DONE);
	EXPECT_EQ(run(code_umwait, SEL_UCODE, 0, 0, NULL), TRAP_GP);
	write_cr4(read_cr4() & ~CR4_TSD);
}

static void umonitor_faults_as_a_load_does(void)
{
	struct trap trap;
	struct regs regs;
	u64 addresses[] = { window(3), 1UL << 63 }, i;
	const int vectors[] = { TRAP_PF, TRAP_GP };

	if (!has_waitpkg())
		return;
	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		user_regs(&regs, NULL, NULL);
		regs.rip = (u64)code_umonitor;
		regs.rbx = addresses[i];
		EXPECT_EQ(try_regs(&trap, &regs), vectors[i]);
		EXPECT_EQ(trap.regs.rip, (u64)code_umonitor);
		if (vectors[i] == TRAP_PF) {
			EXPECT_EQ(trap.cr2, addresses[i]);
			EXPECT_EQ(trap.regs.error, 4);
		}
	}
	map(3, PTE_P | PTE_U);
	regs.rbx = window(3);
	EXPECT_EQ(try_regs(&trap, &regs), VECTOR_DONE);
	map(3, 0);
}

/* --- what ends a wait ---------------------------------------------------------------------- */

/* LAPIC timer: one shot, divided by 1. */
static void in_a_while(int vector)
{
	apic_write(0x3e0, 0xb);
	apic_write(0x320, vector);
	apic_write(0x380, 2000000);
}

static u64 irq_rip;

static void note_rip(struct regs *regs)
{
	irq_rip = regs->rip;
}

/*
 * Wait so long, and return how long it was, in ticks. What comes before the wait has begun leaves
 * all of it to the time, so that a case tries again.
 */
#define LONG 3000000000UL
#define TRIES 20

static u64 wait_long(const u8 *code)
{
	u64 start = rdtsc();

	EXPECT_EQ(run(code, SEL_UCODE, 1, start + LONG, NULL), VECTOR_DONE);
	return rdtsc() - start;
}

static void an_interrupt_ends(const u8 *code, const u8 *behind)
{
	int tries;
	u64 took;

	if (!has_waitpkg())
		return;
	wrmsr(MSR_UMWAIT_CONTROL, 0);
	this_cpu()->on_irq = note_rip;
	irq_rip = 0;
	for (tries = 0; tries < TRIES && irq_rip != (u64)behind; tries++) {
		in_a_while(0x41);
		took = wait_long(code);
	}
	EXPECT_EQ(irq_rip, (u64)behind);
	EXPECT(took < LONG);
}

static void an_interrupt_ends_tpause(void)
{
	an_interrupt_ends(code_tpause, code_behind_tpause);
}

/* A timer whose vector is UINV: notification, and delivery behind the instruction. */
static void a_user_interrupt_ends_tpause(void)
{
	int tries;
	u64 took;

	if (!has_waitpkg())
		return;
	wrmsr(MSR_UMWAIT_CONTROL, 0);
	for (tries = 0; tries < TRIES; tries++) {
		ui_log.count = 0;
		own->upid.pir = BIT(7);
		stui();
		in_a_while(UINV);
		took = wait_long(code_tpause);
		if (ui_log.count && ui_log.frames[0].rip == (u64)code_behind_tpause)
			break;
	}
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)code_behind_tpause);
	EXPECT_EQ(ui_log.frames[0].vector, 7);
	EXPECT_EQ(cpus[0].irqs[UINV], 0);
	EXPECT(took < LONG);
}

/* UMWAIT may end by itself: the loop around it goes on until the handler has run. */
static void a_user_interrupt_ends_a_loop_of_umwait(void)
{
	u64 until = deadline_ms(5000);

	if (!has_waitpkg())
		return;
	wrmsr(MSR_UMWAIT_CONTROL, 0);
	own->upid.pir = BIT(7);
	stui();
	in_a_while(UINV);
	do
		EXPECT_EQ(run(code_umwait, SEL_UCODE, 0, rdtsc() + LONG, NULL), VECTOR_DONE);
	while (!ui_log.count && !expired(until));
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].vector, 7);
	EXPECT_EQ(cpus[0].irqs[UINV], 0);
}

/* UIF is clear: the notification is processed, the thread goes on or waits, nothing is lost. */
static void a_notification_in_tpause_is_kept(void)
{
	u64 until = deadline_ms(5000);

	if (!has_waitpkg())
		return;
	wrmsr(MSR_UMWAIT_CONTROL, 0);
	own->upid.pir = BIT(7);
	clui();
	in_a_while(UINV);
	do
		EXPECT_EQ(run(code_tpause, SEL_UCODE, 0, rdtsc() + 1000000, NULL), VECTOR_DONE);
	while (!rdmsr(MSR_UINTR_RR) && !expired(until));
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
	EXPECT_EQ(own->upid.pir, 0);
	EXPECT_EQ(ui_log.count, 0);
}

static void store_later(void *unused)
{
	u64 start = rdtsc();

	(void)unused;
	while (rdtsc() - start < 3000000)
		barrier();
	WRITE_ONCE(word, 1);
}

/* A loop around UMWAIT sees a store of another CPU. */
static void a_store_ends_the_loop(void)
{
	struct regs regs;

	if (!has_waitpkg())
		return;
	wrmsr(MSR_UMWAIT_CONTROL, 0);
	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)code_umwait;
	regs.rbx = (u64)&word;
	regs.rax = 0xffffffff;
	regs.rdx = 0xffffffff;
	regs.rcx = 0;
	regs.rsi = ~0UL >> 1;
	regs.rflags |= RFLAGS_IF;
	run_on(1, store_later, NULL);
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	EXPECT_EQ(word, 1);
	EXPECT(run_done(1, deadline_ms(4000)));
}

TESTS(
	TEST_ANYWHERE(the_time_ends_tpause, WAITPKG-1, WAITPKG-2),
	TEST_ANYWHERE(the_limit_sets_cf, WAITPKG-3),
	TEST_ANYWHERE(reserved_bits_are_gp, WAITPKG-4, WAITPKG-5),
	TEST_ANYWHERE(tsd_is_gp_at_user_level, WAITPKG-4),
	TEST_ANYWHERE(umonitor_faults_as_a_load_does, WAITPKG-6),
	TEST_ANYWHERE(an_interrupt_ends_tpause, WAITPKG-7),
	TEST(a_user_interrupt_ends_tpause, DELIVERY-20),
	TEST(a_user_interrupt_ends_a_loop_of_umwait, DELIVERY-20),
	TEST(a_notification_in_tpause_is_kept, WAITPKG-8),
	TEST_SMP(a_store_ends_the_loop, 2, WAITPKG-7),
);
