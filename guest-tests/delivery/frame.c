// SPDX-License-Identifier: GPL-2.0
/*
 * The frame that delivery builds and UIRET pops: contents, place, red zone, flags, and stacks
 * without room for it. These are statements of the architecture, not of a kernel.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"

static int self_index;

/* One interrupt pending, UIF clear, the logging handler registered. */
static void pend(void)
{
	if (!raw_count) {
		ktap_ok(uintr_register_handler(raw_entry, 0));
		self_index = sender_to(ktap_ok(uintr_create_fd(42, 0)));
	}
	_clui();
	_senduipi(self_index);
	sleep_ms(5);
}

static struct raw_frame deliver(uint64_t rflags, uint64_t offset, uint64_t *after)
{
	uint64_t before = raw_count, flags;

	pend();
	flags = raw_stui(rflags, offset);
	ktap_assert(spin_until(raw_count == before + 1), "not delivered after STUI");
	if (after)
		*after = flags;
	return raw_log[before % RAW_LOG];
}

static void holds_vector_rip_rsp(void)
{
	struct raw_frame frame = deliver(rflags_now(), 0, NULL);

	ktap_check(frame.vector == 42, "vector %lu", frame.vector);
	ktap_check(frame.rip == (uintptr_t)raw_stui_rip, "RIP 0x%lx, not behind STUI 0x%lx",
		   frame.rip, (uintptr_t)raw_stui_rip);
	ktap_check(frame.rsp == raw_stui_rsp, "RSP 0x%lx, not 0x%lx", frame.rsp, raw_stui_rsp);
	ktap_check(raw_stui_rsp_after == raw_stui_rsp, "RSP is 0x%lx after UIRET, not 0x%lx",
		   raw_stui_rsp_after, raw_stui_rsp);
	ktap_check(frame.handler_uif == 0, "UIF is set in the handler");
	ktap_check(_testui(), "UIF is clear after UIRET");
}

static void is_aligned_below_the_red_zone(void)
{
	uint64_t offset, expected;

	for (offset = 0; offset < 32; offset++) {
		struct raw_frame frame = deliver(rflags_now(), offset, NULL);

		expected = ((raw_stui_rsp - UINTR_REDZONE) & ~15ULL) - 32;
		ktap_check(frame.handler_rsp == expected,
			   "interrupted RSP 0x%lx: handler RSP 0x%lx, not 0x%lx", raw_stui_rsp,
			   frame.handler_rsp, expected);
		ktap_check(frame.rsp == raw_stui_rsp, "RSP 0x%lx, not 0x%lx", frame.rsp,
			   raw_stui_rsp);
		ktap_check(raw_stui_rsp_after == raw_stui_rsp, "RSP is not restored");
	}
}

/* Fill the 128 bytes below RSP and take an interrupt. Returns the words that changed. */
uint64_t fill_red_zone_and_stui(void);
extern char red_zone_rip[];

asm(
"	.pushsection .text\n"
"	.type fill_red_zone_and_stui, @function\n"
"fill_red_zone_and_stui:\n"
"	mov $-16, %rcx\n"
"1:	mov %rcx, (%rsp, %rcx, 8)\n"
"	inc %rcx\n"
"	jnz 1b\n"
"	stui\n"
"red_zone_rip:\n"
"	xor %eax, %eax\n"
"	mov $-16, %rcx\n"
"2:	cmp %rcx, (%rsp, %rcx, 8)\n"
"	je 3f\n"
"	inc %rax\n"
"3:	inc %rcx\n"
"	jnz 2b\n"
"	ret\n"
"	.popsection\n"
);

static void leaves_the_red_zone_alone(void)
{
	uint64_t changed;

	pend();
	changed = fill_red_zone_and_stui();
	ktap_assert(spin_until(raw_count == 1), "not delivered");
	ktap_assert(raw_log[0].rip == (uintptr_t)red_zone_rip, "delivered elsewhere: RIP 0x%lx",
		    raw_log[0].rip);
	ktap_check(changed == 0, "%lu of the 16 words below RSP changed", changed);
}

/* The same, by an interrupt from outside while the words are being watched. */
uint64_t watch_red_zone(const volatile uint64_t *count, uint64_t until, uint64_t *ready);

asm(
"	.pushsection .text\n"
"	.type watch_red_zone, @function\n"
"watch_red_zone:\n"
"	mov $-16, %rcx\n"
"1:	mov %rcx, (%rsp, %rcx, 8)\n"
"	inc %rcx\n"
"	jnz 1b\n"
"	movq $1, (%rdx)\n"
"2:	pause\n"
"	cmp %rsi, (%rdi)\n"
"	jb 2b\n"
"	xor %eax, %eax\n"
"	mov $-16, %rcx\n"
"3:	cmp %rcx, (%rsp, %rcx, 8)\n"
"	je 4f\n"
"	inc %rax\n"
"4:	inc %rcx\n"
"	jnz 3b\n"
"	ret\n"
"	.popsection\n"
);

struct outside {
	int fd;
	uint64_t ready;
};

static void *sends_from_outside(void *arg)
{
	struct outside *outside = arg;
	int index, i;

	pin_to(1);
	index = sender_to(outside->fd);
	while (!shared_load(&outside->ready))
		sched_yield();
	for (i = 1; i <= 10; i++) {
		_senduipi(index);
		ktap_assert(yield_until(raw_count >= (uint64_t)i), "interrupt %d is lost", i);
	}
	return NULL;
}

static void leaves_the_red_zone_alone_when_running(void)
{
	struct outside outside = {};
	pthread_t thread;
	uint64_t changed;

	pin_to(0);
	ktap_ok(uintr_register_handler(raw_entry, 0));
	outside.fd = ktap_ok(uintr_create_fd(0, 0));
	_stui();
	thread = thread_start(sends_from_outside, &outside);
	changed = watch_red_zone(&raw_count, 10, &outside.ready);
	ktap_check(changed == 0, "%lu of the 16 words below RSP changed", changed);
	thread_join(thread);
}

/* RFLAGS bits that user code can set and that change nothing for the code in between. */
static const uint64_t settable[] = {
	0, FLAG_CF, FLAG_PF, FLAG_AF, FLAG_ZF, FLAG_SF, FLAG_OF, FLAG_DF, FLAG_NT, FLAG_AC,
	FLAG_ID, FLAG_ARITHMETIC, FLAG_ARITHMETIC | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID,
};

#define SETTABLE (FLAG_ARITHMETIC | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID)

static void saves_and_restores_rflags(void)
{
	uint64_t base = rflags_now() & ~SETTABLE, want, after;
	unsigned int i;

	for (i = 0; i < sizeof(settable) / sizeof(settable[0]); i++) {
		struct raw_frame frame;

		want = base | settable[i];
		frame = deliver(want, 0, &after);
		/* RF is set where it comes before an instruction that has faulted is tried again. */
		ktap_check((frame.rflags & ~FLAG_RF) == want, "saved RFLAGS 0x%lx, not 0x%lx",
			   frame.rflags, want);
		ktap_check(frame.handler_rflags == want,
			   "RFLAGS in the handler 0x%lx, not 0x%lx", frame.handler_rflags, want);
		ktap_check(after == want, "RFLAGS after UIRET 0x%lx, not 0x%lx", after, want);
	}
}

/*
 * With TF set before STUI, both the debug trap and the interrupt are pending at the same boundary,
 * and the trap's signal handler may run in between; what it sees is up to the kernel. But the
 * interrupt's handler must never be entered with TF or RF set.
 */
static volatile int traps;
static volatile bool trap_stops;

static void count_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	traps++;
	if (trap_stops)
		uc->uc_mcontext.gregs[REG_EFL] &= ~FLAG_TF;
}

static void handler_runs_without_tf(void)
{
	struct sigaction action = { .sa_sigaction = count_trap, .sa_flags = SA_SIGINFO };
	uint64_t i;

	ktap_ok(sigaction(SIGTRAP, &action, NULL));
	pend();
	asm volatile("sub $128, %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t"
		     "add $128, %%rsp" : : : "memory", "cc");
	_stui();
	for (i = 0; i < 50; i++)
		asm volatile("nop");
	trap_stops = true;
	asm volatile("nop");
	ktap_assert(spin_until(raw_count == 1), "not delivered");
	ktap_check(!(raw_log[0].handler_rflags & (FLAG_TF | FLAG_RF)),
		   "RFLAGS in the handler 0x%lx", raw_log[0].handler_rflags);
	ktap_check(traps > 0, "no single-step trap at all");
}

/* read() of a byte with TF set when it is called; returns its result. */
static long read_with_tf(int fd)
{
	char byte;
	long ret;

	asm volatile("sub $128, %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t"
		     "syscall\n\t"
		     "pushfq\n\tandl $~0x100, (%%rsp)\n\tpopfq\n\tadd $128, %%rsp"
		     : "=a"(ret) : "a"(SYS_read), "D"(fd), "S"(&byte), "d"(1L)
		     : "rcx", "r11", "memory", "cc");
	return ret;
}

struct blocked {
	int fd;
	int pipe[2];
	pid_t receiver;
};

static void *sends_then_writes(void *arg)
{
	struct blocked *blocked = arg;
	int index = sender_to(blocked->fd);

	ktap_check(task_reaches(getpid(), blocked->receiver, 'S'), "read() does not block");
	_senduipi(index);
	sleep_ms(5);
	ktap_ok(write(blocked->pipe[1], "x", 1));
	return NULL;
}

/*
 * At the end of a system call no debug trap is pending at the same boundary: TF is set in the
 * frame, and clear in the handler.
 */
static void saves_tf_and_clears_it(void)
{
	struct sigaction action = { .sa_sigaction = count_trap, .sa_flags = SA_SIGINFO };
	struct blocked blocked = { .receiver = task_tid() };
	pthread_t thread;
	long ret;

	ktap_ok(sigaction(SIGTRAP, &action, NULL));
	ktap_ok(pipe(blocked.pipe));
	ktap_ok(uintr_register_handler(raw_entry, 0));
	blocked.fd = ktap_ok(uintr_create_fd(0, 0));
	thread = thread_start(sends_then_writes, &blocked);
	_stui();
	ret = read_with_tf(blocked.pipe[0]);
	ktap_check(ret == 1, "read gave %ld", ret);
	ktap_assert(spin_until(raw_count == 1), "not delivered");
	ktap_check(raw_log[0].rflags & FLAG_TF, "saved RFLAGS 0x%lx", raw_log[0].rflags);
	ktap_check(!(raw_log[0].handler_rflags & FLAG_TF), "RFLAGS in the handler 0x%lx",
		   raw_log[0].handler_rflags);
	ktap_check(traps > 0, "no single-step trap after UIRET");
	thread_join(thread);
}

/* Whatever the handler puts into the frame, UIRET loads only the bits of its mask. */
static void uiret_sets_only_its_mask(void)
{
	uint64_t base = rflags_now() & ~SETTABLE, after;

	raw_rflags_or = ~0ULL & ~(FLAG_TF | FLAG_RF);
	deliver(base, 0, &after);
	raw_rflags_or = 0;
	ktap_check(after == (base | (UIRET_FLAGS & ~(FLAG_TF | FLAG_RF))),
		   "RFLAGS 0x%lx after UIRET with all ones, was 0x%lx", after, base);
}

static void uiret_clears_only_its_mask(void)
{
	uint64_t base = rflags_now() | FLAG_ARITHMETIC | FLAG_ID, after;

	raw_rflags_and = 0;
	deliver(base, 0, &after);
	raw_rflags_and = ~0ULL;
	ktap_check(after == (base & ~UIRET_FLAGS),
		   "RFLAGS 0x%lx after UIRET with all zeros, was 0x%lx", after, base);
}

/* UIRET needs no delivery before it: it pops three words, wherever they come from. */
uint64_t uiret_from_scratch(uint64_t *rsp_error);
extern char uiret_scratch_insn[];

asm(
"	.pushsection .text\n"
"	.type uiret_from_scratch, @function\n"
"uiret_from_scratch:\n"
"	mov %rsp, %rdx\n"
"	pushfq\n"
"	pop %rcx\n"
"	lea -256(%rsp), %rsp\n"
"	push %rdx\n"
"	push %rcx\n"
"	lea 1f(%rip), %rcx\n"
"	push %rcx\n"
"uiret_scratch_insn:\n"
"	uiret\n"
"	ud2\n"
"1:	mov %rsp, %rax\n"
"	sub %rdx, %rax\n"
"	mov %rax, (%rdi)\n"
"	xor %eax, %eax\n"
"	testui\n"
"	setc %al\n"
"	mov %rdx, %rsp\n"
"	ret\n"
"	.popsection\n"
);

static void uiret_needs_no_handler(void)
{
	uint64_t rsp_error = 1;

	_clui();
	ktap_check(uiret_from_scratch(&rsp_error) == 1, "UIF is clear after UIRET");
	ktap_check(rsp_error == 0, "RSP is wrong by %ld after UIRET", (long)rsp_error);
}

static void stui_with_pending(void *arg)
{
	(void)arg;
	_stui();
	spin_until(raw_count > 0);
	sleep_ms(5);
}

static void uiret_to_non_canonical_rip_faults(void)
{
	struct fault fault;

	pend();
	raw_rip = 1ULL << 63;
	fault_wants_uif = true;
	fault = fault_of(stui_with_pending, NULL);
	ktap_check(fault.sig == SIGSEGV, "signal %s", fault_name(fault.sig));
	ktap_check(fault.rip == (uintptr_t)raw_uiret, "RIP 0x%lx, not that of UIRET 0x%lx",
		   fault.rip, (uintptr_t)raw_uiret);
	ktap_check(fault.uif == 0, "the faulting UIRET changed UIF");
}

void uiret_at(void *rsp);
extern char uiret_at_insn[];

asm(
"	.pushsection .text\n"
"	.type uiret_at, @function\n"
"uiret_at:\n"
"	mov %rdi, %rsp\n"
"uiret_at_insn:\n"
"	uiret\n"
"	.popsection\n"
);

/* UIRET from this stack faults, with SEGV_MAPERR for the address, and changes nothing. */
static void uiret_faults_at(void *stack, void *address)
{
	struct fault fault;

	fault_wants_uif = true;
	_clui();
	fault = fault_of(uiret_at, stack);
	ktap_check(fault.sig == SIGSEGV, "from %p: signal %s", stack, fault_name(fault.sig));
	ktap_check(fault.rip == (uintptr_t)uiret_at_insn, "from %p: RIP 0x%lx", stack, fault.rip);
	ktap_check(fault.uif == 0, "from %p: the faulting UIRET changed UIF", stack);
	ktap_check(fault.address == (uintptr_t)address, "from %p: fault at 0x%lx, not %p", stack,
		   fault.address, address);
	ktap_check(fault.code == SEGV_MAPERR, "from %p: code %d", stack, fault.code);
}

/* At each of the frame's three words. */
static void uiret_from_a_bad_stack_faults(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *hole = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *end = hole + page;

	munmap(end, page);
	uiret_faults_at(end, end);
	uiret_faults_at(end - 8, end);
	uiret_faults_at(end - 16, end);
}

/* Linux makes a SIGBUS of #SS. */
static void uiret_from_a_stack_that_is_not_canonical_faults(void)
{
	struct fault fault;

	fault_wants_uif = true;
	_clui();
	fault = fault_of(uiret_at, (void *)(1ULL << 63));
	ktap_check(fault.sig == SIGBUS, "signal %s", fault_name(fault.sig));
	ktap_check(fault.rip == (uintptr_t)uiret_at_insn, "RIP 0x%lx", fault.rip);
	ktap_check(fault.uif == 0, "the faulting UIRET changed UIF");
}

/* The end of user space, with memory mapped before it; nothing can be mapped after it. */
static char *end_of_user_space(bool *is_stack)
{
	static const unsigned int bits[] = { 56, 47 };
	size_t page = sysconf(_SC_PAGESIZE);
	unsigned int i;

	for (i = 0; i < 2; i++) {
		char *end = (char *)(1ULL << bits[i]) - page, *at;

		at = mmap(end - page, page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		*is_stack = at == MAP_FAILED && errno == EEXIST;
		if (at == end - page || *is_stack)
			return end;
	}
	ktap_skip("nothing can be mapped at the end of user space");
	return NULL;
}

/* Only part of the frame is in user space; an unmapped word before its end faults first. */
static void uiret_at_the_end_of_user_space_faults(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	bool is_stack = false;
	char *end = end_of_user_space(&is_stack);

	uiret_faults_at(end - 16, end);
	uiret_faults_at(end - 8, end);
	if (is_stack)
		return;
	munmap(end - page, page);
	uiret_faults_at(end - 16, end - 16);
}

/* Delivery with RSP where the frame cannot be stored. */
static void __attribute__((noreturn)) stui_on_stack(void *rsp)
{
	asm volatile("mov %0, %%rsp\n\tstui\n\t1: pause\n\tjmp 1b" : : "r"(rsp) : "memory");
	__builtin_unreachable();
}

static void bad_stack_child(void *rsp)
{
	pend();
	stui_on_stack(rsp);
}

static void delivery_to_unmapped_stack_kills(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *stack = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	child_dies(child_start(bad_stack_child, stack + page), SIGSEGV);
}

static void delivery_to_read_only_stack_kills(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *stack = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	child_dies(child_start(bad_stack_child, stack + page), SIGSEGV);
}

static void delivery_to_non_canonical_stack_kills(void)
{
	child_dies(child_start(bad_stack_child, (void *)(1ULL << 63)), SIGBUS);
}

/*
 * A delivery that faults changes nothing: the interrupt is delivered as soon as there is a valid
 * stack, which is that of the fault's signal.
 */
static void delivery_to_a_bad_stack_is_made_up_for(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *stack = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct fault fault;
	uint64_t frame = (uintptr_t)stack + page - UINTR_REDZONE - 32;

	pend();
	fault = fault_of((void (*)(void *))stui_on_stack, stack + page);
	ktap_check(fault.sig == SIGSEGV, "signal %s", fault_name(fault.sig));
	ktap_check(fault.address >= frame && fault.address < frame + 32,
		   "fault at 0x%lx, the frame would be at 0x%lx", fault.address, frame);
	ktap_check(fault.code == SEGV_ACCERR, "code %d for a page that is there", fault.code);
	ktap_check(spin_until(raw_count == 1), "the interrupt is lost");
	ktap_check(_testui(), "UIF is clear");
}

/* Two words of the frame can be stored and two cannot, whichever comes first. */
static void delivery_across_pages_faults_in_the_bad_one(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *stack = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);
	char *border = stack + page;
	uint64_t bad = (uintptr_t)border - 16;
	struct fault fault;

	ktap_ok(mprotect(stack, page, PROT_READ));
	pend();
	fault = fault_of((void (*)(void *))stui_on_stack, border + 16 + UINTR_REDZONE);
	ktap_check(fault.sig == SIGSEGV, "signal %s", fault_name(fault.sig));
	ktap_check(fault.address >= bad && fault.address < bad + 16,
		   "fault at 0x%lx, the page ends at %p", fault.address, border);
	ktap_check(spin_until(raw_count == 1), "the interrupt is lost");
}

static void running_on_bad_stack(void *arg)
{
	struct outside *outside = arg;
	size_t page = sysconf(_SC_PAGESIZE);
	char *stack = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ktap_ok(uintr_register_handler(raw_entry, 0));
	outside->fd = ktap_ok(uintr_create_fd(0, 0));
	thread_start(sends_from_outside, outside);
	asm volatile("mov %1, %%rsp\n\tstui\n\tmovq $1, %0\n\t1: pause\n\tjmp 1b"
		     : "=m"(outside->ready) : "r"(stack + page) : "memory");
}

static void delivery_to_bad_stack_while_running_kills(void)
{
	struct outside *outside = shared_memory(sizeof(*outside));

	child_dies(child_start(running_on_bad_stack, outside), SIGSEGV);
}

static void bad_handler_child(void *handler)
{
	int index;

	ktap_ok(uintr_register_handler(handler, 0));
	index = sender_to(ktap_ok(uintr_create_fd(0, 0)));
	_stui();
	_senduipi(index);
	spin_until(false);
}

/* A handler's address is not checked before an interrupt comes. */
static void unmapped_handler_kills(void)
{
	void *hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	child_dies(child_start(bad_handler_child, hole), SIGSEGV);
}

/* The stack need not be there yet: a page that is only reserved is faulted in. */
static void delivery_faults_the_stack_in(void)
{
	size_t size = 1 << 20;
	char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t saved;

	pend();
	asm volatile("mov %%rsp, %0\n\tmov %1, %%rsp\n\tstui\n\tclui\n\tmov %0, %%rsp"
		     : "=&r"(saved) : "r"(stack + size / 2) : "memory");
	ktap_assert(raw_count == 1, "not delivered");
	ktap_check(raw_log[0].rsp == (uintptr_t)(stack + size / 2), "RSP 0x%lx", raw_log[0].rsp);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(holds_vector_rip_rsp, FRAME-1, FRAME-2, FRAME-8, DELIVERY-3, UIRET-1),
	KTAP_CASE(is_aligned_below_the_red_zone, FRAME-3, FRAME-5),
	KTAP_CASE(leaves_the_red_zone_alone, FRAME-5),
	KTAP_CASE(leaves_the_red_zone_alone_when_running, FRAME-5),
	KTAP_CASE(saves_and_restores_rflags, FRAME-6, FRAME-7),
	KTAP_CASE(handler_runs_without_tf, FRAME-7),
	KTAP_CASE(saves_tf_and_clears_it, FRAME-6, FRAME-7),
	KTAP_CASE(uiret_sets_only_its_mask, UIRET-2),
	KTAP_CASE(uiret_clears_only_its_mask, UIRET-2),
	KTAP_CASE(uiret_needs_no_handler, UIRET-1, UIRET-3),
	KTAP_CASE(uiret_to_non_canonical_rip_faults, UIRET-14),
	KTAP_CASE(uiret_from_a_bad_stack_faults, UIRET-14),
	KTAP_CASE(uiret_from_a_stack_that_is_not_canonical_faults, UIRET-14),
	KTAP_CASE(uiret_at_the_end_of_user_space_faults, UIRET-14),
	KTAP_CASE(delivery_across_pages_faults_in_the_bad_one, FRAME-17, FRAME-18),
	KTAP_CASE(delivery_to_unmapped_stack_kills, FRAME-17),
	KTAP_CASE(delivery_to_read_only_stack_kills, FRAME-17),
	KTAP_CASE(delivery_to_non_canonical_stack_kills, FRAME-19),
	KTAP_CASE(delivery_to_a_bad_stack_is_made_up_for, FRAME-17, FRAME-18),
	KTAP_CASE(delivery_to_bad_stack_while_running_kills, FRAME-17),
	KTAP_CASE(unmapped_handler_kills, FRAME-21),
	KTAP_CASE(delivery_faults_the_stack_in, FRAME-20),
};

KTAP_MAIN(cases, uintr_missing())
