/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Start-up code and system calls for the guest's own small programs.  They are freestanding, so
 * that they need no static C library and have only a few KiB.  Each defines run().
 */
#ifndef FREESTANDING_H
#define FREESTANDING_H

#define NR_write		1
#define NR_open			2
#define NR_ioctl		16
#define NR_exit			60
#define NR_sched_setaffinity	203
#define NR_clock_settime	227

/* Program entry.  The stack has argc and the pointers to the arguments. */
void run(long *stack);

static inline long syscall3(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline unsigned long parse(const char *s)
{
	unsigned long value = 0;

	while (*s >= '0' && *s <= '9')
		value = value * 10 + (unsigned long)(*s++ - '0');
	return value;
}

__asm__(".globl _start\n"
	"_start:\n"
	"	xorl %ebp, %ebp\n"
	"	movq %rsp, %rdi\n"
	"	andq $-16, %rsp\n"
	"	call run\n");

#endif
