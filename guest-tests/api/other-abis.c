// SPDX-License-Identifier: GPL-2.0
/*
 * The calls belong to the 64-bit ABI: their numbers do not exist in the ABIs of 32-bit programs
 * and of x32.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#define X32_BIT	0x40000000

static const long numbers[] = {
	__NR_uintr_register_handler, __NR_uintr_unregister_handler, __NR_uintr_create_fd,
	__NR_uintr_register_sender, __NR_uintr_unregister_sender, __NR_uintr_wait,
};

#define NUMBERS	(sizeof(numbers) / sizeof(numbers[0]))

struct call {
	long number;
	int result;
};

/* INT 0x80 takes the numbers of i386 from 64-bit code as well. */
static void by_int80(void *arg)
{
	struct call *call = arg;

	asm volatile("int $0x80"
		     : "=a"(call->result) : "a"((int)call->number), "b"(0), "c"(0), "d"(0)
		     : "r8", "r9", "r10", "r11", "memory");
}

static void i386_has_none(void)
{
	struct call call = { .number = 20 /* getpid of i386 */ };
	unsigned int i;

	if (fault_of(by_int80, &call).sig || call.result != getpid())
		ktap_skip("the kernel runs no 32-bit programs");
	for (i = 0; i < NUMBERS; i++) {
		call.number = numbers[i];
		by_int80(&call);
		ktap_check(call.result == -ENOSYS, "call %ld of i386 gave %d", numbers[i], call.result);
	}
}

static void x32_has_none(void)
{
	unsigned int i;

	for (i = 0; i < NUMBERS; i++)
		ktap_fails(syscall(numbers[i] | X32_BIT, 0, 0), ENOSYS);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(i386_has_none, SYSTEM-7),
	KTAP_CASE(x32_has_none, SYSTEM-7),
};

static const char *missing(void)
{
	const char *reason = uintr_rfc_missing();

	if (!reason && !UINTR_ABI_STATES_MORE)
		reason = "the RFC has the calls for i386, too";
	return reason;
}

KTAP_MAIN(cases, missing())
