// SPDX-License-Identifier: GPL-2.0-only
/* UIRET by itself, without a delivery before it. */
#include "uintr.h"

/* CF PF AF ZF SF TF DF OF NT RF AC ID: what UIRET loads (SDM volume 2, "UIRET"). */
#define UIRET_MASK 0x254dd5UL

extern u8 code_uiret[], code_landed[];
asm(".pushsection .text\n"
    "code_uiret:	.byte 0xf3, 0x0f, 0x01, 0xec\n"
    "code_landed:	int $0x80\n"
    ".popsection");

struct frame {
	u64 rip, rflags, rsp;
};

static struct frame frame;

void test_setup(void)
{
	ui_setup();
	set_dr(0, DR7_OFF);
	frame = (struct frame){ (u64)code_landed, 2, 0x12340 };
}

static int run(u64 rsp, u64 rflags, u64 cs, struct trap *trap)
{
	struct regs regs;

	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)code_uiret;
	regs.rsp = rsp;
	regs.rflags = rflags;
	if (cs == SEL_KCODE) {
		regs.cs = cs;
		regs.ss = SEL_KDATA;
	}
	return try_regs(trap, &regs);
}

static void loads_rip_rsp_and_sets_uif(void)
{
	struct trap trap;

	EXPECT(!testui());
	EXPECT_EQ(run((u64)&frame, 2, SEL_UCODE, &trap), VECTOR_DONE);
	EXPECT_EQ(trap.regs.rip, (u64)code_landed + 2);
	EXPECT_EQ(trap.regs.rsp, 0x12340);
	EXPECT_EQ(trap.regs.cs, SEL_UCODE);
	EXPECT_EQ(trap.regs.ss, SEL_UDATA);
	EXPECT(testui());
}

/* All bits set and all clear, in old and new RFLAGS, at both levels. TF and RF have own cases. */
static void check_flags(u64 cs)
{
	u64 mask = UIRET_MASK & ~(RFLAGS_TF | RFLAGS_RF);
	u64 keep = RFLAGS_IF | BIT(12) | BIT(13);
	struct trap trap;

	frame.rflags = ~0UL & ~(RFLAGS_TF | RFLAGS_RF);
	EXPECT_EQ(run((u64)&frame, 2, cs, &trap), VECTOR_DONE);
	EXPECT_EQ(trap.regs.rflags & ~RFLAGS_RF, mask | 2);

	frame.rflags = 0;
	EXPECT_EQ(run((u64)&frame, 2 | mask | keep, cs, &trap), VECTOR_DONE);
	EXPECT_EQ(trap.regs.rflags & ~RFLAGS_RF, 2 | keep);
}

static void loads_only_its_flags_at_user_level(void)
{
	check_flags(SEL_UCODE);
}

static void loads_only_its_flags_at_supervisor_level(void)
{
	check_flags(SEL_KCODE);
}

/* TF of the frame traps after the next instruction, as with IRET. */
static void tf_traps_after_the_next_instruction(void)
{
	static u8 code[] = { 0x90, 0x90, 0xcd, VECTOR_DONE };
	struct trap trap;

	frame.rip = (u64)code;
	frame.rflags = 2 | RFLAGS_TF;
	EXPECT_EQ(run((u64)&frame, 2, SEL_UCODE, &trap), TRAP_DB);
	EXPECT_EQ(trap.regs.rip, (u64)code + 1);
}

/* RF loaded by UIRET suppresses a breakpoint; the value of RF before has no effect. */
static void rf_holds_a_breakpoint_off(void)
{
	struct trap trap;

	set_dr((u64)code_landed, DR7_EXECUTE_0);
	for (u64 before = 2; before; before = before == 2 ? 2 | RFLAGS_RF : 0) {
		frame.rflags = 2 | RFLAGS_RF;
		EXPECT_EQ(run((u64)&frame, before, SEL_UCODE, NULL), VECTOR_DONE);
		frame.rflags = 2;
		EXPECT_EQ(run((u64)&frame, before, SEL_UCODE, &trap), TRAP_DB);
		EXPECT_EQ(trap.regs.rip, (u64)code_landed);
	}
	set_dr(0, DR7_OFF);
}

/* The same for IRET, which user code may execute, too. */
static void rf_of_iret_holds_a_breakpoint_off(void)
{
	static u8 code[] = { 0x48, 0xcf };
	static struct {
		u64 rip, cs, rflags, rsp, ss;
	} to;
	struct regs regs;
	struct trap trap;

	set_dr((u64)code_landed, DR7_EXECUTE_0);
	for (int i = 0; i < 4; i++) {
		u64 loaded = i & 1 ? 2 | RFLAGS_RF : 2;

		to = (typeof(to)){ (u64)code_landed, SEL_UCODE, loaded, 0x12340, SEL_UDATA };
		user_regs(&regs, NULL, NULL);
		regs.rip = (u64)code;
		regs.rsp = (u64)&to;
		regs.rflags = i & 2 ? 2 | RFLAGS_RF : 2;
		EXPECT_EQ(try_regs(&trap, &regs), i & 1 ? VECTOR_DONE : TRAP_DB);
	}
	set_dr(0, DR7_OFF);
}

static void non_canonical_rip_is_gp(void)
{
	struct trap trap;

	frame.rip = 0x0000900000000000;
	EXPECT_EQ(run((u64)&frame, 2, SEL_UCODE, &trap), TRAP_GP);
	EXPECT_EQ(trap.regs.error, 0);
	EXPECT_EQ(trap.regs.rip, (u64)code_uiret);
	EXPECT_EQ(trap.regs.rsp, (u64)&frame);
	EXPECT(!testui());
}

static void non_canonical_stack_is_ss(void)
{
	struct trap trap;

	EXPECT_EQ(run(0x0000900000000000, 2, SEL_UCODE, &trap), TRAP_SS);
	EXPECT_EQ(trap.regs.error, 0);
	EXPECT_EQ(trap.regs.rip, (u64)code_uiret);
	EXPECT(!testui());
}

static void missing_stack_faults(void)
{
	struct frame *split = window_memory(1) - 16;
	struct trap trap;

	EXPECT_EQ(run(window(0), 2, SEL_UCODE, &trap), TRAP_PF);
	EXPECT_EQ(trap.regs.error, 4);
	EXPECT_EQ(trap.cr2, window(0));
	EXPECT_EQ(trap.regs.rip, (u64)code_uiret);
	/* RSP is on the next page, and nothing is loaded. */
	map(0, PTE_P | PTE_U);
	split->rip = (u64)code_landed;
	split->rflags = ~0UL;
	EXPECT_EQ(run(window(1) - 16, 2, SEL_UCODE, &trap), TRAP_PF);
	EXPECT_EQ(trap.cr2, window(1));
	EXPECT_EQ(trap.regs.rflags & UIRET_MASK & ~RFLAGS_RF, 0);
	EXPECT_EQ(trap.regs.rsp, window(1) - 16);
	EXPECT(!testui());
}

/* At the level of the code that executes it. */
static void supervisor_stack_faults_at_user_level(void)
{
	struct frame *there = window_memory(0);
	struct trap trap;

	map(0, PTE_P);
	*there = frame;
	EXPECT_EQ(run(window(0), 2, SEL_UCODE, &trap), TRAP_PF);
	EXPECT_EQ(trap.regs.error, 5);
	EXPECT_EQ(run(window(0), 2, SEL_KCODE, &trap), VECTOR_DONE);
}

/* A pending interrupt is delivered before the instruction that UIRET returns to. */
static void lets_the_next_one_in(void)
{
	wrmsr(MSR_UINTR_RR, BIT(9));
	frame.rsp = user_stack() - 64;
	EXPECT_EQ(run((u64)&frame, 2, SEL_UCODE, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].vector, 9);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)code_landed);
	EXPECT_EQ(ui_log.frames[0].rsp, frame.rsp);
}

/* At CPL 0 UIF is set, too, but nothing is delivered. */
static void delivers_nothing_at_supervisor_level(void)
{
	wrmsr(MSR_UINTR_RR, BIT(9));
	EXPECT_EQ(run((u64)&frame, 2, SEL_KCODE, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 0);
	EXPECT(testui());
}

/* CPUID.(EAX=7,ECX=1):EDX[17] makes it so; RFLAGS itself has the bit always set. */
static void bit_1_of_the_image_is_uif_where_uiret_is_flexible(void)
{
	struct trap trap;
	u32 a, b, c, d;
	bool flexible;
	int i;

	cpuid(7, 1, &a, &b, &c, &d);
	flexible = d & BIT(17);
	note("UIRET is %s", flexible ? "flexible" : "not flexible");
	for (i = 0; i < 8; i++) {
		if (i & 1)
			stui();
		else
			clui();
		frame.rflags = i & 2;
		EXPECT_EQ(run((u64)&frame, 2, i & 4 ? SEL_UCODE : SEL_KCODE, &trap), VECTOR_DONE);
		EXPECT_EQ(trap.regs.rflags & 2, 2);
		EXPECT_EQ(testui(), !flexible || (i & 2));
	}
}

TESTS(
	TEST(loads_rip_rsp_and_sets_uif, UIRET-1, UIRET-3),
	TEST(bit_1_of_the_image_is_uif_where_uiret_is_flexible, UIRET-1, UIRET-12),
	TEST(loads_only_its_flags_at_user_level, UIRET-2),
	TEST(loads_only_its_flags_at_supervisor_level, UIRET-2, UIRET-9),
	TEST(tf_traps_after_the_next_instruction, UIRET-10),
	TEST(rf_holds_a_breakpoint_off, UIRET-11),
	TEST(rf_of_iret_holds_a_breakpoint_off, UIRET-11),
	TEST(non_canonical_rip_is_gp, UIRET-4),
	TEST(non_canonical_stack_is_ss, UIRET-5),
	TEST(missing_stack_faults, UIRET-6),
	TEST(supervisor_stack_faults_at_user_level, UIRET-6),
	TEST(lets_the_next_one_in, UIRET-8),
	TEST(delivers_nothing_at_supervisor_level, UIRET-9),
);
