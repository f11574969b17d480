// SPDX-License-Identifier: GPL-2.0-only
/*
 * When the five instructions exist and when they are #UD, their flags, and the instructions that
 * share their opcodes. On a CPU without user interrupts they are always #UD.
 */
#include "uintr.h"

struct code {
	const char *name;
	u8 bytes[8];
	int size;
};

/* Each with an operand or a prefix that does no harm. RAX is 0. */
static const struct code instructions[] = {
	{ "testui", { 0xf3, 0x0f, 0x01, 0xed }, 4 },
	{ "clui", { 0xf3, 0x0f, 0x01, 0xee }, 4 },
	{ "stui", { 0xf3, 0x0f, 0x01, 0xef }, 4 },
	{ "uiret", { 0xf3, 0x0f, 0x01, 0xec }, 4 },
	{ "senduipi", { 0xf3, 0x0f, 0xc7, 0xf0 }, 4 },
};

static const struct code locked[] = {
	{ "lock testui", { 0xf0, 0xf3, 0x0f, 0x01, 0xed }, 5 },
	{ "lock clui", { 0xf0, 0xf3, 0x0f, 0x01, 0xee }, 5 },
	{ "lock stui", { 0xf0, 0xf3, 0x0f, 0x01, 0xef }, 5 },
	{ "lock uiret", { 0xf0, 0xf3, 0x0f, 0x01, 0xec }, 5 },
	{ "lock senduipi", { 0xf0, 0xf3, 0x0f, 0xc7, 0xf0 }, 5 },
};

/* Undefined: the bytes of UIRET and TESTUI with no prefix or another one. */
static const struct code neighbours[] = {
	{ "0f 01 ec", { 0x0f, 0x01, 0xec }, 3 },
	{ "0f 01 ed", { 0x0f, 0x01, 0xed }, 3 },
	{ "66 0f 01 ec", { 0x66, 0x0f, 0x01, 0xec }, 4 },
	{ "66 0f 01 ee", { 0x66, 0x0f, 0x01, 0xee }, 4 },
	{ "f2 0f 01 ed", { 0xf2, 0x0f, 0x01, 0xed }, 4 },
	{ "f2 0f 01 ef", { 0xf2, 0x0f, 0x01, 0xef }, 4 },
};

static u8 page[64] __attribute__((aligned(64)));
static u64 stack[128] __attribute__((aligned(64)));
/* There is room above it for UIRET's frame, and below it for what a user interrupt needs. */
#define STACK	(stack + 64)

/* Run an instruction, then INT; UIRET's frame leads to the INT as well. */
static int execute(const struct code *code, u64 cs, u64 rax, struct trap *trap)
{
	struct regs regs;

	memset(page, 0x90, sizeof(page));
	memcpy(page, code->bytes, code->size);
	page[code->size] = 0xcd;	/* int */
	page[code->size + 1] = VECTOR_DONE;
	STACK[0] = (u64)page + code->size;
	STACK[1] = 2;
	STACK[2] = (u64)STACK;
	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)page;
	regs.rsp = (u64)STACK;
	regs.cs = cs;
	regs.rax = rax;
	if (cs == SEL_KCODE) {
		regs.ss = SEL_KDATA;
		regs.rflags = 2;
	}
	return try_regs(trap, &regs);
}

static void check(const struct code *code, u64 cs, int expected)
{
	struct trap trap;
	int vector = execute(code, cs, 0, &trap);

	if (vector != expected)
		FAIL("%s: vector %d, not %d", code->name, vector, expected);
	if (expected == TRAP_UD && trap.regs.rip != (u64)page)
		FAIL("%s: saved RIP is %ld bytes off", code->name, trap.regs.rip - (u64)page);
}

static void all(const struct code *codes, int count, u64 cs, int expected)
{
	int i;

	for (i = 0; i < count; i++)
		check(&codes[i], cs, expected);
}

static void exist_at_user_level(void)
{
	ui_setup();
	all(instructions, ARRAY_SIZE(instructions), SEL_UCODE, VECTOR_DONE);
	ui_off();
}

static void exist_at_supervisor_level(void)
{
	ui_setup();
	all(instructions, ARRAY_SIZE(instructions), SEL_KCODE, VECTOR_DONE);
	ui_off();
}

/* Without the CPUID bit they are always #UD; the kernel's emulation depends on that. */
static void are_ud_without_cr4_uintr(void)
{
	if (cpu_has_uintr())
		ui_off();
	all(instructions, ARRAY_SIZE(instructions), SEL_UCODE, TRAP_UD);
	all(instructions, ARRAY_SIZE(instructions), SEL_KCODE, TRAP_UD);
}

static void are_ud_with_pke(void)
{
	u32 a, b, c, d;

	cpuid(7, 0, &a, &b, &c, &d);
	if (!(c & BIT(3))) {
		skip("the CPU has no protection keys");
		return;
	}
	if (cpu_has_uintr())
		ui_off();
	write_cr4(read_cr4() | CR4_PKE);
	all(instructions, ARRAY_SIZE(instructions), SEL_UCODE, TRAP_UD);
	write_cr4(read_cr4() & ~(u64)CR4_PKE);
}

static void are_ud_with_lock(void)
{
	if (cpu_has_uintr())
		ui_setup();
	all(locked, ARRAY_SIZE(locked), SEL_UCODE, TRAP_UD);
	if (cpu_has_uintr())
		ui_off();
}

static void are_ud_in_compatibility_mode(void)
{
	if (cpu_has_uintr())
		ui_setup();
	all(instructions, ARRAY_SIZE(instructions), SEL_UCODE32, TRAP_UD);
	if (cpu_has_uintr())
		ui_off();
}

static void need_the_f3_prefix(void)
{
	if (cpu_has_uintr())
		ui_setup();
	all(neighbours, ARRAY_SIZE(neighbours), SEL_UCODE, TRAP_UD);
	if (cpu_has_uintr())
		ui_off();
}

static void senduipi_is_ud_without_tt_enable(void)
{
	ui_setup();
	wrmsr(MSR_UINTR_TT, (u64)ui[0].uitt);
	check(&instructions[4], SEL_UCODE, TRAP_UD);
	check(&instructions[1], SEL_UCODE, VECTOR_DONE);
	ui_off();
}

/* 66 and REX.W change nothing, and the operand is in ModRM.rm: R12, not RSI. */
static void senduipi_takes_any_register(void)
{
	static const struct code odd[] = {
		{ "66 senduipi", { 0x66, 0xf3, 0x0f, 0xc7, 0xf0 }, 5 },
		{ "rex.w senduipi", { 0xf3, 0x48, 0x0f, 0xc7, 0xf0 }, 5 },
	};
	static const struct code r12 = { "senduipi r12", { 0xf3, 0x41, 0x0f, 0xc7, 0xf4 }, 5 };
	struct regs regs;

	ui_setup();
	ui[0].upid.low |= UPID_SN;
	all(odd, ARRAY_SIZE(odd), SEL_UCODE, VECTOR_DONE);
	EXPECT_EQ(ui[0].upid.pir, BIT(0));
	/* 64 bits count in spite of the prefix: out of the table. */
	EXPECT_EQ(execute(&odd[0], SEL_UCODE, 0x10000, NULL), TRAP_GP);
	EXPECT_EQ(execute(&odd[0], SEL_UCODE, 0x100000000, NULL), TRAP_GP);

	memcpy(page, r12.bytes, r12.size);
	page[5] = 0xcd;
	page[6] = VECTOR_DONE;
	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)page;
	regs.r12 = 7;
	regs.rsi = 9;
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	EXPECT_EQ(ui[0].upid.pir, BIT(0) | BIT(7));
	ui_off();
}

static void testui_sets_only_cf(void)
{
	struct trap trap;
	struct regs regs;
	int uif;

	ui_setup();
	for (uif = 0; uif < 2; uif++) {
		memcpy(page, instructions[0].bytes, 4);
		page[4] = 0xcd;
		page[5] = VECTOR_DONE;
		user_regs(&regs, NULL, NULL);
		regs.rip = (u64)page;
		/* ZF AF OF PF SF become 0, CF UIF; DF and IF stay. */
		regs.rflags = 0xed7 & ~(u64)(uif ? RFLAGS_CF : 0);
		regs.rflags &= ~RFLAGS_TF;
		if (uif)
			stui();
		else
			clui();
		EXPECT_EQ(try_regs(&trap, &regs), VECTOR_DONE);
		EXPECT_EQ(trap.regs.rflags, 0x602 | uif);
	}
	ui_off();
}

static void clui_and_stui_leave_the_flags(void)
{
	struct trap trap;
	struct regs regs;
	int i;

	ui_setup();
	for (i = 1; i <= 2; i++) {
		execute(&instructions[i], SEL_UCODE, 0, &trap);
		user_regs(&regs, NULL, NULL);
		regs.rip = (u64)page;
		regs.rflags = 0xed7 & ~RFLAGS_TF;
		EXPECT_EQ(try_regs(&trap, &regs), VECTOR_DONE);
		EXPECT_EQ(trap.regs.rflags, 0xed7 & ~RFLAGS_TF);
		EXPECT_EQ(testui(), i == 2);
	}
	ui_off();
}

static void rdpkru_and_wrpkru_still_work(void)
{
	static const struct code rdpkru = { "rdpkru", { 0x31, 0xc9, 0x0f, 0x01, 0xee }, 5 };
	static const struct code wrpkru = { "wrpkru", { 0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xef }, 7 };
	struct trap trap;
	u32 a, b, c, d;

	cpuid(7, 0, &a, &b, &c, &d);
	if (!(c & BIT(3))) {
		skip("the CPU has no protection keys");
		return;
	}
	if (cpu_has_uintr())
		ui_setup();
	write_cr4(read_cr4() | CR4_PKE);
	EXPECT_EQ(execute(&wrpkru, SEL_KCODE, 0x30, &trap), VECTOR_DONE);
	EXPECT_EQ(execute(&rdpkru, SEL_UCODE, 1, &trap), VECTOR_DONE);
	EXPECT_EQ(trap.regs.rax, 0x30);
	execute(&wrpkru, SEL_KCODE, 0, NULL);
	write_cr4(read_cr4() & ~(u64)CR4_PKE);
	if (cpu_has_uintr())
		ui_off();
}

static void rdrand_and_rdpid_still_work(void)
{
	static const struct code rdrand = { "rdrand", { 0x48, 0x0f, 0xc7, 0xf0 }, 4 };
	static const struct code rdpid = { "rdpid", { 0xf3, 0x0f, 0xc7, 0xf8 }, 4 };
	u32 a, b, c, d;

	if (cpu_has_uintr())
		ui_setup();
	cpuid(1, 0, &a, &b, &c, &d);
	if (c & BIT(30))
		check(&rdrand, SEL_UCODE, VECTOR_DONE);
	cpuid(7, 0, &a, &b, &c, &d);
	if (c & BIT(22))
		check(&rdpid, SEL_UCODE, VECTOR_DONE);
	if (cpu_has_uintr())
		ui_off();
}

TESTS(
	TEST(exist_at_user_level, INSN-1),
	TEST(exist_at_supervisor_level, INSN-2),
	TEST_ANYWHERE(are_ud_without_cr4_uintr, INSN-3, INSN-10),
	TEST_ANYWHERE(are_ud_with_pke, INSN-3),
	TEST_ANYWHERE(are_ud_with_lock, INSN-4),
	TEST_ANYWHERE(are_ud_in_compatibility_mode, INSN-5),
	TEST_ANYWHERE(need_the_f3_prefix, INSN-11),
	TEST(senduipi_is_ud_without_tt_enable, INSN-9),
	TEST(senduipi_takes_any_register, INSN-12, INSN-13, INSN-14),
	TEST(testui_sets_only_cf, INSN-18),
	TEST(clui_and_stui_leave_the_flags, INSN-17, INSN-19),
	TEST_ANYWHERE(rdpkru_and_wrpkru_still_work, INSN-23),
	TEST_ANYWHERE(rdrand_and_rdpid_still_work, INSN-24),
);
