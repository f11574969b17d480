// SPDX-License-Identifier: GPL-2.0
/*
 * restored NANOSECONDS SEED - set the clock of a restored guest, and reseed its random numbers.
 *
 * NANOSECONDS since the epoch are the new CLOCK_REALTIME.  SEED, 64 hexadecimal digits, is added to
 * the kernel's random pool, from which the generator is reseeded (random(4)): otherwise two guests
 * that were restored from one file would get the same random numbers.  Exit codes: 2 wrong usage,
 * 3 the clock, 4 the seed could not be set.
 */

#include "freestanding.h"

#define CLOCK_REALTIME	0
#define O_WRONLY	1
#define RNDADDENTROPY	0x40085203
#define RNDRESEEDCRNG	0x5207
#define SEED_BYTES	32
#define BILLION		1000000000UL

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static long set_clock(unsigned long ns)
{
	long now[2] = { (long)(ns / BILLION), (long)(ns % BILLION) };

	return syscall3(NR_clock_settime, CLOCK_REALTIME, (long)now, 0);
}

static long seed(const char *hex)
{
	struct {
		int bits;
		int bytes;
		unsigned char data[SEED_BYTES];
	} pool = { SEED_BYTES * 8, SEED_BYTES, { 0 } };
	long fd;
	int i;

	for (i = 0; i < SEED_BYTES; i++) {
		int high = digit(hex[2 * i]), low = high < 0 ? -1 : digit(hex[2 * i + 1]);

		if (low < 0)
			return -1;
		pool.data[i] = (unsigned char)(high << 4 | low);
	}
	fd = syscall3(NR_open, (long)"/dev/urandom", O_WRONLY, 0);
	if (fd < 0)
		return fd;
	if (syscall3(NR_ioctl, fd, RNDADDENTROPY, (long)&pool))
		return -1;
	return syscall3(NR_ioctl, fd, RNDRESEEDCRNG, 0);
}

void run(long *stack)
{
	char **argv = (char **)(stack + 1);
	int code = 0;

	if (*stack != 3)
		code = 2;
	else if (set_clock(parse(argv[1])))
		code = 3;
	else if (seed(argv[2]))
		code = 4;
	syscall3(NR_exit, code, 0, 0);
}
