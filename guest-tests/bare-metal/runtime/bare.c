// SPDX-License-Identifier: GPL-2.0-only
/* CPUs, traps, pages and the local APIC, see bare.h. */
#include "bare.h"

#define MSR_APICBASE 0x1b
#define APICBASE_ENABLE BIT(11)
#define APICBASE_EXTD BIT(10)
#define APIC_MMIO 0xfee00000UL
#define MSR_X2APIC 0x800
#define SPURIOUS 0xff
#define VECTOR_WAKE 0x40

#define ICR_INIT 0x4500
#define ICR_STARTUP 0x4600

struct hvm_start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist, cmdline;
};

struct tss {
	u32 reserved0;
	u64 rsp[3], reserved1, ist[7], reserved2;
	u16 reserved3, iomap;
} __attribute__((packed));

struct gate {
	u16 offset0, selector;
	u8 ist, type;
	u16 offset1;
	u32 offset2, reserved;
};

struct table {
	u16 limit;
	u64 base;
} __attribute__((packed));

extern u8 trap_entries[], user_done[], ap_code[], ap_code_end[];
extern u64 gdt[], boot_pml4[], window_pt[];
extern u32 start_info, ap_next;
int context_save(struct context *context) __attribute__((returns_twice));
void context_load(struct context *context) __attribute__((noreturn));
void regs_load(const struct regs *regs) __attribute__((noreturn));
void cpu_main(int id);
void run_tests(void);
void trap(struct regs *regs);

struct cpu cpus[MAX_CPUS];
int cpu_count = 1;
u64 time_scale = 1;
u64 rounds;
bool modelled;
bool on_bochs;
bool x2apic;

static struct tss tss[MAX_CPUS];
static struct gate idt[256];
static u8 trap_stacks[MAX_CPUS][2][1 << STACK_SHIFT] __attribute__((aligned(16)));
static u8 user_stacks[MAX_CPUS][1 << STACK_SHIFT] __attribute__((aligned(4096)));
static u8 window_pages[WINDOW_PAGES][PAGE_SIZE] __attribute__((aligned(4096)));
static int cpus_up;

void *memset(void *to, int byte, u64 size)
{
	void *start = to;

	asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
	return start;
}

void *memcpy(void *to, const void *from, u64 size)
{
	void *start = to;

	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) :: "memory");
	return start;
}

int memcmp(const void *a, const void *b, u64 size)
{
	const u8 *x = a, *y = b;

	for (; size; size--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

/* The TSC of an emulator counts nanoseconds or some; 4 GHz is faster than any real one. */
u64 deadline_ms(u64 ms)
{
	return rdtsc() + ms * time_scale * 4000000UL;
}

bool expired(u64 deadline)
{
	cpu_relax();
	return (long)(rdtsc() - deadline) >= 0;
}

/* GS stays the same at all privilege levels: nothing here executes SWAPGS. */
struct cpu *this_cpu(void)
{
	struct cpu *cpu;

	asm("movq %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

/* --- traps --------------------------------------------------------------------------------- */

static const char *const exceptions[] = {
	[0] = "#DE", [1] = "#DB", [6] = "#UD", [7] = "#NM", [8] = "#DF", [10] = "#TS",
	[11] = "#NP", [12] = "#SS", [13] = "#GP", [14] = "#PF", [17] = "#AC", [19] = "#XM",
};

static void die(const struct regs *regs, u64 cr2)
{
	const char *name = regs->vector < ARRAY_SIZE(exceptions) ? exceptions[regs->vector] : NULL;

	note("CPU %d: unexpected %s (vector %lu, error 0x%lx) at %lx:0x%lx, RSP 0x%lx, CR2 0x%lx",
	     this_cpu()->id, name ? name : "trap", regs->vector, regs->error, regs->cs, regs->rip,
	     regs->rsp, cr2);
	outl(0xf4, 1);
	for (;;)
		asm volatile("cli; hlt");
}

void trap(struct regs *regs)
{
	struct cpu *cpu = this_cpu();
	u64 cr2 = read_cr2();

	if (regs->vector >= 32 && regs->vector != VECTOR_DONE) {
		cpu->irqs[regs->vector]++;
		if (regs->vector != SPURIOUS)
			apic_write(APIC_EOI, 0);
		if (cpu->on_irq)
			cpu->on_irq(regs);
		return;
	}
	if (cpu->mend && cpu->mend(regs))
		return;
	if (!cpu->trying)
		die(regs, cr2);
	cpu->trying = false;
	cpu->trap.regs = *regs;
	cpu->trap.cr2 = cr2;
	context_load(&cpu->context);
}

static int tried(struct trap *trap)
{
	struct cpu *cpu = this_cpu();

	asm volatile("cli");
	cpu->trying = false;
	if (trap)
		*trap = cpu->trap;
	return cpu->trap.regs.vector;
}

int try_kernel(struct trap *trap, void (*function)(void *), void *argument)
{
	struct cpu *cpu = this_cpu();

	cpu->trying = true;
	if (!context_save(&cpu->context)) {
		function(argument);
		cpu->trap.regs.vector = VECTOR_DONE;
	}
	return tried(trap);
}

int try_regs(struct trap *trap, const struct regs *regs)
{
	struct cpu *cpu = this_cpu();

	cpu->trying = true;
	if (!context_save(&cpu->context)) {
		struct regs copy = *regs;

		regs_load(&copy);
	}
	return tried(trap);
}

u64 user_stack(void)
{
	return (u64)user_stacks[this_cpu()->id + 1];
}

void user_regs(struct regs *regs, void (*function)(void *), void *argument)
{
	u64 *sp = (u64 *)user_stack() - 1;

	*sp = (u64)user_done;
	*regs = (struct regs){
		.rip = (u64)function,
		.rdi = (u64)argument,
		.cs = SEL_UCODE,
		.ss = SEL_UDATA,
		.rsp = (u64)sp,
		.rflags = 2 | RFLAGS_IF,
	};
}

int try_user(struct trap *trap, void (*function)(void *), void *argument)
{
	struct regs regs;

	user_regs(&regs, function, argument);
	return try_regs(trap, &regs);
}

struct access {
	u32 msr;
	u64 value;
};

static void do_rdmsr(void *argument)
{
	struct access *access = argument;

	access->value = rdmsr(access->msr);
}

static void do_wrmsr(void *argument)
{
	struct access *access = argument;

	wrmsr(access->msr, access->value);
}

static void do_write_cr4(void *argument)
{
	write_cr4(*(u64 *)argument);
}

int try_rdmsr(u32 msr, u64 *value)
{
	struct access access = { .msr = msr };
	int vector = try_kernel(NULL, do_rdmsr, &access);

	*value = access.value;
	return vector;
}

int try_wrmsr(u32 msr, u64 value)
{
	struct access access = { .msr = msr, .value = value };

	return try_kernel(NULL, do_wrmsr, &access);
}

int try_write_cr4(u64 value)
{
	return try_kernel(NULL, do_write_cr4, &value);
}

/* --- pages --------------------------------------------------------------------------------- */

void *window_memory(int n)
{
	return window_pages[n];
}

void map(int n, u64 flags)
{
	window_pt[n] = flags ? (u64)window_pages[n] | flags : 0;
	asm volatile("invlpg (%0)" :: "r"(window(n)) : "memory");
}

void unmap_all(void)
{
	int n;

	for (n = 0; n < WINDOW_PAGES; n++) {
		if (window_pt[n])
			map(n, 0);
	}
}

bool cpu_has_smap(void)
{
	u32 a, b, c, d;

	cpuid(7, 0, &a, &b, &c, &d);
	return b >> 20 & 1;
}

void set_smap(bool on)
{
	boot_pml4[0] = on ? boot_pml4[0] & ~(u64)PTE_U : boot_pml4[0] | PTE_U;
	asm volatile("movq %%cr3, %%rax; movq %%rax, %%cr3" ::: "rax", "memory");
	write_cr4(on ? read_cr4() | CR4_SMAP : read_cr4() & ~(u64)CR4_SMAP);
	asm volatile("pushfq; andq %0, (%%rsp); popfq" :: "i"(~RFLAGS_AC) : "memory", "cc");
}

/* --- local APIC ---------------------------------------------------------------------------- */

u32 apic_read(u32 reg)
{
	return x2apic ? rdmsr(MSR_X2APIC + reg / 16) : READ_ONCE(*(u32 *)(APIC_MMIO + reg));
}

void apic_write(u32 reg, u32 value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + reg / 16, value);
	else
		WRITE_ONCE(*(u32 *)(APIC_MMIO + reg), value);
}

bool apic_bit(u32 reg, int vector)
{
	return apic_read(reg + vector / 32 * 16) >> vector % 32 & 1;
}

void send_ipi(u32 apic_id, int vector)
{
	if (x2apic) {
		wrmsr(MSR_X2APIC + APIC_ICR / 16, (u64)apic_id << 32 | vector);
		return;
	}
	apic_write(APIC_ICR_HIGH, apic_id << 24);
	apic_write(APIC_ICR, vector);
}

/* --- CPUs ---------------------------------------------------------------------------------- */

static void set_gates(void)
{
	int i;

	for (i = 0; i < 256; i++) {
		u64 entry = (u64)trap_entries + i * 16;

		idt[i] = (struct gate){
			.offset0 = entry,
			.offset1 = entry >> 16,
			.offset2 = entry >> 32,
			.selector = SEL_KCODE,
			.ist = i < 32 ? 1 : 0,
			.type = i == VECTOR_DONE ? 0xee : 0x8e,
		};
	}
}

static void set_cpu(int id)
{
	struct table idtr = { sizeof(idt) - 1, (u64)idt };
	struct cpu *cpu = &cpus[id];
	u64 base = (u64)&tss[id];
	u64 *slot = gdt + SEL_TSS / 8 + id * 2;

	cpu->self = (u64)cpu;
	cpu->id = id;
	tss[id].rsp[0] = (u64)trap_stacks[id][1];
	tss[id].ist[0] = (u64)trap_stacks[id][1] + (1 << STACK_SHIFT);
	tss[id].iomap = sizeof(struct tss);
	slot[0] = (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 | 0x89UL << 40 |
		  (base >> 24 & 0xff) << 56;
	slot[1] = base >> 32;
	asm volatile("lidt %0" :: "m"(idtr));
	asm volatile("ltr %w0" :: "r"(SEL_TSS + id * 16));
	wrmsr(MSR_GSBASE, (u64)cpu);
	apic_write(APIC_SVR, 0x100 | SPURIOUS);
	cpu->apic_id = x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

/* Decimal value of a word of the command line, or the default. */
static u64 parse(const char *line, const char *key, u64 value)
{
	const char *k;

	for (; line && *line; line++) {
		for (k = key; *k && *line == *k; k++, line++)
			;
		if (*k)
			continue;
		for (value = 0; *line >= '0' && *line <= '9'; line++)
			value = value * 10 + *line - '0';
		break;
	}
	return value;
}

static void start_others(void)
{
	u64 deadline;

	memcpy((void *)AP_START, ap_code, ap_code_end - ap_code);
	apic_write(APIC_ICR, ICR_INIT | 3 << 18);	/* all but this one */
	deadline = rdtsc() + 10000000;
	while (!expired(deadline))
		;
	apic_write(APIC_ICR, ICR_STARTUP | 3 << 18 | AP_START >> 12);
	deadline = deadline_ms(10000);
	while (READ_ONCE(cpus_up) < cpu_count - 1) {
		if (expired(deadline)) {
			note("only %d of %d CPUs started", cpus_up + 1, cpu_count);
			outl(0xf4, 1);
		}
	}
}

void run_on(int cpu, void (*job)(void *), void *argument)
{
	cpus[cpu].argument = argument;
	barrier();
	WRITE_ONCE(cpus[cpu].job, job);
	send_ipi(cpus[cpu].apic_id, VECTOR_WAKE);
}

bool run_done(int cpu, u64 deadline)
{
	while (READ_ONCE(cpus[cpu].job)) {
		if (expired(deadline))
			return false;
	}
	return true;
}

static void serve(struct cpu *cpu)
{
	for (;;) {
		/* Halted, not spinning: a host has fewer CPUs than some guests. */
		while (!READ_ONCE(cpu->job))
			asm volatile("sti; hlt; cli" ::: "memory");
		barrier();
		cpu->job(cpu->argument);
		barrier();
		WRITE_ONCE(cpu->job, NULL);
	}
}

/* Each CPU's way in; does not return. */
void cpu_main(int id)
{
	struct hvm_start_info *info = (void *)(u64)start_info;

	if (id) {
		set_cpu(id);
		asm volatile("lock incl %0" : "+m"(cpus_up));
		serve(&cpus[id]);
	}
	cpu_count = parse((char *)info->cmdline, "smp=", 1);
	time_scale = parse((char *)info->cmdline, "scale=", 1);
	rounds = parse((char *)info->cmdline, "rounds=", 0);
	modelled = parse((char *)info->cmdline, "modelled=", 0);
	on_bochs = parse((char *)info->cmdline, "bochs=", 0);
	if (cpu_count > MAX_CPUS)
		cpu_count = MAX_CPUS;
	outb(0x21, 0xff);	/* no interrupts of the 8259s: they would look like exceptions */
	outb(0xa1, 0xff);
	set_gates();
	set_cpu(0);
	start_others();
	run_tests();
}

static void enter_x2apic(void *unused)
{
	(void)unused;
	wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | APICBASE_EXTD | APICBASE_ENABLE);
}

/* Bring all CPUs into x2APIC mode; false if they have none. */
bool switch_to_x2apic(void);
bool switch_to_x2apic(void)
{
	u32 a, b, c, d;
	int cpu;

	cpuid(1, 0, &a, &b, &c, &d);
	if (!(c & BIT(21)))
		return false;
	for (cpu = 1; cpu < cpu_count; cpu++)
		run_on(cpu, enter_x2apic, NULL);
	for (cpu = 1; cpu < cpu_count; cpu++)
		run_done(cpu, deadline_ms(10000));
	enter_x2apic(NULL);
	x2apic = true;
	return true;
}
