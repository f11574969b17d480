// SPDX-License-Identifier: GPL-2.0-only
/* The local APIC, see bare.h. */
#include "bare.h"

#define MSR_APICBASE 0x1b
#define APICBASE_ENABLE BIT(11)
#define APICBASE_EXTD BIT(10)
#define APIC_MMIO 0xfee00000UL
#define MSR_X2APIC 0x800

bool x2apic;

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
