// SPDX-License-Identifier: GPL-2.0
/*
 * cpuid LEAF SUBLEAF - print one CPUID leaf of every CPU that this task may run on.
 *
 * One line per CPU: "CPU EAX EBX ECX EDX", registers as eight hexadecimal digits.  Before any
 * test, the harness compares bit 5 of EDX of leaf 7 with the CPU profile.
 */

#include "freestanding.h"

#define MAX_CPUS		1024

static char *put_decimal(char *p, unsigned int value)
{
	if (value >= 10)
		p = put_decimal(p, value / 10);
	*p++ = (char)('0' + value % 10);
	return p;
}

static char *put_hex(char *p, unsigned int value)
{
	int shift;

	*p++ = ' ';
	for (shift = 28; shift >= 0; shift -= 4)
		*p++ = "0123456789abcdef"[(value >> shift) & 15];
	return p;
}

static void report(unsigned int cpu, unsigned int leaf, unsigned int subleaf)
{
	unsigned int a = leaf, b = 0, c = subleaf, d = 0;
	char line[64], *p = line;

	__asm__ volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
	p = put_decimal(p, cpu);
	p = put_hex(p, a);
	p = put_hex(p, b);
	p = put_hex(p, c);
	p = put_hex(p, d);
	*p++ = '\n';
	syscall3(NR_write, 1, (long)line, p - line);
}

void run(long *stack)
{
	static unsigned long mask[MAX_CPUS / 64];
	char **argv = (char **)(stack + 1);
	unsigned int cpu;

	if (*stack != 3)
		syscall3(NR_exit, 2, 0, 0);
	for (cpu = 0; cpu < MAX_CPUS; cpu++) {
		mask[cpu / 64] = 1UL << (cpu % 64);
		if (syscall3(NR_sched_setaffinity, 0, sizeof(mask), (long)mask) == 0)
			report(cpu, (unsigned int)parse(argv[1]), (unsigned int)parse(argv[2]));
		mask[cpu / 64] = 0;
	}
	syscall3(NR_exit, 0, 0, 0);
}
