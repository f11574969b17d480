// SPDX-License-Identifier: GPL-2.0-only
/*
 * The instruction boundary at which a user interrupt is delivered: relative to debug exceptions,
 * faults of the next instruction, and every way into 64-bit code at CPL 3. And the ways to cancel
 * a request.
 */
#include "uintr.h"

static struct ui_cpu *const own = &ui[0];
static u64 saved_rcx;
static u64 continue_at;

void test_setup(void)
{
	ui_setup();
	this_cpu()->mend = NULL;
	this_cpu()->on_irq = NULL;
	memset(cpus[0].irqs, 0, sizeof(cpus[0].irqs));
	set_dr(0, DR7_OFF);
	continue_at = 0;
}

/* ui_entry has pushed RAX and RCX below the frame. */
void user_interrupt(struct ui_frame *frame)
{
	int n = ui_log.count;

	saved_rcx = ((u64 *)frame)[-2];
	if (n < (int)ARRAY_SIZE(ui_log.frames))
		ui_log.frames[n] = *frame;
	ui_log.count = n + 1;
	if (continue_at)
		frame->rip = continue_at;
}

extern u8 code_stui_nop[], code_nop[], code_nop2[], code_end[], code_toggle[], code_toggle_clui[];
extern u8 code_ud2[], code_far32[], code_far32_rip[], code_far64[], code_flags[], code_spin[];
extern u8 code_iret64[], code_retf64[], code_call64[], code_movs[];
extern u8 code_sti_jump[], code_landed[];
asm(".pushsection .text\n"
    "code_stui_nop:	.byte 0xf3, 0x0f, 0x01, 0xef\n"
    "code_nop:		nop\n"
    "code_nop2:		nop\n"
    "code_end:		int $0x80\n"
    /* UIF is set between two CLUI. */
    "code_toggle:	.byte 0xf3, 0x0f, 0x01, 0xef\n"
    "code_toggle_clui:	.byte 0xf3, 0x0f, 0x01, 0xee\n"
    "			int $0x80\n"
    "code_ud2:		ud2\n"
    /* From 32-bit code into 64-bit code: JMP, IRET, RET, CALL. */
    "	.code32\n"
    "code_far32:	nop\n"
    "			ljmp $0x2b, $code_far64\n"
    "code_iret64:	pushl $0x202\n"
    "			pushl $0x2b\n"
    "			pushl $code_far64\n"
    "			iretl\n"
    "code_retf64:	pushl $0x2b\n"
    "			pushl $code_far64\n"
    "			lretl\n"
    "code_call64:	lcall $0x2b, $code_far64\n"
    "	.code64\n"
    "code_far64:	nop\n"
    "			int $0x80\n"
    /* CF, PF, AF, ZF, SF and OF known from arithmetic alone, then SENDUIPI. */
    "code_flags:	movb $0x80, %cl\n"
    "			addb %cl, %cl\n"
    "			.byte 0xf3, 0x0f, 0xc7, 0xf0\n"
    "code_spin:		jmp code_spin\n"
    "code_movs:		rep movsb\n"
    "			int $0x80\n"
    "code_sti_jump:	sti\n"
    "			js code_landed\n"
    "			nop\n"
    "			nop\n"
    "code_landed:	nop\n"
    "			nop\n"
    "			int $0x80\n"
    ".popsection");

static int run(const u8 *code, u64 rflags, struct trap *trap)
{
	struct regs regs;

	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)code;
	regs.rflags = rflags;
	return try_regs(trap, &regs);
}

static void request(u64 requests)
{
	stui();
	wrmsr(MSR_UINTR_RR, requests);
}

static void expect_one_at(const u8 *rip)
{
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)rip);
}

/* --- debug exceptions ---------------------------------------------------------------------- */

/* Both wait after STUI: the trap of the single step is taken, the request stays. */
static void single_step_trap_comes_first(void)
{
	struct trap trap;

	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_stui_nop, 2 | RFLAGS_TF, &trap), TRAP_DB);
	EXPECT_EQ(trap.regs.rip, (u64)code_nop);
	EXPECT_EQ(ui_log.count, 0);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
	EXPECT(testui());
	/* Back at CPL 3, it is delivered before the instruction. */
	EXPECT_EQ(run(code_nop, 2, NULL), VECTOR_DONE);
	expect_one_at(code_nop);
}

/* A breakpoint is a fault of the instruction that it is on: it comes after delivery. */
static void code_breakpoint_comes_after(void)
{
	struct trap trap;

	set_dr((u64)code_nop, DR7_EXECUTE_0);
	request(BIT(7));
	EXPECT_EQ(run(code_nop, 2, &trap), TRAP_DB);
	EXPECT_EQ(trap.regs.rip, (u64)code_nop);
	expect_one_at(code_nop);
	set_dr(0, DR7_OFF);
}

/* Other events at the same boundary, a notification first, also come before it. */
static u64 irq_rip;

static void note_irq(struct regs *regs)
{
	if (regs->vector == 0x41)
		irq_rip = regs->rip;
}

static void code_breakpoint_comes_after_what_a_notification_brings(void)
{
	struct trap trap;

	own->upid.pir = BIT(7);
	stui();
	send_ipi(cpus[0].apic_id, UINV);
	set_dr((u64)code_nop, DR7_EXECUTE_0);
	EXPECT_EQ(run(code_nop, 2 | RFLAGS_IF, &trap), TRAP_DB);
	EXPECT_EQ(trap.regs.rip, (u64)code_nop);
	set_dr(0, DR7_OFF);
	expect_one_at(code_nop);
}

static void code_breakpoint_comes_after_the_next_interrupt(void)
{
	struct trap trap;

	irq_rip = 0;
	this_cpu()->on_irq = note_irq;
	send_ipi(cpus[0].apic_id, UINV);
	send_ipi(cpus[0].apic_id, 0x41);
	set_dr((u64)code_nop, DR7_EXECUTE_0);
	EXPECT_EQ(run(code_nop, 2 | RFLAGS_IF, &trap), TRAP_DB);
	EXPECT_EQ(trap.regs.rip, (u64)code_nop);
	set_dr(0, DR7_OFF);
	EXPECT_EQ(irq_rip, (u64)code_nop);
	EXPECT_EQ(cpus[0].irqs[UINV], 0);
	EXPECT(!apic_bit(APIC_IRR, UINV));
}

/* A taken jump is the one instruction in the shadow of STI. */
static void the_shadow_of_sti_ends_behind_a_jump(void)
{
	irq_rip = 0;
	this_cpu()->on_irq = note_irq;
	own->upid.pir = BIT(7);
	stui();
	send_ipi(cpus[0].apic_id, UINV);
	send_ipi(cpus[0].apic_id, 0x41);
	/* IOPL is 3, and SF is set. */
	EXPECT_EQ(run(code_sti_jump, 2 | 0x3000 | 0x80, NULL), VECTOR_DONE);
	EXPECT_EQ(irq_rip, (u64)code_landed);
	expect_one_at(code_landed);
}

/* RF=1 suppresses it; delivery saves RF and clears it for the handler, and UIRET restores it. */
static void rf_is_saved_and_restored(void)
{
	set_dr((u64)code_nop, DR7_EXECUTE_0);
	request(BIT(7));
	EXPECT_EQ(run(code_nop, 2 | RFLAGS_RF, NULL), VECTOR_DONE);
	expect_one_at(code_nop);
	EXPECT_EQ(ui_log.frames[0].rflags & RFLAGS_RF, RFLAGS_RF);
	set_dr(0, DR7_OFF);
}

static void rf_is_clear_in_the_handler(void)
{
	struct trap trap;

	set_dr((u64)ui_entry, DR7_EXECUTE_0);
	request(BIT(7));
	EXPECT_EQ(run(code_nop, 2 | RFLAGS_RF, &trap), TRAP_DB);
	EXPECT_EQ(trap.regs.rip, (u64)ui_entry);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
	EXPECT(!testui());
	set_dr(0, DR7_OFF);
}

/* --- the next instruction ------------------------------------------------------------------ */

static void comes_before_a_fault_of_the_instruction(void)
{
	struct trap trap;

	request(BIT(7));
	EXPECT_EQ(run(code_ud2, 2, &trap), TRAP_UD);
	EXPECT_EQ(trap.regs.rip, (u64)code_ud2);
	expect_one_at(code_ud2);
}

static void comes_before_a_fault_of_its_fetch(void)
{
	struct trap trap;

	request(BIT(7));
	EXPECT_EQ(run((u8 *)window(4), 2, &trap), TRAP_PF);
	EXPECT_EQ(trap.regs.rip, window(4));
	expect_one_at((u8 *)window(4));
}

/* A software interrupt is an instruction like others. */
static void comes_before_int(void)
{
	request(BIT(7));
	EXPECT_EQ(run(code_end, 2, NULL), VECTOR_DONE);
	expect_one_at(code_end);
}

/* UIF is set at the boundary between them. */
static void comes_between_stui_and_clui(void)
{
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_toggle, 2, NULL), VECTOR_DONE);
	expect_one_at(code_toggle_clui);
	EXPECT(!testui());
}

/* --- ways into 64-bit code at CPL 3 -------------------------------------------------------- */

/* More than once: an emulator may link the pieces of code that it has translated. */
static void from_compatibility_mode(const u8 *code)
{
	struct regs regs;
	int i;

	for (i = 0; i < 3; i++) {
		ui_log.count = 0;
		request(BIT(7));
		user_regs(&regs, NULL, NULL);
		regs.rip = (u64)code;
		regs.cs = SEL_UCODE32;
		EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
		expect_one_at(code_far64);
		EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
	}
}

static void comes_after_a_far_jump(void)
{
	from_compatibility_mode(code_far32);
}

static void comes_after_iret_at_user_level(void)
{
	from_compatibility_mode(code_iret64);
}

static void comes_after_a_far_return(void)
{
	from_compatibility_mode(code_retf64);
}

static void comes_after_a_far_call(void)
{
	from_compatibility_mode(code_call64);
}

/* SDM volume 2, "SYSEXIT": CS is IA32_SYSENTER_CS + 32, SS + 40, with REX.W. */
static void do_sysexit(void *unused)
{
	(void)unused;
	asm volatile("sysexitq" :: "c"(user_stack() - 8), "d"((u64)code_nop));
}

static void comes_after_sysexit(void)
{
	struct trap trap;
	u32 a, b, c, d;
	int vector;

	cpuid(1, 0, &a, &b, &c, &d);
	if (!(d & BIT(11))) {
		skip("the CPU has no SYSEXIT");
		return;
	}
	wrmsr(0x174, SEL_KCODE);
	request(BIT(7));
	vector = try_kernel(&trap, do_sysexit, NULL);
	wrmsr(0x174, 0);
	if (vector == TRAP_UD) {
		skip("the CPU has no SYSEXIT in 64-bit mode");
		return;
	}
	EXPECT_EQ(vector, VECTOR_DONE);
	EXPECT_EQ(trap.regs.cs, SEL_UCODE);
	expect_one_at(code_nop);
}

/* --- with something else at the same boundary ---------------------------------------------- */

extern u8 code_count[];
asm(".pushsection .text\n"
    "code_count:	incq %rcx\n"
    "			cmpq %rbx, %rcx\n"
    "			jne code_count\n"
    "			int $0x80\n"
    ".popsection");

static void count_to(u64 limit)
{
	struct regs regs;

	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)code_count;
	regs.rbx = limit;
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
}

/* A pending request and a notification do not delay each other. */
static void comes_with_a_notification(void)
{
	int i, flags;

	count_to(100000);	/* an emulator links the loop to itself */
	for (i = 0; i < 8; i++) {
		flags = i & 3;
		ui_log.count = 0;
		saved_rcx = ~0UL;
		own->upid.pir = flags & 1 ? BIT(3) : 0;
		request(BIT(7));
		send_ipi(cpus[0].apic_id, UINV);
		count_to(20000000);
		EXPECT_EQ(ui_log.count, flags & 1 ? 2 : 1);
		EXPECT_EQ(ui_log.frames[0].vector, 7);
		EXPECT_EQ(ui_log.frames[0].rip, (u64)code_count);
		EXPECT_EQ(saved_rcx, 0);
		EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
	}
}

/* Another CPU sends interrupts below the task priority, some during the return to user code. */
static volatile bool stop;

static void send_held_off(void *unused)
{
	(void)unused;
	while (!stop)
		send_ipi(cpus[0].apic_id, 0x41);
}

static void comes_with_an_interrupt_that_is_held_off(void)
{
	u64 until = deadline_ms(150);
	int n;

	stop = false;
	count_to(100000);
	apic_write(APIC_TPR, 0x50);
	run_on(1, send_held_off, NULL);
	for (n = 0; n < 2000 && !expired(until) && !over(); n++) {
		ui_log.count = 0;
		saved_rcx = ~0UL;
		request(BIT(7));
		count_to(100000);
		EXPECT_EQ(ui_log.count, 1);
		EXPECT_EQ(saved_rcx, 0);
	}
	stop = true;
	EXPECT(run_done(1, deadline_ms(4000)));
	apic_write(APIC_TPR, 0);
	take_irqs();
}

/* --- what is interrupted ------------------------------------------------------------------- */

/* 0x80 + 0x80 in 8 bits: CF, PF, ZF and OF are set, AF and SF are not. */
static void flags_of_arithmetic_are_saved(void)
{
	struct trap trap;

	continue_at = (u64)code_end;
	stui();
	EXPECT_EQ(run(code_flags, 2 | RFLAGS_IF, &trap), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].vector, 0);
	EXPECT_EQ(ui_log.frames[0].rflags & ~RFLAGS_RF, 0xa47);
	EXPECT_EQ(trap.regs.rflags & ~RFLAGS_RF, 0xa47);
}

/* The local APIC's timer meets a long REP MOVSB somewhere: registers show how far it is. */
static void rep_string_is_left_in_the_middle(void)
{
	static u8 from[1 << 20], to[1 << 20];
	struct regs regs;
	struct trap trap;
	bool met = false;
	u32 ticks;
	u64 i;

	for (i = 0; i < sizeof(from); i++)
		from[i] = i * 7 + (i >> 8);
	apic_write(0x3e0, 0xb);		/* divided by 1 */
	apic_write(0x320, UINV);	/* once, with this vector */
	for (ticks = 10000; !met && !over() && ticks < 1U << 26; ticks += ticks / 4) {
		user_regs(&regs, NULL, NULL);
		regs.rip = (u64)code_movs;
		regs.rsi = (u64)from;
		regs.rdi = (u64)to;
		regs.rcx = sizeof(from);
		stui();
		ui_log.count = 0;
		own->upid.pir = BIT(7);
		apic_write(0x380, ticks);
		EXPECT_EQ(try_regs(&trap, &regs), VECTOR_DONE);
		apic_write(0x380, 0);
		take_irqs();
		wrmsr(MSR_UINTR_RR, 0);
		EXPECT_EQ(trap.regs.rcx, 0);
		EXPECT_EQ(trap.regs.rsi, (u64)from + sizeof(from));
		EXPECT_EQ(trap.regs.rdi, (u64)to + sizeof(to));
		met = ui_log.count && saved_rcx && saved_rcx < sizeof(from);
	}
	for (i = 0; i < sizeof(from); i++) {
		if (from[i] != to[i]) {
			FAIL("byte %lu differs", i);
			break;
		}
	}
	if (met)
		EXPECT_EQ(ui_log.frames[0].rip, (u64)code_movs);
	else
		skip("the timer has never met it");
}

/* --- what takes a request back ------------------------------------------------------------- */

static void writing_0_to_rr_takes_it_back(void)
{
	request(BIT(7));
	wrmsr(MSR_UINTR_RR, 0);
	EXPECT_EQ(run(code_nop, 2, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 0);
	request(BIT(7) | BIT(3));
	wrmsr(MSR_UINTR_RR, BIT(3));
	EXPECT_EQ(run(code_nop, 2, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].vector, 3);
}

static void clui_at_supervisor_level_holds_it_off(void)
{
	request(BIT(7));
	clui();
	EXPECT_EQ(run(code_nop, 2, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 0);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
	EXPECT_EQ(run(code_stui_nop, 2, NULL), VECTOR_DONE);
	expect_one_at(code_nop);
}

/* Changes of IF at CPL 3 do not affect UIRR. */
static void popf_does_not_matter(void)
{
	int i;

	for (i = 0; i < 4; i++) {
		ui_log.count = 0;
		request(BIT(7));
		EXPECT_EQ(run(code_nop, i & 1 ? 2 | RFLAGS_IF : 2, NULL), VECTOR_DONE);
		expect_one_at(code_nop);
	}
}

/* A handler that ends by a jump, not by UIRET: the next one waits for STUI. */
static void next_one_waits_for_uif(void)
{
	static u8 code[] = { 0xf3, 0x0f, 0x01, 0xef, 0x90, 0xcd, VECTOR_DONE };
	struct trap trap;

	wrmsr(MSR_UINTR_HANDLER, (u64)code_nop);	/* NOP, NOP, INT */
	request(BIT(7) | BIT(3));
	EXPECT_EQ(run(code_ud2, 2, &trap), VECTOR_DONE);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(3));
	EXPECT(!testui());
	EXPECT_EQ(((struct ui_frame *)trap.regs.rsp)->vector, 7);
	wrmsr(MSR_UINTR_HANDLER, (u64)ui_entry);
	EXPECT_EQ(run(code, 2, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].vector, 3);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)code + 4);
}

TESTS(
	TEST(single_step_trap_comes_first, DELIVERY-10),
	TEST(code_breakpoint_comes_after, DELIVERY-10),
	TEST(code_breakpoint_comes_after_what_a_notification_brings, DELIVERY-10, NOTIFY-6),
	TEST(code_breakpoint_comes_after_the_next_interrupt, DELIVERY-10, NOTIFY-6),
	TEST(the_shadow_of_sti_ends_behind_a_jump, DELIVERY-9, NOTIFY-6),
	TEST(rf_is_saved_and_restored, FRAME-6, UIRET-11),
	TEST(rf_is_clear_in_the_handler, FRAME-7, DELIVERY-14),
	TEST(comes_before_a_fault_of_the_instruction, DELIVERY-11),
	TEST(comes_before_a_fault_of_its_fetch, DELIVERY-11),
	TEST(comes_before_int, DELIVERY-1),
	TEST(comes_between_stui_and_clui, DELIVERY-3),
	TEST(comes_after_a_far_jump, DELIVERY-7),
	TEST(comes_after_iret_at_user_level, DELIVERY-7),
	TEST(comes_after_a_far_return, DELIVERY-7),
	TEST(comes_after_a_far_call, DELIVERY-7),
	TEST(comes_after_sysexit, DELIVERY-7),
	TEST(comes_with_a_notification, DELIVERY-24),
	TEST_SMP(comes_with_an_interrupt_that_is_held_off, 2, DELIVERY-24),
	TEST(flags_of_arithmetic_are_saved, FRAME-6),
	TEST(rep_string_is_left_in_the_middle, DELIVERY-21, NOTIFY-25),
	TEST(writing_0_to_rr_takes_it_back, DELIVERY-17),
	TEST(clui_at_supervisor_level_holds_it_off, DELIVERY-2, INSN-17),
	TEST(popf_does_not_matter, DELIVERY-4),
	TEST(next_one_waits_for_uif, DELIVERY-14, DELIVERY-15),
);
