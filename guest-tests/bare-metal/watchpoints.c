// SPDX-License-Identifier: GPL-2.0-only
/*
 * Data breakpoints (DR0 to DR3) on each word that an instruction, a notification or a delivery
 * accesses. They are traps: #DB comes after the access and the complete step. Nothing may be lost,
 * whether a step is watched once or many times.
 */
#include "uintr.h"

#define WRITE 1UL
#define ACCESS 3UL
#define LEN8 2UL

static struct ui_cpu *const own = &ui[0];
static u8 area[4096] __attribute__((aligned(64)));

struct point {
	u64 address;
	u64 type;
};

static int traps, early;
static u64 trap_rip, trap_dr6, trap_cs;
static int delivered_before;

/* Count the traps, and go on. Endless traps end the case. */
static bool at_trap(struct regs *regs)
{
	u64 dr6;

	if (regs->vector != TRAP_DB || traps > 8)
		return false;
	asm volatile("movq %%dr6, %0" : "=r"(dr6));
	asm volatile("movq %0, %%dr6" :: "r"(0xffff0ff0UL));
	if (!traps++) {
		trap_rip = regs->rip;
		trap_cs = regs->cs;
		trap_dr6 = dr6;
		delivered_before = ui_log.count;
	}
	return true;
}

static void watch(const struct point *point)
{
	traps = early = 0;
	trap_rip = trap_dr6 = trap_cs = 0;
	asm volatile("movq %0, %%dr1; movq %1, %%dr7; movq %2, %%dr6"
		     :: "r"(point->address), "r"(BIT(3) | BIT(10) | point->type << 20 | LEN8 << 22),
		     "r"(0xffff0ff0UL));
}

static void watch_nothing(void)
{
	asm volatile("movq %0, %%dr7" :: "r"(BIT(10)));
}

void test_setup(void)
{
	ui_setup();
	memset(cpus[0].irqs, 0, sizeof(cpus[0].irqs));
	this_cpu()->mend = at_trap;
	this_cpu()->on_irq = NULL;
	watch_nothing();
}

extern u8 watch_nop[], watch_nop2[], watch_send[], watch_behind_send[], watch_uiret[], watch_landed[];
asm(".pushsection .text\n"
    "watch_send:	.byte 0xf3, 0x0f, 0xc7, 0xf0\n"
    "watch_behind_send:	nop\n"
    "			int $0x80\n"
    "watch_nop:		nop\n"
    "watch_nop2:	nop\n"
    "			nop\n"
    "			int $0x80\n"
    "watch_uiret:	.byte 0xf3, 0x0f, 0x01, 0xec\n"
    "			ud2\n"
    "watch_landed:	nop\n"
    "			int $0x80\n"
    ".popsection");

static void start(struct regs *regs, const u8 *code, u64 cs)
{
	user_regs(regs, NULL, NULL);
	regs->rip = (u64)code;
	if (cs == SEL_KCODE) {
		regs->cs = SEL_KCODE;
		regs->ss = SEL_KDATA;
		regs->rflags = 2;
	}
}

static void expect_trap(const u8 *rip, u64 cs, const char *what, int number)
{
	watch_nothing();
	if (traps != 1)
		FAIL("%s, word %d: %d traps", what, number, traps);
	if (trap_rip != (u64)rip)
		FAIL("%s, word %d: the trap's RIP is 0x%lx, not 0x%lx", what, number, trap_rip, (u64)rip);
	EXPECT_EQ(trap_cs, cs);
	EXPECT_EQ(trap_dr6 & 0xf, BIT(1));
}

/* --- notification -------------------------------------------------------------------------- */

static void notify_once(const struct point *point, int number, u64 cs)
{
	struct regs regs;

	start(&regs, watch_nop, cs);
	if (cs == SEL_KCODE)
		regs.rflags |= RFLAGS_IF;
	regs.rsp -= 512;
	own->upid.low |= UPID_ON;
	own->upid.pir = BIT(4);
	wrmsr(MSR_UINTR_RR, BIT(1));
	clui();
	send_ipi(cpus[0].apic_id, UINV);
	watch(point);
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	expect_trap(watch_nop, cs, "a notification", number);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(4) | BIT(1));
	EXPECT_EQ(own->upid.pir, 0);
	EXPECT_EQ(own->upid.low & UPID_ON, 0);
	EXPECT(!apic_bit(APIC_ISR, UINV));
	EXPECT(!apic_bit(APIC_IRR, UINV));
	EXPECT_EQ(cpus[0].irqs[UINV], 0);
}

static void notifications_are_complete(void)
{
	struct point points[] = {
		{ (u64)&own->upid.low, WRITE }, { (u64)&own->upid.pir, WRITE },
		{ (u64)&own->upid.low, ACCESS }, { (u64)&own->upid.pir, ACCESS },
	};
	unsigned int i, again;

	for (i = 0; i < ARRAY_SIZE(points); i++) {
		for (again = 0; again < 3; again++) {
			notify_once(&points[i], i, SEL_UCODE);
			notify_once(&points[i], i, SEL_KCODE);
		}
	}
}

/* #DB first, then the interrupt: at the same instruction. */
static void a_notification_is_delivered_behind_the_trap(void)
{
	struct point point = { (u64)&own->upid.pir, WRITE };
	struct regs regs;
	int i;

	for (i = 0; i < 3; i++) {
		ui_log.count = 0;
		start(&regs, watch_nop, SEL_UCODE);
		own->upid.pir = BIT(4);
		stui();
		send_ipi(cpus[0].apic_id, UINV);
		watch(&point);
		EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
		expect_trap(watch_nop, SEL_UCODE, "a notification", 1);
		EXPECT_EQ(delivered_before, 0);
		EXPECT_EQ(ui_log.count, 1);
		EXPECT_EQ(ui_log.frames[0].rip, (u64)watch_nop);
		EXPECT_EQ(ui_log.frames[0].vector, 4);
	}
}

/*
 * The trap, then the delivery after the notification, then the breakpoint on the next instruction.
 * DR6 of a later single step has only the bit of the step.
 */
static u64 seen_dr6[4], seen_rip[4], seen_delivered[4];

static bool note_trap(struct regs *regs)
{
	u64 dr6;

	if (regs->vector != TRAP_DB || traps == (int)ARRAY_SIZE(seen_dr6))
		return false;
	asm volatile("movq %%dr6, %0" : "=r"(dr6));
	asm volatile("movq %0, %%dr6" :: "r"(0xffff0ff0UL));
	dr6 &= BIT(14) | BIT(1) | BIT(0);
	/* A trap may name the breakpoint that its RIP has come to, which is still to come. */
	if (dr6 != BIT(0))
		dr6 &= ~BIT(0);
	else
		regs->rflags |= RFLAGS_RF;
	seen_dr6[traps] = dr6;
	seen_rip[traps] = regs->rip;
	seen_delivered[traps++] = ui_log.count;
	return true;
}

static void notify_under_two(u64 rflags, u64 control)
{
	struct regs regs;

	traps = 0;
	ui_log.count = 0;
	this_cpu()->mend = note_trap;
	start(&regs, watch_nop, SEL_UCODE);
	regs.rflags |= rflags;
	own->upid.pir = BIT(4);
	if (rflags & RFLAGS_TF)
		clui();		/* the handler would access the same page, and so end the mark */
	else
		stui();
	send_ipi(cpus[0].apic_id, UINV);
	asm volatile("movq %0, %%dr0; movq %1, %%dr1; movq %2, %%dr6; movq %3, %%dr7"
		     :: "r"(watch_nop), "r"(&own->upid.pir), "r"(0xffff0ff0UL),
		     "r"(BIT(10) | BIT(3) | WRITE << 20 | LEN8 << 22 | control));
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	set_dr(0, DR7_OFF);
	EXPECT_EQ(seen_dr6[0], BIT(1));
	EXPECT_EQ(seen_rip[0], (u64)watch_nop);
	EXPECT_EQ(seen_delivered[0], 0);
	EXPECT_EQ(ui_log.count, !(rflags & RFLAGS_TF));
}

static void a_breakpoint_on_the_next_instruction_comes_behind_the_trap(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		notify_under_two(0, BIT(1));
		EXPECT_EQ(traps, 2);
		EXPECT_EQ(seen_dr6[1], BIT(0));
		EXPECT_EQ(seen_rip[1], (u64)watch_nop);
		EXPECT_EQ(seen_delivered[1], 1);
	}
}

static void a_step_behind_the_trap_is_a_step_alone(void)
{
	notify_under_two(RFLAGS_TF, 0);
	EXPECT(traps > 1);
	EXPECT_EQ(seen_dr6[1], BIT(14));
	EXPECT_EQ(seen_rip[1], (u64)watch_nop2);
}

/* The adjacent word is not accessed. */
static void other_words_are_not_watched(void)
{
	struct point point = { (u64)&own->upid.unused[0], ACCESS };
	struct regs regs;

	start(&regs, watch_nop, SEL_UCODE);
	own->upid.pir = BIT(4);
	stui();
	send_ipi(cpus[0].apic_id, UINV);
	watch(&point);
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	watch_nothing();
	EXPECT_EQ(traps, 0);
	EXPECT_EQ(ui_log.count, 1);
}

/* #DB ends HLT as any exception does, and the notification is not lost. */
static void a_notification_in_hlt_is_complete(void)
{
	struct point point = { (u64)&own->upid.pir, WRITE };

	own->upid.pir = BIT(4);
	own->upid.low |= UPID_ON;
	send_ipi(cpus[0].apic_id, UINV);
	watch(&point);
	asm volatile("sti; hlt; cli" ::: "memory");
	watch_nothing();
	EXPECT_EQ(traps, 1);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(4));
	EXPECT_EQ(own->upid.pir, 0);
	EXPECT_EQ(own->upid.low & UPID_ON, 0);
	EXPECT(!apic_bit(APIC_IRR, UINV));
}

/* --- delivery ------------------------------------------------------------------------------ */

static void deliver_once(int word, u64 type, u64 requests)
{
	struct point point;
	struct regs regs;
	u64 frame;

	start(&regs, watch_nop, SEL_UCODE);
	regs.rsp -= 512;
	frame = ((regs.rsp - 256) & ~15UL) - 32;
	memset((void *)frame, 0, 32);
	wrmsr(MSR_UINTR_STACKADJUST, 256);
	ui_log.count = 0;
	point = (struct point){ frame + word * 8, type };
	stui();
	wrmsr(MSR_UINTR_RR, requests);
	watch(&point);
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	watch_nothing();
	/* Once after the delivery; with ACCESS, the handler and UIRET read the frame, too. */
	if (!traps || (type == WRITE && requests == BIT(7) && traps != 1))
		FAIL("word %d: %d traps", word, traps);
	EXPECT_EQ(trap_rip, (u64)ui_entry);
	EXPECT_EQ(trap_cs, SEL_UCODE);
	EXPECT_EQ(trap_dr6 & 0xf, BIT(1));
	EXPECT_EQ(delivered_before, 0);
	EXPECT_EQ(ui_log.count, requests == BIT(7) ? 1 : 2);
	EXPECT_EQ(ui_log.frames[0].vector, 7);
	EXPECT_EQ(ui_log.frames[0].rip, (u64)watch_nop);
	EXPECT_EQ(ui_log.frames[0].rsp, regs.rsp);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
}

static void deliveries_are_complete(void)
{
	int word, again;

	for (word = 0; word < 4; word++) {
		for (again = 0; again < 3; again++) {
			deliver_once(word, WRITE, BIT(7));
			deliver_once(word, WRITE, BIT(7) | BIT(2));
			deliver_once(word, ACCESS, BIT(7));
		}
	}
}

/* The delivery is not complete, so there is no trap; after the retry there is one. */
static bool map_stack(struct regs *regs)
{
	if (regs->vector == TRAP_PF) {
		early = traps;
		map(0, PTE_P | PTE_W | PTE_U);
		return true;
	}
	return at_trap(regs);
}

static void a_delivery_that_faults_traps_once_it_is_complete(void)
{
	struct point point = { window(1), WRITE };
	struct regs regs;

	map(1, PTE_P | PTE_W | PTE_U);
	start(&regs, watch_nop, SEL_UCODE);
	regs.rsp = window(1) + 16;	/* RSP and RFLAGS on this page, the rest on the one below */
	this_cpu()->mend = map_stack;
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	watch(&point);
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	expect_trap((u8 *)ui_entry, SEL_UCODE, "a delivery", 0);
	EXPECT_EQ(early, 0);
	EXPECT_EQ(ui_log.count, 1);
}

/* --- instructions -------------------------------------------------------------------------- */

static void send_once(u64 address, u64 type, int number, u64 cs)
{
	struct point point = { address, type };
	struct regs regs;

	start(&regs, watch_send, cs);
	regs.rax = 5;
	regs.rflags = 2;
	regs.rsp -= 512;
	own->upid.low = (own->upid.low & ~UPID_ON) | UPID_SN;
	own->upid.pir = 0;
	watch(&point);
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	expect_trap(watch_behind_send, cs, "SENDUIPI", number);
	EXPECT_EQ(own->upid.pir, BIT(5));
}

static void senduipi_is_complete(void)
{
	int again;

	for (again = 0; again < 3; again++) {
		send_once((u64)&own->upid.low, WRITE, 0, again & 1 ? SEL_KCODE : SEL_UCODE);
		send_once((u64)&own->upid.pir, WRITE, 1, again & 1 ? SEL_KCODE : SEL_UCODE);
		send_once((u64)&own->upid.pir, ACCESS, 2, SEL_UCODE);
		send_once((u64)&own->uitt[5].low, ACCESS, 3, SEL_UCODE);
		send_once((u64)&own->uitt[5].upid, ACCESS, 4, SEL_UCODE);
	}
}

/* From the send to the handler, with a breakpoint on the way: each step is watched once. */
static void a_send_to_oneself_under_a_watchpoint_arrives(void)
{
	struct point point = { (u64)&own->upid.pir, WRITE };
	struct regs regs;
	int i;

	for (i = 0; i < 3; i++) {
		start(&regs, watch_send, SEL_UCODE);
		regs.rax = 5;
		ui_log.count = 0;
		stui();
		watch(&point);
		EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
		watch_nothing();
		EXPECT_EQ(traps, 2);
		EXPECT_EQ(trap_rip, (u64)watch_behind_send);
		EXPECT_EQ(ui_log.count, 1);
		EXPECT_EQ(own->upid.pir, 0);
		EXPECT_EQ(own->upid.low & UPID_ON, 0);
	}
}

static void uiret_once(int word, u64 cs)
{
	u64 *frame = (u64 *)(user_stack() - 512);
	struct point point = { (u64)&frame[word], ACCESS };
	struct regs regs;
	struct trap trap;

	start(&regs, watch_uiret, cs);
	frame[0] = (u64)watch_landed;
	frame[1] = 2 | RFLAGS_CF;
	frame[2] = user_stack() - 1024;
	regs.rsp = (u64)frame;
	clui();
	watch(&point);
	EXPECT_EQ(try_regs(&trap, &regs), VECTOR_DONE);
	expect_trap(watch_landed, cs, "UIRET", word);
	EXPECT_EQ(trap.regs.rsp, user_stack() - 1024);
	EXPECT_EQ(trap.regs.rflags & RFLAGS_CF, RFLAGS_CF);
	EXPECT(testui());
}

static void uiret_is_complete(void)
{
	int word;

	for (word = 0; word < 3; word++) {
		uiret_once(word, SEL_UCODE);
		uiret_once(word, SEL_KCODE);
	}
}

static void save_and_restore(u64 offset)
{
	struct point point = { (u64)area + offset, WRITE };
	u64 misc = MISC(UINV, 63);

	memset(area, 0, sizeof(area));
	wrmsr(0xda0, BIT(14));
	wrmsr(MSR_UINTR_MISC, misc);
	stui();
	watch(&point);
	asm volatile("xsaves64 (%0); nop" :: "r"(area), "a"(BIT(14)), "d"(0) : "memory");
	watch_nothing();
	if (traps != 1)
		FAIL("XSAVES, offset %lu: %d traps", offset, traps);
	EXPECT_EQ(((u64 *)(area + 576))[2], misc | BIT(63));
	EXPECT_EQ(rdmsr(MSR_UINTR_MISC), MISC(0, 63));
	wrmsr(MSR_UINTR_MISC, 0);
	clui();
	point.type = ACCESS;
	watch(&point);
	asm volatile("xrstors64 (%0); nop" :: "r"(area), "a"(BIT(14)), "d"(0) : "memory");
	watch_nothing();
	if (traps != 1)
		FAIL("XRSTORS, offset %lu: %d traps", offset, traps);
	EXPECT_EQ(rdmsr(MSR_UINTR_MISC), misc);
	EXPECT(testui());
}

static void xsaves_and_xrstors_are_complete(void)
{
	u32 a, b, c, d;
	u64 offset;

	cpuid(13, 1, &a, &b, &c, &d);
	if (!(a & BIT(3))) {
		skip("the CPU has no XSAVES");
		return;
	}
	write_cr4(read_cr4() | CR4_OSXSAVE | CR4_OSFXSR);
	save_and_restore(512);
	save_and_restore(520);
	for (offset = 576; offset < 624; offset += 8)
		save_and_restore(offset);
}

TESTS(
	TEST(notifications_are_complete, NOTIFY-23),
	TEST(a_notification_is_delivered_behind_the_trap, NOTIFY-23, DELIVERY-10),
	TEST(a_breakpoint_on_the_next_instruction_comes_behind_the_trap, NOTIFY-23, DELIVERY-10),
	TEST(a_step_behind_the_trap_is_a_step_alone, NOTIFY-23),
	TEST(other_words_are_not_watched, NOTIFY-23),
	TEST(a_notification_in_hlt_is_complete, NOTIFY-23, HALT-3),
	TEST(deliveries_are_complete, FRAME-22),
	TEST(a_delivery_that_faults_traps_once_it_is_complete, FRAME-22, FRAME-14),
	TEST(senduipi_is_complete, SEND-29),
	TEST(a_send_to_oneself_under_a_watchpoint_arrives, SEND-29, NOTIFY-23),
	TEST(uiret_is_complete, UIRET-15),
	TEST(xsaves_and_xrstors_are_complete, XSAVE-20),
);
