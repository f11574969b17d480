// SPDX-License-Identifier: GPL-2.0-only
/*
 * SENDUIPI: its faults, its writes, and when it notifies. It runs at CPL 3 unless a case says
 * otherwise. Interrupts are off, so that a notification stays in IRR.
 */
#include "uintr.h"

#define OTHER_VECTOR 0xd1

static struct ui_cpu *const own = &ui[0];

void test_setup(void)
{
	ui_setup();
	apic_write(APIC_ESR, 0);
}

static void do_send(void *index)
{
	senduipi((u64)index);
}

/* Run it at CPL 3 with IF=0, and return the vector that ends it. */
static int send(u64 index, struct trap *trap)
{
	struct regs regs;

	user_regs(&regs, do_send, (void *)index);
	regs.rflags = 2;
	return try_regs(trap, &regs);
}

/* Return whether a notification is pending, and take it. */
static bool notified(int vector)
{
	bool found = apic_bit(APIC_IRR, vector);
	u64 misc = rdmsr(MSR_UINTR_MISC);

	wrmsr(MSR_UINTR_MISC, 0);
	take_irqs();
	wrmsr(MSR_UINTR_MISC, misc);
	return found;
}

static void posts_and_notifies(void)
{
	u64 low = own->upid.low;

	EXPECT_EQ(send(5, NULL), VECTOR_DONE);
	EXPECT_EQ(own->upid.pir, BIT(5));
	EXPECT_EQ(own->upid.low, low | UPID_ON);
	EXPECT(notified(UINV));
}

static void runs_at_supervisor_level(void)
{
	EXPECT_EQ(try_kernel(NULL, do_send, (void *)3), VECTOR_DONE);
	EXPECT_EQ(own->upid.pir, BIT(3));
	EXPECT(notified(UINV));
}

static void adds_to_what_is_posted(void)
{
	own->upid.pir = BIT(63) | BIT(0);
	EXPECT_EQ(send(31, NULL), VECTOR_DONE);
	EXPECT_EQ(own->upid.pir, BIT(63) | BIT(31) | BIT(0));
	EXPECT(notified(UINV));
}

static void is_silent_with_on_set(void)
{
	u64 low = own->upid.low |= UPID_ON;

	EXPECT_EQ(send(1, NULL), VECTOR_DONE);
	EXPECT_EQ(own->upid.pir, BIT(1));
	EXPECT_EQ(own->upid.low, low);
	EXPECT(!notified(UINV));
}

static void is_silent_with_sn_set(void)
{
	u64 low = own->upid.low |= UPID_SN;

	EXPECT_EQ(send(1, NULL), VECTOR_DONE);
	EXPECT_EQ(own->upid.pir, BIT(1));
	EXPECT_EQ(own->upid.low, low);
	EXPECT(!notified(UINV));
}

static void uses_the_vector_of_the_upid(void)
{
	own->upid.low = UPID_NV(OTHER_VECTOR) | ui_ndst(0);
	EXPECT_EQ(send(1, NULL), VECTOR_DONE);
	EXPECT(!apic_bit(APIC_IRR, UINV));
	EXPECT(notified(OTHER_VECTOR));
}

static void reaches_all_64_vectors(void)
{
	u64 uv;

	own->upid.low |= UPID_SN;
	for (uv = 0; uv < 64; uv++)
		EXPECT_EQ(send(uv, NULL), VECTOR_DONE);
	EXPECT_EQ(own->upid.pir, ~0UL);
}

static void index_is_limited_by_uittsz(void)
{
	wrmsr(MSR_UINTR_MISC, MISC(UINV, 7));
	own->upid.low |= UPID_SN;
	EXPECT_EQ(send(7, NULL), VECTOR_DONE);
	EXPECT_EQ(send(8, NULL), TRAP_GP);
	EXPECT_EQ(own->upid.pir, BIT(7));
	wrmsr(MSR_UINTR_MISC, MISC(UINV, 0));
	EXPECT_EQ(send(0, NULL), VECTOR_DONE);
	EXPECT_EQ(send(1, NULL), TRAP_GP);
}

/* The index has 64 bits. */
static void index_is_not_truncated(void)
{
	struct trap trap;

	EXPECT_EQ(send(0x100000000, &trap), TRAP_GP);
	EXPECT_EQ(trap.regs.error, 0);
	EXPECT_EQ(send(~0UL, NULL), TRAP_GP);
	EXPECT_EQ(own->upid.pir, 0);
}

/* Each bit of the entry that has to be 0, and V that has to be 1. */
static void reserved_bits_of_an_entry(void)
{
	struct trap trap;
	int bit;

	own->upid.low |= UPID_SN;
	for (bit = 0; bit < 64; bit++) {
		if (bit >= 8 && bit <= 13)
			continue;	/* UV */
		own->uitt[1].low = UITTE(1) ^ BIT(bit);
		if (send(1, &trap) != TRAP_GP || trap.regs.error)
			FAIL("bit %d is taken", bit);
	}
	EXPECT_EQ(own->upid.pir, 0);
}

static void upid_address_must_be_aligned(void)
{
	int bit;

	own->upid.low |= UPID_SN;
	for (bit = 0; bit < 6; bit++) {
		own->uitt[1].upid = (u64)&own->upid | BIT(bit);
		if (send(1, NULL) != TRAP_GP)
			FAIL("bit %d is taken", bit);
	}
	EXPECT_EQ(own->upid.pir, 0);
}

static void upid_address_must_be_canonical(void)
{
	struct trap trap;

	own->uitt[1].upid = 0x0000800000000000;
	EXPECT_EQ(send(1, &trap), TRAP_GP);
	EXPECT_EQ(trap.regs.error, 0);
}

static void table_address_must_be_canonical(void)
{
	struct trap trap;

	/* The last entry below the hole is there, the one after it is not canonical. */
	wrmsr(MSR_UINTR_TT, 0x00007ffffffffff0 | TT_ENABLE);
	EXPECT_EQ(send(1, &trap), TRAP_GP);
	EXPECT_EQ(trap.regs.error, 0);
	EXPECT_EQ(send(0, NULL), TRAP_PF);
}

/* Bits 15:2 and 31:24; nothing is written then. */
static void reserved_bits_of_a_upid(void)
{
	u64 reserved = 0xff00fffc;
	struct trap trap;
	int bit;

	for (bit = 2; bit < 32; bit++) {
		u64 low = UPID_NV(UINV) | ui_ndst(0) | BIT(bit);

		if (!(reserved & BIT(bit)))
			continue;
		own->upid.low = low;
		if (send(1, &trap) != TRAP_GP || trap.regs.error)
			FAIL("bit %d is taken", bit);
		if (own->upid.low != low || own->upid.pir)
			FAIL("bit %d: something was written", bit);
	}
	EXPECT(!notified(UINV));
}

/* Where there is no memory, all bits read as 1, and so do the reserved ones. */
static void a_upid_without_memory_is_refused(void)
{
	struct trap trap;

	own->uitt[1].upid = 0x3f000000;	/* mapped, and beyond the memory of the machine */
	EXPECT_EQ(send(1, &trap), TRAP_GP);
	EXPECT_EQ(trap.regs.error, 0);
}

/* Table and descriptor where only the supervisor may go, as a kernel has them. */
static void accesses_are_the_supervisors(void)
{
	struct uitte *uitte = window_memory(0);
	struct upid *upid = window_memory(1);

	map(0, PTE_P);
	map(1, PTE_P | PTE_W | PTE_NX);
	*uitte = (struct uitte){ UITTE(9), window(1) };
	*upid = own->upid;
	upid->pir = 0;
	wrmsr(MSR_UINTR_TT, window(0) | TT_ENABLE);
	EXPECT_EQ(send(0, NULL), VECTOR_DONE);
	EXPECT_EQ(upid->pir, BIT(9));
	EXPECT(notified(UINV));
}

/* With SMAP a descriptor on a user page faults; at CPL 3 RFLAGS.AC does not change that. */
static void smap_holds_for_the_upid(void)
{
	/* senduipi %rax; int */
	static const u8 code[] = { 0xf3, 0x0f, 0xc7, 0xf0, 0xcd, VECTOR_DONE };
	struct upid *upid = window_memory(1);
	struct trap user, kernel;
	struct regs regs;
	int at_user, at_kernel;

	if (!cpu_has_smap()) {
		skip("the CPU has no SMAP");
		return;
	}
	memcpy(window_memory(0), code, sizeof(code));
	map(0, PTE_P | PTE_U);
	map(1, PTE_P | PTE_W | PTE_U | PTE_NX);
	*upid = own->upid;
	upid->pir = 0;
	own->uitt[0].upid = window(1);
	user_regs(&regs, NULL, NULL);
	regs.rip = window(0);
	regs.rflags = 2 | RFLAGS_AC;
	set_smap(true);
	at_user = try_regs(&user, &regs);
	set_smap(false);
	set_smap(true);			/* AC is clear now */
	at_kernel = try_kernel(&kernel, do_send, (void *)0);
	set_smap(false);
	EXPECT_EQ(at_user, TRAP_PF);
	EXPECT_EQ(user.regs.error, 3);
	EXPECT_EQ(user.cr2 & ~0xfUL, window(1));
	EXPECT_EQ(at_kernel, TRAP_PF);
	EXPECT_EQ(kernel.regs.error, 3);
	EXPECT_EQ(upid->pir, 0);
	/* Without SMAP there is nothing wrong with it. */
	EXPECT_EQ(try_regs(NULL, &regs), VECTOR_DONE);
	EXPECT_EQ(upid->pir, BIT(0));
	EXPECT(notified(UINV));
}

static void missing_table_faults(void)
{
	struct trap trap;

	wrmsr(MSR_UINTR_TT, window(0) | TT_ENABLE);
	EXPECT_EQ(send(2, &trap), TRAP_PF);
	EXPECT_EQ(trap.regs.error, 0);
	EXPECT_EQ(trap.cr2, window(0) + 2 * sizeof(struct uitte));
}

static void missing_upid_faults(void)
{
	struct trap trap;

	own->uitt[0].upid = window(0) + 64;
	EXPECT_EQ(send(0, &trap), TRAP_PF);
	/* A locked access, and hence a write: architecture page, section 9. */
	EXPECT_EQ(trap.regs.error, 2);
	EXPECT_EQ(trap.cr2 & ~0xfUL, window(0) + 64);
}

static void read_only_upid_faults(void)
{
	struct upid *upid = window_memory(0);
	struct trap trap;

	map(0, PTE_P);
	*upid = own->upid;
	own->uitt[0].upid = window(0);
	EXPECT_EQ(send(0, &trap), TRAP_PF);
	EXPECT_EQ(trap.regs.error, 3);
	EXPECT_EQ(upid->pir, 0);
	/* It is written to even if nothing changes. */
	upid->pir = BIT(0);
	upid->low |= UPID_ON;
	EXPECT_EQ(send(0, &trap), TRAP_PF);
	EXPECT_EQ(trap.regs.error, 3);
}

static void read_only_upid_is_written_without_wp(void)
{
	struct upid *upid = window_memory(0);

	map(0, PTE_P);
	*upid = own->upid;
	upid->low |= UPID_SN;
	upid->pir = 0;
	own->uitt[0].upid = window(0);
	write_cr0(read_cr0() & ~(u64)CR0_WP);
	EXPECT_EQ(send(0, NULL), VECTOR_DONE);
	write_cr0(read_cr0() | CR0_WP);
	EXPECT_EQ(upid->pir, BIT(0));
}

/* After the fault is mended the instruction is executed again, as a whole. */
static bool map_upid(struct regs *regs)
{
	if (regs->vector != TRAP_PF)
		return false;
	map(0, PTE_P | PTE_W);
	return true;
}

static void is_restarted_after_a_fault(void)
{
	struct upid *upid = window_memory(0);

	*upid = own->upid;
	upid->pir = 0;
	own->uitt[4].upid = window(0);
	this_cpu()->mend = map_upid;
	EXPECT_EQ(send(4, NULL), VECTOR_DONE);
	this_cpu()->mend = NULL;
	EXPECT_EQ(upid->pir, BIT(4));
	EXPECT(notified(UINV));
}

/* Vectors below 16 do not exist for a local APIC: "send illegal vector". */
static void illegal_vector_is_an_apic_error(void)
{
	own->upid.low = UPID_NV(15) | ui_ndst(0);
	EXPECT_EQ(send(1, NULL), VECTOR_DONE);
	EXPECT_EQ(own->upid.pir, BIT(1));
	EXPECT_EQ(own->upid.low & UPID_ON, UPID_ON);
	EXPECT_EQ(apic_bit(APIC_IRR, 15), false);
	apic_write(APIC_ESR, 0);	/* brings the register up to date */
	EXPECT_EQ(apic_read(APIC_ESR) & BIT(5), BIT(5));
	apic_write(APIC_ESR, 0);
}

/* In xAPIC mode the ID is in the second byte of NDST, and nothing else of it counts. */
static void ndst_has_the_form_of_the_mode(void)
{
	u64 noise = x2apic ? 0 : 0xffff00ffUL << 32;

	own->upid.low = UPID_NV(UINV) | ui_ndst(0) | noise;
	EXPECT_EQ(send(1, NULL), VECTOR_DONE);
	EXPECT(notified(UINV));
	EXPECT_EQ(own->upid.low >> 32, (ui_ndst(0) | noise) >> 32);

	/* An APIC that is not there: no one is notified. */
	own->upid.low = UPID_NV(UINV) | (x2apic ? 77UL << 32 : 77UL << 40);
	EXPECT_EQ(send(1, NULL), VECTOR_DONE);
	EXPECT(!notified(UINV));
	if (!x2apic)
		return;
	/* All 32 bits of NDST are the ID in x2APIC mode: this one is of no CPU either. */
	own->upid.low = UPID_NV(UINV) | (cpus[0].apic_id | 0x100UL) << 32;
	EXPECT_EQ(send(1, NULL), VECTOR_DONE);
	EXPECT(!notified(UINV));
}

/* No CPU has the APIC ID that the last IPI went to, and the UPID has another vector. */
static void leaves_the_icr_alone(void)
{
	u32 before;

	send_ipi(77, OTHER_VECTOR);
	before = apic_read(APIC_ICR);
	EXPECT_EQ(before & 0xff, OTHER_VECTOR);
	EXPECT_EQ(send(1, NULL), VECTOR_DONE);
	EXPECT_EQ(apic_read(APIC_ICR), before);
	EXPECT(notified(UINV));
}

/* Disabled in IA32_APIC_BASE, and enabled again in the mode that it was in. */
#define MSR_APICBASE 0x1b
#define APICBASE_MODE (BIT(10) | BIT(11))

static void disabled_apic_notifies_nobody(void)
{
	u64 base = rdmsr(MSR_APICBASE), pause;

	ui[0].upid.low = UPID_NV(OTHER_VECTOR) | ui_ndst(1);
	WRITE_ONCE(cpus[1].irqs[OTHER_VECTOR], 0);
	wrmsr(MSR_APICBASE, base & ~APICBASE_MODE);
	senduipi(9);
	wrmsr(MSR_APICBASE, (base & ~APICBASE_MODE) | BIT(11));
	if (x2apic)
		wrmsr(MSR_APICBASE, base);
	apic_write(APIC_SVR, 0x1ff);
	EXPECT_EQ(ui[0].upid.pir, BIT(9));
	EXPECT_EQ(ui[0].upid.low & UPID_ON, UPID_ON);
	for (pause = deadline_ms(5); !expired(pause);)
		;
	EXPECT_EQ(READ_ONCE(cpus[1].irqs[OTHER_VECTOR]), 0);
	/* Enabled, it does. */
	ui[0].upid.low &= ~UPID_ON;
	senduipi(9);
	for (pause = deadline_ms(2000); !expired(pause) && !READ_ONCE(cpus[1].irqs[OTHER_VECTOR]);)
		;
	EXPECT_EQ(READ_ONCE(cpus[1].irqs[OTHER_VECTOR]), 1);
}

TESTS(
	TEST(posts_and_notifies, SEND-1, ENUM-14),
	TEST(runs_at_supervisor_level, INSN-2, SEND-1),
	TEST(adds_to_what_is_posted, SEND-2),
	TEST(is_silent_with_on_set, SEND-3),
	TEST(is_silent_with_sn_set, SEND-4),
	TEST(uses_the_vector_of_the_upid, SEND-5),
	TEST(reaches_all_64_vectors, SEND-6),
	TEST(index_is_limited_by_uittsz, SEND-7),
	TEST(index_is_not_truncated, SEND-8),
	TEST(reserved_bits_of_an_entry, SEND-9),
	TEST(upid_address_must_be_aligned, SEND-10),
	TEST(upid_address_must_be_canonical, SEND-10),
	TEST(table_address_must_be_canonical, SEND-11),
	TEST(reserved_bits_of_a_upid, SEND-12),
	TEST(a_upid_without_memory_is_refused, SEND-12),
	TEST(accesses_are_the_supervisors, SEND-13),
	TEST(smap_holds_for_the_upid, SEND-14),
	TEST(missing_table_faults, SEND-15),
	TEST(missing_upid_faults, SEND-16),
	TEST(read_only_upid_faults, SEND-16),
	TEST(read_only_upid_is_written_without_wp, SEND-16),
	TEST(is_restarted_after_a_fault, SEND-17),
	TEST(illegal_vector_is_an_apic_error, SEND-18),
	TEST(ndst_has_the_form_of_the_mode, SEND-19),
	TEST(leaves_the_icr_alone, SEND-20),
	TEST_SMP(disabled_apic_notifies_nobody, 2, SEND-30),
);
