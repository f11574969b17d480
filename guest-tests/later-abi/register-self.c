// SPDX-License-Identifier: GPL-2.0
/*
 * uintr_register_self(): a vector of the calling thread and a connection to it in one call, for the
 * other threads of its process.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

static void *sends(void *arg)
{
	ktap_check(senduipi_signal(*(int *)arg) == 0, "another thread cannot send");
	return NULL;
}

static void gives_an_index_to_the_caller(void)
{
	int index, other;

	ktap_ok(uintr_register_handler(count_hit, 0));
	index = ktap_ok(uintr_register_self(5, 0));
	other = ktap_ok(uintr_register_self(UINTR_VECTORS - 1, 0));
	ktap_check(index >= 0 && other >= 0 && index != other, "indices %d and %d", index, other);
	_stui();
	in_thread(sends, &index);
	ktap_check(spin_until(hits_of[5] == 1), "lost from another thread");
	_senduipi(index);
	ktap_check(spin_until(hits_of[5] == 2), "lost from itself");
	in_thread(sends, &other);
	ktap_check(spin_until(hits_of[UINTR_VECTORS - 1] == 1), "the last vector is lost");
	ktap_check(hits == 3, "%lu hits", hits);
}

static void flags_are_invalid(void)
{
	unsigned int bit;

	ktap_ok(uintr_register_handler(count_hit, 0));
	for (bit = 0; bit < 32; bit++)
		ktap_fails(uintr_register_self(0, 1U << bit), EINVAL);
	ktap_ok(uintr_register_self(0, 0));
}

static void *no_handler_here(void *arg)
{
	(void)arg;
	ktap_fails(uintr_register_self(0, 0), EINVAL);
	return NULL;
}

static void without_handler_is_invalid(void)
{
	no_handler_here(NULL);
	ktap_ok(uintr_register_handler(count_hit, 0));
	in_thread(no_handler_here, NULL);
	ktap_ok(uintr_unregister_handler(0));
	no_handler_here(NULL);
}

static void vector_out_of_range_is_nospc(void)
{
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_fails(uintr_register_self(UINTR_VECTORS, 0), ENOSPC);
	/* The argument is 64 bits wide and must not be truncated to a small vector. */
	ktap_fails(uintr_register_self(1ULL << 32, 0), ENOSPC);
	ktap_fails(uintr_register_self(1ULL << 63, 0), ENOSPC);
	ktap_fails(uintr_register_self(UINT64_MAX, 0), ENOSPC);
}

static void full_table_is_nospc(void)
{
	int fd = receiver(0), i;

	for (i = 0; i < UINTR_SENDERS; i++)
		sender_to(fd);
	ktap_fails(uintr_register_self(1, 0), ENOSPC);
	ktap_ok(uintr_unregister_sender(UINTR_SENDERS / 2, 0));
	ktap_check(uintr_register_self(1, 0) == UINTR_SENDERS / 2, "the free index is not used");
}

static const struct ktap_case cases[] = {
	KTAP_CASE(gives_an_index_to_the_caller, NEXT-19),
	KTAP_CASE(flags_are_invalid, NEXT-20),
	KTAP_CASE(without_handler_is_invalid, NEXT-20),
	KTAP_CASE(vector_out_of_range_is_nospc, NEXT-20),
	KTAP_CASE(full_table_is_nospc, NEXT-20),
};

KTAP_MAIN(cases, uintr_later_missing())
