/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Execution of one instruction, given as bytes, with chosen registers, flags and stack, and the
 * signals that it raises. The events of a thread are in its log, in their order in that thread.
 */
#ifndef GUEST_TESTS_FUZZ_TRIP_H
#define GUEST_TESTS_FUZZ_TRIP_H

#include "raw.h"
#include "task.h"

#define LOG_MAX		256
#define PAGE		4096UL
#define NOT_CANONICAL	0x8000000000000000ULL

struct event {
	char what;
	int value;
	int place;		/* -1: none */
};

struct log {
	struct event events[LOG_MAX];
	unsigned int count;
	unsigned int ended;	/* handlers that have come to their end */
	unsigned int armed;	/* whether the handler "send" has something to send */
	uint64_t index;
};

static __thread struct log *own_log;

/* In assembly, because a handler of user interrupts calls nothing. */
#define count_up(counter) ({							\
	unsigned int counted = 1;						\
	asm volatile("lock xaddl %0, %1"					\
		     : "+r"(counted), "+m"(counter) : : "memory", "cc");	\
	counted; })

#define note(w, v, p) do {							\
	unsigned int note_at = count_up(own_log->count);			\
	if (note_at < LOG_MAX)							\
		own_log->events[note_at] = (struct event){ (w), (v), (p) };	\
} while (0)
#define note_end()	((void)count_up(own_log->ended))

/* --- the instruction ---------------------------------------------------------------------- */

/* Of the one thread whose turn it is. */
extern uint64_t trip_code, trip_stack, trip_index, trip_flags, trip_saved;
extern uint64_t trip_rsp_after, trip_flags_after, trip_regs[15];
extern char trip_out[], trip_end[];
void trip(void);

asm(
"	.pushsection .bss\n"
"	.balign 8\n"
"	.irp name, code, stack, index, flags, saved, rsp_after, flags_after\n"
"trip_\\name:	.skip 8\n"
"	.endr\n"
"trip_regs:	.skip 120\n"
"	.popsection\n"
"	.pushsection .text\n"
"	.type trip, @function\n"
"trip:\n"
"	push %rbx\n"
"	push %rbp\n"
"	push %r12\n"
"	push %r13\n"
"	push %r14\n"
"	push %r15\n"
"	pushfq\n"
"	mov %rsp, trip_saved(%rip)\n"
"	.irp r, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15\n"
"	mov trip_index(%rip), %\\r\n"
"	.endr\n"
"	pushq trip_flags(%rip)\n"
"	popfq\n"
"	mov trip_stack(%rip), %rsp\n"
"	jmp *trip_code(%rip)\n"
"trip_out:\n"
"	mov %rsp, trip_rsp_after(%rip)\n"
"	mov trip_saved(%rip), %rsp\n"
"	.set trip_at, 0\n"
"	.irp r, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15\n"
"	mov %\\r, trip_regs + trip_at(%rip)\n"
"	.set trip_at, trip_at + 8\n"
"	.endr\n"
"	pushfq\n"
"	popq trip_flags_after(%rip)\n"
"	popfq\n"
"	pop %r15\n"
"	pop %r14\n"
"	pop %r13\n"
"	pop %r12\n"
"	pop %rbp\n"
"	pop %rbx\n"
"trip_end:\n"
"	ret\n"
"	.popsection\n"
);

/* Where stacks and handlers can lie. */
static struct {
	unsigned char *code;
	unsigned char *stack;	/* its middle */
	unsigned char *unmapped;
	unsigned char *readonly;
} places;

static void *place(size_t size, int rights)
{
	void *at = mmap(NULL, size, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ktap_assert(at != MAP_FAILED, "no memory");
	return at;
}

static void places_init(void)
{
	places.code = place(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	places.stack = (unsigned char *)place(16 * PAGE, PROT_READ | PROT_WRITE) + 8 * PAGE;
	places.unmapped = (unsigned char *)place(2 * PAGE, PROT_NONE) + PAGE;
	places.readonly = (unsigned char *)place(2 * PAGE, PROT_READ) + PAGE;
}

static uint64_t stack_at(const char *where)
{
	if (!strcmp(where, "unmapped"))
		return (uintptr_t)places.unmapped;
	if (!strcmp(where, "readonly"))
		return (uintptr_t)places.readonly;
	if (!strcmp(where, "noncanonical"))
		return NOT_CANONICAL;
	return (uintptr_t)places.stack;
}

/* Execute some bytes, then come back. They may be UIRET: its frame is on the stack. */
static void trip_with(const unsigned char *bytes, unsigned int length)
{
	static const unsigned char jump[] = { 0xff, 0x25, 0, 0, 0, 0 };	/* jmp *0(%rip) */
	uint64_t back = (uintptr_t)trip_out;

	memcpy(places.code, bytes, length);
	memcpy(places.code + length, jump, sizeof(jump));
	memcpy(places.code + length + sizeof(jump), &back, sizeof(back));
	trip_code = (uintptr_t)places.code;
	trip();
}

static void trip_prepare(uint64_t index, uint64_t flags)
{
	uint64_t *frame = (uint64_t *)places.stack;

	frame[0] = (uintptr_t)trip_out;
	frame[1] = flags;
	frame[2] = (uintptr_t)(places.stack + 64);
	trip_stack = (uintptr_t)places.stack;
	trip_index = index;
	trip_flags = flags;
}

/* Return how many registers changed. */
static unsigned int trip_changed(void)
{
	unsigned int i, changed = 0;

	for (i = 0; i < 15; i++)
		changed += trip_regs[i] != trip_index;
	return changed;
}

/* --- handlers of user interrupts ---------------------------------------------------------- */

extern char hand_send[], hand_send_end[];

static UINTR_HANDLER void hand_log(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	note('V', vector, -1);
	note_end();
}

/* A handler that can be interrupted. */
static UINTR_HANDLER void hand_nest(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	note('(', vector, -1);
	uintr_insn_stui();
	uintr_insn_clui();
	note(')', vector, -1);
	note_end();
}

/* A handler that sends the armed index, once. */
static UINTR_HANDLER void hand_sends(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	note('V', vector, -1);
	if (own_log->armed) {
		own_log->armed = 0;
		asm volatile("hand_send:\n\tsenduipi %0\n\thand_send_end:"
			     : : "r"(own_log->index) : "memory");
	}
	note_end();
}

/* A handler that unregisters itself. */
static UINTR_HANDLER void hand_leave(struct __uintr_frame *frame, unsigned long long vector)
{
	long result = __NR_uintr_unregister_handler;

	(void)frame;
	note('V', vector, -1);
	asm volatile("syscall" : "+a"(result) : "D"(0L) : "rcx", "r11", "memory");
	note('L', result, -1);
	note_end();
}

/* --- signals ------------------------------------------------------------------------------ */

/* The handler was not there: take its frame off the stack as it would have. */
static void undo_delivery(greg_t *regs)
{
	uint64_t *frame = (uint64_t *)regs[REG_RSP];

	note('X', frame[0], -1);
	regs[REG_RIP] = frame[1];
	regs[REG_EFL] = frame[2];
	regs[REG_RSP] = frame[3];
}

static bool in_code(uint64_t rip)
{
	return rip >= (uintptr_t)places.code && rip < (uintptr_t)places.code + PAGE;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	uint64_t rip = regs[REG_RIP];

	(void)info;
	if (rip == (uintptr_t)hand_send) {
		note('H', sig, -1);
		regs[REG_RIP] = (uintptr_t)hand_send_end;
	} else if (rip == (uintptr_t)places.unmapped) {
		undo_delivery(regs);
	} else if (in_code(rip) || rip == (uintptr_t)trip_out) {
		note('F', sig, in_code(rip) ? rip - (uintptr_t)places.code : 100);
		regs[REG_RIP] = (uintptr_t)trip_out;
		regs[REG_RSP] = trip_saved;
		regs[REG_EFL] &= ~FLAG_TF;
	} else {
		signal(sig, SIG_DFL);	/* it comes again, and ends the process */
	}
	note_end();
}

/* A step: go on until the instruction is done and the way back has begun. */
static void on_trap(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	uint64_t rip = regs[REG_RIP];

	(void)sig;
	(void)info;
	if (in_code(rip)) {
		note('T', rip - (uintptr_t)places.code, -1);
	} else if (rip >= (uintptr_t)trip_out && rip < (uintptr_t)trip_end) {
		note('T', 100 + rip - (uintptr_t)trip_out, -1);
		regs[REG_EFL] &= ~FLAG_TF;
	}
	note_end();
}

static void on_user_signal(int sig)
{
	note('S', sig == SIGUSR1 ? 1 : 2, -1);
	note_end();
}

static void signals_init(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL };
	struct sigaction action = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};
	unsigned int i;

	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigaction(faults[i], &action, NULL);
	action.sa_sigaction = on_trap;
	sigaction(SIGTRAP, &action, NULL);
	action.sa_handler = on_user_signal;
	action.sa_flags = SA_ONSTACK;
	sigaction(SIGUSR1, &action, NULL);
	action.sa_flags = SA_ONSTACK | SA_RESTART;
	sigaction(SIGUSR2, &action, NULL);
}

#endif /* GUEST_TESTS_FUZZ_TRIP_H */
