// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which interrupts are notifications, what a notification changes, and what it does not. UIF is 0,
 * so that nothing is delivered.
 */
#include "uintr.h"

#define OTHER_VECTOR 0xd1

static struct ui_cpu *const own = &ui[0];

void test_setup(void)
{
	ui_setup();
	memset(cpus[0].irqs, 0, sizeof(cpus[0].irqs));
	this_cpu()->on_irq = NULL;
}

static void nothing(void *unused)
{
	(void)unused;
	asm volatile("nop; nop; nop");
}

/* Request one at CPL 0 with IF=0, then enable interrupts. */
static void notify(int vector)
{
	send_ipi(cpus[0].apic_id, vector);
	take_irqs();
}

static void check_taken(u64 requests)
{
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), requests);
	EXPECT_EQ(cpus[0].irqs[UINV], 0);
	EXPECT(!apic_bit(APIC_ISR, UINV));
	EXPECT(!apic_bit(APIC_IRR, UINV));
}

static void moves_the_requests(void)
{
	own->upid.pir = BIT(63) | BIT(5);
	own->upid.low |= UPID_ON;
	notify(UINV);
	check_taken(BIT(63) | BIT(5));
	EXPECT_EQ(own->upid.pir, 0);
	EXPECT_EQ(own->upid.low, UPID_NV(UINV) | ui_ndst(0));
}

static void adds_to_uirr(void)
{
	wrmsr(MSR_UINTR_RR, BIT(1));
	own->upid.pir = BIT(2);
	notify(UINV);
	check_taken(BIT(1) | BIT(2));
}

static void without_requests_is_harmless(void)
{
	notify(UINV);
	check_taken(0);
}

/* SN, the reserved bits, NV and NDST are for senders. */
static void looks_at_nothing_but_on_and_pir(void)
{
	u64 low = ~0UL;

	own->upid.low = low;
	own->upid.pir = BIT(9);
	notify(UINV);
	check_taken(BIT(9));
	EXPECT_EQ(own->upid.low, low & ~UPID_ON);
}

static void waits_for_if(void)
{
	own->upid.pir = BIT(4);
	send_ipi(cpus[0].apic_id, UINV);
	nothing(NULL);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
	EXPECT(apic_bit(APIC_IRR, UINV));
	EXPECT_EQ(own->upid.pir, BIT(4));
	take_irqs();
	check_taken(BIT(4));
}

static void waits_for_tpr(void)
{
	own->upid.pir = BIT(4);
	apic_write(APIC_TPR, 0xf0);
	notify(UINV);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
	apic_write(APIC_TPR, 0);
	take_irqs();
	check_taken(BIT(4));
}

static void is_taken_at_user_level(void)
{
	own->upid.pir = BIT(4);
	send_ipi(cpus[0].apic_id, UINV);
	EXPECT_EQ(try_user(NULL, nothing, NULL), VECTOR_DONE);
	check_taken(BIT(4));
}

static void run_compat(struct trap *trap)
{
	/* nop; nop; nop; int */
	static u8 code[] __attribute__((aligned(16))) = { 0x90, 0x90, 0x90, 0xcd, VECTOR_DONE };
	struct regs regs;

	user_regs(&regs, NULL, NULL);
	regs.rip = (u64)code;
	regs.cs = SEL_UCODE32;
	EXPECT_EQ(try_regs(trap, &regs), VECTOR_DONE);
}

/* Identification needs IA32_EFER.LMA, not CS.L. */
static void is_taken_in_compatibility_mode(void)
{
	struct trap trap;

	own->upid.pir = BIT(4);
	send_ipi(cpus[0].apic_id, UINV);
	run_compat(&trap);
	check_taken(BIT(4));
}

/* RIP, RSP and RFLAGS of the code that it interrupts stay, and nothing is pushed. */
static void leaves_no_trace(void)
{
	static u64 stack[64];
	struct regs regs, after;
	struct trap trap;
	int i;

	for (i = 0; i < 64; i++)
		stack[i] = 0x5555555555555555;
	user_regs(&regs, nothing, NULL);
	regs.rsp = (u64)&stack[63];
	stack[63] = *(u64 *)(user_stack() - 8);
	regs.rflags = 0xed7 & ~RFLAGS_TF;
	own->upid.pir = BIT(4);
	send_ipi(cpus[0].apic_id, UINV);
	EXPECT_EQ(try_regs(&trap, &regs), VECTOR_DONE);
	after = trap.regs;
	EXPECT_EQ(after.rsp, (u64)&stack[64]);
	EXPECT_EQ(after.rflags, regs.rflags);
	for (i = 0; i < 63; i++) {
		if (stack[i] != 0x5555555555555555)
			FAIL("stack word %d was written", i);
	}
	check_taken(BIT(4));
}

/* UINV counts, not UPID.NV: another vector goes through the IDT, and so does UINV=0. */
static void other_vectors_belong_to_the_idt(void)
{
	own->upid.pir = BIT(4);
	notify(OTHER_VECTOR);
	EXPECT_EQ(cpus[0].irqs[OTHER_VECTOR], 1);
	EXPECT_EQ(own->upid.pir, BIT(4));

	own->upid.low = UPID_NV(OTHER_VECTOR) | ui_ndst(0);
	notify(OTHER_VECTOR);
	EXPECT_EQ(cpus[0].irqs[OTHER_VECTOR], 2);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);

	wrmsr(MSR_UINTR_MISC, MISC(0, 63));
	notify(UINV);
	EXPECT_EQ(cpus[0].irqs[UINV], 1);
	EXPECT_EQ(own->upid.pir, BIT(4));
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
}

/* Identification looks at interrupts of the local APIC. */
static void an_8259s_vector_is_none(void)
{
	wrmsr(MSR_UINTR_MISC, MISC(0xe8, 63));
	own->upid.pir = BIT(4);
	pic_request(0xe8);
	take_irqs();
	EXPECT_EQ(cpus[0].irqs[0xe8], 1);
	EXPECT(pic_end());
	pic_off();
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
	EXPECT_EQ(own->upid.pir, BIT(4));
	/* The same vector by the local APIC is one. */
	notify(0xe8);
	EXPECT_EQ(cpus[0].irqs[0xe8], 1);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(4));
}

static void needs_cr4_uintr(void)
{
	own->upid.pir = BIT(4);
	write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	notify(UINV);
	EXPECT_EQ(cpus[0].irqs[UINV], 1);
	EXPECT_EQ(own->upid.pir, BIT(4));
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
}

/*
 * Out of IA-32e mode and back: paging goes off, and IA32_EFER.LMA with it; IA32_EFER.LME and
 * CR4.UINTR stay. What comes there takes a gate of 32 bits.
 */
volatile u32 legacy_irqs, legacy_efer;
static u64 legacy_idt[256];
void visit_legacy_mode(void);
extern u8 legacy_entry[];
struct {
	u16 limit;
	u64 base;
} __attribute__((packed)) legacy_idtr;
asm(".pushsection .text\n"
    "visit_legacy_mode:\n"
    "	subq	$16, %rsp\n"
    "	sidt	(%rsp)\n"
    "	lidt	legacy_idtr\n"
    "	movl	$0x10, %eax\n"		/* SEL_KDATA: SS is 0 after a trap from CPL 3 */
    "	movl	%eax, %ds\n"
    "	movl	%eax, %es\n"
    "	movl	%eax, %ss\n"
    "	ljmpl	*legacy_far\n"
    "	.code32\n"
    "legacy_code:\n"
    "	movl	%cr0, %eax\n"
    "	andl	$0x7fffffff, %eax\n"
    "	movl	%eax, %cr0\n"
    "	jmp	1f\n"
    "1:	movl	$0xc0000080, %ecx\n"
    "	rdmsr\n"
    "	movl	%eax, legacy_efer\n"
    "	sti\n"
    "	nop\n"
    "	nop\n"
    "	cli\n"
    "	movl	%cr0, %eax\n"
    "	orl	$0x80000000, %eax\n"
    "	movl	%eax, %cr0\n"
    "	ljmp	$0x08, $1f\n"		/* SEL_KCODE */
    /* EOI, by MSR or in memory. */
    "legacy_entry:\n"
    "	pushal\n"
    "	incl	legacy_irqs\n"
    "	xorl	%eax, %eax\n"
    "	xorl	%edx, %edx\n"
    "	cmpb	$0, x2apic\n"
    "	je	2f\n"
    "	movl	$0x80b, %ecx\n"
    "	wrmsr\n"
    "	jmp	3f\n"
    "2:	movl	%eax, 0xfee000b0\n"
    "3:	popal\n"
    "	iretl\n"
    "	.code64\n"
    "1:	lidt	(%rsp)\n"
    "	addq	$16, %rsp\n"
    "	ret\n"
    ".popsection\n"
    ".pushsection .data\n"
    "legacy_far:	.long legacy_code\n"
    "			.word 0x30 + 16 * 16\n"	/* SEL_KCODE32 */
    ".popsection");
_Static_assert(SEL_KCODE32 == 0x30 + 16 * 16 && SEL_KDATA == 0x10 && SEL_KCODE == 0x08,
	       "as in visit_legacy_mode");

static void needs_ia32e_mode(void)
{
	u64 entry = (u64)legacy_entry;

	legacy_idt[UINV] = (entry & 0xffff) | SEL_KCODE32 << 16 | 0x8eUL << 40 | (entry >> 16) << 48;
	legacy_idtr.limit = sizeof(legacy_idt) - 1;
	legacy_idtr.base = (u64)legacy_idt;
	legacy_irqs = 0;
	own->upid.pir = BIT(4);
	send_ipi(cpus[0].apic_id, UINV);
	visit_legacy_mode();
	EXPECT_EQ(legacy_efer & (EFER_LME | EFER_LMA), EFER_LME);
	EXPECT_EQ(legacy_irqs, 1);
	EXPECT_EQ(own->upid.pir, BIT(4));
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), 0);
	EXPECT(!apic_bit(APIC_ISR, UINV));
}

static void do_int(void *unused)
{
	(void)unused;
	asm volatile("int $0xec");
}

/* INT with the same number is no notification. (Its gate is the supervisor's: #GP from CPL 3.) */
static void software_interrupts_are_none(void)
{
	own->upid.pir = BIT(4);
	do_int(NULL);
	EXPECT_EQ(cpus[0].irqs[UINV], 1);
	EXPECT_EQ(own->upid.pir, BIT(4));
	EXPECT_EQ(try_user(NULL, do_int, NULL), TRAP_GP);
}

/* An interrupt of higher priority comes first, the notification after it. */
static void has_the_priority_of_its_vector(void)
{
	own->upid.pir = BIT(4);
	send_ipi(cpus[0].apic_id, UINV);
	send_ipi(cpus[0].apic_id, 0xf1);
	asm volatile("sti; nop; nop; nop; cli" ::: "memory");
	EXPECT_EQ(cpus[0].irqs[0xf1], 1);
	check_taken(BIT(4));
}

static void upid_is_the_supervisors(void)
{
	struct upid *upid = window_memory(0);

	map(0, PTE_P | PTE_W | PTE_NX);
	upid->pir = BIT(7);
	upid->low = UPID_ON;
	wrmsr(MSR_UINTR_PD, window(0));
	send_ipi(cpus[0].apic_id, UINV);
	EXPECT_EQ(try_user(NULL, nothing, NULL), VECTOR_DONE);
	check_taken(BIT(7));
	EXPECT_EQ(upid->low, 0);
	EXPECT_EQ(upid->pir, 0);
}

static void take_irqs_with_ac(void *unused)
{
	(void)unused;
	asm volatile("pushfq; orq %0, (%%rsp); popfq; sti; nop; nop; cli"
		     :: "i"(RFLAGS_AC) : "memory", "cc");
}

/* The access is implicit: with SMAP it faults on user pages, whatever RFLAGS.AC is. */
static void smap_holds_with_ac(void)
{
	struct upid *upid = window_memory(0);
	struct trap trap;
	int vector;

	if (!cpu_has_smap()) {
		skip("the CPU has no SMAP");
		return;
	}
	map(0, PTE_P | PTE_W | PTE_U | PTE_NX);
	upid->pir = BIT(7);
	wrmsr(MSR_UINTR_PD, window(0));
	send_ipi(cpus[0].apic_id, UINV);
	set_smap(true);
	vector = try_kernel(&trap, take_irqs_with_ac, NULL);
	set_smap(false);
	EXPECT_EQ(vector, TRAP_PF);
	EXPECT_EQ(trap.regs.error, 3);
	EXPECT_EQ(trap.cr2 & ~0xfUL, window(0));
	check_taken(0);
	EXPECT_EQ(upid->pir, BIT(7));
	/* Without SMAP it is valid. */
	notify(UINV);
	check_taken(BIT(7));
}

/* The interrupt is acknowledged before the descriptor is accessed, so a fault loses it. */
static void fault_loses_the_interrupt(void)
{
	struct upid *upid = window_memory(0);
	struct trap trap;

	upid->pir = BIT(7);
	wrmsr(MSR_UINTR_PD, window(0));
	send_ipi(cpus[0].apic_id, UINV);
	EXPECT_EQ(try_user(&trap, nothing, NULL), TRAP_PF);
	EXPECT_EQ(trap.regs.error & ~1UL, 2);	/* a write of the supervisor; EXT may be set */
	EXPECT_EQ(trap.cr2 & ~0xfUL, window(0));
	EXPECT_EQ(trap.regs.cs, SEL_UCODE);
	EXPECT_EQ(trap.regs.rip, (u64)nothing);
	check_taken(0);
	EXPECT_EQ(upid->pir, BIT(7));
}

/* The MSR takes what the CPU's widest addresses allow; the paging mode has four levels. */
static void non_canonical_upid_is_gp(void)
{
	struct trap trap;

	if (try_wrmsr(MSR_UINTR_PD, 0x0000900000000000) != VECTOR_DONE) {
		skip("the CPU has no wider addresses than the paging mode");
		return;
	}
	send_ipi(cpus[0].apic_id, UINV);
	EXPECT_EQ(try_user(&trap, nothing, NULL), TRAP_GP);
	EXPECT_EQ(trap.regs.error, 1);	/* EXT: nothing that the program did */
	EXPECT_EQ(trap.regs.rip, (u64)nothing);
	check_taken(0);
}

/* A notification and an ordinary interrupt wait when HLT begins: both are taken. */
static void is_taken_in_hlt(void)
{
	own->upid.pir = BIT(4);
	send_ipi(cpus[0].apic_id, UINV);
	send_ipi(cpus[0].apic_id, 0x41);	/* ends HLT in any case; of lower priority */
	asm volatile("sti; hlt; cli" ::: "memory");
	take_irqs();
	EXPECT_EQ(cpus[0].irqs[0x41], 1);
	check_taken(BIT(4));
}

/* Only the local APIC's timer ends HLT, long after the notification. */
static void does_not_end_hlt(void)
{
	own->upid.pir = BIT(4);
	send_ipi(cpus[0].apic_id, UINV);
	apic_write(0x3e0, 0xb);		/* divided by 1 */
	apic_write(0x320, 0x41);	/* once, with this vector */
	apic_write(0x380, 20000000);	/* 20 ms at 1 GHz */
	asm volatile("sti; hlt; cli" ::: "memory");
	EXPECT_EQ(cpus[0].irqs[0x41], 1);
	check_taken(BIT(4));
}

/* A fault during the processing ends HLT. Its handler returns to the next instruction. */
extern u8 code_hlt[], code_behind_hlt[];
asm(".pushsection .text\n"
    "code_hlt:		sti\n"
    "			hlt\n"
    "code_behind_hlt:	cli\n"
    "			ret\n"
    ".popsection");

static void fault_ends_hlt(void)
{
	struct trap trap;

	wrmsr(MSR_UINTR_PD, window(0));
	send_ipi(cpus[0].apic_id, UINV);
	EXPECT_EQ(try_kernel(&trap, (void (*)(void *))code_hlt, NULL), TRAP_PF);
	EXPECT_EQ(trap.regs.error, 2);
	EXPECT_EQ(trap.regs.rip, (u64)code_behind_hlt);
	check_taken(0);
}

/* Another CPU sends while this one is halted, and ends HLT when ON says that it was heard. */
static volatile bool heard;

static void send_then_wake(void *unused)
{
	u64 until = deadline_ms(2000), pause;

	(void)unused;
	write_cr4(read_cr4() | CR4_UINTR);
	wrmsr(MSR_UINTR_MISC, MISC(0, 63));
	wrmsr(MSR_UINTR_TT, (u64)own->uitt | TT_ENABLE);
	senduipi(6);
	while ((READ_ONCE(own->upid.low) & UPID_ON) && !expired(until))
		cpu_relax();
	heard = !(READ_ONCE(own->upid.low) & UPID_ON);
	/* Time for the code after HLT to run, which it must not. */
	for (pause = deadline_ms(2); !expired(pause);)
		cpu_relax();
	send_ipi(cpus[0].apic_id, 0x41);
}

static void from_another_cpu_does_not_end_hlt(void)
{
	heard = false;
	run_on(1, send_then_wake, NULL);
	asm volatile("sti; hlt; cli" ::: "memory");
	EXPECT_EQ(cpus[0].irqs[0x41], 1);
	EXPECT(run_done(1, deadline_ms(4000)));
	EXPECT(heard);
	take_irqs();
	check_taken(BIT(6));
}

/* The same repeatedly, so that notifications come at each step of entering HLT. */
static volatile bool stop;

static void send_all_the_time(void *unused)
{
	u64 pause, length = 0;

	(void)unused;
	write_cr4(read_cr4() | CR4_UINTR);
	wrmsr(MSR_UINTR_MISC, MISC(0, 63));
	wrmsr(MSR_UINTR_TT, (u64)own->uitt | TT_ENABLE);
	while (!stop) {
		senduipi(this_cpu()->id);
		length = (length + 3701) % 60000;
		for (pause = rdtsc() + length; (long)(rdtsc() - pause) < 0;)
			;
	}
}

static void a_stream_of_them_does_not_end_hlt(void)
{
	u64 until = deadline_ms(500), early = 0, n;
	int cpu;

	stop = false;
	for (cpu = 1; cpu < cpu_count && cpu < 4; cpu++)
		run_on(cpu, send_all_the_time, NULL);
	apic_write(0x3e0, 0xb);
	apic_write(0x320, 0x41);
	for (n = 0; n < 300 && !expired(until); n++) {
		u32 before = cpus[0].irqs[0x41];

		apic_write(0x380, 2000000);	/* 2 ms at 1 GHz */
		asm volatile("sti; hlt; cli" ::: "memory");
		early += cpus[0].irqs[0x41] == before;
		while (cpus[0].irqs[0x41] == before && !expired(until))
			take_irqs();
	}
	apic_write(0x380, 0);
	stop = true;
	for (cpu = 1; cpu < cpu_count && cpu < 4; cpu++)
		EXPECT(run_done(cpu, deadline_ms(4000)));
	take_irqs();
	if (early)
		FAIL("%lu of %lu times HLT ended before the timer", early, n);
}

/* MWAIT ends with any interrupt, also where an emulator treats it like HLT. */
static void ends_mwait(void)
{
	static u64 word;
	u32 a, b, c, d;

	cpuid(1, 0, &a, &b, &c, &d);
	if (!(c & BIT(3))) {
		skip("the CPU has no MWAIT");
		return;
	}
	own->upid.pir = BIT(4);
	send_ipi(cpus[0].apic_id, UINV);
	apic_write(0x3e0, 0xb);
	apic_write(0x320, 0x41);
	apic_write(0x380, 200000000);	/* 200 ms at 1 GHz */
	asm volatile("monitor" :: "a"(&word), "c"(0), "d"(0));
	asm volatile("sti; mwait; cli" :: "a"(0), "c"(0) : "memory");
	EXPECT_EQ(cpus[0].irqs[0x41], 0);
	apic_write(0x380, 0);
	take_irqs();
	check_taken(BIT(4));
	/* A later HLT waits again. */
	memset(cpus[0].irqs, 0, sizeof(cpus[0].irqs));
	wrmsr(MSR_UINTR_RR, 0);
	does_not_end_hlt();
}

TESTS(
	TEST(moves_the_requests, NOTIFY-1),
	TEST(adds_to_uirr, NOTIFY-2),
	TEST(without_requests_is_harmless, NOTIFY-3),
	TEST(looks_at_nothing_but_on_and_pir, NOTIFY-4),
	TEST(waits_for_if, NOTIFY-5),
	TEST(waits_for_tpr, NOTIFY-5),
	TEST(is_taken_at_user_level, NOTIFY-6),
	TEST(is_taken_in_compatibility_mode, NOTIFY-7),
	TEST(leaves_no_trace, NOTIFY-10),
	TEST(other_vectors_belong_to_the_idt, NOTIFY-11),
	TEST(an_8259s_vector_is_none, NOTIFY-26),
	TEST(needs_cr4_uintr, NOTIFY-9),
	TEST(needs_ia32e_mode, NOTIFY-8),
	TEST(software_interrupts_are_none, NOTIFY-12),
	TEST(has_the_priority_of_its_vector, NOTIFY-13),
	TEST(upid_is_the_supervisors, NOTIFY-14),
	TEST(smap_holds_with_ac, NOTIFY-15),
	TEST(fault_loses_the_interrupt, NOTIFY-16),
	TEST(non_canonical_upid_is_gp, NOTIFY-17),
	TEST(is_taken_in_hlt, NOTIFY-18, HALT-2),
	TEST(does_not_end_hlt, NOTIFY-18),
	TEST(fault_ends_hlt, NOTIFY-19),
	TEST_SMP(from_another_cpu_does_not_end_hlt, 2, NOTIFY-18),
	TEST_SMP(a_stream_of_them_does_not_end_hlt, 2, NOTIFY-18),
	TEST(ends_mwait, NOTIFY-24),
);
