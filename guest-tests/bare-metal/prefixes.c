// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decoding of the five instructions: prefixes, every register, places in memory; and the priority
 * of faults. The address-size prefix (67) is left out, because no document that we know says what
 * it does here.
 */
#include "uintr.h"

enum { UIRET, TESTUI, CLUI, STUI, SENDUIPI };

static const char *const names[] = { "uiret", "testui", "clui", "stui", "senduipi" };

struct bytes {
	const char *name;
	u8 code[16];
	int size;
};

static u8 page[64] __attribute__((aligned(64)));
static u64 stack[8] __attribute__((aligned(64)));

void test_setup(void)
{
	if (!cpu_has_uintr())
		return;
	ui_setup();
	ui[0].upid.low |= UPID_SN;
}

/* Put INT after the instruction, and its address on the stack for UIRET. */
static void prepare(struct regs *regs, const u8 *at, const u8 *code, int size)
{
	u8 *to = (u8 *)at;

	memcpy(to, code, size);
	to[size] = 0xcd;
	to[size + 1] = VECTOR_DONE;
	stack[0] = (u64)at + size;
	stack[1] = 2;
	stack[2] = (u64)&stack[4];
	user_regs(regs, NULL, NULL);
	regs->rip = (u64)at;
	regs->rsp = (u64)stack;
	regs->rflags = 2;
}

static int run(const u8 *code, int size, struct trap *trap)
{
	struct regs regs;

	prepare(&regs, page, code, size);
	return try_regs(trap, &regs);
}

/* Write the opcode from F3 on, after prefixes, with or without a REX prefix. Returns the size. */
static int put(u8 *to, int insn, const u8 *prefixes, int count, int rex)
{
	int n = 0;

	while (n < count) {
		to[n] = prefixes[n];
		n++;
	}
	to[n++] = 0xf3;
	if (rex)
		to[n++] = rex;
	to[n++] = 0x0f;
	to[n++] = insn == SENDUIPI ? 0xc7 : 0x01;
	to[n++] = insn == SENDUIPI ? 0xf0 : 0xec + insn;
	return n;
}

/* Run it where it has a visible effect; otherwise a no-op would pass. */
static void check_effect(const char *what, int insn, const u8 *code, int size)
{
	struct trap trap;
	int vector;
	bool done;

	ui[0].upid.pir = 0;
	if (insn == CLUI || insn == TESTUI)
		stui();
	else
		clui();
	vector = run(code, size, &trap);
	if (vector != VECTOR_DONE || trap.regs.rip != (u64)page + size + 2) {
		FAIL("%s %s: vector %d at byte %ld", what, names[insn], vector,
		     trap.regs.rip - (u64)page);
		return;
	}
	switch (insn) {
	case UIRET:
		done = testui() && trap.regs.rsp == (u64)&stack[4];
		break;
	case TESTUI:
		done = trap.regs.rflags & RFLAGS_CF;
		break;
	case CLUI:
		done = !testui();
		break;
	case STUI:
		done = testui();
		break;
	default:
		done = ui[0].upid.pir == BIT(0);
	}
	if (!done)
		FAIL("%s %s: no effect", what, names[insn]);
}

static void prefixes_without_a_meaning_change_nothing(void)
{
	static const struct bytes some[] = {
		{ "66", { 0x66 }, 1 }, { "cs", { 0x2e }, 1 }, { "ss", { 0x36 }, 1 },
		{ "ds", { 0x3e }, 1 }, { "es", { 0x26 }, 1 }, { "fs", { 0x64 }, 1 },
		{ "gs", { 0x65 }, 1 }, { "f3", { 0xf3 }, 1 }, { "66 2e f3", { 0x66, 0x2e, 0xf3 }, 3 },
	};
	u8 code[16];
	unsigned int i;
	int insn;

	for (i = 0; i < ARRAY_SIZE(some); i++) {
		for (insn = UIRET; insn <= SENDUIPI; insn++)
			check_effect(some[i].name, insn, code,
				     put(code, insn, some[i].code, some[i].size, 0));
	}
}

/* F3 counts wherever it stands before the opcode. */
static void order_of_prefixes_does_not_matter(void)
{
	static const u8 f3_66[][5] = {
		{ 0xf3, 0x66, 0x0f, 0x01, 0xec }, { 0xf3, 0x66, 0x0f, 0x01, 0xed },
		{ 0xf3, 0x66, 0x0f, 0x01, 0xee }, { 0xf3, 0x66, 0x0f, 0x01, 0xef },
		{ 0xf3, 0x66, 0x0f, 0xc7, 0xf0 },
	};
	int insn;

	for (insn = UIRET; insn <= SENDUIPI; insn++)
		check_effect("f3 66", insn, f3_66[insn], 5);
}

/* A plain REX and REX.W. REX.R would extend a register that is none here, but an opcode. */
static void rex_w_and_r_change_nothing(void)
{
	static const u8 rex[] = { 0x40, 0x48, 0x44 };
	u8 code[16];
	unsigned int i;
	int insn;

	for (i = 0; i < ARRAY_SIZE(rex); i++) {
		for (insn = UIRET; insn <= SENDUIPI; insn++)
			check_effect(i == 0 ? "rex" : i == 1 ? "rex.w" : "rex.r", insn, code,
				     put(code, insn, NULL, 0, rex[i]));
	}
}

/* All others hold an index that is out of the table. */
static void senduipi_reads_each_of_the_16_registers(void)
{
	/* Where struct regs has RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15 */
	static const u8 place[] = { 14, 13, 12, 11, 20, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0 };
	struct regs regs;
	u64 *value = (u64 *)&regs;
	u8 code[8];
	int r, i, size;

	for (r = 0; r < 16; r++) {
		size = put(code, SENDUIPI, NULL, 0, r < 8 ? 0 : 0x41);
		code[size - 1] = 0xf0 | (r & 7);
		prepare(&regs, page, code, size);
		for (i = 0; i < 16; i++)
			value[place[i]] = 64;
		value[place[r]] = 20 + r;
		ui[0].upid.pir = 0;
		if (try_regs(NULL, &regs) != VECTOR_DONE || ui[0].upid.pir != BIT(20 + r))
			FAIL("register %d: PIR 0x%lx", r, ui[0].upid.pir);
	}
}

static void only_rflags_of_testui_change(void)
{
	struct regs regs;
	struct trap trap;
	u8 code[8];
	int insn, i;

	for (insn = TESTUI; insn <= SENDUIPI; insn++) {
		prepare(&regs, page, code, put(code, insn, NULL, 0, 0));
		for (i = 0; i < 15; i++)
			((u64 *)&regs)[i] = 0x1111111111111111UL * (i + 1);
		if (insn == SENDUIPI)
			regs.rax = 0;
		regs.rflags = 0xcd7 | RFLAGS_AC | BIT(21);	/* all but TF and IF */
		EXPECT_EQ(try_regs(&trap, &regs), VECTOR_DONE);
		if (memcmp(&trap.regs, &regs, 15 * 8) || trap.regs.rsp != regs.rsp)
			FAIL("%s changes a register", names[insn]);
		if (insn != TESTUI)
			EXPECT_EQ(trap.regs.rflags & ~RFLAGS_RF, regs.rflags);
	}
}

/* LOCK is refused wherever it stands. */
static void lock_is_refused_in_any_place(void)
{
	u8 code[16], mixed[3] = { 0x66, 0xf0, 0x2e };
	struct trap trap;
	int insn, size;

	for (insn = UIRET; insn <= SENDUIPI; insn++) {
		size = put(code, insn, mixed, 3, 0);
		EXPECT_EQ(run(code, size, &trap), TRAP_UD);
		EXPECT_EQ(trap.regs.rip, (u64)page);
		/* f3 f0 */
		put(code + 1, insn, NULL, 0, 0);
		code[0] = 0xf3;
		code[1] = 0xf0;
		EXPECT_EQ(run(code, 5, &trap), TRAP_UD);
	}
	EXPECT_EQ(ui[0].upid.pir, 0);
}

static void an_instruction_has_15_bytes_at_most(void)
{
	u8 code[20], many[12];
	struct trap trap;
	int insn;

	memset(many, 0x2e, sizeof(many));
	for (insn = UIRET; insn <= SENDUIPI; insn++) {
		check_effect("15 bytes", insn, code, put(code, insn, many, 11, 0));
		EXPECT_EQ(run(code, put(code, insn, many, 12, 0), &trap), TRAP_GP);
		EXPECT_EQ(trap.regs.error, 0);
		EXPECT_EQ(trap.regs.rip, (u64)page);
	}
}

/* Two bytes on a page, two on the next one, which is mapped at the fault. */
static bool map_second(struct regs *regs)
{
	if (regs->vector != TRAP_PF || read_cr2() != window(1))
		return false;
	map(1, PTE_P | PTE_U);
	return true;
}

static void may_cross_pages(void)
{
	struct regs regs;
	struct trap trap;
	u8 code[8];
	int insn, size;

	for (insn = UIRET; insn <= SENDUIPI; insn++) {
		u8 *first = window_memory(0) + PAGE_SIZE - 2, *second = window_memory(1);

		size = put(code, insn, NULL, 0, 0);
		prepare(&regs, page, code, size);
		memcpy(first, code, 2);
		memcpy(second, code + 2, size - 2);
		memcpy(second + size - 2, page + size, 2);
		stack[0] = window(1) + size - 2;
		regs.rip = window(1) - 2;
		map(0, PTE_P | PTE_U);
		map(1, 0);
		EXPECT_EQ(try_regs(&trap, &regs), TRAP_PF);
		EXPECT_EQ(trap.cr2, window(1));
		EXPECT_EQ(trap.regs.rip, window(1) - 2);
		EXPECT_EQ(trap.regs.error & ~0x10UL, 4);
		this_cpu()->mend = map_second;
		EXPECT_EQ(try_regs(&trap, &regs), VECTOR_DONE);
		this_cpu()->mend = NULL;
		EXPECT_EQ(trap.regs.rip, window(1) + size);
	}
}

/* Each is one instruction for the trap flag, too. */
static void are_single_stepped(void)
{
	struct regs regs;
	struct trap trap;
	u8 code[8];
	int insn, size;

	for (insn = UIRET; insn <= SENDUIPI; insn++) {
		size = put(code, insn, NULL, 0, 0);
		prepare(&regs, page, code, size);
		regs.rflags |= RFLAGS_TF;
		stack[1] |= RFLAGS_TF;	/* UIRET loads TF */
		if (try_regs(&trap, &regs) != TRAP_DB ||
		    (insn != UIRET && trap.regs.rip != (u64)page + size))
			FAIL("%s: vector %lu at byte %ld", names[insn], trap.regs.vector,
			     trap.regs.rip - (u64)page);
	}
}

/* The same bytes with a memory operand, or another prefix, are something else. */
static void forms_beside_senduipi_do_not_post(void)
{
	static const struct bytes others[] = {
		{ "f3 0f c7 /6 mem", { 0xf3, 0x0f, 0xc7, 0x30 }, 4 },	/* VMXON */
		{ "f2 0f c7 /6 reg", { 0xf2, 0x0f, 0xc7, 0xf0 }, 4 },
		{ "f3 0f c7 /5 reg", { 0xf3, 0x0f, 0xc7, 0xe8 }, 4 },
		{ "f3 0f c7 /4 reg", { 0xf3, 0x0f, 0xc7, 0xe0 }, 4 },
		{ "f3 0f c7 /1 reg", { 0xf3, 0x0f, 0xc7, 0xc8 }, 4 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(others); i++) {
		if (run(others[i].code, others[i].size, NULL) != TRAP_UD)
			FAIL("%s is no #UD", others[i].name);
	}
	if (cpu_has_uintr())
		EXPECT_EQ(ui[0].upid.pir, 0);
}

/* SETSSBSY and SAVEPREVSSP are #UD without CR4.CET. */
static void forms_beside_clui_are_ud(void)
{
	static const struct bytes others[] = {
		{ "f3 0f 01 e8", { 0xf3, 0x0f, 0x01, 0xe8 }, 4 },
		{ "f3 0f 01 ea", { 0xf3, 0x0f, 0x01, 0xea }, 4 },
		{ "f2 0f 01 ec", { 0xf2, 0x0f, 0x01, 0xec }, 4 },
		{ "f2 0f 01 ee", { 0xf2, 0x0f, 0x01, 0xee }, 4 },
		{ "66 0f 01 ed", { 0x66, 0x0f, 0x01, 0xed }, 4 },
		{ "66 0f 01 ef", { 0x66, 0x0f, 0x01, 0xef }, 4 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(others); i++) {
		if (run(others[i].code, others[i].size, NULL) != TRAP_UD)
			FAIL("%s is no #UD", others[i].name);
	}
}

/*
 * If CPUID shows them. Without RDSEED's bit some emulators still execute it if they have RDRAND,
 * which is not tested.
 */
static void rdseed_and_serialize_still_work(void)
{
	static const u8 rdseed[] = { 0x48, 0x0f, 0xc7, 0xf8 }, serialize[] = { 0x0f, 0x01, 0xe8 };
	u32 a, b, c, d;

	cpuid(7, 0, &a, &b, &c, &d);
	if (!(b & BIT(18)) && !(d & BIT(14))) {
		skip("CPUID shows neither");
		return;
	}
	if (b & BIT(18))
		EXPECT_EQ(run(rdseed, 4, NULL), VECTOR_DONE);
	if (d & BIT(14))
		EXPECT_EQ(run(serialize, 3, NULL), VECTOR_DONE);
}

/* #UD has priority over all other checks. */
static void ud_wins_against_gp_and_pf(void)
{
	static const u8 senduipi_rax[] = { 0xf3, 0x0f, 0xc7, 0xf0 };
	static const u8 uiret[] = { 0xf3, 0x0f, 0x01, 0xec };
	struct regs regs;

	wrmsr(MSR_UINTR_TT, 0);
	prepare(&regs, page, senduipi_rax, 4);
	regs.rax = ~0UL;
	EXPECT_EQ(try_regs(NULL, &regs), TRAP_UD);
	regs.rax = 0;
	EXPECT_EQ(try_regs(NULL, &regs), TRAP_UD);
	wrmsr(MSR_UINTR_TT, (u64)ui[0].uitt | TT_ENABLE);
	write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	regs.rax = ~0UL;
	EXPECT_EQ(try_regs(NULL, &regs), TRAP_UD);
	prepare(&regs, page, uiret, 4);
	regs.rsp = 0x0000900000000000;
	EXPECT_EQ(try_regs(NULL, &regs), TRAP_UD);
	regs.rsp = window(3);
	EXPECT_EQ(try_regs(NULL, &regs), TRAP_UD);
	write_cr4(read_cr4() | CR4_UINTR);
}

/* An index beyond the table faults without an access to the table. */
static void index_is_checked_before_the_table(void)
{
	static const u8 code[] = { 0xf3, 0x0f, 0xc7, 0xf0 };
	struct regs regs;

	wrmsr(MSR_UINTR_TT, window(3) | TT_ENABLE);
	prepare(&regs, page, code, 4);
	regs.rax = 64;
	EXPECT_EQ(try_regs(NULL, &regs), TRAP_GP);
	regs.rax = 63;
	EXPECT_EQ(try_regs(NULL, &regs), TRAP_PF);
}

TESTS(
	TEST(prefixes_without_a_meaning_change_nothing, INSN-12),
	TEST(order_of_prefixes_does_not_matter, INSN-12),
	TEST(rex_w_and_r_change_nothing, INSN-13),
	TEST(senduipi_reads_each_of_the_16_registers, INSN-14),
	TEST(only_rflags_of_testui_change, INSN-19, INSN-20),
	TEST_ANYWHERE(lock_is_refused_in_any_place, INSN-4, INSN-10),
	TEST(an_instruction_has_15_bytes_at_most, INSN-15),
	TEST(may_cross_pages, INSN-16),
	TEST(are_single_stepped, INSN-22),
	TEST_ANYWHERE(forms_beside_senduipi_do_not_post, INSN-25),
	TEST_ANYWHERE(forms_beside_clui_are_ud, INSN-11, INSN-26),
	TEST_ANYWHERE(rdseed_and_serialize_still_work, INSN-24),
	TEST(ud_wins_against_gp_and_pf, INSN-21),
	TEST(index_is_checked_before_the_table, SEND-7),
);
