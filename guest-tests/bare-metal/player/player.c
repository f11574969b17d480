// SPDX-License-Identifier: GPL-2.0-only
/*
 * Plays random sequences. A sequence has an initial state of the processor, the content of some
 * pages, and code, which runs until INT 80h or a fault. Debug traps and interrupts are recorded,
 * and the code continues. Other CPUs take part in some sequences, see others.h.
 */
#include "others.h"

#define MSR_XSS 0xda0
#define DR6_CLEAR 0xffff0ff0UL
#define DR6_BS BIT(14)
#define ATA 0x1f0
#define ATA_CONTROL 0x3f6
#define ATA_NO_IRQ 2
#define ATA_BUSY 0x80
#define ATA_READY 8
#define ATA_LBA 0xe0
#define ATA_WRITE 0x30

bool switch_to_x2apic(void);

static struct player_result *result;
static u64 dr7;
static u64 rights_now[7];
static const u8 pages[7] = {
	PAGE_CODE, PAGE_HANDLER, PAGE_STACK, PAGE_STACK + 1, PAGE_UPID, PAGE_UITT,
	PAGE_AREA,
};

static void log_event(const struct regs *regs, u64 dr6)
{
	struct player_event *event = &result->events[result->event_count];

	if (result->event_count++ >= MAX_EVENTS)
		return;
	*event = (struct player_event){ regs->vector, regs->rip, regs->rflags, regs->rsp, dr6 };
	if (regs->rip < WINDOW)
		event->rip = event->rflags = event->rsp = 0;
}

/*
 * A code breakpoint is a fault: RF lets the instruction execute. A trap before that instruction may
 * report the breakpoint in DR6 as well, or not: its condition is met there, too. Ignore it there.
 */
static bool at_trap(struct regs *regs)
{
	u64 dr6, of_code = 0, of_data = 0;
	int i;

	if (regs->vector != TRAP_DB)
		return false;
	asm volatile("movq %%dr6, %0; movq %1, %%dr6" : "=&r"(dr6) : "r"(DR6_CLEAR));
	for (i = 0; i < 2; i++) {
		if (dr7 & BIT(2 * i))
			*(dr7 >> (16 + 4 * i) & 3 ? &of_data : &of_code) |= BIT(i);
	}
	dr6 &= of_code | of_data | DR6_BS;
	if (dr6 & ~of_code)
		dr6 &= ~of_code;
	log_event(regs, dr6);
	if (dr6 & of_code)
		regs->rflags |= RFLAGS_RF;
	return true;
}

static void log_nmi(struct regs *regs)
{
	log_event(regs, 0);
}

static bool uses_pic;

static void at_irq(struct regs *regs)
{
	log_event(regs, 0);
	if (uses_pic)
		pic_end();
}

static void set_breakpoints(u64 first, u64 second, u64 control)
{
	dr7 = control;
	asm volatile("movq %0, %%dr0; movq %1, %%dr1; movq %2, %%dr6; movq %3, %%dr7"
		     :: "r"(first), "r"(second), "r"(DR6_CLEAR), "r"(control));
}

static void set_keys(bool on, u32 pkru)
{
	if (on)
		write_cr4(read_cr4() | CR4_PKE);
	if (read_cr4() & CR4_PKE)
		asm volatile("wrpkru" :: "a"(pkru), "c"(0), "d"(0));
	if (!on)
		write_cr4(read_cr4() & ~(u64)CR4_PKE);
}

/* Use a separate stack for all vectors, because the stack of a sequence is part of its result. */
static void use_own_stack(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) idtr;
	int i;

	asm volatile("sidt %0" : "=m"(idtr));
	for (i = 0; i < 256; i++)
		((u8 *)idtr.base)[i * 16 + 4] = i == TRAP_NMI ? 2 : 1;
}

static void copy(void *to, const void *from, u64 words)
{
	asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) :: "memory");
}

static void *end_of(int page, u64 words)
{
	return (u8 *)window_memory(page) + PAGE_SIZE - words * 8;
}

static void lay_out_pages(const struct player_case *from)
{
	int i;

	for (i = 0; i < 7; i++) {
		if (rights_now[i] != from->rights[i])
			map(pages[i], from->rights[i]);
		rights_now[i] = from->rights[i];
	}
	copy(end_of(PAGE_CODE, CODE_WORDS), from->code, CODE_WORDS);
	copy(end_of(PAGE_HANDLER, HANDLER_WORDS), from->handler, HANDLER_WORDS);
	copy(end_of(PAGE_STACK, STACK_WORDS / 2), from->stack, STACK_WORDS);
	copy(end_of(PAGE_UPID, UPID_WORDS), from->upid, UPID_WORDS);
	copy(end_of(PAGE_UITT, UITT_WORDS), from->uitt, UITT_WORDS);
	copy(end_of(PAGE_AREA, AREA_WORDS), from->area, AREA_WORDS);
}

static void lay_out(const struct player_case *from)
{
	int i;

	lay_out_pages(from);
	for (i = 1; i < 6; i++)
		wrmsr(MSR_UINTR_RR + i, from->msrs[i]);
	if (from->uif)
		stui();
	wrmsr(MSR_UINTR_RR, from->msrs[0]);
	for (i = 0; i < 2; i++) {
		if (from->pending[i])
			send_ipi(cpus[0].apic_id, from->pending[i]);
	}
	uses_pic = from->pic;
	if (uses_pic)
		pic_request(from->pic);
	if (from->cr4_smap)
		set_smap(true);
	if (!from->cr4_uintr)
		write_cr4(read_cr4() & ~(u64)CR4_UINTR);
	if (from->cr4_pke)
		set_keys(true, from->pkru);
	begin_with_others(from, result);
	if (from->dr7 != DR7_OFF)
		set_breakpoints(from->dr[0], from->dr[1], from->dr7);
}

static void look(const struct trap *trap)
{
	const struct regs *r = &trap->regs;
	int i;

	write_cr4(read_cr4() | CR4_UINTR);
	result->uif = testui();
	clui();
	for (i = 0; i < 6; i++)
		result->msrs[i] = rdmsr(MSR_UINTR_RR + i);
	result->vector = r->vector;
	result->error = r->error;
	result->rip = r->rip;
	result->level = r->cs & 3;
	result->rflags = r->rflags;
	result->cr2 = trap->cr2;
	copy(result->regs, (u64[]){ r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				    r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 }, 16);
	for (i = 0; i < 4; i++)
		result->irr[i] = irr_word(i);
	result->pic = uses_pic && pic_requests();
	if (uses_pic)
		pic_off();
	result->nmi = unblock_nmis();
	copy(result->stack, end_of(PAGE_STACK, STACK_WORDS / 2), STACK_WORDS);
	copy(result->upid, end_of(PAGE_UPID, UPID_WORDS), UPID_WORDS);
	copy(result->uitt, end_of(PAGE_UITT, UITT_WORDS), UITT_WORDS);
	copy(result->area, end_of(PAGE_AREA, AREA_WORDS), AREA_WORDS);
}

/* Remove the state that a sequence leaves, before the next one. */
static void clean_up(void)
{
	int i;

	wrmsr(MSR_UINTR_RR, 0);
	wrmsr(MSR_UINTR_MISC, 0);
	this_cpu()->on_irq = NULL;
	for (i = 0; i < 4; i++) {
		while (result->irr[i]) {
			take_irqs();
			result->irr[i] &= result->irr[i] - 1;
		}
	}
	this_cpu()->on_irq = at_irq;
}

static void play_one(const struct player_case *from)
{
	struct trap trap;
	struct regs regs = {
		.r15 = from->regs[15], .r14 = from->regs[14], .r13 = from->regs[13],
		.r12 = from->regs[12], .r11 = from->regs[11], .r10 = from->regs[10],
		.r9 = from->regs[9], .r8 = from->regs[8], .rdi = from->regs[7],
		.rsi = from->regs[6], .rbp = from->regs[5], .rsp = from->regs[4],
		.rbx = from->regs[3], .rdx = from->regs[2], .rcx = from->regs[1],
		.rax = from->regs[0], .rip = from->rip, .rflags = from->rflags,
		.cs = from->level ? SEL_UCODE : SEL_KCODE,
		.ss = from->level ? SEL_UDATA : SEL_KDATA,
	};

	if (from->rounds) {
		ui_setup();
		uses_pic = false;
		lay_out_pages(from);
		begin_with_others(from, result);
		play_storm(&regs);
		finish_with_others();
		return;
	}
	if (from->nmi_blocked || from->nmi_pending)
		block_nmis();
	if (from->nmi_pending)
		send_nmi();
	lay_out(from);
	if (from->nmi_blocked)
		try_regs_blocked(&trap, &regs);
	else
		try_regs(&trap, &regs);
	apic_write(APIC_TIMER_COUNT, 0);
	if (from->dr7 != DR7_OFF)
		set_breakpoints(0, 0, DR7_OFF);
	if (from->cr4_pke)
		set_keys(false, 0);
	if (from->cr4_smap)
		set_smap(false);
	finish_with_others();
	look(&trap);
}

/* --- results on a disk, for emulators whose memory is no file ------------------------------- */

static u8 disk_status(void)
{
	u8 status;

	asm volatile("inb %1, %0" : "=a"(status) : "Nd"((u16)(ATA + 7)));
	return status;
}

/* Write to the first disk, a sector at a time, by the CPU ("PIO"). */
static void write_disk(u32 sector, const void *from, u8 sectors)
{
	outb(ATA_CONTROL, ATA_NO_IRQ);
	while (disk_status() & ATA_BUSY)
		;
	outb(ATA + 2, sectors);
	outb(ATA + 3, sector);
	outb(ATA + 4, sector >> 8);
	outb(ATA + 5, sector >> 16);
	outb(ATA + 6, ATA_LBA | sector >> 24);
	outb(ATA + 7, ATA_WRITE);
	while (sectors--) {
		u64 words = SECTOR / 2;

		while ((disk_status() & (ATA_BUSY | ATA_READY)) != ATA_READY)
			;
		asm volatile("rep outsw"
			     : "+S"(from), "+c"(words) : "d"((u16)ATA) : "memory");
	}
}

static void play(void)
{
	const struct player_in *in = (void *)PLAYER_IN;
	const struct player_case *cases = (void *)(PLAYER_IN + PAGE_SIZE);
	struct player_out *out = (void *)PLAYER_OUT;
	u64 i, saved[4];
	u32 a, b, c, d;

	if (in->magic != PLAYER_MAGIC || in->la57 != !!(read_cr4() & CR4_LA57))
		return;
	if (in->x2apic)
		switch_to_x2apic();
	use_own_stack();
	cpuid(7, 0, &a, &b, &c, &d);
	out->la57 = c >> 16 & 1;
	cpuid(7, 1, &a, &b, &c, &d);
	out->uiret_uif = d >> 17 & 1;
	write_cr4(read_cr4() | CR4_UINTR | CR4_OSXSAVE);
	wrmsr(MSR_XSS, BIT(14));
	clui();
	this_cpu()->mend = at_trap;
	this_cpu()->on_irq = at_irq;
	this_cpu()->on_nmi = log_nmi;
	start_others_playing();
	for (i = 0; i < in->count; i++) {
		result = (struct player_result *)(PLAYER_OUT + PAGE_SIZE) + i;
		out->begun = i + 1;
		if (on_bochs)
			write_disk(0, out, 1);
		play_one(&cases[i]);
		copy(saved, result->irr, 4);
		clean_up();
		copy(result->irr, saved, 4);
		out->ended = i + 1;
		if (on_bochs)
			write_disk(1 + i * RESULT_SECTORS, result, RESULT_SECTORS);
	}
	if (on_bochs)
		write_disk(0, out, 1);
	end_machine(0);
}

TESTS(TEST_ANYWHERE(play));
