// SPDX-License-Identifier: GPL-2.0-only
/* The usual set-up for user interrupts, see uintr.h. */
#include "uintr.h"

struct ui_cpu ui[MAX_CPUS];
struct ui_log ui_log;

__attribute__((weak)) void user_interrupt(struct ui_frame *frame)
{
	int n = __atomic_fetch_add(&ui_log.count, 1, __ATOMIC_SEQ_CST);

	if (n < (int)ARRAY_SIZE(ui_log.frames))
		ui_log.frames[n] = *frame;
}

u64 ui_ndst(int cpu)
{
	u64 id = cpus[cpu].apic_id;

	return x2apic ? id << 32 : id << 40;
}

void ui_setup(void)
{
	int id = this_cpu()->id;
	struct ui_cpu *own = &ui[id];
	int i;

	write_cr4(read_cr4() | CR4_UINTR);
	clui();
	wrmsr(MSR_UINTR_RR, 0);
	own->upid.low = UPID_NV(UINV) | ui_ndst(id);
	own->upid.pir = 0;
	for (i = 0; i < 64; i++)
		own->uitt[i] = (struct uitte){ UITTE(i), (u64)&own->upid };
	wrmsr(MSR_UINTR_HANDLER, (u64)ui_entry);
	wrmsr(MSR_UINTR_STACKADJUST, 0);
	wrmsr(MSR_UINTR_PD, (u64)&own->upid);
	wrmsr(MSR_UINTR_TT, (u64)own->uitt | TT_ENABLE);
	wrmsr(MSR_UINTR_MISC, MISC(UINV, 63));
	if (id == 0)
		ui_log.count = 0;
}

void ui_off(void)
{
	u32 msr;

	write_cr4(read_cr4() | CR4_UINTR);
	clui();
	write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	for (msr = MSR_UINTR_RR; msr <= MSR_UINTR_TT; msr++)
		wrmsr(msr, 0);
}
