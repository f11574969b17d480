// SPDX-License-Identifier: GPL-2.0-only
/*
 * No delivery is late. One, two or three senders notify a receiver that returns to user code or
 * runs there. The code only computes: it makes no system call and executes no PAUSE, and no timer
 * interrupts it, so that only the notifications themselves can cause a delivery. After the last
 * send, all interrupts must arrive within a few instructions.
 *
 * "rounds=100000" on the command line is a long run; the default is a short one.
 */
#include "uintr.h"

#define DEFAULT_ROUNDS 1500
#define DEFAULT_MS 150
/* More than any emulator executes before it looks at what other CPUs ask for. */
#define PATIENCE 1000000UL

static struct ui_cpu *const own = &ui[0];
static volatile u64 go, sent[MAX_CPUS];
static volatile bool got[64], stop;
static volatile u64 late;
static int senders;

void test_setup(void)
{
	ui_setup();
	memset(cpus[0].irqs, 0, sizeof(cpus[0].irqs));
	this_cpu()->on_irq = NULL;
	this_cpu()->mend = NULL;
}

void user_interrupt(struct ui_frame *frame)
{
	got[frame->vector] = true;
}

/* Each waits for a varying time, and sends its own vector. */
static void send_each_round(void *unused)
{
	u64 id = this_cpu()->id, last = 0, length = id * 100, spin;

	(void)unused;
	write_cr4(read_cr4() | CR4_UINTR);
	wrmsr(MSR_UINTR_MISC, MISC(0, 63));
	wrmsr(MSR_UINTR_TT, (u64)own->uitt | TT_ENABLE);
	while (!stop) {
		if (go == last) {
			cpu_relax();
			continue;
		}
		last = go;
		for (spin = 0; spin < length; spin++)
			barrier();
		senduipi(id);
		sent[id] = last;
		length = (length + 97 * id) % 6000;
	}
}

static bool all_arrived(void)
{
	int id;

	for (id = 1; id <= senders; id++) {
		if (!got[id])
			return false;
	}
	return true;
}

static bool all_sent(void)
{
	int id;

	for (id = 1; id <= senders; id++) {
		if (sent[id] != go)
			return false;
	}
	return true;
}

/* At CPL 3. An interrupt that was sent and does not arrive during the loop is late. */
static void compute(void *unused)
{
	u64 n = 0;

	(void)unused;
	while (!all_arrived()) {
		if (all_sent() && ++n > PATIENCE) {
			late++;
			return;
		}
	}
}

static void run_rounds(int count)
{
	u64 limit = rounds ?: DEFAULT_ROUNDS, until = deadline_ms(DEFAULT_MS), n, spin, length = 0;
	int id;

	senders = count;
	stop = false;
	late = go = 0;
	for (id = 1; id <= senders; id++) {
		sent[id] = 0;
		run_on(id, send_each_round, NULL);
	}
	for (n = 0; n < limit && (rounds || !expired(until)) && late < 20; n++) {
		for (id = 1; id <= senders; id++)
			got[id] = false;
		stui();
		go++;
		/* In the kernel, with interrupts on and then off, for some time. */
		asm volatile("sti" ::: "memory");
		for (spin = 0; spin < length / 4; spin++)
			barrier();
		asm volatile("cli" ::: "memory");
		for (spin = 0; spin < length; spin++)
			barrier();
		length = (length + 131) % 3000;
		try_user(NULL, compute, NULL);
		if (!all_arrived()) {
			if (late == 1)
				note("round %lu: UIRR 0x%lx, UIF %d, PIR 0x%lx, UPID 0x%lx, IRR %d", n,
				     rdmsr(MSR_UINTR_RR), testui(), own->upid.pir, own->upid.low,
				     apic_bit(APIC_IRR, UINV));
			clui();
			take_irqs();
			wrmsr(MSR_UINTR_RR, 0);
		}
	}
	stop = true;
	for (id = 1; id <= senders; id++)
		EXPECT(run_done(id, deadline_ms(3000)));
	clui();
	take_irqs();
	note("%d senders: %lu late of %lu rounds", senders, late, n);
	EXPECT_EQ(late, 0);
}

static void from_one_sender(void)
{
	run_rounds(1);
}

static void from_two_senders(void)
{
	run_rounds(2);
}

static void from_three_senders(void)
{
	run_rounds(3);
}

TESTS(
	TEST_SMP(from_one_sender, 2, DELIVERY-24, SEND-25),
	TEST_SMP(from_two_senders, 3, DELIVERY-24, SEND-28),
	TEST_SMP(from_three_senders, 4, DELIVERY-24, SEND-28),
);
