// SPDX-License-Identifier: GPL-2.0-only
/* Start of the CPUs, and jobs of one CPU for another, see bare.h. */
#include "bare.h"

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

extern u8 trap_entries[], ap_code[], ap_code_end[];
extern u64 gdt[];
extern u32 start_info;
void cpu_main(int id);
void run_tests(void);

struct cpu cpus[MAX_CPUS];
int cpu_count = 1;
u64 time_scale = 1;
u64 rounds;
bool modelled;
bool on_bochs;

static struct tss tss[MAX_CPUS];
static struct gate idt[256];
static u8 trap_stacks[MAX_CPUS][3][1 << STACK_SHIFT] __attribute__((aligned(16)));
static int cpus_up;

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
			.ist = i == TRAP_NMI ? 2 : i < 32 ? 1 : 0,
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
	/* An NMI may interrupt another handler. */
	tss[id].ist[1] = (u64)trap_stacks[id][2] + (1 << STACK_SHIFT);
	tss[id].iomap = sizeof(struct tss);
	slot[0] = (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 | 0x89UL << 40 |
		  (base >> 24 & 0xff) << 56;
	slot[1] = base >> 32;
	asm volatile("lidt %0" :: "m"(idtr));
	asm volatile("ltr %w0" :: "r"(SEL_TSS + id * 16));
	wrmsr(MSR_GSBASE, (u64)cpu);
	apic_write(APIC_SVR, 0x100 | APIC_SPURIOUS);
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
