// SPDX-License-Identifier: GPL-2.0-only
/*
 * SENDUIPI while other CPUs change the same UPID. Each case counts what was sent and what arrived.
 * A lost wake-up ends it by a timeout, which prints the state of the UPID. CPU 0 receives at CPL 3
 * unless a case says otherwise.
 */
#include "uintr.h"

/* A case ends after this number of rounds, or of TSC cycles (1 GHz in QEMU's TCG). */
#define ROUNDS 20000
#define CYCLES 1000000000UL
/* Timeout of one wake-up; a round takes microseconds. */
#define WAKE_UP_MS 3000

static struct ui_cpu *const own = &ui[0];
static volatile u64 sequence, acknowledged;
static volatile bool stop, lost;
static volatile u64 rounds_done;
static u64 started;

static bool enough(u64 rounds)
{
	return stop || rounds >= ROUNDS || rdtsc() - started > CYCLES;
}

void test_setup(void)
{
	ui_setup();
	sequence = acknowledged = rounds_done = 0;
	stop = lost = false;
	started = rdtsc();
}

/* What arrived, for each vector. */
static volatile u64 arrived[64];

void user_interrupt(struct ui_frame *frame)
{
	arrived[frame->vector]++;
	acknowledged = sequence;
}

static void clear_arrived(void)
{
	int i;

	for (i = 0; i < 64; i++)
		arrived[i] = 0;
}

static void report(const char *what)
{
	FAIL("%s: after %lu rounds, sequence %lu, acknowledged %lu", what, rounds_done, sequence,
	     acknowledged);
	note("UPID low 0x%lx, PIR 0x%lx; UIRR 0x%lx, MISC 0x%lx, IRR %d, UIF %d", own->upid.low,
	     own->upid.pir, rdmsr(MSR_UINTR_RR), rdmsr(MSR_UINTR_MISC), apic_bit(APIC_IRR, UINV),
	     testui());
}

/* The senders' CPUs have the receiver's table. */
static void be_sender(void)
{
	write_cr4(read_cr4() | CR4_UINTR);
	clui();
	wrmsr(MSR_UINTR_RR, 0);
	wrmsr(MSR_UINTR_MISC, MISC(0, 63));
	wrmsr(MSR_UINTR_TT, (u64)own->uitt | TT_ENABLE);
}

/* One at a time: the next is sent when the last one was handled. */
static void send_in_turn(void *unused)
{
	(void)unused;
	be_sender();
	while (!enough(rounds_done)) {
		u64 until = deadline_ms(WAKE_UP_MS);

		sequence++;
		senduipi(1);
		while (acknowledged != sequence && !stop) {
			if (expired(until)) {
				lost = stop = true;
				return;
			}
		}
		rounds_done++;
	}
	stop = true;
}

static void spin(void *unused)
{
	(void)unused;
	while (!stop)
		cpu_relax();
}

static void finish(int cpu, const char *what)
{
	if (!run_done(cpu, deadline_ms(2 * WAKE_UP_MS)))
		FAIL("CPU %d does not end", cpu);
	if (lost)
		report(what);
}

static void ping(const char *what)
{
	u64 start = rdtsc();

	EXPECT_EQ(try_user(NULL, spin, NULL), VECTOR_DONE);
	finish(1, what);
	if (!over())
		note("%s: %lu rounds, %lu cycles of the TSC each", what, rounds_done,
		     (rdtsc() - start) / (rounds_done ?: 1));
}

static void every_send_to_a_running_receiver_arrives(void)
{
	stui();
	run_on(1, send_in_turn, NULL);
	ping("receiver spins at CPL 3");
}

/* The receiver enters and leaves the kernel, so that notifications come at both levels. */
static void enter_the_kernel(void *unused)
{
	(void)unused;
}

static void every_send_to_a_receiver_in_and_out_of_the_kernel_arrives(void)
{
	stui();
	run_on(1, send_in_turn, NULL);
	while (!stop)
		try_user(NULL, enter_the_kernel, NULL);
	finish(1, "receiver changes its level");
}

static void gate_by_uif(void *unused)
{
	(void)unused;
	while (!stop) {
		clui();
		cpu_relax();
		stui();
	}
}

static void every_send_to_a_receiver_that_toggles_uif_arrives(void)
{
	stui();
	run_on(1, send_in_turn, NULL);
	EXPECT_EQ(try_user(NULL, gate_by_uif, NULL), VECTOR_DONE);
	finish(1, "receiver toggles UIF");
}

/*
 * The kernel's protocol for a receiver that is switched out and in: SN, save UIRR, and later clear
 * SN and, if PIR is not 0, notify oneself.
 */
static void switch_out_and_in(void)
{
	u64 requests;

	asm volatile("lock btsq $1, %0" : "+m"(own->upid.low) :: "memory");
	take_irqs();			/* one that was on its way */
	wrmsr(MSR_UINTR_MISC, MISC(0, 63));
	requests = rdmsr(MSR_UINTR_RR);
	wrmsr(MSR_UINTR_RR, 0);
	/* Another task could run here; a late notification goes through the IDT. */
	take_irqs();
	wrmsr(MSR_UINTR_RR, requests);
	wrmsr(MSR_UINTR_MISC, MISC(UINV, 63));
	asm volatile("lock btrq $1, %0" : "+m"(own->upid.low) :: "memory");
	if (READ_ONCE(own->upid.pir))
		send_ipi(cpus[0].apic_id, UINV);
}

static void clearing_sn_loses_nothing(void)
{
	stui();
	run_on(1, send_in_turn, NULL);
	while (!stop) {
		switch_out_and_in();
		try_user(NULL, enter_the_kernel, NULL);
	}
	finish(1, "receiver is switched out and in");
}

/* No interrupts at all: software takes the requests by XCHG, and clears ON before. */
static void polling_by_xchg_loses_nothing(void)
{
	wrmsr(MSR_UINTR_MISC, MISC(0, 63));	/* notifications go through the IDT */
	run_on(1, send_in_turn, NULL);
	while (!stop) {
		u64 requests = 0;

		asm volatile("lock btrq $0, %0" : "+m"(own->upid.low) :: "memory");
		asm volatile("xchgq %0, %1" : "+r"(requests), "+m"(own->upid.pir) :: "memory");
		if (requests)
			acknowledged = sequence;
		take_irqs();
	}
	finish(1, "receiver polls");
}

/* A bit that nobody sends with is set and cleared by LOCK BTS and BTR all the time. */
static void toggle_neighbours(void *unused)
{
	(void)unused;
	while (!stop) {
		asm volatile("lock btsq $40, %0" : "+m"(own->upid.pir) :: "memory");
		asm volatile("lock btrq $40, %0" : "+m"(own->upid.pir) :: "memory");
		asm volatile("lock xorq %1, %0" : "+m"(own->upid.low) : "r"(BIT(20)) : "memory");
		asm volatile("lock xorq %1, %0" : "+m"(own->upid.low) : "r"(BIT(20)) : "memory");
	}
}

/*
 * Locked instructions on the same quadwords and SENDUIPI are atomic to each other. The vector that
 * flickers in NV has a handler in the IDT, which counts like a notification.
 */
static void notify_again(struct regs *regs)
{
	if (regs->vector == (UINV ^ 0x10))
		send_ipi(cpus[0].apic_id, UINV);
}

static void locked_instructions_lose_nothing(void)
{
	stui();
	this_cpu()->on_irq = notify_again;
	run_on(2, toggle_neighbours, NULL);
	run_on(1, send_in_turn, NULL);
	EXPECT_EQ(try_user(NULL, spin, NULL), VECTOR_DONE);
	finish(1, "others change bits beside");
	finish(2, "others change bits beside");
	this_cpu()->on_irq = NULL;
	EXPECT_EQ(own->upid.low >> 16 & 0xff, UINV);
}

/*
 * SENDUIPI to a UPID that notifies nobody: SN is set, or there is no such APIC. Thousands of times
 * per millisecond, to hit a gap of nanoseconds between reading and writing.
 */
static volatile u64 missing;

/* Each CPU takes back the request that it has just posted, and has to find it. */
static void post_and_take_back(void *unused)
{
	u64 id = this_cpu()->id, n;
	bool found;

	(void)unused;
	be_sender();
	for (n = 0; !stop && rdtsc() - started < CYCLES; n++) {
		senduipi(id);
		asm volatile("lock btrq %2, %0" : "+m"(own->upid.pir), "=@ccc"(found) : "r"(id) : "memory");
		if (!found) {
			missing++;
			stop = true;
		}
	}
	rounds_done = n;
}

static void posts_are_atomic_to_each_other(void)
{
	missing = 0;
	own->upid.low |= UPID_SN;
	run_on(1, post_and_take_back, NULL);
	post_and_take_back(NULL);
	finish(1, "two CPUs post");
	if (missing)
		report("a post was overwritten by another CPU's");
}

static void send_to_nobody(void *unused)
{
	(void)unused;
	be_sender();
	while (!stop)
		senduipi(1);
}

/* Set SN and clear it, and check each time that it stays so. */
static u64 toggle_sn(void (*meanwhile)(void))
{
	u64 n;
	int look;

	for (n = 0; !stop && rdtsc() - started < CYCLES; n++) {
		asm volatile("lock btsq $1, %0" : "+m"(own->upid.low) :: "memory");
		for (look = 0; look < 8; look++) {
			if (!(READ_ONCE(own->upid.low) & UPID_SN))
				missing++;
		}
		asm volatile("lock btrq $1, %0" : "+m"(own->upid.low) :: "memory");
		for (look = 0; look < 8; look++) {
			if (READ_ONCE(own->upid.low) & UPID_SN)
				missing++;
		}
		if (meanwhile)
			meanwhile();
		if (missing)
			break;
	}
	rounds_done = n;
	stop = true;
	return n;
}

/* So that the sender sets it again. */
static void clear_on(void)
{
	asm volatile("lock btrq $0, %0" : "+m"(own->upid.low) :: "memory");
}

static void setting_on_is_atomic(void)
{
	missing = 0;
	own->upid.low = UPID_NV(UINV) | (x2apic ? 77UL << 32 : 77UL << 40);
	run_on(1, send_to_nobody, NULL);
	toggle_sn(clear_on);
	finish(1, "SENDUIPI sets ON");
	if (missing)
		report("SENDUIPI has undone a change of SN");
}

static void toggle_until_stopped(void *unused)
{
	(void)unused;
	toggle_sn(NULL);
}

static void clearing_on_is_atomic(void)
{
	missing = 0;
	run_on(1, toggle_until_stopped, NULL);
	while (!stop) {
		asm volatile("lock btsq $0, %0" : "+m"(own->upid.low) :: "memory");
		send_ipi(cpus[0].apic_id, UINV);
		take_irqs();
	}
	finish(1, "a notification clears ON");
	if (missing)
		report("a notification has undone a change of SN");
}

/*
 * The second of two sends comes while the first is being processed, sooner or later: either it
 * finds ON clear and notifies, or its request is taken along.
 */
static void send_twice(void *unused)
{
	u64 n, delay, spin, until;

	(void)unused;
	be_sender();
	for (n = 1, delay = 0; !stop && rdtsc() - started < 2 * CYCLES; n++) {
		until = deadline_ms(WAKE_UP_MS);
		senduipi(1);
		for (spin = 0; spin < delay; spin++)
			barrier();
		senduipi(2);
		while ((arrived[1] < n || arrived[2] < n) && !stop) {
			if (expired(until)) {
				lost = stop = true;
				break;
			}
		}
		rounds_done = n;
		delay = (delay + 61) % 20000;
	}
	stop = true;
}

/* Words beside the descriptor: accesses to its cache line take longer, and gaps get wider. */
static void disturb(void *unused)
{
	(void)unused;
	while (!stop)
		asm volatile("lock incq %0" : "+m"(own->upid.unused[5]) :: "memory");
}

static void a_send_during_a_notification_is_heard(void)
{
	clear_arrived();
	stui();
	if (cpu_count > 2)
		run_on(2, disturb, NULL);
	run_on(1, send_twice, NULL);
	EXPECT_EQ(try_user(NULL, spin, NULL), VECTOR_DONE);
	finish(1, "two sends in a row");
	if (cpu_count > 2)
		finish(2, "two sends in a row");
}

/*
 * The order of the two steps, on either side. The receiver looks only at ON, and the sender sets
 * it before it posts, as if a notification were in progress; SENDUIPI then does not notify. Either
 * the receiver finds the request, or SENDUIPI has found ON clear and set it. No APIC takes part,
 * so that rounds are short and many, and waits of all lengths vary their timing.
 */
static volatile u64 taken;

static void post_with_on_set(void *longest)
{
	u64 n, delay = 0, spin, until;

	be_sender();
	for (n = 1; !stop && rdtsc() - started < CYCLES; n++) {
		until = deadline_ms(WAKE_UP_MS);
		asm volatile("lock btsq $0, %0" : "+m"(own->upid.low) :: "memory");
		for (spin = 0; spin < delay; spin++)
			barrier();
		senduipi(1);
		while (taken != n && !stop) {
			if (expired(until)) {
				lost = stop = true;
				break;
			}
		}
		rounds_done = n;
		delay = (delay + 1) % (u64)longest;
	}
	stop = true;
}

static bool wait_for_on(u64 delay)
{
	while (!(READ_ONCE(own->upid.low) & UPID_ON)) {
		if (stop)
			return false;
	}
	while (delay--)
		barrier();
	return true;
}

/* SENDUIPI sets the request first, and looks at ON then. */
static void a_request_is_posted_before_on_is_examined(void)
{
	u64 delay = 0;

	taken = 0;
	/* Nobody is notified. */
	own->upid.low = UPID_NV(UINV) | (x2apic ? 77UL << 32 : 77UL << 40);
	run_on(1, post_with_on_set, (void *)16);
	while (wait_for_on(delay)) {
		u64 requests = 0;

		asm volatile("lock btrq $0, %0" : "+m"(own->upid.low) :: "memory");
		asm volatile("xchgq %0, %1" : "+r"(requests), "+m"(own->upid.pir) :: "memory");
		if (requests)
			taken++;
		delay = (delay + 1) % 512;
	}
	finish(1, "the receiver clears ON and takes PIR");
}

/* A notification clears ON first, and takes the requests then. */
static void a_notification_clears_on_before_it_takes_pir(void)
{
	taken = 0;
	run_on(1, post_with_on_set, (void *)4096);
	while (wait_for_on(0)) {
		send_ipi(cpus[0].apic_id, UINV);
		take_irqs();
		if (rdmsr(MSR_UINTR_RR)) {
			wrmsr(MSR_UINTR_RR, 0);
			taken++;
		}
	}
	finish(1, "a notification clears ON and takes PIR");
}

/* --- many senders -------------------------------------------------------------------------- */

static volatile u64 sent[MAX_CPUS];
static volatile int senders;

/* Each sender has a vector, and waits for it. */
static void send_own_vector(void *unused)
{
	int id = this_cpu()->id;
	u64 n;

	(void)unused;
	be_sender();
	for (n = 0; !enough(n); n++) {
		u64 until = deadline_ms(WAKE_UP_MS);

		senduipi(id);
		while (arrived[id] <= n && !stop) {
			if (expired(until)) {
				lost = stop = true;
				return;
			}
		}
		sent[id] = n + 1;
	}
	__atomic_fetch_sub(&senders, 1, __ATOMIC_SEQ_CST);
}

static void spin_for_senders(void *unused)
{
	(void)unused;
	while (senders && !stop)
		cpu_relax();
}

static void each_of_many_senders_is_heard(void)
{
	int cpu;

	clear_arrived();
	senders = cpu_count - 1;
	for (cpu = 1; cpu < cpu_count; cpu++) {
		sent[cpu] = 0;
		run_on(cpu, send_own_vector, NULL);
	}
	stui();
	EXPECT_EQ(try_user(NULL, spin_for_senders, NULL), VECTOR_DONE);
	for (cpu = 1; cpu < cpu_count; cpu++) {
		finish(cpu, "many senders");
		EXPECT_EQ(arrived[cpu], sent[cpu]);
	}
}

/* --- a receiver that moves ----------------------------------------------------------------- */

/*
 * The task of the receiver runs on CPU 0 and 1 in turn; the last CPU sends. Leaving a CPU: SN, save.
 * Entering one: restore, NDST, clear SN, notify oneself if something waits.
 */
static struct {
	volatile int at;	/* whose turn it is */
	u64 uirr;
} task;

static void run_task(void *unused)
{
	struct cpu *cpu = this_cpu();
	u64 low;

	(void)unused;
	write_cr4(read_cr4() | CR4_UINTR);
	clui();
	while (!stop) {
		if (task.at != cpu->id) {
			take_irqs();
			continue;
		}
		wrmsr(MSR_UINTR_HANDLER, (u64)ui_entry);
		wrmsr(MSR_UINTR_STACKADJUST, 0);
		wrmsr(MSR_UINTR_PD, (u64)&own->upid);
		wrmsr(MSR_UINTR_MISC, MISC(UINV, 63));
		wrmsr(MSR_UINTR_RR, task.uirr);
		do {
			low = READ_ONCE(own->upid.low);
		} while (!__atomic_compare_exchange_n(&own->upid.low, &low,
						      (low & 0xffffffff) | ui_ndst(cpu->id), false,
						      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
		asm volatile("lock btrq $1, %0" : "+m"(own->upid.low) :: "memory");
		if (READ_ONCE(own->upid.pir))
			send_ipi(cpu->apic_id, UINV);
		stui();
		try_user(NULL, enter_the_kernel, NULL);

		asm volatile("lock btsq $1, %0" : "+m"(own->upid.low) :: "memory");
		take_irqs();
		wrmsr(MSR_UINTR_MISC, MISC(0, 63));
		clui();
		task.uirr = rdmsr(MSR_UINTR_RR);
		wrmsr(MSR_UINTR_RR, 0);
		barrier();
		task.at = !cpu->id;
	}
}

static void a_receiver_that_moves_gets_all(void)
{
	int sender = cpu_count - 1;

	own->upid.low |= UPID_SN;
	task.at = 0;
	task.uirr = 0;
	run_on(1, run_task, NULL);
	run_on(sender, send_in_turn, NULL);
	run_task(NULL);
	finish(sender, "receiver moves");
	finish(1, "receiver moves");
}

static volatile u64 refused;

static void send_one(void *unused)
{
	(void)unused;
	senduipi(1);
}

static void send_until_stopped(void *unused)
{
	(void)unused;
	be_sender();
	while (!stop) {
		if (try_kernel(NULL, send_one, NULL) == TRAP_GP)
			refused++;
	}
}

/*
 * A reserved bit makes senders fault, and the check and the posting are one access: after the bit
 * is set, PIR does not change. A kernel that blocks a receiver depends on it.
 */
static void a_reserved_bit_ends_all_posting(void)
{
	u64 n, late = 0, until, spin;

	refused = 0;
	own->upid.low |= UPID_SN;
	run_on(1, send_until_stopped, NULL);
	for (n = 0; !enough(n) && !late; n++) {
		asm volatile("lock btrq $7, %0" : "+m"(own->upid.low) :: "memory");
		until = deadline_ms(WAKE_UP_MS);
		while (!READ_ONCE(own->upid.pir) && !expired(until))
			cpu_relax();
		/* At any time between two posts of the sender. */
		for (spin = 0; spin < n * 37 % 4096; spin++)
			barrier();
		asm volatile("lock btsq $7, %0" : "+m"(own->upid.low) :: "memory");
		__atomic_exchange_n(&own->upid.pir, 0, __ATOMIC_SEQ_CST);
		for (spin = 0; spin < 300; spin++)
			cpu_relax();
		late = READ_ONCE(own->upid.pir);
	}
	rounds_done = n;
	/* The bit is set: the next send faults. */
	until = deadline_ms(WAKE_UP_MS);
	while (!refused && !expired(until))
		cpu_relax();
	EXPECT(refused > 0);
	stop = true;
	finish(1, "a reserved bit");
	if (late)
		report("a request was posted past a reserved bit");
}

TESTS(
	TEST_SMP(every_send_to_a_running_receiver_arrives, 2, SEND-25),
	TEST_SMP(every_send_to_a_receiver_in_and_out_of_the_kernel_arrives, 2, SEND-25),
	TEST_SMP(every_send_to_a_receiver_that_toggles_uif_arrives, 2, SEND-25),
	TEST_SMP(clearing_sn_loses_nothing, 2, SEND-26),
	TEST_SMP(polling_by_xchg_loses_nothing, 2, SEND-23),
	TEST_SMP(locked_instructions_lose_nothing, 3, SEND-22, NOTIFY-21),
	TEST_SMP(posts_are_atomic_to_each_other, 2, SEND-21),
	TEST_SMP(setting_on_is_atomic, 2, SEND-22),
	TEST_SMP(clearing_on_is_atomic, 2, NOTIFY-21),
	TEST_SMP(a_send_during_a_notification_is_heard, 2, NOTIFY-20),
	TEST_SMP(a_request_is_posted_before_on_is_examined, 2, SEND-23),
	TEST_SMP(a_notification_clears_on_before_it_takes_pir, 2, NOTIFY-20),
	TEST_SMP(each_of_many_senders_is_heard, 2, SEND-28),
	TEST_SMP(a_receiver_that_moves_gets_all, 3, SEND-27),
	TEST_SMP(a_reserved_bit_ends_all_posting, 2, SEND-24),
);
