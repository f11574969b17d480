// SPDX-License-Identifier: GPL-2.0-only
/* Code outside of long mode, see legacy.h. */
#include "legacy.h"

extern u8 legacy_code[], legacy_code_end[];
extern struct legacy_trap legacy_trap;
void legacy_enter(u32 mode);

struct tss32 {
	u32 link, esp0, ss0, others[22];
	u16 debug, iomap;
};

void legacy_run(u32 mode, const struct legacy_frame *frame, struct legacy_trap *trap)
{
	struct tss32 *tss = (void *)LEGACY_TSS;

	memcpy((void *)LEGACY_CODE, legacy_code, legacy_code_end - legacy_code);
	memcpy((void *)LEGACY_FRAME, frame, sizeof(*frame));
	memset(tss, 0, sizeof(*tss));
	tss->esp0 = LEGACY_FRAME;
	tss->ss0 = SEL_KDATA;
	tss->iomap = sizeof(*tss);
	legacy_enter(mode);
	*trap = legacy_trap;
}
