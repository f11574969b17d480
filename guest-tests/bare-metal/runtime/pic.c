// SPDX-License-Identifier: GPL-2.0-only
/* The first 8259, with channel 0 of the timer at its input 0, see bare.h. */
#include "bare.h"

#define COMMAND 0x20
#define DATA 0x21
#define READ_IRR 0x0a
#define READ_ISR 0x0b
#define EOI 0x20
#define LVT_LINT0 0x350
#define LVT_MASKED 0x10000
#define LVT_EXTINT 0x700

static u8 read(u8 which)
{
	outb(COMMAND, which);
	return inb(COMMAND);
}

static void initialise(u8 vector)
{
	outb(COMMAND, 0x11);
	outb(DATA, vector);
	outb(DATA, 0x04);
	outb(DATA, 0x01);
	outb(DATA, 0xff);
}

void pic_request(u8 vector)
{
	initialise(vector);
	outb(0x43, 0x30);	/* channel 0, two bytes, mode 0: one edge after the count */
	outb(0x40, 1);
	outb(0x40, 0);
	while (!(read(READ_IRR) & 1))
		cpu_relax();
	apic_write(LVT_LINT0, LVT_EXTINT);
	outb(DATA, 0xfe);
}

bool pic_requests(void)
{
	return read(READ_IRR) & 1;
}

bool pic_end(void)
{
	if (!(read(READ_ISR) & 1))
		return false;
	outb(COMMAND, EOI);
	return true;
}

void pic_off(void)
{
	initialise(0);
	apic_write(LVT_LINT0, LVT_EXTINT | LVT_MASKED);
}
