// SPDX-License-Identifier: GPL-2.0-only
/*
 * KTAP on the debug console (port 0xe9), and the end through isa-debug-exit (port 0xf4), where
 * QEMU's exit status becomes (value << 1) | 1.
 */
#include "bare.h"

#define PORT_CONSOLE 0xe9
#define PORT_EXIT 0xf4

#define EXIT_PASS 0
#define EXIT_FAIL 1
#define EXIT_SKIP 4

/* Begins with what the cell must have, for the harness. */
#define NO_UINTR "needs cpu:uintr: the CPU has no user interrupts"

enum verdict { PASS, FAILED, SKIPPED };

bool switch_to_x2apic(void);
void run_tests(void);

static enum verdict verdict;
static const char *skip_reason;
static int totals[3];

__attribute__((weak)) void test_setup(void)
{
}

static void put(char c)
{
	outb(PORT_CONSOLE, c);
}

static void put_string(const char *s)
{
	while (*s)
		put(*s++);
}

static void put_number(u64 value, unsigned int base)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		put(digits[--n]);
}

static void put_formatted(const char *format, __builtin_va_list args)
{
	for (; *format; format++) {
		bool is_long = false;
		long value;

		if (*format != '%') {
			put(*format);
			continue;
		}
		format++;
		if (*format == 'l') {
			is_long = true;
			format++;
		}
		switch (*format) {
		case 's':
			put_string(__builtin_va_arg(args, const char *));
			break;
		case 'c':
			put(__builtin_va_arg(args, int));
			break;
		case 'd':
			value = is_long ? __builtin_va_arg(args, long) : __builtin_va_arg(args, int);
			if (value < 0)
				put('-');
			put_number(value < 0 ? -(u64)value : (u64)value, 10);
			break;
		case 'u':
		case 'x':
			put_number(is_long ? __builtin_va_arg(args, u64) :
				   __builtin_va_arg(args, u32), *format == 'x' ? 16 : 10);
			break;
		default:
			put(*format);
		}
	}
}

static void print(const char *format, ...)
{
	__builtin_va_list args;

	__builtin_va_start(args, format);
	put_formatted(format, args);
	__builtin_va_end(args);
}

void note(const char *format, ...)
{
	__builtin_va_list args;

	put_string("# ");
	__builtin_va_start(args, format);
	put_formatted(format, args);
	__builtin_va_end(args);
	put('\n');
}

void fail_at(const char *file, int line, const char *format, ...)
{
	__builtin_va_list args;
	const char *name = file;

	for (; *file; file++) {
		if (*file == '/')
			name = file + 1;
	}
	verdict = FAILED;
	print("# %s:%d: ", name, line);
	__builtin_va_start(args, format);
	put_formatted(format, args);
	__builtin_va_end(args);
	put('\n');
}

void skip(const char *reason)
{
	if (verdict == PASS) {
		verdict = SKIPPED;
		skip_reason = reason;
	}
}

bool over(void)
{
	return verdict != PASS;
}

static bool not_for_this_cpu(const struct test *test)
{
	return !test->anywhere && !cpu_has_uintr();
}

static void run_test(const struct test *test)
{
	verdict = PASS;
	if (not_for_this_cpu(test))
		skip(NO_UINTR);
	else if (cpu_count < test->cpus)
		skip("needs more CPUs");
	if (verdict != PASS)
		return;
	unmap_all();
	test_setup();
	if (verdict == PASS)
		test->run();
}

/* Printed before the case runs, in case it takes the machine down. */
static void print_checks(const struct test *test)
{
	if (test->checks[0])
		print("# checks: %s\n", test->checks);
}

static void run_mode(const char *mode, int *number)
{
	int i;

	for (i = 0; i < test_count; i++) {
		print_checks(&tests[i]);
		run_test(&tests[i]);
		print("%sok %d %s.%s", verdict == FAILED ? "not " : "", ++*number, tests[i].name, mode);
		if (verdict == SKIPPED)
			print(" # SKIP %s", skip_reason);
		put('\n');
		totals[verdict]++;
	}
}

static void skip_mode(const char *mode, int *number)
{
	int i;

	for (i = 0; i < test_count; i++) {
		print_checks(&tests[i]);
		print("ok %d %s.%s # SKIP %s\n", ++*number, tests[i].name, mode,
		      not_for_this_cpu(&tests[i]) ? NO_UINTR : "the CPU has no x2APIC");
		totals[SKIPPED]++;
	}
}

void end_machine(int code)
{
	outl(PORT_EXIT, code);
	/* Bochs has no such device, but a port that takes this word. */
	for (const char *word = "Shutdown"; *word; word++)
		outb(0x8900, *word);
	for (;;)
		asm volatile("cli; hlt");
}

/* Every case with the APICs in xAPIC mode, then, as there is no way back, in x2APIC mode. */
void run_tests(void)
{
	int number = 0;
	int code = EXIT_PASS;

	print("KTAP version 1\n1..%d\n", 2 * test_count);
	run_mode("xapic", &number);
	if (switch_to_x2apic())
		run_mode("x2apic", &number);
	else
		skip_mode("x2apic", &number);
	print("# Totals: pass:%d fail:%d xfail:0 xpass:0 skip:%d error:0\n",
	      totals[PASS], totals[FAILED], totals[SKIPPED]);
	if (totals[FAILED])
		code = EXIT_FAIL;
	else if (!totals[PASS])
		code = EXIT_SKIP;
	end_machine(code);
}
