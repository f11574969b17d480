// SPDX-License-Identifier: GPL-2.0
/*
 * uintr_wait(): every documented error. Wake-ups are tested in delivery/wait.c, and differences in
 * the later ABI in later-abi/wait.c.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

static void without_handler_is_not_supported(void)
{
	ktap_fails(uintr_wait(0), EOPNOTSUPP);
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_ok(uintr_unregister_handler(0));
	ktap_fails(uintr_wait(0), EOPNOTSUPP);
}

static void flags_are_invalid(void)
{
	unsigned int bit;

	ktap_ok(uintr_register_handler(count_hit, 0));
	for (bit = 0; bit < 32; bit++)
		ktap_fails(uintr_wait(1U << bit), EINVAL);
}

static void flags_come_before_the_handler(void)
{
	ktap_fails(uintr_wait(1), EINVAL);
}

static void *waits(void *arg)
{
	(void)arg;
	ktap_fails(uintr_wait(0), EOPNOTSUPP);
	return NULL;
}

static void another_threads_handler_does_not_count(void)
{
	ktap_ok(uintr_register_handler(count_hit, 0));
	in_thread(waits, NULL);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(without_handler_is_not_supported, WAIT-2),
	KTAP_CASE(flags_are_invalid, WAIT-1),
	KTAP_CASE(flags_come_before_the_handler, WAIT-1),
	KTAP_CASE(another_threads_handler_does_not_count, WAIT-2, HANDLER-12),
};

KTAP_MAIN(cases, uintr_wait_missing())
