// SPDX-License-Identifier: GPL-2.0
/*
 * The 64 vectors of a receiver: each arrives with its own number, the highest first, and a
 * repeated one only once; and handlers that can be interrupted.
 */
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"

static int index_of[UINTR_VECTORS];

/* A receiver of all vectors, connected to itself. */
static void all_vectors(const void *handler)
{
	int vector;

	ktap_ok(uintr_register_handler(handler, 0));
	for (vector = 0; vector < UINTR_VECTORS; vector++)
		index_of[vector] = sender_to(ktap_ok(uintr_create_fd(vector, 0)));
}

/* Wait until what was sent with UIF clear is pending, which may take time on some CPUs. */
static void settle(void)
{
	sleep_ms(5);
	getppid();
}

static void every_vector_arrives_as_itself(void)
{
	unsigned int vector, i;

	all_vectors(count_hit);
	_stui();
	for (i = 0; i < UINTR_VECTORS; i++) {
		vector = i * 37 % UINTR_VECTORS;
		_senduipi(index_of[vector]);
		ktap_assert(spin_until(hits == i + 1), "vector %u is lost", vector);
		ktap_check(hits_of[vector] == 1, "vector %u arrived as another", vector);
	}
}

/* Send in this order with UIF clear; they must arrive from 63 to 0, one right after the other. */
static void arrive_highest_first(unsigned int step)
{
	unsigned int i;

	all_vectors(raw_entry);
	for (i = 0; i < UINTR_VECTORS; i++)
		_senduipi(index_of[(i * step + 11) % UINTR_VECTORS]);
	settle();
	ktap_check(raw_count == 0, "delivered with UIF clear");
	raw_stui(rflags_now(), 0);
	ktap_assert(spin_until(raw_count == UINTR_VECTORS), "%lu of 64 arrived", raw_count);
	for (i = 0; i < UINTR_VECTORS; i++) {
		struct raw_frame *frame = &raw_log[i];

		ktap_check(frame->vector == 63 - i, "place %u: vector %lu", i, frame->vector);
		/* Each is delivered before the interrupted code goes on by one instruction. */
		ktap_check(frame->rip == (uintptr_t)raw_stui_rip, "place %u: RIP 0x%lx", i,
			   frame->rip);
		ktap_check(frame->rsp == raw_stui_rsp, "place %u: RSP 0x%lx, not 0x%lx", i,
			   frame->rsp, raw_stui_rsp);
	}
}

static void highest_first_sent_upwards(void)
{
	arrive_highest_first(1);
}

static void highest_first_sent_downwards(void)
{
	arrive_highest_first(63);
}

static void highest_first_sent_mixed(void)
{
	arrive_highest_first(29);
}

static void same_vector_coalesces(void)
{
	unsigned int round, i;

	all_vectors(count_hit);
	for (round = 1; round <= 10; round++) {
		_clui();
		for (i = 0; i < 50; i++) {
			_senduipi(index_of[13]);
			_senduipi(index_of[14]);
		}
		settle();
		_stui();
		ktap_assert(spin_until(hits >= 2UL * round), "lost in round %u", round);
		settle();
		ktap_check(hits_of[13] == round && hits_of[14] == round,
			   "round %u: %lu and %lu", round, hits_of[13], hits_of[14]);
	}
}

static volatile unsigned int depth, deepest, order[8], orders;

/* Vector 10 lets itself be interrupted, after it sent 20 and 5 to its own thread. */
static UINTR_HANDLER void nest(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (vector == 10) {
		uintr_insn_senduipi(index_of[20]);
		uintr_insn_senduipi(index_of[5]);
		uintr_insn_stui();
		while (hits < 2)
			;
	}
	order[orders++ % 8] = vector;
	hits++;
	depth--;
}

static void handler_that_sets_uif_is_interrupted(void)
{
	all_vectors(nest);
	_stui();
	_senduipi(index_of[10]);
	ktap_assert(spin_until(hits == 3), "%lu of 3 handlers ended", hits);
	/*
	 * Which of 20 and 5 is first depends on when they become pending; both come before the end
	 * of 10, because priority orders what is pending and masks nothing.
	 */
	ktap_check(order[2] == 10, "vector 10 ended before those that interrupted it");
	ktap_check(deepest == 2, "deepest nesting is %u", deepest);
	ktap_check(_testui(), "UIF is clear after all");
}

static UINTR_HANDLER void no_nest(struct __uintr_frame *frame, unsigned long long vector)
{
	volatile unsigned int i;

	(void)frame;
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (vector < 60)
		uintr_insn_senduipi(index_of[vector + 1]);
	for (i = 0; i < 2000; i++)
		;
	hits++;
	depth--;
}

static void handler_is_not_interrupted_by_itself(void)
{
	all_vectors(no_nest);
	_stui();
	_senduipi(index_of[0]);
	ktap_assert(spin_until(hits == 61), "%lu of 61 handlers ended", hits);
	ktap_check(deepest == 1, "handlers were nested %u deep with UIF clear", deepest);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(every_vector_arrives_as_itself, POST-9),
	KTAP_CASE(highest_first_sent_upwards, DELIVERY-2, DELIVERY-13),
	KTAP_CASE(highest_first_sent_downwards, DELIVERY-2, DELIVERY-13),
	KTAP_CASE(highest_first_sent_mixed, DELIVERY-2, DELIVERY-13),
	KTAP_CASE(same_vector_coalesces, POST-7),
	KTAP_CASE(handler_that_sets_uif_is_interrupted, DELIVERY-16),
	KTAP_CASE(handler_is_not_interrupted_by_itself, DELIVERY-15),
};

KTAP_MAIN(cases, uintr_missing())
