// SPDX-License-Identifier: GPL-2.0
/*
 * uintr_alt_stack(): frames on an alternate stack. Its address is the top of that stack, as in the
 * series and its selftest; its manual page says base, which does not match them.
 */
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"

#define SIZE	16384
#define FRAME	32	/* bytes that delivery pushes */

static char *stack_top(void)
{
	char *stack = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ktap_assert(stack != MAP_FAILED, "mmap: %s", ktap_errno(errno));
	return stack + SIZE;
}

static int raw_receiver(void)
{
	ktap_ok(uintr_register_handler(raw_entry, 0));
	return sender_to(ktap_ok(uintr_create_fd(3, 0)));
}

/* Take an interrupt, and return the address of its frame. */
static uint64_t frame_of(int index)
{
	uint64_t before = raw_count;

	_clui();
	_senduipi(index);
	raw_stui(rflags_now(), 0);
	ktap_assert(spin_until(raw_count == before + 1), "lost");
	ktap_check(raw_stui_rsp_after == raw_stui_rsp, "RSP is not restored");
	return raw_log[before].handler_rsp;
}

static void expect_own_stack(uint64_t frame, const char *when)
{
	uint64_t expected = ((raw_log[raw_count - 1].rsp - UINTR_REDZONE) & ~15ULL) - FRAME;

	ktap_check(frame == expected, "%s: the frame is at 0x%lx, not 0x%lx", when, frame, expected);
}

static void expect_below(uint64_t frame, const char *top)
{
	ktap_check(frame == (uintptr_t)top - FRAME, "the frame is at 0x%lx, the top at %p", frame,
		   top);
}

static void frames_are_below_its_address(void)
{
	int index = raw_receiver(), i;
	char *top = stack_top();

	expect_own_stack(frame_of(index), "at first");
	ktap_check(uintr_alt_stack(top, SIZE, 0) == 0, "%s", ktap_errno(errno));
	for (i = 0; i < 2; i++)
		expect_below(frame_of(index), top);
}

static void null_ends_it(void)
{
	int index = raw_receiver();
	char *top = stack_top();

	ktap_ok(uintr_alt_stack(top, SIZE, 0));
	expect_below(frame_of(index), top);
	ktap_ok(uintr_alt_stack(NULL, 0, 0));
	expect_own_stack(frame_of(index), "after NULL");
}

static void unregistering_ends_it(void)
{
	int index = raw_receiver();
	char *top = stack_top();

	ktap_ok(uintr_alt_stack(top, SIZE, 0));
	expect_below(frame_of(index), top);
	ktap_ok(uintr_unregister_handler(0));
	index = raw_receiver();
	expect_own_stack(frame_of(index), "after unregistering");
}

static void flags_are_invalid(void)
{
	char *top = stack_top();
	unsigned int bit;

	for (bit = 0; bit < 32; bit++)
		ktap_fails(uintr_alt_stack(top, SIZE, 1U << bit), EINVAL);
	ktap_ok(uintr_register_handler(count_hit, 0));
	for (bit = 0; bit < 32; bit++)
		ktap_fails(uintr_alt_stack(top, SIZE, 1U << bit), EINVAL);
	ktap_ok(uintr_alt_stack(top, SIZE, 0));
}

static void *no_handler_here(void *arg)
{
	ktap_fails(uintr_alt_stack(arg, SIZE, 0), EOPNOTSUPP);
	return NULL;
}

static void without_handler_is_not_supported(void)
{
	char *top = stack_top();

	no_handler_here(top);
	ktap_ok(uintr_register_handler(count_hit, 0));
	in_thread(no_handler_here, top);
	ktap_ok(uintr_unregister_handler(0));
	no_handler_here(top);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(frames_are_below_its_address, NEXT-21),
	KTAP_CASE(null_ends_it, NEXT-21),
	KTAP_CASE(unregistering_ends_it, NEXT-21),
	KTAP_CASE(flags_are_invalid, NEXT-22),
	KTAP_CASE(without_handler_is_not_supported, NEXT-22),
};

KTAP_MAIN(cases, uintr_later_missing())
