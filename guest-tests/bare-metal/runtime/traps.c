// SPDX-License-Identifier: GPL-2.0-only
/* Traps, and code that is run until an exception, see bare.h. */
#include "bare.h"

extern u8 user_done[];
int context_save(struct context *context) __attribute__((returns_twice));
void context_load(struct context *context) __attribute__((noreturn));
void regs_load(const struct regs *regs) __attribute__((noreturn));
void trap(struct regs *regs);
bool take_nmi(struct regs *regs);

static u8 user_stacks[MAX_CPUS][1 << STACK_SHIFT] __attribute__((aligned(4096)));

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
		if (regs->vector != APIC_SPURIOUS)
			apic_write(APIC_EOI, 0);
		if (cpu->on_irq)
			cpu->on_irq(regs);
		return;
	}
	if (regs->vector == TRAP_NMI && take_nmi(regs))
		return;
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
