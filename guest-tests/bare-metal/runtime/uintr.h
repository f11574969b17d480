/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User interrupts as the processor has them: Intel SDM volume 3A, chapter "User Interrupts", and
 * the pages of the instructions in volume 2.
 */
#ifndef BARE_UINTR_H
#define BARE_UINTR_H

#include "bare.h"

#define MSR_UINTR_RR		0x985
#define MSR_UINTR_HANDLER	0x986
#define MSR_UINTR_STACKADJUST	0x987
#define MSR_UINTR_MISC		0x988
#define MSR_UINTR_PD		0x989
#define MSR_UINTR_TT		0x98a

#define MISC(uinv, uittsz)	((u64)(uinv) << 32 | (uittsz))
#define TT_ENABLE		BIT(0)

struct upid {
	u64 low;		/* ON, SN, NV, NDST */
	u64 pir;
	u64 unused[6];
} __attribute__((aligned(64)));

#define UPID_ON			BIT(0)
#define UPID_SN			BIT(1)
#define UPID_NV(vector)		((u64)(vector) << 16)

struct uitte {
	u64 low;		/* V, UV */
	u64 upid;
} __attribute__((aligned(16)));

#define UITTE_V			BIT(0)
#define UITTE(uv)		(UITTE_V | (u64)(uv) << 8)

/* The frame that delivery pushes. */
struct ui_frame {
	u64 vector, rip, rflags, rsp;
};

/* Notification vector of these tests. */
#define UINV			0xec

/* A handler for IA32_UINTR_HANDLER, which calls user_interrupt() and returns by UIRET. */
extern char ui_entry[];
void user_interrupt(struct ui_frame *frame);

/* Encoded in bytes, so that any assembler accepts the file. */
static inline void clui(void)
{
	asm volatile(".byte 0xf3, 0x0f, 0x01, 0xee" ::: "memory");
}

static inline void stui(void)
{
	asm volatile(".byte 0xf3, 0x0f, 0x01, 0xef" ::: "memory");
}

/* UIF. */
static inline bool testui(void)
{
	bool carry;

	asm volatile(".byte 0xf3, 0x0f, 0x01, 0xed" : "=@ccc"(carry) :: "memory");
	return carry;
}

static inline void senduipi(u64 index)
{
	asm volatile(".byte 0xf3, 0x0f, 0xc7, 0xf0" :: "a"(index) : "memory");
}

/* --- the usual set-up ---------------------------------------------------------------------- */

/* What each CPU has; index i of its UITT posts vector i to its own UPID unless a test changes it. */
struct ui_cpu {
	struct upid upid;
	struct uitte uitt[64];
};
extern struct ui_cpu ui[MAX_CPUS];

/* What ui_entry's user_interrupt() has seen, oldest first, unless the program has its own. */
struct ui_log {
	volatile int count;
	struct ui_frame frames[256];
};
extern struct ui_log ui_log;

/* NDST of a CPU in the present APIC mode. */
u64 ui_ndst(int cpu);
/*
 * On the running CPU: CR4.UINTR, handler ui_entry, no stack adjustment, UINV, UITT; UIF and UIRR
 * are 0. And an empty log.
 */
void ui_setup(void);
/* Everything off: CR4.UINTR, MSRs, UIF. */
void ui_off(void);

#endif
