/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Code outside of long mode: EFER.LMA is 0, as before a kernel has switched to 64 bits. CR4 stays
 * as it is. One CPU at a time, at CPL 0, with interrupts off.
 */
#ifndef BARE_LEGACY_H
#define BARE_LEGACY_H

#include "bare.h"

#define EFLAGS_IOPL 0x3000
#define EFLAGS_VM 0x20000

/*
 * What IRET loads. Without a change of the CPL it loads the first three, and the stack begins at
 * the fourth.
 */
struct legacy_frame {
	u32 eip, cs, eflags;
	u32 esp, ss, es, ds, fs, gs;
};

/* The exception that ended the code, and the control registers at that time. */
struct legacy_trap {
	u32 vector, eip, cs, eflags, cr0, cr4;
	u64 efer;
};

/*
 * In protected mode, in protected mode with PAE paging that maps 4 GiB as they are, or in
 * real-address mode, go on with a frame, EAX 0 and IF clear, until an exception or INT VECTOR_DONE.
 * The code has to be where the mode reaches it: LEGACY_TRIED is a page for it. In virtual-8086 mode
 * INT needs IOPL 3.
 */
void legacy_run(u32 mode, const struct legacy_frame *frame, struct legacy_trap *trap);

#endif
