// SPDX-License-Identifier: GPL-2.0-only
/* Delivery: when, with which frame, in which order, and what happens if it faults. */
#include "uintr.h"

static struct ui_cpu *const own = &ui[0];

void test_setup(void)
{
	ui_setup();
	this_cpu()->mend = NULL;
	this_cpu()->on_irq = NULL;
	memset(cpus[0].irqs, 0, sizeof(cpus[0].irqs));
}

/* User code at addresses that are known: a NOP, "after" it, and the end. */
extern u8 code_nop[], code_after[], code_stui[], code_after_stui[], code_clui[], code_end[];
asm(".pushsection .text\n"
    "code_stui:	.byte 0xf3, 0x0f, 0x01, 0xef\n"
    "code_after_stui:\n"
    "code_nop:	nop\n"
    "code_after:	nop\n"
    "code_end:	int $0x80\n"
    "code_clui:	.byte 0xf3, 0x0f, 0x01, 0xee\n"
    "	nop\n"
    "	int $0x80\n"
    ".popsection");

static int run(const u8 *code, struct regs *regs, struct trap *trap)
{
	regs->rip = (u64)code;
	return try_regs(trap, regs);
}

static void start(struct regs *regs)
{
	user_regs(regs, NULL, NULL);
}

/* --- when ---------------------------------------------------------------------------------- */

static void comes_before_the_first_instruction(void)
{
	struct regs regs;

	start(&regs);
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(ui_log.count, 0);	/* CPL 0 */
	EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].vector, 7);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)code_nop);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
	EXPECT(testui());	/* UIRET has set UIF */
}

static void waits_for_uif(void)
{
	struct regs regs;

	start(&regs);
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 0);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
}

/* No shadow as after STI: delivery at the boundary right after STUI. */
static void comes_right_after_stui(void)
{
	struct regs regs;

	start(&regs);
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_stui, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)code_after_stui);
}

static void does_not_depend_on_if(void)
{
	struct regs regs;
	struct trap trap;

	start(&regs);
	regs.rflags = 2;
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_nop, &regs, &trap), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rflags & RFLAGS_IF, 0);
	EXPECT_EQ(trap.regs.rflags & RFLAGS_IF, 0);
}

/* Bochs ends at an assertion where CR4.UINTR is cleared with a request pending. */
static bool stops_bochs(void)
{
	if (on_bochs)
		skip("stops this emulator");
	return on_bochs;
}

static void follows_cr4_uintr(void)
{
	struct regs regs;

	if (stops_bochs())
		return;
	start(&regs);
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 0);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
	write_cr4(read_cr4() | CR4_UINTR);
	EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
}

static void request_written_without_cr4_uintr_comes(void)
{
	struct regs regs;

	if (stops_bochs())
		return;
	start(&regs);
	stui();
	write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	wrmsr(MSR_UINTR_RR, BIT(7));
	write_cr4(read_cr4() | CR4_UINTR);
	EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
}

static void never_comes_in_compatibility_mode(void)
{
	struct regs regs;

	start(&regs);
	regs.cs = SEL_UCODE32;
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 0);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
}

static void spin_at_supervisor_level(void *unused)
{
	(void)unused;
	asm volatile("sti; nop; nop; nop; cli");
}

static void never_comes_at_supervisor_level(void)
{
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	spin_at_supervisor_level(NULL);
	EXPECT_EQ(ui_log.count, 0);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
}

/* SYSRET is a way into CPL 3 like IRET. */
static void do_sysret(void *unused)
{
	(void)unused;
	asm volatile("movq %0, %%rsp; movq %1, %%rcx; movl $0x202, %%r11d; sysretq"
		     :: "r"(user_stack() - 8), "r"((u64)code_nop) : "rcx", "r11");
}

static void comes_after_sysret(void)
{
	wrmsr(0xc0000081, 0x1bUL << 48 | (u64)SEL_KCODE << 32);
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(try_kernel(NULL, do_sysret, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)code_nop);
}

/* An ordinary interrupt that is pending, too, comes first: its frame shows the same RIP. */
static u64 irq_rip, irq_rflags;
static int irq_before;

static void at_irq(struct regs *regs)
{
	irq_rip = regs->rip;
	irq_rflags = regs->rflags;
	irq_before = ui_log.count;
}

static void comes_after_ordinary_interrupts(void)
{
	struct regs regs;

	start(&regs);
	stui();
	irq_before = -1;
	this_cpu()->on_irq = at_irq;
	wrmsr(MSR_UINTR_RR, BIT(7));
	send_ipi(cpus[0].apic_id, 0x41);
	EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(irq_before, 0);
	EXPECT_EQ(irq_rip, (u64)code_nop);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)code_nop);
}

/* The interrupt saves RF as it is, its IRET loads that, and the delivery saves it again. */
static void rf_is_saved_behind_an_interrupt(void)
{
	struct regs regs;

	this_cpu()->on_irq = at_irq;
	for (int rf = 0; rf < 2; rf++) {
		start(&regs);
		if (rf)
			regs.rflags |= RFLAGS_RF;
		stui();
		ui_log.count = 0;
		wrmsr(MSR_UINTR_RR, BIT(7));
		send_ipi(cpus[0].apic_id, 0x41);
		EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
		EXPECT_EQ(irq_rip, (u64)code_nop);
		EXPECT_EQ(irq_rflags & RFLAGS_RF, rf ? RFLAGS_RF : 0);
		EXPECT_EQ(ui_log.count, 1);
		EXPECT_EQ(ui_log.frames[0].rflags & RFLAGS_RF, rf ? RFLAGS_RF : 0);
	}
}

/* From SENDUIPI to the handler without a kernel: to itself, with interrupts on. */
static void send_and_wait(void *argument)
{
	u64 until = deadline_ms(2000);

	senduipi((u64)argument);
	while (!ui_log.count && !expired(until))
		;
}

static void comes_from_senduipi(void)
{
	stui();
	EXPECT_EQ(try_user(NULL, send_and_wait, (void *)42), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].vector, 42);
	EXPECT_EQ(own->upid.low & UPID_ON, 0);
	EXPECT_EQ(cpus[0].irqs[UINV], 0);
}

/* A request that arrives in the kernel is delivered on the return, and UIF does not change. */
static void survives_a_stay_in_the_kernel(void)
{
	struct regs regs;

	start(&regs);
	stui();
	own->upid.pir = BIT(3);
	send_ipi(cpus[0].apic_id, UINV);
	take_irqs();
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(3));
	EXPECT_EQ(ui_log.count, 0);
	EXPECT(testui());
	EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
}

/* UIRR does not end HLT; a later interrupt does. */
static void does_not_end_hlt(void)
{
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	/* LAPIC timer: one shot, divided by 1, some 20 ms at 1 GHz */
	apic_write(0x3e0, 0xb);
	apic_write(0x320, 0x41);
	apic_write(0x380, 20000000);
	asm volatile("sti; hlt; cli" ::: "memory");
	EXPECT_EQ(cpus[0].irqs[0x41], 1);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
}

/* --- frame --------------------------------------------------------------------------------- */

static struct ui_frame *seen_at;
static u64 handler_flags, handler_uif;

void user_interrupt(struct ui_frame *frame)
{
	int n = ui_log.count;

	asm volatile("pushfq; popq %0" : "=r"(handler_flags));
	handler_uif = testui();
	seen_at = frame;
	if (n < (int)ARRAY_SIZE(ui_log.frames))
		ui_log.frames[n] = *frame;
	ui_log.count = n + 1;
}

static void deliver_at(u64 rsp, u64 stackadjust, u64 expected)
{
	struct regs regs;
	struct trap trap;

	start(&regs);
	regs.rsp = rsp;
	ui_log.count = 0;
	stui();
	wrmsr(MSR_UINTR_STACKADJUST, stackadjust);
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_nop, &regs, &trap), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ((u64)seen_at, expected);
	EXPECT_EQ(ui_log.frames[0].rsp, rsp);
	EXPECT_EQ(trap.regs.rsp, rsp);
}

static void frame_is_below_an_adjusted_stack(void)
{
	u64 top = user_stack() - 256;

	deliver_at(top, 0, top - 32);
	deliver_at(top, 128, top - 128 - 32);
	deliver_at(top - 7, 128, top - 128 - 16 - 32);
	deliver_at(top - 16, 128, top - 16 - 128 - 32);
	deliver_at(top - 1, 0, top - 16 - 32);
	/* It is a number with a sign, by wrapping. */
	deliver_at(top - 512, -256UL, top - 256 - 32);
}

static void frame_is_on_a_stack_of_its_own(void)
{
	u64 top = user_stack() - 256;

	deliver_at(top, (top - 4096) | 1, top - 4096 - 32);
	/* Bit 0 goes with the alignment. */
	deliver_at(top, (top - 4096) | 0xf, top - 4096 - 32);
}

/* No memory is there: the frame is lost, and the delivery is complete. */
static void a_stack_without_memory_takes_the_frame(void)
{
	const u64 top = 0x3f000000;	/* mapped for CPL 3, and beyond the memory of the machine */
	struct regs regs;
	struct trap trap;

	start(&regs);
	ui_log.count = 0;
	stui();
	wrmsr(MSR_UINTR_HANDLER, (u64)code_after);
	wrmsr(MSR_UINTR_STACKADJUST, top | 1);
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_nop, &regs, &trap), VECTOR_DONE);
	EXPECT_EQ(trap.regs.rsp, top - 32);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
	EXPECT(!testui());
	wrmsr(MSR_UINTR_HANDLER, (u64)ui_entry);
}

static void saves_the_flags_and_clears_tf_and_rf(void)
{
	u64 flags = (0xed7 | RFLAGS_AC | BIT(21)) & ~RFLAGS_TF;
	struct regs regs;
	struct trap trap;

	start(&regs);
	regs.rflags = flags | RFLAGS_RF;
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_nop, &regs, &trap), VECTOR_DONE);
	EXPECT_EQ(ui_log.frames[0].rflags & ~RFLAGS_RF, flags);
	EXPECT_EQ(handler_flags & (RFLAGS_TF | RFLAGS_RF), 0);
	EXPECT_EQ(handler_flags & (RFLAGS_IF | RFLAGS_AC | BIT(21)),
		  RFLAGS_IF | RFLAGS_AC | BIT(21));
	EXPECT_EQ(handler_uif, 0);
	EXPECT_EQ(trap.regs.rflags & ~RFLAGS_RF, flags);
}

/* The handler is not traced; the interrupted instruction is, after UIRET. */
static void single_step_skips_the_handler(void)
{
	struct regs regs;
	struct trap trap;

	start(&regs);
	regs.rflags |= RFLAGS_TF;
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_nop, &regs, &trap), TRAP_DB);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rflags & RFLAGS_TF, RFLAGS_TF);
	EXPECT_EQ(handler_flags & RFLAGS_TF, 0);
	EXPECT_EQ(trap.regs.rip, (u64)code_after);
	EXPECT_EQ(trap.regs.rflags & RFLAGS_TF, RFLAGS_TF);
}

static void keeps_the_registers(void)
{
	struct regs regs, before;
	struct trap trap;

	start(&regs);
	regs.rax = 1;
	regs.rcx = 2;
	regs.rdx = 3;
	regs.rbx = 4;
	regs.rbp = 5;
	regs.rsi = 6;
	regs.rdi = 7;
	regs.r8 = 8;
	regs.r15 = 15;
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	before = regs;
	EXPECT_EQ(run(code_nop, &regs, &trap), VECTOR_DONE);
	EXPECT_EQ(memcmp(&trap.regs, &before, 15 * 8), 0);
	EXPECT_EQ(trap.regs.cs, SEL_UCODE);
	EXPECT_EQ(trap.regs.ss, SEL_UDATA);
}

/* --- order --------------------------------------------------------------------------------- */

static void highest_vector_comes_first(void)
{
	struct regs regs;
	int i;

	start(&regs);
	stui();
	wrmsr(MSR_UINTR_RR, ~0UL);
	EXPECT_EQ(run(code_nop, &regs, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 64);
	for (i = 0; i < 64; i++) {
		/* Each before the same instruction, and without growth of the stack. */
		if (ui_log.frames[i].vector != 63UL - i ||
		    ui_log.frames[i].rip != (u64)code_nop ||
		    ui_log.frames[i].rsp != regs.rsp)
			FAIL("number %d: vector %lu at 0x%lx, RSP 0x%lx", i,
			     ui_log.frames[i].vector, ui_log.frames[i].rip, ui_log.frames[i].rsp);
	}
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
}

static void rep_string_is_interrupted_between_iterations(void)
{
	static u8 from[4096], to[4096];
	static u8 movs[] = { 0xf3, 0xa4, 0xcd, VECTOR_DONE };
	struct regs regs;
	struct trap trap;
	u64 i;

	for (i = 0; i < sizeof(from); i++)
		from[i] = i * 7;
	start(&regs);
	regs.rsi = (u64)from;
	regs.rdi = (u64)to;
	regs.rcx = sizeof(from);
	stui();
	own->upid.pir = BIT(7);
	send_ipi(cpus[0].apic_id, UINV);
	EXPECT_EQ(run(movs, &regs, &trap), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)movs);
	EXPECT_EQ(trap.regs.rcx, 0);
	EXPECT_EQ(memcmp(from, to, sizeof(from)), 0);
}

/* --- faults -------------------------------------------------------------------------------- */

static void expect_intact(const struct trap *trap, u64 rsp)
{
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
	EXPECT(testui());
	EXPECT_EQ(trap->regs.rip, (u64)code_nop);
	EXPECT_EQ(trap->regs.rsp, rsp);
	EXPECT_EQ(trap->regs.cs, SEL_UCODE);
	EXPECT_EQ(ui_log.count, 0);
}

static void fault_on_stack(u64 rsp, int vector, u64 error, struct trap *trap)
{
	struct regs regs;

	start(&regs);
	regs.rsp = rsp;
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_nop, &regs, trap), vector);
	EXPECT_EQ(trap->regs.error, error);
	expect_intact(trap, rsp);
}

static void missing_stack_faults(void)
{
	struct trap trap;

	fault_on_stack(window(1), TRAP_PF, 6, &trap);
	EXPECT_EQ(trap.cr2, window(1) - 8);
}

static void read_only_stack_faults(void)
{
	struct trap trap;

	map(0, PTE_P | PTE_U);
	fault_on_stack(window(1), TRAP_PF, 7, &trap);
}

static void supervisor_stack_faults(void)
{
	struct trap trap;

	map(0, PTE_P | PTE_W);
	fault_on_stack(window(1), TRAP_PF, 7, &trap);
}

/* The second half of the frame: what was stored before it may stay. */
static void stack_that_ends_in_the_frame_faults(void)
{
	struct trap trap;

	map(1, PTE_P | PTE_W | PTE_U);
	fault_on_stack(window(1) + 16, TRAP_PF, 6, &trap);
	EXPECT_EQ(trap.cr2, window(1) - 8);
}

static void protection_keys_hold_for_the_stack(void)
{
	struct trap trap;
	u32 a, b, c, d;

	cpuid(7, 0, &a, &b, &c, &d);
	if (!(c & BIT(3))) {
		skip("the CPU has no protection keys");
		return;
	}
	write_cr4(read_cr4() | CR4_PKE);
	asm volatile("wrpkru" :: "a"(2 << 2), "c"(0), "d"(0));	/* key 1: no writing */
	map(0, PTE_P | PTE_W | PTE_U | PTE_PKEY(1));
	fault_on_stack(window(1), TRAP_PF, 0x27, &trap);
	asm volatile("wrpkru" :: "a"(0), "c"(0), "d"(0));
	write_cr4(read_cr4() & ~(u64)CR4_PKE);
}

static void non_canonical_stack_is_ss(void)
{
	struct trap trap;

	fault_on_stack(0x0000900000000000, TRAP_SS, 0, &trap);
}

static void stack_at_the_hole_is_ss(void)
{
	struct trap trap;

	/* The first word lies above the hole's end, the others in it. */
	fault_on_stack(0xffff800000000010, TRAP_PF, 6, &trap);
	wrmsr(MSR_UINTR_RR, 0);
	fault_on_stack(0xffff800000000000, TRAP_SS, 0, &trap);
}

static void non_canonical_handler_is_gp(void)
{
	u64 handler = 0x0000900000000000;
	struct regs regs;
	struct trap trap;

	if (try_wrmsr(MSR_UINTR_HANDLER, handler) != VECTOR_DONE) {
		skip("the CPU has no wider addresses than the paging mode");
		return;
	}
	start(&regs);
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	EXPECT_EQ(run(code_nop, &regs, &trap), TRAP_GP);
	EXPECT_EQ(trap.regs.error, 0);
	expect_intact(&trap, regs.rsp);
}

static bool map_stack(struct regs *regs)
{
	if (regs->vector != TRAP_PF)
		return false;
	map(0, PTE_P | PTE_W | PTE_U);
	return true;
}

static void is_tried_again_after_the_fault(void)
{
	struct regs regs;
	struct trap trap;

	start(&regs);
	regs.rsp = window(1);
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	this_cpu()->mend = map_stack;
	EXPECT_EQ(run(code_nop, &regs, &trap), VECTOR_DONE);
	this_cpu()->mend = NULL;
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)code_nop);
	EXPECT_EQ(ui_log.frames[0].rsp, window(1));
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
}

/* By then delivery is done: the fault is the handler's. */
static void missing_handler_faults_at_the_handler(void)
{
	struct regs regs;
	struct trap trap;
	struct ui_frame *frame;

	start(&regs);
	wrmsr(MSR_UINTR_HANDLER, window(3));
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7) | BIT(2));
	EXPECT_EQ(run(code_nop, &regs, &trap), TRAP_PF);
	EXPECT_EQ(trap.cr2, window(3));
	EXPECT_EQ(trap.regs.rip, window(3));
	EXPECT_EQ(trap.regs.rsp, ((regs.rsp) & ~0xfUL) - 32);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(2));
	EXPECT(!testui());
	frame = (struct ui_frame *)trap.regs.rsp;
	EXPECT_EQ(frame->vector, 7);
	EXPECT_EQ(frame->rip, (u64)code_nop);
	EXPECT_EQ(frame->rsp, regs.rsp);
}

TESTS(
	TEST(comes_before_the_first_instruction, DELIVERY-1, DELIVERY-6, DELIVERY-14),
	TEST(waits_for_uif, DELIVERY-2),
	TEST(comes_right_after_stui, DELIVERY-3),
	TEST(does_not_depend_on_if, DELIVERY-4),
	TEST(follows_cr4_uintr, DELIVERY-8),
	TEST(request_written_without_cr4_uintr_comes, DELIVERY-18),
	TEST(never_comes_in_compatibility_mode, DELIVERY-5),
	TEST(never_comes_at_supervisor_level, DELIVERY-6),
	TEST(comes_after_sysret, DELIVERY-7),
	TEST(rf_is_saved_behind_an_interrupt, FRAME-6),
	TEST(comes_after_ordinary_interrupts, DELIVERY-9),
	TEST(comes_from_senduipi, SEND-1, NOTIFY-1, DELIVERY-1, ENUM-14),
	TEST(survives_a_stay_in_the_kernel, DELIVERY-6),
	TEST(does_not_end_hlt, DELIVERY-19),
	TEST(frame_is_below_an_adjusted_stack, FRAME-2, FRAME-3),
	TEST(frame_is_on_a_stack_of_its_own, FRAME-4),
	TEST(a_stack_without_memory_takes_the_frame, FRAME-4),
	TEST(saves_the_flags_and_clears_tf_and_rf, FRAME-6, FRAME-7, FRAME-8),
	TEST(single_step_skips_the_handler, FRAME-6, FRAME-7, UIRET-10),
	TEST(keeps_the_registers, FRAME-9),
	TEST(highest_vector_comes_first, DELIVERY-13, FRAME-2),
	TEST(rep_string_is_interrupted_between_iterations, DELIVERY-21),
	TEST(missing_stack_faults, FRAME-10, FRAME-14),
	TEST(read_only_stack_faults, FRAME-10, FRAME-14),
	TEST(supervisor_stack_faults, FRAME-10, FRAME-14),
	TEST(stack_that_ends_in_the_frame_faults, FRAME-10, FRAME-14),
	TEST(protection_keys_hold_for_the_stack, FRAME-11),
	TEST(non_canonical_stack_is_ss, FRAME-12, FRAME-14),
	TEST(stack_at_the_hole_is_ss, FRAME-12),
	TEST(non_canonical_handler_is_gp, FRAME-13, FRAME-14),
	TEST(is_tried_again_after_the_fault, FRAME-14),
	TEST(missing_handler_faults_at_the_handler, FRAME-15, DELIVERY-14),
);
