// SPDX-License-Identifier: GPL-2.0
/*
 * uintr_register_handler() and uintr_unregister_handler(): success, every documented error, and
 * that a handler belongs to one thread alone.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

static void registers(void)
{
	ktap_check(uintr_register_handler(count_hit, 0) == 0, "register: %s", ktap_errno(errno));
	ktap_ok(uintr_create_fd(0, 0));
	ktap_check(uintr_unregister_handler(0) == 0, "unregister: %s", ktap_errno(errno));
}

static void registers_again_after_unregister(void)
{
	int i;

	for (i = 0; i < 100; i++) {
		ktap_ok(uintr_register_handler(count_hit, 0));
		ktap_ok(uintr_unregister_handler(0));
	}
}

static void register_twice_is_busy(void)
{
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_fails(uintr_register_handler(count_hit, 0), EBUSY);
	/* The failed call must have left the first registration alone. */
	ktap_ok(uintr_create_fd(0, 0));
	ktap_ok(uintr_unregister_handler(0));
}

static void register_null_faults(void)
{
	ktap_fails(uintr_register_handler(NULL, 0), EFAULT);
	ktap_fails(uintr_unregister_handler(0), EINVAL);
}

/* Kernel addresses, and addresses that are not canonical. */
static void register_outside_of_user_space_faults(void)
{
	static const uint64_t outside[] = { 1ULL << 63, 0xffff800000000000, UINT64_MAX };
	unsigned int i;

	need_more_than_the_rfc();
	for (i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		ktap_fails(uintr_register_handler((void *)outside[i], 0), EFAULT);
	ktap_fails(uintr_unregister_handler(0), EINVAL);
}

/* Refused, or accepted and a fault of the process at the first interrupt; never of the kernel. */
static void register_outside_of_user_space(void)
{
	static const uint64_t outside[] = { 1ULL << 63, 0xffffffff81000000ULL, UINT64_MAX };
	unsigned int i;

	_stui();
	for (i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		if (uintr_register_handler((void *)outside[i], 0) == -1) {
			ktap_check(errno == EFAULT, "0x%lx: %s", outside[i], ktap_errno(errno));
			continue;
		}
		sleep_ms(1);
		ktap_ok(uintr_unregister_handler(0));
	}
}

static void register_flags_are_invalid(void)
{
	unsigned int bit;

	for (bit = 0; bit < 32; bit++)
		if (!(UINTR_HANDLER_FLAG_WAITING_ANY >> bit & 1))
			ktap_fails(uintr_register_handler(count_hit, 1U << bit), EINVAL);
	ktap_fails(uintr_unregister_handler(0), EINVAL);
}

/* Flags in the headers are accepted, alone and together. */
static void register_flags_that_exist(void)
{
	const char *missing = uintr_wait_missing();
	unsigned int bit;

	/* The later ABI has them by the same option as uintr_wait(). */
	if (missing)
		ktap_skip("%s", missing);
	for (bit = 0; bit < 32; bit++) {
		if (!(UINTR_HANDLER_FLAG_WAITING_ANY >> bit & 1))
			continue;
		ktap_ok(uintr_register_handler(count_hit, 1U << bit));
		ktap_ok(uintr_unregister_handler(0));
	}
	ktap_ok(uintr_register_handler(count_hit, UINTR_HANDLER_FLAG_WAITING_ANY));
	ktap_ok(uintr_unregister_handler(0));
}

static void errors_are_checked_in_order(void)
{
	/* Flags come before the handler, the handler before the state. */
	ktap_fails(uintr_register_handler(NULL, 1), EINVAL);
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_fails(uintr_register_handler(NULL, 0), EFAULT);
	ktap_fails(uintr_register_handler(count_hit, 1), EINVAL);
}

static void unregister_without_handler_is_invalid(void)
{
	ktap_fails(uintr_unregister_handler(0), EINVAL);
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_ok(uintr_unregister_handler(0));
	ktap_fails(uintr_unregister_handler(0), EINVAL);
}

static void unregister_flags_are_invalid(void)
{
	unsigned int bit;

	ktap_ok(uintr_register_handler(count_hit, 0));
	for (bit = 0; bit < 32; bit++)
		ktap_fails(uintr_unregister_handler(1U << bit), EINVAL);
	ktap_ok(uintr_unregister_handler(0));
}

static void uif_is_left_alone(void)
{
	int uif;

	need_the_rfc();
	for (uif = 0; uif < 2; uif++) {
		if (uif)
			_stui();
		else
			_clui();
		ktap_ok(uintr_register_handler(count_hit, 0));
		ktap_check(_testui() == uif, "registering changed UIF %d", uif);
		ktap_ok(uintr_unregister_handler(0));
		ktap_check(_testui() == uif, "unregistering changed UIF %d", uif);
	}
}

static void *no_handler_here(void *arg)
{
	(void)arg;
	ktap_fails(uintr_unregister_handler(0), EINVAL);
	ktap_fails(uintr_create_fd(0, 0), EINVAL);
	ktap_ok(uintr_register_handler(count_hit, 0));
	ktap_ok(uintr_unregister_handler(0));
	return NULL;
}

static void handler_is_per_thread(void)
{
	ktap_ok(uintr_register_handler(count_hit, 0));
	in_thread(no_handler_here, NULL);
	ktap_fails(uintr_register_handler(count_hit, 0), EBUSY);
	ktap_ok(uintr_unregister_handler(0));
}

static void handler_in_child(void *arg)
{
	no_handler_here(arg);
}

static void handler_is_not_inherited_by_fork(void)
{
	ktap_ok(uintr_register_handler(count_hit, 0));
	child_passes(child_start(handler_in_child, NULL));
	ktap_ok(uintr_unregister_handler(0));
}

static const struct ktap_case cases[] = {
	KTAP_CASE(registers, HANDLER-1, HANDLER-8),
	KTAP_CASE(registers_again_after_unregister, HANDLER-11),
	KTAP_CASE(register_twice_is_busy, HANDLER-6),
	KTAP_CASE(register_null_faults, HANDLER-4),
	KTAP_CASE(register_outside_of_user_space_faults, HANDLER-5),
	KTAP_CASE(register_outside_of_user_space, HANDLER-5),
	KTAP_CASE(register_flags_are_invalid, HANDLER-2),
	KTAP_CASE(register_flags_that_exist, HANDLER-3),
	KTAP_CASE(errors_are_checked_in_order, HANDLER-7),
	KTAP_CASE(unregister_without_handler_is_invalid, HANDLER-8, HANDLER-10),
	KTAP_CASE(unregister_flags_are_invalid, HANDLER-9),
	KTAP_CASE(uif_is_left_alone, HANDLER-15),
	KTAP_CASE(handler_is_per_thread, HANDLER-12),
	KTAP_CASE(handler_is_not_inherited_by_fork, HANDLER-13),
};

KTAP_MAIN(cases, uintr_missing())
