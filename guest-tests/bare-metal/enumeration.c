// SPDX-License-Identifier: GPL-2.0-only
/* CPUID, CR4 and the MSRs of user interrupts, on a CPU with and without them. */
#include "uintr.h"

static bool can_tell(void)
{
	if (!cpu_has_uintr() && !modelled)
		skip("this emulator does not know the feature, and so not its absence");
	return !over();
}

/* Runs first, to see the state after reset. */
static void all_is_0_after_reset(void)
{
	u32 msr;

	for (msr = MSR_UINTR_RR; msr <= MSR_UINTR_TT; msr++)
		EXPECT_EQ(rdmsr(msr), 0);
	EXPECT_EQ(read_cr4() & CR4_UINTR, 0);
	write_cr4(read_cr4() | CR4_UINTR);
	EXPECT(!testui());
	write_cr4(read_cr4() & ~(u64)CR4_UINTR);
}

static void cr4_bit_follows_cpuid(void)
{
	int expected = cpu_has_uintr() ? VECTOR_DONE : TRAP_GP;

	if (!can_tell())
		return;
	EXPECT_EQ(try_write_cr4(read_cr4() | CR4_UINTR), expected);
	EXPECT_EQ(!!(read_cr4() & CR4_UINTR), cpu_has_uintr());
	write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	EXPECT_EQ(read_cr4() & CR4_UINTR, 0);
}

static void msrs_follow_cpuid(void)
{
	int expected = cpu_has_uintr() ? VECTOR_DONE : TRAP_GP;
	u32 msr;
	u64 value;

	if (!can_tell())
		return;
	for (msr = MSR_UINTR_RR; msr <= MSR_UINTR_TT; msr++) {
		EXPECT_EQ(try_rdmsr(msr, &value), expected);
		EXPECT_EQ(try_wrmsr(msr, 0), expected);
	}
}

/* IA32_UINTR_TIMER was published once and withdrawn. */
static void there_is_no_user_timer(void)
{
	u32 a, b, c, d;

	cpuid(7, 1, &a, &b, &c, &d);
	EXPECT_EQ(d >> 13 & 1, 0);
}

static bool odd_address(u64 value)
{
	u32 a, b, c, d;
	int bits;

	cpuid(7, 0, &a, &b, &c, &d);
	bits = c >> 16 & 1 ? 57 : 48;
	return (long)(value << (64 - bits)) >> (64 - bits) != (long)value;
}

static void check_values(u32 msr, u64 reserved, bool address)
{
	u64 old = 0, value;
	int bit;

	EXPECT_EQ(try_wrmsr(msr, 0), VECTOR_DONE);
	for (bit = 0; bit < 64; bit++) {
		bool bad = (reserved & BIT(bit)) || (address && odd_address(BIT(bit)));

		if (try_wrmsr(msr, BIT(bit)) != (bad ? TRAP_GP : VECTOR_DONE))
			FAIL("bit %d of MSR 0x%x: %s", bit, msr, bad ? "taken" : "refused");
		if (!bad)
			old = BIT(bit);
		if (try_rdmsr(msr, &value) != VECTOR_DONE || value != old)
			FAIL("MSR 0x%x reads 0x%lx, not 0x%lx", msr, value, old);
	}
	wrmsr(msr, 0);
}

static void rr_takes_any_value(void)
{
	check_values(MSR_UINTR_RR, 0, false);
}

static void handler_must_be_canonical(void)
{
	check_values(MSR_UINTR_HANDLER, 0, true);
}

static void stackadjust_must_be_canonical(void)
{
	check_values(MSR_UINTR_STACKADJUST, 0, true);
}

static void misc_has_24_reserved_bits(void)
{
	check_values(MSR_UINTR_MISC, ~0UL << 40, false);
}

static void pd_must_be_aligned_and_canonical(void)
{
	check_values(MSR_UINTR_PD, 0x3f, true);
}

static void tt_must_be_aligned_and_canonical(void)
{
	check_values(MSR_UINTR_TT, 0xe, true);
}

/* Canonical means the widest address of the CPU, not of the current paging mode (4 levels). */
static void canonical_is_what_the_cpu_can(void)
{
	u64 value = 0x0000800000000000;
	int expected = odd_address(value) ? TRAP_GP : VECTOR_DONE;

	EXPECT_EQ(try_wrmsr(MSR_UINTR_HANDLER, value), expected);
	EXPECT_EQ(try_wrmsr(MSR_UINTR_HANDLER, ~0UL << 47), VECTOR_DONE);
	wrmsr(MSR_UINTR_HANDLER, 0);
}

static void cr4_does_not_gate_the_msrs(void)
{
	u64 value;

	write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	EXPECT_EQ(try_wrmsr(MSR_UINTR_MISC, MISC(0x55, 7)), VECTOR_DONE);
	EXPECT_EQ(try_rdmsr(MSR_UINTR_MISC, &value), VECTOR_DONE);
	EXPECT_EQ(value, MISC(0x55, 7));
	wrmsr(MSR_UINTR_MISC, 0);
}

static void read_at_user_level(void *unused)
{
	(void)unused;
	rdmsr(MSR_UINTR_MISC);
}

static void msrs_are_for_the_supervisor(void)
{
	EXPECT_EQ(try_user(NULL, read_at_user_level, NULL), TRAP_GP);
}

static void write_cr3(void *value)
{
	asm volatile("movq %0, %%cr3" :: "r"(value) : "memory");
}

static void reserved_bits_of_cr3_are_gp(void)
{
	u32 width, b, c, d;
	struct trap trap;
	u64 cr3;
	int bit;

	if (!modelled) {
		skip("this emulator dies of it");
		return;
	}
	cpuid(0x80000008, 0, &width, &b, &c, &d);
	asm volatile("movq %%cr3, %0" : "=r"(cr3));
	/* Bits 61 to 63 may belong to features. */
	for (bit = width & 0xff; bit < 61; bit++) {
		if (try_kernel(&trap, write_cr3, (void *)(cr3 | BIT(bit))) != TRAP_GP)
			FAIL("bit %d", bit);
		EXPECT_EQ(trap.regs.error, 0);
	}
	EXPECT_EQ(try_kernel(NULL, write_cr3, (void *)cr3), VECTOR_DONE);
}

/* --- INIT ---------------------------------------------------------------------------------- */

#define INIT_IPI 0x4500
#define STARTUP_IPI (0x4600 | AP_START >> 12)

extern u32 ap_next;

static const u64 kept[] = { BIT(63) | 1, 0x5000, 128, MISC(0, 77), 0x6040, 0x7001 };
static u64 after[6], xss_after;
static bool has_xsaves;

static void set_state(void *unused)
{
	u32 msr;

	(void)unused;
	for (msr = MSR_UINTR_RR; msr <= MSR_UINTR_TT; msr++)
		wrmsr(msr, kept[msr - MSR_UINTR_RR]);
	if (has_xsaves)
		wrmsr(0xda0, BIT(14));
}

static void get_state(void *unused)
{
	u32 msr;

	(void)unused;
	for (msr = MSR_UINTR_RR; msr <= MSR_UINTR_TT; msr++)
		after[msr - MSR_UINTR_RR] = rdmsr(msr);
	if (has_xsaves)
		xss_after = rdmsr(0xda0);
	write_cr4(read_cr4() | CR4_UINTR);
	ui_off();
	if (has_xsaves)
		wrmsr(0xda0, 0);
}

/* CPU 1 is brought back to where it began, by INIT and a startup IPI. */
static void init_leaves_the_msrs(void)
{
	u32 a, b, c, d;
	u64 pause;
	int i;

	cpuid(13, 1, &a, &b, &c, &d);
	has_xsaves = a & BIT(3);
	run_on(1, set_state, NULL);
	EXPECT(run_done(1, deadline_ms(2000)));
	WRITE_ONCE(ap_next, 1);
	send_ipi(cpus[1].apic_id, INIT_IPI);
	for (pause = deadline_ms(10); !expired(pause);)
		;
	send_ipi(cpus[1].apic_id, STARTUP_IPI);
	for (pause = deadline_ms(10); !expired(pause);)
		;
	memset(after, 0, sizeof(after));
	run_on(1, get_state, NULL);
	EXPECT(run_done(1, deadline_ms(5000)));
	for (i = 0; i < 6; i++) {
		if (after[i] != kept[i])
			FAIL("MSR 0x%x is 0x%lx, not 0x%lx", MSR_UINTR_RR + i, after[i], kept[i]);
	}
	if (has_xsaves)
		EXPECT_EQ(xss_after, BIT(14));
}

TESTS(
	TEST(all_is_0_after_reset, ENUM-13),
	TEST_ANYWHERE(cr4_bit_follows_cpuid, ENUM-1),
	TEST_ANYWHERE(msrs_follow_cpuid, ENUM-2),
	TEST_ANYWHERE(there_is_no_user_timer, ENUM-12),
	TEST(rr_takes_any_value, ENUM-4),
	TEST(handler_must_be_canonical, ENUM-5),
	TEST(stackadjust_must_be_canonical, ENUM-6),
	TEST(misc_has_24_reserved_bits, ENUM-7),
	TEST(pd_must_be_aligned_and_canonical, ENUM-8),
	TEST(tt_must_be_aligned_and_canonical, ENUM-9),
	TEST(canonical_is_what_the_cpu_can, ENUM-10),
	TEST(cr4_does_not_gate_the_msrs, ENUM-11),
	TEST(msrs_are_for_the_supervisor, ENUM-3),
	TEST_ANYWHERE(reserved_bits_of_cr3_are_gp, ENUM-17),
	TEST_SMP(init_leaves_the_msrs, 2, ENUM-15, ENUM-16),
);
