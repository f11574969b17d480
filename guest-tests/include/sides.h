/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two threads that interrupt each other, sides 0 and 1. The handler of each counts the interrupts
 * of its side, and closes the gap before uintr_wait(), see wait.h.
 */
#ifndef GUEST_TESTS_SIDES_H
#define GUEST_TESTS_SIDES_H

#include "ktap.h"
#include "uintr.h"
#include "wait.h"

static volatile unsigned long arrived[2];

static UINTR_HANDLER void arrive_0(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)vector;
	arrived[0]++;
	wait_fix(frame);
}

static UINTR_HANDLER void arrive_1(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)vector;
	arrived[1]++;
	wait_fix(frame);
}

static void register_side(int side)
{
	ktap_ok(uintr_register_handler(side ? arrive_1 : arrive_0, 0));
}

#endif /* GUEST_TESTS_SIDES_H */
