// SPDX-License-Identifier: GPL-2.0-only
/*
 * The XSAVE family: sizes by CPUID, both formats, XSAVEC, XSAVES and XRSTORS, and component 14,
 * the state of user interrupts (SDM volume 1, chapter 13).
 */
#include "uintr.h"

#define MSR_XSS 0xda0
#define XCOMP_COMPACTED BIT(63)
#define UINTR BIT(14)
#define HEADER 512
#define AREA 576
/* Largest area: with AMX it has 11008 bytes. */
#define AREA_SIZE 16384

struct image {
	u64 handler, stackadjust, misc, pd, rr, tt;
};

static u8 area[AREA_SIZE] __attribute__((aligned(64)));
static u8 other[AREA_SIZE] __attribute__((aligned(64)));
static u64 xcr0;
static bool has_xsavec, has_xsaves;

static u64 *header(u8 *at)
{
	return (u64 *)(at + HEADER);
}

static void xsetbv(u64 value)
{
	asm volatile("xsetbv" :: "a"((u32)value), "d"((u32)(value >> 32)), "c"(0));
}

#define XSAVE_OP(op) \
	static void op(void *at, u64 mask) \
	{ \
		asm volatile(#op "64 (%0)" :: "r"(at), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory"); \
	}
XSAVE_OP(xsave)
XSAVE_OP(xsavec)
XSAVE_OP(xsaves)
XSAVE_OP(xrstor)
XSAVE_OP(xrstors)

struct call {
	void (*op)(void *at, u64 mask);
	void *at;
	u64 mask;
};

static void do_call(void *argument)
{
	struct call *call = argument;

	call->op(call->at, call->mask);
}

static int try(void (*op)(void *, u64), void *at, u64 mask)
{
	struct call call = { op, at, mask };

	return try_kernel(NULL, do_call, &call);
}

void test_setup(void)
{
	u32 a, b, c, d;

	cpuid(1, 0, &a, &b, &c, &d);
	if (!(c & BIT(26))) {
		skip("the CPU has no XSAVE");
		return;
	}
	write_cr4(read_cr4() | CR4_OSXSAVE | CR4_OSFXSR);
	cpuid(13, 0, &a, &b, &c, &d);
	xcr0 = a | (u64)d << 32;
	cpuid(13, 1, &a, &b, &c, &d);
	has_xsavec = a & BIT(1);
	has_xsaves = a & BIT(3);
	xsetbv(xcr0);
	if (has_xsaves)
		wrmsr(MSR_XSS, 0);
	if (cpu_has_uintr())
		ui_off();
	memset(area, 0, sizeof(area));
	memset(other, 0, sizeof(other));
}

/* Offset of a component in a compacted area, computed from CPUID; the size for bit 63. */
static u32 compacted(u64 components, int bit)
{
	u32 a, b, c, d, at = AREA;
	int i;

	for (i = 2; i < 63; i++) {
		if (!(components & BIT(i)))
			continue;
		cpuid(13, i, &a, &b, &c, &d);
		if (c & BIT(1))
			at = (at + 63) & ~63;
		if (i == bit)
			return at;
		at += a;
	}
	return at;
}

static bool need_xsaves(void)
{
	if (!has_xsaves)
		skip("the CPU has no XSAVES");
	return has_xsaves;
}

/* --- enumeration --------------------------------------------------------------------------- */

static void component_14_has_48_bytes(void)
{
	u32 a, b, c, d;

	cpuid(13, 14, &a, &b, &c, &d);
	if (!cpu_has_uintr()) {
		EXPECT_EQ(a | b | c | d, 0);
		return;
	}
	EXPECT_EQ(a, 48);
	EXPECT_EQ(b, 0);
	EXPECT_EQ(c, 1);
	EXPECT_EQ(d, 0);
	cpuid(13, 1, &a, &b, &c, &d);
	EXPECT_EQ(a & BIT(3), BIT(3));
	EXPECT_EQ(c & UINTR, UINTR);
	cpuid(13, 0, &a, &b, &c, &d);
	EXPECT_EQ(a & UINTR, 0);
}

/* CPUID.(D,1):EBX follows XCR0 | IA32_XSS; operating systems check it. */
static void size_follows_xcr0_and_xss(void)
{
	static const u64 some[] = { 0x3, 0x7, 0x203, 0x207, 0x1b, 0x1f, 0x21f };
	u32 a, b, c, d;
	unsigned int i;
	u64 xss;

	if (!need_xsaves())
		return;
	for (i = 0; i < ARRAY_SIZE(some); i++) {
		if (some[i] & ~xcr0)
			continue;
		xsetbv(some[i]);
		for (xss = 0; xss <= (cpu_has_uintr() ? UINTR : 0); xss += UINTR) {
			wrmsr(MSR_XSS, xss);
			cpuid(13, 1, &a, &b, &c, &d);
			if (b != compacted(some[i] | xss, 63))
				FAIL("XCR0 0x%lx, XSS 0x%lx: %u bytes", some[i], xss, b);
		}
	}
	if (cpu_has_uintr()) {
		xsetbv(3);
		wrmsr(MSR_XSS, UINTR);
		cpuid(13, 1, &a, &b, &c, &d);
		EXPECT_EQ(b, 0x270);
	}
}

static void xss_has_the_bits_of_cpuid(void)
{
	u32 a, b, c, d;
	u64 value, valid;
	int bit;

	cpuid(13, 1, &a, &b, &c, &d);
	if (!has_xsaves && !modelled) {
		skip("this emulator ignores MSRs that it does not know");
		return;
	}
	if (!has_xsaves) {
		EXPECT_EQ(try_rdmsr(MSR_XSS, &value), TRAP_GP);
		EXPECT_EQ(try_wrmsr(MSR_XSS, 0), TRAP_GP);
		return;
	}
	valid = c | (u64)d << 32;
	for (bit = 0; bit < 64; bit++) {
		if (try_wrmsr(MSR_XSS, BIT(bit)) != (valid & BIT(bit) ? VECTOR_DONE : TRAP_GP))
			FAIL("bit %d", bit);
	}
	wrmsr(MSR_XSS, 0);
}

/* --- user components ----------------------------------------------------------------------- */

static void load_ymm(u64 seed)
{
	u64 words[4] = { seed, seed * 3, seed * 5, seed * 7 };

	asm volatile("vmovdqu (%0), %%ymm3; vmovdqu (%0), %%ymm15" :: "r"(words) : "memory");
}

static bool ymm_is(u64 seed)
{
	u64 words[8], want[4] = { seed, seed * 3, seed * 5, seed * 7 };

	asm volatile("vmovdqu %%ymm3, (%0); vmovdqu %%ymm15, 32(%0)" :: "r"(words) : "memory");
	return !memcmp(words, want, 32) && !memcmp(words + 4, want, 32);
}

static bool need_avx(void)
{
	if (!(xcr0 & 4))
		skip("the CPU has no AVX");
	return xcr0 & 4;
}

static void round_trip(void (*save)(void *, u64), void (*restore)(void *, u64), bool is_compacted)
{
	load_ymm(0x1111);
	save(area, ~0UL);
	EXPECT_EQ(header(area)[0] & 6, 6);
	EXPECT_EQ(header(area)[1], is_compacted ? xcr0 | XCOMP_COMPACTED : 0);
	load_ymm(0x2222);
	restore(area, ~0UL);
	EXPECT(ymm_is(0x1111));
	/* Not asked for: left alone. Asked for and not there: initial. */
	load_ymm(0x3333);
	restore(area, ~6UL);
	EXPECT(ymm_is(0x3333));
	header(area)[0] &= ~6UL;
	restore(area, ~0UL);
	EXPECT(ymm_is(0));
}

static void xsave_keeps_the_standard_format(void)
{
	if (need_avx())
		round_trip(xsave, xrstor, false);
}

static void xsavec_and_xrstor(void)
{
	if (!has_xsavec)
		skip("the CPU has no XSAVEC");
	else if (need_avx())
		round_trip(xsavec, xrstor, true);
}

static void xsaves_and_xrstors(void)
{
	if (need_xsaves() && need_avx())
		round_trip(xsaves, xrstors, true);
}

/* AVX follows the components before it, and nothing after it is written. */
static void compacted_offsets_are_those_of_cpuid(void)
{
	u64 mask = 4 | (xcr0 & BIT(9));
	u32 end, at;

	if (!need_xsaves() || !need_avx())
		return;
	memset(area, 0xaa, sizeof(area));
	load_ymm(0x4444);
	xsaves(area, mask);
	EXPECT_EQ(header(area)[1], mask | XCOMP_COMPACTED);
	at = compacted(mask, 2);
	end = compacted(mask, 63);
	EXPECT_EQ(*(u64 *)(area + at + 3 * 16), 0x4444 * 5UL);
	EXPECT_EQ(*(u64 *)(area + end), 0xaaaaaaaaaaaaaaaa);
	/* Legacy state was not requested; 16 bytes of the header are written. */
	EXPECT_EQ(*(u64 *)area, 0xaaaaaaaaaaaaaaaa);
	EXPECT_EQ(header(area)[2], 0xaaaaaaaaaaaaaaaa);
}

static void mxcsr_is_initial_in_compacted_form(void)
{
	u32 mxcsr = 0x1fa0;

	if (!need_xsaves())
		return;
	xsaves(area, 3);
	header(area)[0] = 0;
	asm volatile("ldmxcsr %0" :: "m"(mxcsr));
	xrstors(area, 3);
	asm volatile("stmxcsr %0" : "=m"(mxcsr));
	EXPECT_EQ(mxcsr, 0x1f80);
}

static void headers_are_checked(void)
{
	int i;

	if (!need_xsaves())
		return;
	xsaves(area, ~0UL);
	EXPECT_EQ(try(xrstors, area, ~0UL), VECTOR_DONE);
	for (i = 2; i < 8; i++) {
		header(area)[i] = 1;
		EXPECT_EQ(try(xrstors, area, ~0UL), TRAP_GP);
		EXPECT_EQ(try(xrstor, area, ~0UL), TRAP_GP);
		header(area)[i] = 0;
	}
	header(area)[1] |= BIT(40);	/* a component that is not enabled */
	EXPECT_EQ(try(xrstors, area, ~0UL), TRAP_GP);
	EXPECT_EQ(try(xrstor, area, ~0UL), TRAP_GP);
	header(area)[1] = XCOMP_COMPACTED | 1;
	header(area)[0] = BIT(63) | 1;	/* a bit that XCOMP_BV has, too */
	EXPECT_EQ(try(xrstors, area, ~0UL), VECTOR_DONE);
	EXPECT_EQ(try(xrstor, area, ~0UL), VECTOR_DONE);
	header(area)[0] = 3;	/* XSTATE_BV has more than XCOMP_BV */
	EXPECT_EQ(try(xrstors, area, ~0UL), TRAP_GP);
	header(area)[1] = 0;	/* the standard format is XRSTOR's */
	EXPECT_EQ(try(xrstors, area, ~0UL), TRAP_GP);
	EXPECT_EQ(try(xrstor, area, ~0UL), VECTOR_DONE);
}

static void faults_come_in_order(void)
{
	void (*ops[])(void *, u64) = { xsave, xsavec, xsaves, xrstor, xrstors };
	unsigned int i;

	if (!need_xsaves())
		return;
	xsaves(area, ~0UL);
	memcpy(other, area, sizeof(other));
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		EXPECT_EQ(try(ops[i], other + 8, ~0UL), TRAP_GP);
		write_cr0(read_cr0() | CR0_TS);
		EXPECT_EQ(try(ops[i], other + 8, ~0UL), TRAP_NM);
		write_cr4(read_cr4() & ~(u64)CR4_OSXSAVE);
		EXPECT_EQ(try(ops[i], other + 8, ~0UL), TRAP_UD);
		write_cr4(read_cr4() | CR4_OSXSAVE);
		write_cr0(read_cr0() & ~(u64)CR0_TS);
	}
}

static void do_xsaves(void *at)
{
	xsaves(at, 3);
}

static void do_xrstors(void *at)
{
	xrstors(at, 3);
}

static void supervisor_forms_are_gp_at_user_level(void)
{
	if (!need_xsaves())
		return;
	EXPECT_EQ(try_user(NULL, do_xsaves, area), TRAP_GP);
	EXPECT_EQ(try_user(NULL, do_xrstors, area), TRAP_GP);
	EXPECT_EQ(try_user(NULL, do_xsaves, area + 8), TRAP_GP);
}

/* What is not enabled does not exist at CPL 3 either. */
static void faults_come_in_order_at_user_level(void)
{
	void (*ops[])(void *) = { do_xsaves, do_xrstors };
	unsigned int i, odd;

	if (!need_xsaves())
		return;
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		for (odd = 0; odd <= 8; odd += 8) {
			write_cr0(read_cr0() | CR0_TS);
			EXPECT_EQ(try_user(NULL, ops[i], area + odd), TRAP_NM);
			write_cr4(read_cr4() & ~(u64)CR4_OSXSAVE);
			EXPECT_EQ(try_user(NULL, ops[i], area + odd), TRAP_UD);
			write_cr0(read_cr0() & ~(u64)CR0_TS);
			EXPECT_EQ(try_user(NULL, ops[i], area + odd), TRAP_UD);
			write_cr4(read_cr4() | CR4_OSXSAVE);
			EXPECT_EQ(try_user(NULL, ops[i], area + odd), TRAP_GP);
		}
	}
}

static u32 get_mxcsr(void)
{
	u32 mxcsr;

	asm volatile("stmxcsr %0" : "=m"(mxcsr));
	return mxcsr;
}

/* Each bit that is clear in MXCSR_MASK; both formats where there are two. */
static void refuse_mxcsr(void (*save)(void *, u64), void (*restore)(void *, u64))
{
	u32 mask, mxcsr = 0x1f80, other_mxcsr = 0x1fa0;
	bool standard;
	int bit;

	asm volatile("ldmxcsr %0" :: "m"(other_mxcsr));
	memset(other, 0, sizeof(other));
	asm volatile("fxsave64 (%0)" :: "r"(other) : "memory");
	mask = *(u32 *)(other + 28) ?: 0xffbf;
	memset(area, 0, sizeof(area));
	save(area, 3);
	EXPECT_EQ(header(area)[0] & 2, 2);
	for (bit = 0; bit < 32; bit++) {
		*(u32 *)(area + 24) = mxcsr | 1U << bit;
		asm volatile("ldmxcsr %0" :: "m"(other_mxcsr));
		if (try(restore, area, 3) != (mask >> bit & 1 ? VECTOR_DONE : TRAP_GP))
			FAIL("bit %d of MXCSR", bit);
		EXPECT_EQ(get_mxcsr(), mask >> bit & 1 ? mxcsr | 1U << bit : other_mxcsr);
		/* What is not asked for is not looked at. */
		EXPECT_EQ(try(restore, area, 1), VECTOR_DONE);
		/* The standard format has it loaded with SSE or AVX whatever XSTATE_BV says. */
		header(area)[0] &= ~2UL;
		standard = !(header(area)[1] >> 63);
		EXPECT_EQ(try(restore, area, 3),
			  standard && !(mask >> bit & 1) ? TRAP_GP : VECTOR_DONE);
		header(area)[0] |= 2;
	}
	asm volatile("ldmxcsr %0" :: "m"(mxcsr));
}

static void reserved_bits_of_mxcsr_are_gp(void)
{
	if (!modelled) {
		skip("this emulator does not look at MXCSR");
		return;
	}
	refuse_mxcsr(xsave, xrstor);
	if (has_xsavec)
		refuse_mxcsr(xsavec, xrstor);
	if (has_xsaves)
		refuse_mxcsr(xsaves, xrstors);
}

/* The component is not loaded either, which XRSTORS may do before it looks at MXCSR. */
static void wrong_mxcsr_loads_nothing(void)
{
	if (!need_xsaves())
		return;
	wrmsr(MSR_XSS, UINTR);
	wrmsr(MSR_UINTR_HANDLER, 0x5000);
	xsaves(area, ~0UL);
	header(area)[0] |= 2;
	*(u32 *)(area + 24) = 0x80001f80;
	wrmsr(MSR_UINTR_HANDLER, 0x6000);
	EXPECT_EQ(try(xrstors, area, ~0UL), TRAP_GP);
	EXPECT_EQ(rdmsr(MSR_UINTR_HANDLER), 0x6000);
	EXPECT_EQ(try(xrstors, area, UINTR), VECTOR_DONE);
	EXPECT_EQ(rdmsr(MSR_UINTR_HANDLER), 0x5000);
}

/* --- component 14 -------------------------------------------------------------------------- */

static const struct image sample = {
	.handler = 0x111000, .stackadjust = 128, .misc = MISC(0, 0x155), .pd = 0x222240,
	.rr = BIT(63) | BIT(2), .tt = 0x333331,
};

static void set(const struct image *image)
{
	wrmsr(MSR_UINTR_HANDLER, image->handler);
	wrmsr(MSR_UINTR_STACKADJUST, image->stackadjust);
	wrmsr(MSR_UINTR_MISC, image->misc & ~BIT(63));
	wrmsr(MSR_UINTR_PD, image->pd);
	wrmsr(MSR_UINTR_RR, image->rr);
	wrmsr(MSR_UINTR_TT, image->tt);
}

static void expect_state(const struct image *image)
{
	EXPECT_EQ(rdmsr(MSR_UINTR_HANDLER), image->handler);
	EXPECT_EQ(rdmsr(MSR_UINTR_STACKADJUST), image->stackadjust);
	EXPECT_EQ(rdmsr(MSR_UINTR_MISC), image->misc & ~BIT(63));
	EXPECT_EQ(rdmsr(MSR_UINTR_PD), image->pd);
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), image->rr);
	EXPECT_EQ(rdmsr(MSR_UINTR_TT), image->tt);
}

static struct image *image(u8 *at)
{
	return (struct image *)(at + compacted(header(at)[1] & ~XCOMP_COMPACTED, 14));
}

static bool start_uintr(void)
{
	if (!need_xsaves())
		return false;
	wrmsr(MSR_XSS, UINTR);
	write_cr4(read_cr4() | CR4_UINTR);
	clui();
	return true;
}

static void image_has_the_layout_of_the_manual(void)
{
	struct image expected = sample;
	int uif;

	for (uif = 0; uif < 2; uif++) {
		if (!start_uintr())
			return;
		expected.misc = MISC(0xec, 0x155) | (uif ? BIT(63) : 0);
		set(&expected);
		if (uif)
			stui();
		xsaves(area, ~0UL);
		EXPECT_EQ(header(area)[0] & UINTR, UINTR);
		EXPECT_EQ(header(area)[1] & UINTR, UINTR);
		EXPECT_EQ(memcmp(image(area), &expected, sizeof(expected)), 0);
		EXPECT_EQ(image(area)->misc, expected.misc);
	}
	clui();
}

/* And only UINV: an interrupt with that vector is no notification from then on. */
static void xsaves_clears_uinv(void)
{
	struct image expected = sample;

	if (!start_uintr())
		return;
	expected.misc = MISC(0xec, 0x155);
	set(&expected);
	stui();
	xsaves(area, UINTR);
	expected.misc = MISC(0, 0x155);
	expect_state(&expected);
	EXPECT(testui());
	xsaves(other, UINTR);
	EXPECT_EQ(image(other)->misc, MISC(0, 0x155) | BIT(63));
	clui();
}

static void without_the_bit_uinv_stays(void)
{
	if (!start_uintr())
		return;
	wrmsr(MSR_UINTR_MISC, MISC(0xec, 1));
	xsaves(area, ~UINTR);
	EXPECT_EQ(rdmsr(MSR_UINTR_MISC), MISC(0xec, 1));
	wrmsr(MSR_XSS, 0);
	xsaves(area, ~0UL);
	EXPECT_EQ(rdmsr(MSR_UINTR_MISC), MISC(0xec, 1));
	EXPECT_EQ(header(area)[1] & UINTR, 0);
}

/* UIF alone makes it differ from the initial configuration, and UINV as well. */
static void xstate_bv_is_exact(void)
{
	if (!start_uintr())
		return;
	xsaves(area, ~0UL);
	EXPECT_EQ(header(area)[0] & UINTR, 0);
	EXPECT_EQ(header(area)[1] & UINTR, UINTR);
	stui();
	xsaves(area, ~0UL);
	EXPECT_EQ(header(area)[0] & UINTR, UINTR);
	clui();
	wrmsr(MSR_UINTR_MISC, MISC(0xec, 0));
	xsaves(area, ~0UL);
	EXPECT_EQ(header(area)[0] & UINTR, UINTR);
	xsaves(area, ~0UL);
	EXPECT_EQ(header(area)[0] & UINTR, 0);
}

static void xrstors_loads_all_of_it(void)
{
	if (!start_uintr())
		return;
	set(&sample);
	stui();
	xsaves(area, ~0UL);
	ui_off();
	write_cr4(read_cr4() | CR4_UINTR);
	xrstors(area, ~0UL);
	expect_state(&sample);
	EXPECT(testui());
	/* UINV is loaded, too. */
	ui_off();
	write_cr4(read_cr4() | CR4_UINTR);
	image(area)->misc = MISC(0xec, 3);
	xrstors(area, UINTR);
	EXPECT_EQ(rdmsr(MSR_UINTR_MISC), MISC(0xec, 3));
	EXPECT(!testui());
}

static void xrstors_refuses_with_uinv(void)
{
	if (!start_uintr())
		return;
	set(&sample);
	xsaves(area, ~0UL);
	wrmsr(MSR_UINTR_HANDLER, 0x5000);
	wrmsr(MSR_UINTR_MISC, MISC(0x30, 0));
	EXPECT_EQ(try(xrstors, area, ~0UL), TRAP_GP);
	EXPECT_EQ(rdmsr(MSR_UINTR_HANDLER), 0x5000);
	EXPECT_EQ(try(xrstors, area, ~UINTR), VECTOR_DONE);
	EXPECT_EQ(rdmsr(MSR_UINTR_MISC), MISC(0x30, 0));
	/* The same for loading the initial configuration, as the text has no exception. */
	header(area)[0] &= ~UINTR;
	EXPECT_EQ(try(xrstors, area, ~0UL), TRAP_GP);
	/* UITTSZ does not matter. */
	wrmsr(MSR_UINTR_MISC, MISC(0, 9));
	EXPECT_EQ(try(xrstors, area, ~0UL), VECTOR_DONE);
}

static void xrstors_of_the_initial_configuration(void)
{
	static const struct image zero;

	if (!start_uintr())
		return;
	set(&sample);
	stui();
	xsaves(area, ~0UL);
	header(area)[0] &= ~UINTR;
	xrstors(area, ~0UL);
	expect_state(&zero);
	EXPECT(!testui());
}

/* One wrong field is enough. UINV is 0 then, whatever else was loaded before the fault. */
static void xrstors_checks_each_field(void)
{
	static const struct {
		int field;
		u64 bits;
	} wrong[] = {
		{ 0, BIT(62) }, { 1, BIT(62) }, { 2, BIT(40) }, { 2, BIT(62) }, { 3, BIT(0) },
		{ 3, BIT(5) }, { 3, BIT(62) }, { 5, BIT(1) }, { 5, BIT(3) }, { 5, BIT(62) },
	};
	struct image before = { .handler = 0x9000, .misc = MISC(0, 5), .rr = 1 };
	unsigned int i;

	if (!start_uintr())
		return;
	set(&sample);
	xsaves(area, ~0UL);
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		u64 *field = (u64 *)image(area) + wrong[i].field;

		set(&before);
		*field ^= wrong[i].bits;
		if (try(xrstors, area, ~0UL) != TRAP_GP)
			FAIL("bits 0x%lx of field %d are taken", wrong[i].bits, wrong[i].field);
		EXPECT_EQ(rdmsr(MSR_UINTR_MISC) >> 32, 0);
		*field ^= wrong[i].bits;
	}
	EXPECT_EQ(try(xrstors, area, ~0UL), VECTOR_DONE);
}

/* A request that is loaded is delivered on the way to CPL 3. */
static void do_nothing(void *unused)
{
	(void)unused;
}

static void loaded_requests_are_delivered(void)
{
	if (!start_uintr())
		return;
	ui_setup();
	stui();
	wrmsr(MSR_UINTR_RR, BIT(11));
	xsaves(area, UINTR);
	ui_off();
	write_cr4(read_cr4() | CR4_UINTR);
	xrstors(area, UINTR);
	EXPECT_EQ(try_user(NULL, do_nothing, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	EXPECT_EQ(ui_log.frames[0].vector, 11);
}

/* XSAVE, XSAVEC and XRSTOR do not access supervisor state. */
static void user_forms_leave_it_alone(void)
{
	if (!start_uintr())
		return;
	set(&sample);
	xsave(area, ~0UL);
	EXPECT_EQ(header(area)[0] & UINTR, 0);
	xsavec(other, ~0UL);
	EXPECT_EQ(header(other)[0] & UINTR, 0);
	EXPECT_EQ(header(other)[1] & UINTR, 0);
	header(area)[0] = 0;
	xrstor(area, ~0UL);
	expect_state(&sample);
	/* With the bit in XCOMP_BV, XRSTOR refuses the area. */
	xsaves(area, ~0UL);
	EXPECT_EQ(try(xrstor, area, ~0UL), TRAP_GP);
	asm volatile("fninit");
}

/* It depends on IA32_XSS alone, not on CR4.UINTR. */
static void works_without_cr4_uintr(void)
{
	if (!start_uintr())
		return;
	write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	set(&sample);
	xsaves(area, ~0UL);
	EXPECT_EQ(image(area)->handler, sample.handler);
	wrmsr(MSR_UINTR_HANDLER, 0);
	xrstors(area, ~0UL);
	expect_state(&sample);
}

TESTS(
	TEST_ANYWHERE(component_14_has_48_bytes, XSAVE-1),
	TEST_ANYWHERE(size_follows_xcr0_and_xss, XSAVE-2),
	TEST_ANYWHERE(xss_has_the_bits_of_cpuid, XSAVE-3),
	TEST_ANYWHERE(xsave_keeps_the_standard_format, XSAVE-14),
	TEST_ANYWHERE(xsavec_and_xrstor, XSAVE-14),
	TEST_ANYWHERE(xsaves_and_xrstors, XSAVE-14),
	TEST_ANYWHERE(compacted_offsets_are_those_of_cpuid, XSAVE-15),
	TEST_ANYWHERE(mxcsr_is_initial_in_compacted_form, XSAVE-16),
	TEST_ANYWHERE(headers_are_checked, XSAVE-17),
	TEST_ANYWHERE(faults_come_in_order, XSAVE-18),
	TEST_ANYWHERE(supervisor_forms_are_gp_at_user_level, XSAVE-19),
	TEST_ANYWHERE(faults_come_in_order_at_user_level, XSAVE-18),
	TEST_ANYWHERE(reserved_bits_of_mxcsr_are_gp, XSAVE-21),
	TEST(wrong_mxcsr_loads_nothing, XSAVE-21),
	TEST(image_has_the_layout_of_the_manual, XSAVE-4),
	TEST(xsaves_clears_uinv, XSAVE-5),
	TEST(without_the_bit_uinv_stays, XSAVE-6),
	TEST(xstate_bv_is_exact, XSAVE-7),
	TEST(xrstors_loads_all_of_it, XSAVE-8),
	TEST(xrstors_refuses_with_uinv, XSAVE-9),
	TEST(xrstors_of_the_initial_configuration, XSAVE-10),
	TEST(xrstors_checks_each_field, XSAVE-11),
	TEST(loaded_requests_are_delivered, XSAVE-12),
	TEST(user_forms_leave_it_alone, XSAVE-13),
	TEST(works_without_cr4_uintr, ENUM-11),
);
