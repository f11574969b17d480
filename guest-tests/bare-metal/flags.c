// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arithmetic flags before, in and after each instruction of user interrupts. An emulator may
 * store the operands of the instruction that set the flags, and compute the flags when they are
 * read. So each instruction is run after each kind of arithmetic, and before each way to read
 * flags.
 *
 * A case combines pieces of code: arithmetic, one instruction, a look at the flags. The flags of
 * the arithmetic are found by the same pieces with NOPs in place of the instruction.
 */
#include "uintr.h"

#define STATUS 0x8d5UL			/* CF PF AF ZF SF OF */
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084

static struct ui_cpu *const own = &ui[0];
static u8 area[4096] __attribute__((aligned(64)));
static bool has_xsaves, has_adx;

struct piece {
	const char *name;
	const u8 *start, *end;
};

/* Define a piece of code, to be copied to where it runs. */
#define PIECE(name, code) \
	extern const u8 name##_start[], name##_end[]; \
	asm(".pushsection .rodata\n" \
	    #name "_start:\n" code "\n" #name "_end:\n" \
	    ".popsection")
#define USE(name) { #name, name##_start, name##_end }

/* --- arithmetic ---------------------------------------------------------------------------- */

/* RAX, RCX and RDX are free; RBX is 0x8000000000000001, R8 is 1 and R9 is 0. */
PIECE(add8, "movb $0x80, %al; addb %al, %al");
PIECE(add16, "movw $0x7fff, %ax; addw $1, %ax");
PIECE(add32, "movl $-1, %eax; addl $1, %eax");
PIECE(add64, "movq %rbx, %rax; addq %rbx, %rax");
PIECE(add_plain, "xorl %eax, %eax; addl $5, %eax");
PIECE(adc32, "stc; movl $0x7fffffff, %eax; adcl $0, %eax");
PIECE(adc64, "stc; movq $-1, %rax; adcq $0, %rax");
PIECE(sub8, "movb $0x80, %al; subb $1, %al");
PIECE(sub32, "xorl %eax, %eax; subl $1, %eax");
PIECE(sub64, "movq %rbx, %rax; subq %rbx, %rax");
PIECE(sbb32, "stc; movl $0x80000000, %eax; sbbl $0, %eax");
PIECE(sbb64, "stc; sbbq %rax, %rax");
PIECE(cmp32, "movl $1, %eax; cmpl $2, %eax");
PIECE(cmp64, "cmpq %rbx, %r9");
PIECE(neg32, "movl $0x80000000, %eax; negl %eax");
PIECE(and32, "movl $0x80000000, %eax; andl %eax, %eax");
PIECE(test8, "movb $0x03, %al; testb %al, %al");
PIECE(xor64, "xorq %rax, %rax");
PIECE(inc8, "stc; movb $0x7f, %al; incb %al");
PIECE(inc64, "clc; movq $-1, %rax; incq %rax");
PIECE(dec32, "stc; movl $1, %eax; decl %eax");
PIECE(dec64, "clc; xorl %eax, %eax; decq %rax");
PIECE(shl32, "movl $0xc0000001, %eax; shll $1, %eax");
PIECE(shl64_by_cl, "movb $3, %cl; movq %rbx, %rax; shlq %cl, %rax");
PIECE(shl32_by_0, "stc; movb $0, %cl; movl $1, %eax; shll %cl, %eax");
PIECE(shr32, "movl $3, %eax; shrl $1, %eax");
PIECE(sar64, "movq %rbx, %rax; sarq $1, %rax");
PIECE(shld32, "movl $0x40000000, %eax; movl $1, %edx; shldl $1, %edx, %eax");
PIECE(rol32, "xorl %eax, %eax; movl $0x80000001, %eax; roll $1, %eax");
PIECE(ror64_by_cl, "testq %rbx, %rbx; movb $1, %cl; movq %rbx, %rax; rorq %cl, %rax");
PIECE(rcl32, "stc; movl $0x80000000, %eax; rcll $1, %eax");
PIECE(mul32, "movl $-1, %eax; movl $2, %edx; mull %edx");
PIECE(imul64, "movq %rbx, %rax; imulq %rbx, %rax");
PIECE(bt32, "cmpl $1, %r9d; movl $4, %eax; btl $2, %eax");
PIECE(bts64, "testq %rbx, %rbx; movq %rbx, %rax; btsq $63, %rax");
PIECE(bsf64, "stc; bsfq %r9, %rax");
PIECE(popcnt64, "stc; popcntq %rbx, %rax");
PIECE(blsr64, "blsrq %rbx, %rax");
PIECE(blsi32, "movl $0x80000000, %eax; blsil %eax, %eax");
PIECE(bzhi64, "movl $1, %eax; bzhiq %rax, %rbx, %rax");
PIECE(cmpxchg32, "movl $1, %eax; movl $2, %ecx; lock cmpxchgl %ecx, -64(%rsp)");
PIECE(xadd64, "movq %rbx, %rax; lock xaddq %rax, -64(%rsp)");
PIECE(stc_alone, "testq %r9, %r9; stc");
PIECE(clc_alone, "movl $-1, %eax; addl $1, %eax; clc");
PIECE(cmc_alone, "cmpl $1, %r9d; cmc");
PIECE(sahf_all, "movb $0xd5, %ah; sahf");
PIECE(popf_all, "pushfq; orq $0x8d5, (%rsp); popfq");
PIECE(scas, "cld; leaq -64(%rsp), %rdi; movb $0x80, %al; scasb");
PIECE(adcx64, "stc; movq %rbx, %rax; adcxq %rbx, %rax");
PIECE(adox64, "movb $0x7f, %al; addb $1, %al; movq %rbx, %rax; adoxq %rbx, %rax");
PIECE(adcx_adox, "xorl %eax, %eax; adcxq %rbx, %rax; adoxq %rbx, %rax");
/* Flags set in two branches that join: the next block does not know which. */
PIECE(join, "testq %r8, %r8; jz 1f; cmpl $2, %r8d; jmp 2f; 1: incl %eax; 2: movl %eax, %eax");

static const struct piece arithmetic[] = {
	USE(add8), USE(add16), USE(add32), USE(add64), USE(add_plain), USE(adc32), USE(adc64),
	USE(sub8), USE(sub32), USE(sub64), USE(sbb32), USE(sbb64), USE(cmp32), USE(cmp64),
	USE(neg32), USE(and32), USE(test8), USE(xor64), USE(inc8), USE(inc64), USE(dec32),
	USE(dec64), USE(shl32), USE(shl64_by_cl), USE(shl32_by_0), USE(shr32), USE(sar64),
	USE(shld32), USE(rol32), USE(ror64_by_cl), USE(rcl32), USE(mul32), USE(imul64), USE(bt32),
	USE(bts64), USE(bsf64), USE(popcnt64), USE(blsr64), USE(blsi32), USE(bzhi64),
	USE(cmpxchg32), USE(xadd64), USE(stc_alone), USE(clc_alone), USE(cmc_alone),
	USE(sahf_all), USE(popf_all), USE(scas), USE(join), USE(adcx64), USE(adox64),
	USE(adcx_adox),
};
#define WITHOUT_ADX (ARRAY_SIZE(arithmetic) - 3)

/* --- instructions -------------------------------------------------------------------------- */

/* R10 is an index for SENDUIPI, RSP points to UIRET's frame, RSI to an area for XSAVE. */
PIECE(nops, "nop; nop; nop; nop");
PIECE(testui_, ".byte 0xf3, 0x0f, 0x01, 0xed");
PIECE(clui_, ".byte 0xf3, 0x0f, 0x01, 0xee");
PIECE(stui_, ".byte 0xf3, 0x0f, 0x01, 0xef");
PIECE(senduipi_, ".byte 0xf3, 0x41, 0x0f, 0xc7, 0xf2");
PIECE(uiret_, ".byte 0xf3, 0x0f, 0x01, 0xec");
PIECE(two_testui, ".byte 0xf3, 0x0f, 0x01, 0xed, 0xf3, 0x0f, 0x01, 0xed");
PIECE(toggle, ".byte 0xf3, 0x0f, 0x01, 0xef, 0xf3, 0x0f, 0x01, 0xee");
/*
 * After a far jump, a user interrupt may come at the first instruction. Encoded in bytes, because
 * Clang's assembler has no syntax for "rex.w ljmp *(%r11)".
 */
PIECE(far_jump, "leaq 1f(%rip), %rax; movq %rax, (%r11); .byte 0x49, 0xff, 0x2b; 1:");
PIECE(xsavec_, "movl $0x201, %eax; movl $0, %edx; xsavec64 (%rsi)");
PIECE(xsaves_, "movl $0x4001, %eax; movl $0, %edx; xsaves64 (%rsi)");
PIECE(xrstors_, "movl $0x4000, %eax; movl $0, %edx; xrstors64 (%rsi)");

enum effect { KEEPS, GIVES_UIF, LOADS };

static const struct instruction {
	struct piece piece;
	enum effect effect;
	bool supervisor;
} instructions[] = {
	{ USE(testui_), GIVES_UIF, false },
	{ USE(two_testui), GIVES_UIF, false },
	{ USE(clui_), KEEPS, false },
	{ USE(stui_), KEEPS, false },
	{ USE(toggle), KEEPS, false },
	{ USE(senduipi_), KEEPS, false },
	{ USE(uiret_), LOADS, false },
	{ USE(far_jump), KEEPS, false },
	{ USE(xsavec_), KEEPS, false },
	{ USE(xsaves_), KEEPS, true },
	{ USE(xrstors_), KEEPS, true },
};

/* --- looks --------------------------------------------------------------------------------- */

/* Each leaves what it has seen in RAX, by the bits of RFLAGS. */
PIECE(end, "int $0x80");
PIECE(by_pushf, "pushfq; popq %rax; int $0x80");
PIECE(by_lahf, "seto %cl; lahf; movzbl %ah, %eax; movzbl %cl, %ecx; shll $11, %ecx; orl %ecx, %eax;"
      "int $0x80");
#define BY_SETCC \
	"setc %al; setp %cl; setz %dl; sets %bl; seto %r8b;" \
	"movzbl %al, %eax; movzbl %cl, %ecx; movzbl %dl, %edx; movzbl %bl, %ebx;" \
	"movzbl %r8b, %r8d; shll $2, %ecx; shll $6, %edx; shll $7, %ebx; shll $11, %r8d;" \
	"orl %ecx, %eax; orl %edx, %eax; orl %ebx, %eax; orl %r8d, %eax; int $0x80"
PIECE(by_setcc, BY_SETCC);
PIECE(by_setcc_in_the_next_block, "jmp 1f; ud2; 1:" BY_SETCC);
PIECE(by_jumps, "movl $0, %eax; jnc 1f; leal 0x001(%eax), %eax; 1: jnp 2f; leal 0x004(%eax), %eax;"
      "2: jnz 3f; leal 0x040(%eax), %eax; 3: jns 4f; leal 0x080(%eax), %eax;"
      "4: jno 5f; leal 0x800(%eax), %eax; 5: int $0x80");
PIECE(by_cmov, "movl $0, %eax; movl $1, %r8d; cmovcl %r8d, %eax; int $0x80");
PIECE(by_adc, "movl $0, %eax; adcl $0, %eax; int $0x80");
PIECE(by_comparisons, "setbe %al; setl %cl; setle %dl; movzbl %al, %eax; movzbl %cl, %ecx;"
      "movzbl %dl, %edx; leal (%rax, %rcx, 2), %eax; leal (%rax, %rdx, 4), %eax; int $0x80");
PIECE(by_exception, "ud2");
PIECE(by_page_fault, "movb (%r12), %al");
PIECE(by_syscall, "syscall");
PIECE(by_interrupt, "sti; nop; nop; cli; int $0x80");
PIECE(by_user_interrupt, ".byte 0xf3, 0x0f, 0x01, 0xef; nop; int $0x80");

enum view { RAX, COMPARISONS, FRAME, R11, IRQ, USER_FRAME, STEP };

static const struct look {
	struct piece piece;
	enum view view;
	u64 bits;
	/* At CPL 0 only, or at CPL 3 only. */
	bool supervisor, user;
} looks[] = {
	{ USE(end), FRAME, STATUS, false, false },
	{ USE(by_pushf), RAX, STATUS, false, false },
	{ USE(by_lahf), RAX, STATUS, false, false },
	{ USE(by_setcc), RAX, STATUS & ~0x10UL, false, false },
	{ USE(by_setcc_in_the_next_block), RAX, STATUS & ~0x10UL, false, false },
	{ USE(by_jumps), RAX, STATUS & ~0x10UL, false, false },
	{ USE(by_cmov), RAX, 1, false, false },
	{ USE(by_adc), RAX, 1, false, false },
	{ USE(by_comparisons), COMPARISONS, STATUS, false, false },
	{ USE(by_exception), FRAME, STATUS, false, false },
	{ USE(by_page_fault), FRAME, STATUS, false, false },
	{ USE(by_syscall), R11, STATUS, false, true },
	{ USE(by_interrupt), IRQ, STATUS, true, false },
	{ USE(by_user_interrupt), USER_FRAME, STATUS, false, true },
	{ { "by_single_step", end_start, end_end }, STEP, STATUS, false, false },
};

/* --- running ------------------------------------------------------------------------------- */

static u64 step_rip, step_flags, irq_flags;
static u64 far_pointer[2];

extern u8 flags_syscall[];
asm(".pushsection .text\n"
    "flags_syscall:	int $0x80\n"
    ".popsection");

/* Trap of a single step: record the flags and go on to the end. */
static bool at_trap(struct regs *regs)
{
	if (regs->vector != TRAP_DB)
		return false;
	if (regs->rip == step_rip)
		step_flags = regs->rflags;
	return true;
}

static void at_irq(struct regs *regs)
{
	irq_flags = regs->rflags;
}

static u8 *put(u8 *at, const struct piece *piece)
{
	u64 size = piece->end - piece->start;

	memcpy(at, piece->start, size);
	return at + size;
}

static u64 size_of(const struct piece *piece)
{
	return piece->end - piece->start;
}

struct setting {
	u64 cs;
	bool uif;
	/* The instruction ends at the end of a page. */
	bool page_end;
	/* The instructions do not exist. */
	bool without_cr4_uintr;
};

/* RFLAGS that UIRET loads: all status flags inverted. */
#define LOADED (0x602UL | 0x891)

/* Return the flags that a look finds after an instruction. */
static u64 seen(const struct piece *first, const struct piece *instruction,
		const struct look *look, const struct setting *setting)
{
	u64 *stack = (u64 *)(user_stack() - 1024);
	u8 *at = (u8 *)window(1);
	struct regs regs;
	struct trap trap;
	int vector;

	at += setting->page_end ? 0 : 512;
	at -= size_of(first) + size_of(instruction);
	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)at;
	regs.rsp = (u64)stack;
	regs.rflags = 2;
	regs.rbx = 0x8000000000000001;
	regs.r8 = 1;
	regs.r10 = 5;
	regs.r11 = (u64)far_pointer;
	regs.r12 = window(8);		/* not mapped */
	regs.rsi = (u64)area;
	if (setting->cs == SEL_KCODE) {
		regs.cs = SEL_KCODE;
		regs.ss = SEL_KDATA;
	}
	far_pointer[1] = regs.cs;
	stack[-8] = 0x8000000000000001;	/* what CMPXCHG, XADD and SCAS work on */
	at = put(at, first);
	at = put(at, instruction);
	stack[0] = (u64)at;
	stack[1] = LOADED;
	stack[2] = (u64)stack;
	step_rip = (u64)at;
	put(at, &look->piece);

	own->upid.low |= UPID_SN;
	own->upid.pir = 0;
	ui_log.count = 0;
	step_flags = irq_flags = ~0UL;
	wrmsr(MSR_UINTR_MISC, MISC(0, 63));
	if (look->view == STEP)
		regs.rflags |= RFLAGS_TF;
	if (look->view == IRQ)
		send_ipi(cpus[0].apic_id, 0x41);
	if (setting->uif)
		stui();
	else
		clui();
	wrmsr(MSR_UINTR_RR, look->view == USER_FRAME ? BIT(7) : 0);
	if (setting->without_cr4_uintr)
		write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	vector = try_regs(&trap, &regs);
	write_cr4(read_cr4() | CR4_UINTR);
	wrmsr(MSR_UINTR_RR, 0);
	switch (look->view) {
	case RAX:
	case COMPARISONS:
		return vector == VECTOR_DONE ? trap.regs.rax : ~0UL;
	case R11:
		return vector == VECTOR_DONE ? trap.regs.r11 : ~0UL;
	case IRQ:
		return irq_flags;
	case USER_FRAME:
		return ui_log.count ? ui_log.frames[0].rflags : ~0UL;
	case STEP:
		return step_flags;
	default:
		return trap.regs.rflags;
	}
}

/* Return the results of SETBE, SETL and SETLE for some flags. */
static u64 compared(u64 flags)
{
	bool cf = flags & 1, zf = flags & 0x40, sf = flags & 0x80, of = flags & 0x800;

	return (cf || zf) | (u64)(sf != of) << 1 | (u64)(zf || sf != of) << 2;
}

/* What each arithmetic leaves by itself, at CPL 3 and at CPL 0; found once in a case. */
static u64 left[ARRAY_SIZE(arithmetic)][2];
static bool known[ARRAY_SIZE(arithmetic)][2];

static u64 expected(const struct piece *first, const struct instruction *instruction,
		    const struct look *look, const struct setting *setting)
{
	static const struct piece control = USE(nops);
	struct setting plain = { setting->cs, false, false, false };
	int number = first - arithmetic, level = setting->cs == SEL_KCODE;

	switch (instruction->effect) {
	case GIVES_UIF:
		return setting->uif ? RFLAGS_CF : 0;
	case LOADS:
		return LOADED;
	default:
		/* Flags that are not defined may depend on the trap flag. */
		if (look->view == STEP)
			return seen(first, &control, look, &plain);
		if (!known[number][level]) {
			left[number][level] = seen(first, &control, &looks[1], &plain);
			known[number][level] = true;
		}
		return left[number][level];
	}
}

static int failures;

static void compare(const struct piece *first, const struct instruction *instruction,
		    const struct look *look, const struct setting *setting)
{
	u64 want = expected(first, instruction, look, setting);
	u64 flags = seen(first, &instruction->piece, look, setting);

	if (look->view == COMPARISONS)
		want = compared(want);
	else
		flags &= look->bits, want &= look->bits;
	if (flags == want || ++failures > 8)
		return;
	FAIL("%s, %s, %s: 0x%lx, not 0x%lx (CPL %d, UIF %d%s)", first->name,
	     instruction->piece.name, look->piece.name, flags, want,
	     setting->cs == SEL_KCODE ? 0 : 3, setting->uif,
	     setting->page_end ? ", at the end of a page" : "");
}

static bool applies(const struct instruction *instruction, const struct look *look,
		    const struct setting *setting)
{
	bool supervisor = setting->cs == SEL_KCODE;

	if ((instruction->supervisor || look->supervisor) && !supervisor)
		return false;
	if (look->user && supervisor)
		return false;
	/* A request must wait until the look lets it in. */
	if (look->view == USER_FRAME &&
	    (setting->uif || instruction->effect == LOADS || instruction->piece.start == stui__start ||
	     instruction->piece.start == toggle_start))
		return false;
	if (instruction->piece.start == xsaves__start || instruction->piece.start == xrstors__start ||
	    instruction->piece.start == xsavec__start)
		return has_xsaves;
	return true;
}

/* Check each arithmetic with each look, for the instructions from first to last. */
static void check_instructions(int first, int last, u64 cs)
{
	unsigned int a, l, n = has_adx ? ARRAY_SIZE(arithmetic) : WITHOUT_ADX;
	int i, s;

	failures = 0;
	for (i = first; i <= last; i++) {
		for (l = 0; l < ARRAY_SIZE(looks); l++) {
			for (s = 0; s < 4; s++) {
				struct setting setting = { cs, s & 1, s & 2, false };

				if (!applies(&instructions[i], &looks[l], &setting))
					continue;
				for (a = 0; a < n; a++)
					compare(&arithmetic[a], &instructions[i], &looks[l],
						&setting);
			}
		}
	}
	if (failures)
		note("%d combinations differ", failures);
}

void test_setup(void)
{
	u32 a, b, c, d;

	ui_setup();
	memset(cpus[0].irqs, 0, sizeof(cpus[0].irqs));
	this_cpu()->mend = at_trap;
	this_cpu()->on_irq = at_irq;
	map(0, PTE_P | PTE_W | PTE_U);
	map(1, PTE_P | PTE_W | PTE_U);
	wrmsr(MSR_LSTAR, (u64)flags_syscall);
	wrmsr(MSR_STAR, 0x1bUL << 48 | (u64)SEL_KCODE << 32);
	wrmsr(MSR_FMASK, 0);
	cpuid(7, 0, &a, &b, &c, &d);
	has_adx = b & BIT(19);
	cpuid(13, 1, &a, &b, &c, &d);
	has_xsaves = a & BIT(3);
	write_cr4(read_cr4() | CR4_OSXSAVE | CR4_OSFXSR);
	memset(known, 0, sizeof(known));
	/* An area that XRSTORS takes: component 14, with the MSRs as they are. */
	if (has_xsaves) {
		wrmsr(0xda0, BIT(14));
		memset(area, 0, sizeof(area));
		((u64 *)area)[65] = BIT(63) | BIT(14);
	}
}

static void testui_gives_uif_at_user_level(void)
{
	check_instructions(0, 1, SEL_UCODE);
}

static void testui_gives_uif_at_supervisor_level(void)
{
	check_instructions(0, 1, SEL_KCODE);
}

static void clui_stui_and_senduipi_keep_them_at_user_level(void)
{
	check_instructions(2, 5, SEL_UCODE);
}

static void clui_stui_and_senduipi_keep_them_at_supervisor_level(void)
{
	check_instructions(2, 5, SEL_KCODE);
}

static void uiret_loads_them_at_user_level(void)
{
	check_instructions(6, 6, SEL_UCODE);
}

static void uiret_loads_them_at_supervisor_level(void)
{
	check_instructions(6, 6, SEL_KCODE);
}

static void far_jump_and_xsave_keep_them(void)
{
	check_instructions(7, 8, SEL_UCODE);
	check_instructions(7, 10, SEL_KCODE);
}

/* A fault of the instruction itself shows what was before it. */
static void faults_show_what_was_before(void)
{
	unsigned int a, i, n = has_adx ? ARRAY_SIZE(arithmetic) : WITHOUT_ADX;
	static const struct look behind = { USE(end), FRAME, STATUS, false, false };
	static const struct piece control = USE(nops);
	struct setting plain = { SEL_UCODE, true, false, false };
	struct setting setting = { SEL_UCODE, true, false, true };

	failures = 0;
	for (i = 0; i < 7; i++) {
		const struct instruction *faulting = &instructions[i];

		for (a = 0; a < n; a++) {
			u64 want = seen(&arithmetic[a], &control, &looks[1], &plain) & STATUS;
			u64 flags = seen(&arithmetic[a], &faulting->piece, &behind, &setting) & STATUS;

			if (flags != want && ++failures <= 8)
				FAIL("%s, #UD of %s: 0x%lx, not 0x%lx", arithmetic[a].name,
				     faulting->piece.name, flags, want);
		}
	}
}

TESTS(
	TEST(testui_gives_uif_at_user_level, INSN-18),
	TEST(testui_gives_uif_at_supervisor_level, INSN-18),
	TEST(clui_stui_and_senduipi_keep_them_at_user_level, INSN-19, FRAME-6),
	TEST(clui_stui_and_senduipi_keep_them_at_supervisor_level, INSN-19),
	TEST(uiret_loads_them_at_user_level, UIRET-2),
	TEST(uiret_loads_them_at_supervisor_level, UIRET-2),
	TEST(far_jump_and_xsave_keep_them, INSN-19),
	TEST(faults_show_what_was_before, INSN-10),
);
