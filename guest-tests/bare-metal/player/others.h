/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The other CPUs. During a sequence they run pieces of code, called actions, when CPU 0 asks for
 * one by a store to the mailbox. In a storm they send user interrupts all the time.
 */
#ifndef PLAYER_OTHERS_H
#define PLAYER_OTHERS_H

#include "player.h"
#include "uintr.h"

/* More than any emulator executes before it looks at what other CPUs ask for. */
#define PATIENCE 1000000UL
/* Vectors that a sender has in a storm, from its APIC ID times that number on. */
#define VECTORS 8
/* Runs of a storm's code while senders are waited for. */
#define RUNS 200

static const struct player_case *shared_case;
static struct player_result *shared_result;
/* Odd while a case is played; and the last value that each CPU has seen, by its APIC ID. */
static volatile u64 phase, seen[MAX_PLAYERS];
static volatile bool busy[MAX_PLAYERS];

static u32 wait_for_phase(u64 last)
{
	while (phase == last)
		cpu_relax();
	return phase;
}

static u64 irr_word(int i)
{
	return apic_read(APIC_IRR + i * 32) | (u64)apic_read(APIC_IRR + i * 32 + 16) << 32;
}

/* --- actions ------------------------------------------------------------------------------- */

static void run_action(u64 number)
{
	struct player_action_result *out = &shared_result->actions[number];
	struct regs regs = {
		.rip = window(PAGE_ACTIONS) + number * ACTION_WORDS * 8,
		.rflags = 2,
		.cs = SEL_KCODE,
		.ss = SEL_KDATA,
	};
	struct trap trap;

	try_regs(&trap, &regs);
	out->count++;
	out->vector = trap.regs.vector;
	out->error = trap.regs.error;
	out->rax = trap.regs.rax;
}

/*
 * A request is the number of an action, from 1, and in its second byte the bytes by which CPU 0
 * then goes on: it waits by a JMP to the address in the mailbox, at first its own.
 */
static void serve(u64 id, u64 playing)
{
	struct player_mail *mail = window_memory(PAGE_MAIL);

	while (phase == playing) {
		u64 request = READ_ONCE(mail->request), number = (request & 0xff) - 1;

		if (!request || shared_case->actions[number].cpu != id) {
			cpu_relax();
			continue;
		}
		busy[id] = true;
		if (__atomic_compare_exchange_n(&mail->request, &request, 0, false, __ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST)) {
			run_action(number);
			WRITE_ONCE(mail->go, mail->go + (request >> 8));
		}
		busy[id] = false;
	}
}

/* --- storms -------------------------------------------------------------------------------- */

static volatile u64 storm_round, storm_sent[MAX_PLAYERS], storm_arrived[MAX_PLAYERS * VECTORS];

static void spin_for(u64 count)
{
	while (count--)
		barrier();
}

/* Each round, wait for a varying time and send the own vectors, at varying intervals. */
static void send_each_round(u64 id, u64 playing)
{
	u64 last = 0, length = 0, n;

	while (phase == playing) {
		if (storm_round == last) {
			cpu_relax();
			continue;
		}
		last = storm_round;
		spin_for(length);
		for (n = 0; n < VECTORS; n++) {
			senduipi(id * VECTORS + n);
			spin_for((length + n * id) % 64);
		}
		storm_sent[id] = last;
		length = (length + shared_case->stride * id) % shared_case->longest;
	}
}

void user_interrupt(struct ui_frame *frame)
{
	storm_arrived[frame->vector]++;
}

static bool all_sent(void)
{
	int id;

	for (id = 1; id < cpu_count; id++) {
		if (storm_sent[id] != storm_round)
			return false;
	}
	return true;
}

static bool all_arrived(void)
{
	int n;

	for (n = VECTORS; n < cpu_count * VECTORS; n++) {
		if (storm_arrived[n] != storm_round)
			return false;
	}
	return true;
}

/* At CPL 3. An interrupt that was sent and does not arrive during the loop is late. */
static void await(void *late)
{
	u64 n = 0;

	while (!all_arrived()) {
		if (all_sent() && ++n > PATIENCE) {
			*(u64 *)late = 1;
			return;
		}
	}
}

/* Run code again and again while the others send; each interrupt must arrive, once and in time. */
static void play_storm(const struct regs *regs)
{
	u64 late = 0, n, run;
	int i;

	for (n = 1; n <= shared_case->rounds && !late; n++) {
		storm_round = n;
		for (run = 0; run < RUNS && !all_sent(); run++) {
			if (shared_case->uif)
				stui();
			else
				clui();
			try_regs(NULL, regs);
		}
		stui();
		try_user(NULL, await, &late);
	}
	clui();
	for (i = 0; i < 8; i++)
		take_irqs();
	shared_result->late = late;
	for (i = 0; i < MAX_PLAYERS * VECTORS; i++)
		shared_result->arrived += storm_arrived[i];
	shared_result->msrs[0] = rdmsr(MSR_UINTR_RR);
	shared_result->upid[0] = ui[0].upid.low & (UPID_ON | UPID_SN);
	shared_result->upid[1] = ui[0].upid.pir;
}

/* --- beginning and end of a case ----------------------------------------------------------- */

static void prepare_other(void)
{
	asm volatile("movq %%cr3, %%rax; movq %%rax, %%cr3" ::: "rax", "memory");
	write_cr4(read_cr4() | CR4_UINTR);
	clui();
	wrmsr(MSR_UINTR_RR, 0);
	take_irqs();
	wrmsr(MSR_UINTR_MISC, MISC(0, shared_case->rounds ? 63 : (u32)shared_case->msrs[3]));
	wrmsr(MSR_UINTR_TT, shared_case->rounds ? (u64)ui[0].uitt | TT_ENABLE : shared_case->msrs[5]);
}

/* All words first: the interrupt that is taken is the one of the highest vector, in the last word. */
static void look_at_other(u64 id)
{
	u64 *irr = shared_result->other_irr[id - 1], left;
	int i;

	for (i = 0; i < 4; i++)
		irr[i] = irr_word(i);
	for (i = 0; i < 4; i++) {
		for (left = irr[i]; left; left &= left - 1)
			take_irqs();
	}
}

static void other_cpu(void *unused)
{
	u64 id = this_cpu()->apic_id, now = 0;

	(void)unused;
	take_irqs();
	for (;;) {
		now = wait_for_phase(now);
		if (now & 1)
			prepare_other();
		else
			look_at_other(id);
		seen[id] = now;
		if (now & 1 && shared_case->rounds)
			send_each_round(id, now);
		else if (now & 1)
			serve(id, now);
	}
}

static void next_phase(void)
{
	int id;

	phase++;
	for (id = 1; id < cpu_count; id++) {
		while (seen[id] != phase)
			cpu_relax();
	}
}

/* Have the others run other_cpu() for good. */
static void start_others_playing(void)
{
	int cpu;

	for (cpu = 1; cpu < cpu_count; cpu++)
		run_on(cpu, other_cpu, NULL);
	if (cpu_count > 1) {
		map(PAGE_MAIL, PTE_P | PTE_W | PTE_U);
		map(PAGE_ACTIONS, PTE_P);
	}
}

static void begin_with_others(const struct player_case *from, struct player_result *result)
{
	struct player_mail *mail = window_memory(PAGE_MAIL);
	int i;

	if (cpu_count == 1)
		return;
	shared_case = from;
	shared_result = result;
	*mail = (struct player_mail){ 0 };
	for (i = 0; i < MAX_ACTIONS; i++)
		memcpy((u8 *)window_memory(PAGE_ACTIONS) + i * ACTION_WORDS * 8,
		       from->actions[i].code, ACTION_WORDS * 8);
	memset((void *)storm_sent, 0, sizeof(storm_sent));
	memset((void *)storm_arrived, 0, sizeof(storm_arrived));
	storm_round = 0;
	next_phase();
}

/* Wait until all that was asked for is done. */
static void finish_with_others(void)
{
	struct player_mail *mail = window_memory(PAGE_MAIL);
	int id;

	if (cpu_count == 1)
		return;
	while (READ_ONCE(mail->request))
		cpu_relax();
	for (id = 1; id < cpu_count; id++) {
		while (busy[id])
			cpu_relax();
	}
	next_phase();
}

#endif
