// SPDX-License-Identifier: GPL-2.0
/*
 * A program to start from: a thread that sends user interrupts to itself. Copy it to
 * guest-tests/api/ and run it with `uintr-harness run -k api/self-send`.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

static void arrives_with_its_vector(void)
{
	int index = sender_to(receiver(5));

	_stui();
	_senduipi(index);
	ktap_assert(spin_until(hits == 1), "the interrupt is lost");
	ktap_check(hits_of[5] == 1, "it came with another vector");
}

static void waits_while_masked(void)
{
	int index = sender_to(receiver(5));

	_senduipi(index);
	sleep_ms(NEVER_MS);
	ktap_check(hits == 0, "it was delivered with UIF clear");
	_stui();
	ktap_check(spin_until(hits == 1), "it was not delivered with UIF set");
}

/* After each function: the statements of guest-tests/CONTRACT.md that the case checks. */
static const struct ktap_case cases[] = {
	KTAP_CASE(arrives_with_its_vector, TASK-3, POST-9),
	KTAP_CASE(waits_while_masked, DELIVERY-2),
};

KTAP_MAIN(cases, uintr_missing())
