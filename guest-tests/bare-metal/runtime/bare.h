/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runtime of bare-metal programs. They run in 64-bit mode at CPL 0, with an identity map and
 * interrupts off. CPU 0 runs the cases; the others wait for run_on().
 */
#ifndef BARE_H
#define BARE_H

#include "layout.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1UL << (n))
#define barrier() asm volatile("" ::: "memory")
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

/* --- cases --------------------------------------------------------------------------------- */

struct test {
	const char *name;
	void (*run)(void);
	/* Runs on every CPU; other cases are skipped on CPUs without user interrupts. */
	bool anywhere;
	/* Number of CPUs that the case needs. */
	int cpus;
	/* Statements of CONTRACT.md, separated by commas; printed before the case runs. */
	const char *checks;
};

#define TEST(function, ...) \
	{ .name = #function, .run = function, .checks = #__VA_ARGS__ }
#define TEST_ANYWHERE(function, ...) \
	{ .name = #function, .run = function, .anywhere = true, .checks = #__VA_ARGS__ }
#define TEST_SMP(function, n, ...) \
	{ .name = #function, .run = function, .cpus = n, .checks = #__VA_ARGS__ }

/* Defined by the program. */
extern const struct test tests[];
extern const int test_count;
#define TESTS(...) \
	const struct test tests[] = { __VA_ARGS__ }; \
	const int test_count = ARRAY_SIZE(tests)

/* Run before each case, on CPU 0; weak, and empty if the program has none. */
void test_setup(void);

/* Diagnostic lines; %d %u %x %s %c with l for 64 bits. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void fail_at(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void skip(const char *reason);
/* Whether the running case has failed or was skipped. */
bool over(void);

/* Record a failure; the first one is reported. The case goes on unless it returns. */
#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define EXPECT(condition) \
	do { \
		if (!(condition)) \
			FAIL("not true: %s", #condition); \
	} while (0)
#define EXPECT_EQ(actual, expected) \
	do { \
		u64 a_ = (u64)(actual), e_ = (u64)(expected); \
		if (a_ != e_) \
			FAIL("%s is 0x%lx, not 0x%lx", #actual, a_, e_); \
	} while (0)

/* --- the machine --------------------------------------------------------------------------- */

extern int cpu_count;		/* smp= */
extern u64 time_scale;		/* scale= */
extern u64 rounds;		/* rounds=, 0 for as many as are quick */
/*
 * modelled=1: the emulator knows the feature, whether this CPU has it or not. Other emulators may
 * do anything on unknown MSRs and bits of CR4; QEMU ignores the former and exits on the latter.
 */
extern bool modelled;
extern bool on_bochs;		/* bochs=1 */
extern bool x2apic;		/* the mode that all CPUs are in */

/* End the emulator; it may take a while. */
void end_machine(int code) __attribute__((noreturn));

/* Return the end of a wait, given in milliseconds on a fast machine. */
u64 deadline_ms(u64 ms);
bool expired(u64 deadline);

#define DR7_OFF BIT(10)
#define DR7_EXECUTE_0 (BIT(10) | BIT(1))

/* Set DR0 and DR7, and clear the hits in DR6. */
static inline void set_dr(u64 address, u64 control)
{
	asm volatile("movq %0, %%dr0; movq %1, %%dr7; movq %2, %%dr6"
		     :: "r"(address), "r"(control), "r"(0xffff0ff0UL));
}

struct regs {
	u64 r15, r14, r13, r12, r11, r10, r9, r8;
	u64 rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

struct context {
	u64 words[8];
};

/* The exception that ended a piece of code; vector is VECTOR_DONE if none did. */
struct trap {
	struct regs regs;
	u64 cr2;
};
#define TRAP_DB 1
#define TRAP_NMI 2
#define TRAP_UD 6
#define TRAP_NM 7
#define TRAP_SS 12
#define TRAP_GP 13
#define TRAP_PF 14

/*
 * Call a function at CPL 0 or 3, and catch the exception that ends it. User code runs with
 * interrupts on. Both return the vector.
 */
int try_kernel(struct trap *trap, void (*function)(void *), void *argument);
int try_user(struct trap *trap, void (*function)(void *), void *argument);
/* Continue with any registers, and catch the exception that ends the code. */
int try_regs(struct trap *trap, const struct regs *regs);
/* Registers with which try_user() would start. */
void user_regs(struct regs *regs, void (*function)(void *), void *argument);
/* Top of this CPU's user stack. */
u64 user_stack(void);

struct cpu {
	u64 self;
	int id;
	u32 apic_id;
	bool trying;
	struct context context;
	struct trap trap;
	/* Handle an exception; return true to continue with the registers. */
	bool (*mend)(struct regs *regs);
	/* Called for an external interrupt, after EOI. */
	void (*on_irq)(struct regs *regs);
	/* Called for an NMI that was not sent to block further ones. */
	void (*on_nmi)(struct regs *regs);
	u32 irqs[256];
	void (*job)(void *);
	void *argument;
};
extern struct cpu cpus[MAX_CPUS];
struct cpu *this_cpu(void);

/* Run a function at CPL 0 of another CPU; run_done() waits for its end, false if it is late. */
void run_on(int cpu, void (*job)(void *), void *argument);
bool run_done(int cpu, u64 deadline);

/* --- pages --------------------------------------------------------------------------------- */

#define PAGE_SIZE 4096UL
#define PTE_NX BIT(63)
#define PTE_PKEY(key) ((u64)(key) << 59)

/* Page n of the window, and its memory in the identity map. */
static inline u64 window(int n)
{
	return WINDOW + n * PAGE_SIZE;
}
void *window_memory(int n);
/* Map it with these flags, 0 for not present; on this CPU only. */
void map(int n, u64 flags);
/* Unmap and zero all pages of the window. */
void unmap_all(void);
/*
 * CR4.SMAP on this CPU; while it is on, the identity map is the supervisor's and user code has
 * nothing but the window. RFLAGS.AC is clear afterwards.
 */
bool cpu_has_smap(void);
void set_smap(bool on);

/* --- local APIC ---------------------------------------------------------------------------- */

#define APIC_ID 0x020
#define APIC_TPR 0x080
#define APIC_EOI 0x0b0
#define APIC_SVR 0x0f0
#define APIC_ISR 0x100
#define APIC_IRR 0x200
#define APIC_ESR 0x280
#define APIC_ICR 0x300
#define APIC_ICR_HIGH 0x310
#define APIC_LVT_ERROR 0x370
#define APIC_TIMER_COUNT 0x380
/* Vector of the interrupt that an APIC sends if the one it had is gone; it takes no EOI. */
#define APIC_SPURIOUS 0xff

u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 value);
/* Whether a vector is set in ISR or IRR. */
bool apic_bit(u32 reg, int vector);
void send_ipi(u32 apic_id, int vector);

/* --- NMIs ---------------------------------------------------------------------------------- */

/*
 * CPU 0 sends one to itself; blocks them by one whose handler does not return; ends that by IRET,
 * and tells whether one was pending.
 */
void send_nmi(void);
void block_nmis(void);
bool unblock_nmis(void);
/* As try_regs(), but without IRET, so that NMIs stay blocked. TF and RF are not loaded. */
int try_regs_blocked(struct trap *trap, const struct regs *regs);

/* --- 8259 ---------------------------------------------------------------------------------- */

/*
 * Have the first 8259 request an interrupt with a vector, a multiple of 8, by its input 0. Whether
 * it does so still; write EOI to it if it has one in service, and tell; turn it off.
 */
void pic_request(u8 vector);
bool pic_requests(void);
bool pic_end(void);
void pic_off(void);

/* --- instructions -------------------------------------------------------------------------- */

#define RFLAGS_CF BIT(0)
#define RFLAGS_TF BIT(8)
#define RFLAGS_IF BIT(9)
#define RFLAGS_DF BIT(10)
#define RFLAGS_RF BIT(16)
#define RFLAGS_AC BIT(18)

static inline u64 rdmsr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return low | (u64)high << 32;
}

static inline void wrmsr(u32 msr, u64 value)
{
	asm volatile("wrmsr" :: "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/* Return the vector of the fault by a read or write, or VECTOR_DONE. */
int try_rdmsr(u32 msr, u64 *value);
int try_wrmsr(u32 msr, u64 value);
int try_write_cr4(u64 value);

static inline void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	asm volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(subleaf));
}

/* Whether CPUID has user interrupts. */
static inline bool cpu_has_uintr(void)
{
	u32 a, b, c, d;

	cpuid(0, 0, &a, &b, &c, &d);
	if (a < 7)
		return false;
	cpuid(7, 0, &a, &b, &c, &d);
	return d >> 5 & 1;
}

static inline u64 read_cr0(void)
{
	u64 value;

	asm volatile("movq %%cr0, %0" : "=r"(value));
	return value;
}

static inline void write_cr0(u64 value)
{
	asm volatile("movq %0, %%cr0" :: "r"(value) : "memory");
}

static inline u64 read_cr2(void)
{
	u64 value;

	asm volatile("movq %%cr2, %0" : "=r"(value));
	return value;
}

static inline u64 read_cr4(void)
{
	u64 value;

	asm volatile("movq %%cr4, %0" : "=r"(value));
	return value;
}

static inline void write_cr4(u64 value)
{
	asm volatile("movq %0, %%cr4" :: "r"(value) : "memory");
}

static inline u64 rdtsc(void)
{
	u32 low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (u64)high << 32;
}

static inline void outb(u16 port, u8 value)
{
	asm volatile("outb %0, %1" :: "a"(value), "Nd"(port));
}

static inline u8 inb(u16 port)
{
	u8 value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void outl(u16 port, u32 value)
{
	asm volatile("outl %0, %1" :: "a"(value), "Nd"(port));
}

static inline void cpu_relax(void)
{
	asm volatile("pause" ::: "memory");
}

/* Take pending interrupts at CPL 0, during one instruction. */
static inline void take_irqs(void)
{
	asm volatile("sti; nop; nop; cli" ::: "memory");
}

void *memset(void *to, int byte, u64 size);
void *memcpy(void *to, const void *from, u64 size);
int memcmp(const void *a, const void *b, u64 size);

#endif
