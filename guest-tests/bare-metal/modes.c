// SPDX-License-Identifier: GPL-2.0-only
/*
 * The five instructions outside of long mode, where each is #UD: SDM volume 2, their pages, by
 * operating mode.
 */
#include "legacy.h"
#include "uintr.h"

struct code {
	const char *name;
	u8 bytes[8];
	int size;
};

static const struct code instructions[] = {
	{ "uiret", { 0xf3, 0x0f, 0x01, 0xec }, 4 },
	{ "testui", { 0xf3, 0x0f, 0x01, 0xed }, 4 },
	{ "clui", { 0xf3, 0x0f, 0x01, 0xee }, 4 },
	{ "stui", { 0xf3, 0x0f, 0x01, 0xef }, 4 },
	{ "senduipi", { 0xf3, 0x0f, 0xc7, 0xf0 }, 4 },
};

/* Instructions that do not exist in 64-bit mode, exist in protected mode only, and never exist. */
static const struct code daa = { "daa", { 0x27 }, 1 };
static const struct code sldt = { "sldt", { 0x0f, 0x00, 0xc0 }, 3 };
static const struct code ud2 = { "ud2", { 0x0f, 0x0b }, 2 };

struct mode {
	u32 way;
	u32 cs, eip, eflags;
	/* Its CPL is 3: the stack that IRET loads is another one. */
	u32 ss;
	bool outer;
	/* Of CR0, those that tell the mode. */
	u32 cr0;
};

static const struct mode protected32 = {
	.way = LEGACY_PROTECTED, .cs = SEL_KCODE32, .eip = LEGACY_TRIED, .cr0 = CR0_PE,
};
static const struct mode protected16 = {
	.way = LEGACY_PROTECTED, .cs = SEL_KCODE16, .eip = LEGACY_TRIED - LEGACY_CODE, .cr0 = CR0_PE,
};
static const struct mode paged_user = {
	.way = LEGACY_PAGED, .cs = SEL_UCODE32, .eip = LEGACY_TRIED, .ss = SEL_UDATA, .outer = true,
	.cr0 = CR0_PE | CR0_PG,
};
static const struct mode virtual8086 = {
	.way = LEGACY_PROTECTED, .cs = LEGACY_TRIED >> 4, .eflags = EFLAGS_VM | EFLAGS_IOPL,
	.outer = true, .cr0 = CR0_PE,
};
static const struct mode real = {
	.way = LEGACY_REAL, .cs = LEGACY_TRIED >> 4,
};

void test_setup(void)
{
	if (!cpu_has_uintr())
		return;
	ui_setup();
	ui[0].upid.low |= UPID_SN;
}

/* Run an instruction, then INT; what UIRET would find on the stack leads to the INT as well. */
static void execute(const struct mode *mode, const struct code *code, struct legacy_trap *trap)
{
	struct legacy_frame frame = {
		.eip = mode->eip, .cs = mode->cs, .eflags = mode->eflags | 2,
	};
	u64 stack[] = { mode->eip + code->size, 2, LEGACY_FRAME };
	u8 *to = (u8 *)LEGACY_TRIED;

	memcpy(to, code->bytes, code->size);
	to[code->size] = 0xcd;
	to[code->size + 1] = VECTOR_DONE;
	if (mode->outer) {
		frame.esp = LEGACY_FRAME + 64;
		frame.ss = mode->ss;
		memcpy((void *)(u64)frame.esp, stack, sizeof(stack));
	} else {
		memcpy(&frame.esp, stack, sizeof(stack));
	}
	legacy_run(mode->way, &frame, trap);
}

static void check(const struct mode *mode, const struct code *code, int expected)
{
	u32 eip = mode->eip + (expected == VECTOR_DONE ? code->size + 2 : 0);
	struct legacy_trap trap;

	execute(mode, code, &trap);
	if (trap.vector != (u32)expected)
		FAIL("%s: vector %u, not %d", code->name, trap.vector, expected);
	else if (trap.eip != eip)
		FAIL("%s: saved EIP is 0x%x, not 0x%x", code->name, trap.eip, eip);
	EXPECT_EQ(trap.cs, mode->cs);
	EXPECT_EQ(trap.eflags & EFLAGS_VM, mode->eflags & EFLAGS_VM);
	EXPECT_EQ(trap.cr0 & (CR0_PE | CR0_PG), mode->cr0);
	EXPECT_EQ(trap.cr4 & CR4_UINTR, cpu_has_uintr() ? CR4_UINTR : 0);
	EXPECT_EQ(trap.efer & EFER_LMA, 0);
}

static void all_are_ud(const struct mode *mode, bool is_protected)
{
	unsigned int i;

	check(mode, &daa, VECTOR_DONE);
	check(mode, &sldt, is_protected ? VECTOR_DONE : TRAP_UD);
	check(mode, &ud2, TRAP_UD);
	for (i = 0; i < ARRAY_SIZE(instructions); i++)
		check(mode, &instructions[i], TRAP_UD);
}

static void are_ud_in_protected_mode(void)
{
	all_are_ud(&protected32, true);
}

static void are_ud_in_16_bit_protected_mode(void)
{
	all_are_ud(&protected16, true);
}

static void are_ud_in_protected_mode_at_user_level(void)
{
	all_are_ud(&paged_user, true);
}

static void are_ud_in_virtual_8086_mode(void)
{
	all_are_ud(&virtual8086, false);
}

static void are_ud_in_real_address_mode(void)
{
	all_are_ud(&real, false);
}

TESTS(
	TEST_ANYWHERE(are_ud_in_protected_mode, INSN-6),
	TEST_ANYWHERE(are_ud_in_16_bit_protected_mode, INSN-6),
	TEST_ANYWHERE(are_ud_in_protected_mode_at_user_level, INSN-6),
	TEST_ANYWHERE(are_ud_in_virtual_8086_mode, INSN-6),
	TEST_ANYWHERE(are_ud_in_real_address_mode, INSN-6),
);
