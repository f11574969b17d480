// SPDX-License-Identifier: GPL-2.0
/*
 * Where the instructions work and where they fault: threads that registered nothing, tables with
 * and without an entry, and the instructions next to them in the opcode map.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"
#include "wait.h"
#include "waiter.h"

#include <cpuid.h>
#include <linux/seccomp.h>

static void *uif_in_plain_thread(void *arg)
{
	(void)arg;
	ktap_check(!_testui(), "UIF is set in a new thread");
	_stui();
	ktap_check(_testui(), "UIF is clear after STUI");
	_clui();
	ktap_check(!_testui(), "UIF is set after CLUI");
	return NULL;
}

static void plain_child(void *arg)
{
	uif_in_plain_thread(arg);
}

/* UIF is the thread's, registered or not. */
static void uif_works_without_handler(void)
{
	uif_in_plain_thread(NULL);
	_stui();
	in_thread(uif_in_plain_thread, NULL);
	ktap_check(_testui(), "another thread changed UIF");
	child_passes(child_start(plain_child, NULL));
	ktap_check(_testui(), "a child changed UIF");
}

/* No handler has to be there for a thread to keep its flag while others run. */
static void uif_is_kept_while_others_run(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		_stui();
		sleep_ms(2);
		ktap_check(_testui(), "UIF is clear after STUI");
		_clui();
		sleep_ms(2);
		ktap_check(!_testui(), "UIF is set after CLUI");
	}
}

/* A thread that never used the feature runs on the CPU on which another one waits. */
static void uif_of_a_thread_that_waits_is_its_own(void)
{
	struct waiter waiter = {};

	need_uintr_wait();
	pin_to(0);
	waiter_start(&waiter);
	ktap_check(!_testui(), "UIF is set in a thread that did not set it");
	_senduipi(sender_to(waiter.fd));
	thread_join(waiter.thread);
	ktap_check(hits == 1, "%lu interrupts", hits);
}

extern char senduipi_here[];
void senduipi_at(void *index);

asm(
"	.pushsection .text\n"
"	.type senduipi_at, @function\n"
"senduipi_at:\n"
"senduipi_here:\n"
"	senduipi %rdi\n"
"	ret\n"
"	.popsection\n"
);

static void expect(uint64_t index, int sig, const char *why)
{
	struct fault fault = fault_of(senduipi_at, (void *)index);

	ktap_check(fault.sig == sig, "index 0x%lx, %s: signal %s, not %s", index, why,
		   fault_name(fault.sig), fault_name(sig));
	if (fault.sig)
		ktap_check(fault.rip == (uintptr_t)senduipi_here, "index 0x%lx: RIP is %ld off",
			   index, (long)(fault.rip - (uintptr_t)senduipi_here));
}

static void senduipi_without_table_is_undefined(void)
{
	expect(0, SIGILL, "no table");
	expect(UINT64_MAX, SIGILL, "no table");
	/* Registering a handler does not create a table. */
	ktap_ok(uintr_register_handler(count_hit, 0));
	expect(0, SIGILL, "handler, but no table");
	ktap_ok(uintr_create_fd(0, 0));
	expect(0, SIGILL, "fd, but no table");
}

static void *no_table_here(void *arg)
{
	(void)arg;
	expect(0, SIGILL, "the table is another thread's");
	return NULL;
}

static void no_table_child(void *arg)
{
	(void)arg;
	expect(0, SIGILL, "the table is the parent's");
}

static void table_is_per_thread(void)
{
	int index;

	need_the_rfc();
	index = sender_to(receiver(0));
	in_thread(no_table_here, NULL);
	child_passes(child_start(no_table_child, NULL));
	expect(index, 0, "own table");
}

static void senduipi_out_of_table_faults(void)
{
	static const uint64_t outside[] = {
		UINTR_SENDERS, UINTR_SENDERS + 1, 1ULL << 16, 1ULL << 31, 1ULL << 32,
		1ULL << 60, 1ULL << 63, UINT64_MAX,
	};
	uint64_t index = sender_to(receiver(0));
	unsigned int i;

	for (i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		expect(outside[i], SIGSEGV, "outside");
		/* The index is compared in full, and never cut down to the one that is there. */
		expect(outside[i] + index, SIGSEGV, "outside");
	}
	expect(index, 0, "inside");
}

static void senduipi_to_empty_entry_faults(void)
{
	uint64_t index = sender_to(receiver(0)), i;

	for (i = 0; i < UINTR_SENDERS; i++)
		if (i != index)
			expect(i, SIGSEGV, "empty entry");
	expect(index, 0, "entry");
	_stui();
	ktap_check(spin_until(hits == 1), "nothing came");
}

static void senduipi_after_unregister_faults(void)
{
	int fd = receiver(0), other = ktap_ok(uintr_create_fd(1, 0));
	uint64_t index = sender_to(fd), stays = sender_to(other);

	ktap_ok(uintr_disconnect(fd, index));
	expect(index, SIGSEGV, "unregistered");
	expect(stays, 0, "another connection");
	_stui();
	ktap_check(spin_until(hits_of[1] == 1), "nothing came");
	ktap_check(hits_of[0] == 0, "came after unregister");
}

/* --- neighbours -------------------------------------------------------------------------- */

static void rdpkru(void *arg)
{
	(void)arg;
	asm volatile(".byte 0x0f, 0x01, 0xee" : : "c"(0) : "rax", "rdx");
}

static void rewrite_pkru(void *arg)
{
	(void)arg;
	asm volatile(".byte 0x0f, 0x01, 0xee\n\t.byte 0x0f, 0x01, 0xef" : : "c"(0) : "rax", "rdx");
}

static void rdrand(void *arg)
{
	(void)arg;
	asm volatile(".byte 0x48, 0x0f, 0xc7, 0xf0" : : : "rax", "cc");
}

static void rdseed(void *arg)
{
	(void)arg;
	asm volatile(".byte 0x48, 0x0f, 0xc7, 0xf8" : : : "rax", "cc");
}

static void rdpid(void *arg)
{
	(void)arg;
	asm volatile(".byte 0xf3, 0x0f, 0xc7, 0xf8" : : : "rax");
}

static void serialize(void *arg)
{
	(void)arg;
	asm volatile(".byte 0x0f, 0x01, 0xe8" : : : "memory");
}

/*
 * Each works if CPUID says that it is there. Where CPUID does not, it may be undefined, or work all the
 * same on a processor of which a hypervisor hides some; it is none of the five in any case.
 */
static void neighbours_still_work(void)
{
	unsigned int a, b, d, leaf1_c = 0, leaf7_b = 0, leaf7_c = 0, leaf7_d = 0, i;

	__get_cpuid(1, &a, &b, &leaf1_c, &d);
	__get_cpuid_count(7, 0, &a, &leaf7_b, &leaf7_c, &leaf7_d);

	const struct {
		const char *name;
		void (*fn)(void *);
		bool there;
	} neighbours[] = {
		{ "RDPKRU", rdpkru, leaf7_c & (1U << 4) },
		{ "WRPKRU", rewrite_pkru, leaf7_c & (1U << 4) },
		{ "RDRAND", rdrand, leaf1_c & (1U << 30) },
		{ "RDSEED", rdseed, leaf7_b & (1U << 18) },
		{ "RDPID", rdpid, leaf7_c & (1U << 22) },
		{ "SERIALIZE", serialize, leaf7_d & (1U << 14) },
	};

	sender_to(receiver(0));
	_stui();
	for (i = 0; i < sizeof(neighbours) / sizeof(neighbours[0]); i++) {
		bool there = neighbours[i].there;
		int sig = fault_of(neighbours[i].fn, NULL).sig;

		ktap_check(sig == 0 || (sig == SIGILL && !there), "%s: signal %s, and CPUID %s it",
			   neighbours[i].name, fault_name(sig), there ? "has" : "lacks");
		ktap_check(_testui(), "%s changed UIF", neighbours[i].name);
	}
	ktap_check(hits == 0, "one of them sent a user interrupt");
}

static void vmxon(void *arg)
{
	/*
	 * F3 0F C7 /6 with memory at rcx. It faults before it looks there, so that rcx is an index
	 * that SENDUIPI would take.
	 */
	(void)arg;
	asm volatile(".byte 0xf3, 0x0f, 0xc7, 0x31" : : "c"(0) : "cc", "memory");
}

static void vmxon_is_not_senduipi(void)
{
	int index = sender_to(receiver(0)), sig;

	ktap_check(index == 0, "index %d", index);
	_stui();
	/* #UD, or #GP(0) for user code where the kernel has VMX turned on */
	sig = fault_of(vmxon, NULL).sig;
	ktap_check(sig == SIGILL || sig == SIGSEGV, "signal %s", fault_name(sig));
	sleep_ms(5);
	ktap_check(hits == 0, "VMXON sent a user interrupt");
}

/* --- 32-bit code ------------------------------------------------------------------------- */

/*
 * Far calls within this program: it is linked low, and RSP must be low as well, because 32-bit code
 * keeps only half of it.
 */
void in_32bit(void *low_stack, void *code32);
extern char code32_testui[], code32_clui[], code32_stui[], code32_uiret[], code32_senduipi[];
extern char code32_spin[], code32_read[], code32_empty[];
extern volatile uint32_t spin32_in, spin32_out;
extern volatile int32_t read32_fd, read32_result;
extern uint64_t low_saved_rsp;

#define CODE32(name, bytes)	name ":\n	" bytes "\n	ljmp $0x33, $in_32bit_back\n"

asm(
"	.pushsection .bss\n"
"	.balign 8\n"
"low_saved_rsp:	.skip 8\n"
"spin32_in:	.skip 4\n"
"spin32_out:	.skip 4\n"
"read32_fd:	.skip 4\n"
"read32_result:	.skip 4\n"
"read32_byte:	.skip 4\n"
"	.popsection\n"
"	.pushsection .text\n"
"	.type in_32bit, @function\n"
"in_32bit:\n"
"	push %rbx\n"
"	push %rbp\n"
"	push %r12\n"
"	push %r13\n"
"	push %r14\n"
"	push %r15\n"
"	mov %rsp, low_saved_rsp(%rip)\n"
"	mov %rdi, %rsp\n"
"	xor %eax, %eax\n"
"	pushq $0\n"
"	movl %esi, (%rsp)\n"
"	movl $0x23, 4(%rsp)\n"
"	ljmpl *(%rsp)\n"
"in_32bit_back:\n"
"	mov low_saved_rsp(%rip), %rsp\n"
"	pop %r15\n"
"	pop %r14\n"
"	pop %r13\n"
"	pop %r12\n"
"	pop %rbp\n"
"	pop %rbx\n"
"	ret\n"
"	.code32\n"
CODE32("code32_empty", "nop")
CODE32("code32_uiret", ".byte 0xf3, 0x0f, 0x01, 0xec")
CODE32("code32_testui", ".byte 0xf3, 0x0f, 0x01, 0xed")
CODE32("code32_clui", ".byte 0xf3, 0x0f, 0x01, 0xee")
CODE32("code32_stui", ".byte 0xf3, 0x0f, 0x01, 0xef")
CODE32("code32_senduipi", ".byte 0xf3, 0x0f, 0xc7, 0xf0")
CODE32("code32_spin", "movl $1, spin32_in\n"
	"1:	pause\n"
	"	cmpl $0, spin32_out\n"
	"	je 1b\n")
CODE32("code32_read", "movl $3, %eax\n"
	"	movl read32_fd, %ebx\n"
	"	movl $read32_byte, %ecx\n"
	"	movl $1, %edx\n"
	"	int $0x80\n"
	"	movl %eax, read32_result\n")
"	.code64\n"
"	.popsection\n"
);

static char *low_stack;

static void call_32bit(void *code32)
{
	in_32bit(low_stack + 65536 - 256, code32);
}

static void need_32bit(void)
{
	struct fault fault;

	if ((uintptr_t)code32_empty >> 32)
		ktap_skip("this program is not linked below 4 GiB");
	low_stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ktap_assert(low_stack != MAP_FAILED, "mmap: %s", ktap_errno(errno));
	fault = fault_of(call_32bit, code32_empty);
	if (fault.sig)
		ktap_skip("no 32-bit code segment (signal %s)", fault_name(fault.sig));
}

static void undefined_in_32bit_code(void)
{
	static char *const code32[] = {
		code32_uiret, code32_testui, code32_clui, code32_stui, code32_senduipi,
	};
	unsigned int i;

	need_32bit();
	ktap_check(sender_to(receiver(0)) == 0, "index is not 0");
	_stui();
	for (i = 0; i < 5; i++) {
		struct fault fault = fault_of(call_32bit, code32[i]);

		ktap_check(fault.sig == SIGILL, "instruction %u: signal %s", i,
			   fault_name(fault.sig));
		ktap_check(fault.rip == (uintptr_t)code32[i], "instruction %u: RIP 0x%lx", i,
			   fault.rip);
		ktap_check(_testui(), "instruction %u changed UIF", i);
	}
	ktap_check(hits == 0, "SENDUIPI sent");
}

struct from_64bit {
	int fd;
	unsigned long early;
};

static void *sends_to_32bit(void *arg)
{
	struct from_64bit *from = arg;
	int index;

	pin_to(1);
	index = sender_to(from->fd);
	ktap_check(yield_until(shared_load(&spin32_in)), "32-bit code does not run");
	_senduipi(index);
	sleep_ms(NEVER_MS);
	from->early = raw_count;
	shared_store(&spin32_out, 1);
	return NULL;
}

/* Interrupts are delivered in 64-bit code alone; until then they wait. */
static void no_delivery_in_32bit_code(void)
{
	struct from_64bit from = {};
	pthread_t thread;

	need_32bit();
	pin_to(0);
	ktap_ok(uintr_register_handler(raw_entry, 0));
	from.fd = ktap_ok(uintr_create_fd(0, 0));
	_stui();
	thread = thread_start(sends_to_32bit, &from);
	call_32bit(code32_spin);
	ktap_check(spin_until(raw_count == 1), "not delivered in 64-bit code");
	thread_join(thread);
	ktap_check(from.early == 0, "delivered in 32-bit code");
	ktap_check(raw_log[0].rip < (uintptr_t)code32_spin ||
		   raw_log[0].rip > (uintptr_t)code32_spin + 32, "RIP 0x%lx is 32-bit code",
		   raw_log[0].rip);
}

struct blocked_in_32bit {
	struct from_64bit from;
	pid_t receiver;
	int pipe;
};

static void *sends_to_32bit_read(void *arg)
{
	struct blocked_in_32bit *blocked = arg;
	int index = sender_to(blocked->from.fd);

	ktap_check(task_reaches(getpid(), blocked->receiver, 'S'), "32-bit code does not block");
	_senduipi(index);
	sleep_ms(NEVER_MS);
	blocked->from.early = shared_load(&hits);
	ktap_ok(write(blocked->pipe, "x", 1));
	return NULL;
}

/* An interrupt that cannot be delivered yet ends no call: it would end the next one, too. */
static void no_call_of_32bit_code_is_ended(void)
{
	struct blocked_in_32bit blocked = { .receiver = task_tid() };
	pthread_t thread;
	int pipes[2];

	need_32bit();
	ktap_ok(pipe(pipes));
	read32_fd = -1;
	if (fault_of(call_32bit, code32_read).sig || read32_result != -EBADF)
		ktap_skip("the kernel has no system calls of 32-bit code");
	read32_fd = pipes[0];
	blocked.pipe = pipes[1];
	blocked.from.fd = receiver_with(0, UINTR_HANDLER_FLAG_WAITING_ANY);
	_stui();
	thread = thread_start(sends_to_32bit_read, &blocked);
	call_32bit(code32_read);
	ktap_check(read32_result == 1, "read() gave %d", read32_result);
	ktap_check(spin_until(hits == 1), "not delivered in 64-bit code");
	ktap_check(blocked.from.early == 0, "delivered in 32-bit code");
	thread_join(thread);
}

struct back_in_64bit {
	int fd;
	int pipe[2];
	unsigned long round;
};

static void *sends_to_32bit_and_lets_go(void *arg)
{
	struct back_in_64bit *back = arg;
	int index, i;

	pin_to(1);
	index = sender_to(back->fd);
	ktap_check(yield_until(shared_load(&spin32_in)), "32-bit code does not run");
	_senduipi(index);
	/* It is held back there, and much less than a tick later the thread leaves. */
	for (i = 0; i < 20000; i++)
		asm volatile("");
	shared_store(&spin32_out, 1);
	ktap_assert(yield_until(shared_load(&hits) == back->round), "the call is not ended");
	ktap_ok(write(back->pipe[1], "x", 1));
	return NULL;
}

/* What was held back ends the call that 64-bit code blocks in before it is delivered. */
static void a_call_after_32bit_code_is_ended(void)
{
	struct back_in_64bit back = {};
	pthread_t thread;
	ssize_t n;
	char byte;

	need_32bit();
	if (!UINTR_HANDLER_FLAG_WAITING_ANY)
		ktap_skip("the kernel's headers have no UINTR_HANDLER_FLAG_WAITING_ANY");
	pin_to(0);
	ktap_ok(pipe(back.pipe));
	back.fd = receiver_with(0, UINTR_HANDLER_FLAG_WAITING_ANY);
	_stui();
	for (back.round = 1; back.round <= 10; back.round++) {
		spin32_in = 0;
		spin32_out = 0;
		thread = thread_start(sends_to_32bit_and_lets_go, &back);
		call_32bit(code32_spin);
		n = read(back.pipe[0], &byte, 1);
		if (n == -1 && errno == EINTR)
			n = read(back.pipe[0], &byte, 1);
		ktap_check(n == 1, "read gave %zd, %s", n, ktap_errno(errno));
		thread_join(thread);
	}
}

/* The sender leaves 32-bit code, which must not affect the receiver. */
static void *sends_and_leaves(void *arg)
{
	int fd = *(int *)arg, index;

	pin_to(1);
	index = sender_to(fd);
	ktap_check(yield_until(shared_load(&spin32_in)), "32-bit code does not run");
	_senduipi(index);
	ktap_ok(uintr_disconnect(fd, index));
	sleep_ms(NEVER_MS);
	shared_store(&spin32_out, 1);
	return NULL;
}

/* Held back in 32-bit code until the handler is unregistered: it must not be delivered. */
static void handler_goes_with_one_held_back(void)
{
	pthread_t thread;
	int i, fd;

	need_the_rfc();
	need_32bit();
	pin_to(0);
	for (i = 0; i < 15; i++) {
		spin32_in = 0;
		spin32_out = 0;
		fd = receiver(0);
		_stui();
		thread = thread_start(sends_and_leaves, &fd);
		call_32bit(code32_spin);
		close(fd);
		ktap_ok(uintr_unregister_handler(0));
		ktap_ok(uintr_register_handler(count_hit, 0));
		thread_join(thread);
		ktap_ok(uintr_unregister_handler(0));
	}
	ktap_check(hits <= 15, "%lu interrupts of 15 sent", hits);
}

/* --- seccomp ----------------------------------------------------------------------------- */

static void strict_child(void *arg)
{
	unsigned long patience = 50000000;
	int index;

	(void)arg;
	ktap_ok(uintr_register_handler(count_hit, 0));
	index = sender_to(ktap_ok(uintr_create_fd(0, 0)));
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		syscall(SYS_exit, KTAP_EXIT_SKIP);
	_stui();
	_senduipi(index);
	/* Strict mode takes the time stamp counter away, too: count, do not measure. */
	while (!hits && --patience)
		__builtin_ia32_pause();
	syscall(SYS_exit, hits == 1 && _testui() ? 0 : 1);
}

/* They are instructions, not system calls, so seccomp does not affect them. */
static void work_under_strict_seccomp(void)
{
	int status = child_wait(child_start(strict_child, NULL));

	if (WIFEXITED(status) && WEXITSTATUS(status) == KTAP_EXIT_SKIP)
		ktap_skip("the kernel has no seccomp");
	ktap_check(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x", status);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(uif_works_without_handler, TASK-4, TASK-5),
	KTAP_CASE(uif_is_kept_while_others_run, TASK-5),
	KTAP_CASE(uif_of_a_thread_that_waits_is_its_own, TASK-4, TASK-5),
	KTAP_CASE(senduipi_without_table_is_undefined, POST-1, POST-4),
	KTAP_CASE(table_is_per_thread, POST-1, SENDER-10, SENDER-11),
	KTAP_CASE(senduipi_out_of_table_faults, POST-2, POST-3, POST-4),
	KTAP_CASE(senduipi_to_empty_entry_faults, POST-2, POST-4),
	KTAP_CASE(senduipi_after_unregister_faults, POST-5),
	KTAP_CASE(neighbours_still_work, INSN-23, INSN-24),
	KTAP_CASE(vmxon_is_not_senduipi, INSN-25),
	KTAP_CASE(undefined_in_32bit_code, INSN-5, INSN-10),
	KTAP_CASE(no_delivery_in_32bit_code, TASK-16, DELIVERY-5),
	KTAP_CASE(no_call_of_32bit_code_is_ended, BLOCKED-13),
	KTAP_CASE(a_call_after_32bit_code_is_ended, BLOCKED-3, BLOCKED-8),
	KTAP_CASE(handler_goes_with_one_held_back, TASK-16, HANDLER-14),
	KTAP_CASE(work_under_strict_seccomp, TASK-15),
};

KTAP_MAIN(cases, uintr_missing())
