// SPDX-License-Identifier: GPL-2.0
/*
 * Registers that delivery and UIRET must not change: general registers, SSE and AVX registers,
 * MXCSR and the x87 stack. The handler saves what it uses; the processor, or the kernel that
 * emulates it, must preserve all others.
 */
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"

/*
 * uint64_t hold_general(mode): load every register but RSP with a distinct pattern; take an
 * interrupt by STUI (mode 0) or wait for one (mode 1); store them all. held_ready tells the
 * sender when.
 */
void hold_general(uint64_t mode);
extern char hold_general_begin[], hold_general_end[];
extern uint64_t held[16], held_ready;

asm(
"	.pushsection .bss\n"
"	.balign 64\n"
"held:		.skip 128\n"
"held_ready:	.skip 8\n"
"	.popsection\n"
"	.pushsection .text\n"
"	.type hold_general, @function\n"
"hold_general:\n"
"	push %rbx\n"
"	push %rbp\n"
"	push %r12\n"
"	push %r13\n"
"	push %r14\n"
"	push %r15\n"
"	test %rdi, %rdi\n"
"	mov $0x1111111111111101, %rax\n"
"	mov $0x1111111111111102, %rbx\n"
"	mov $0x1111111111111103, %rcx\n"
"	mov $0x1111111111111104, %rdx\n"
"	mov $0x1111111111111105, %rsi\n"
"	mov $0x1111111111111106, %rdi\n"
"	mov $0x1111111111111107, %rbp\n"
"	mov $0x1111111111111108, %r8\n"
"	mov $0x1111111111111109, %r9\n"
"	mov $0x111111111111110a, %r10\n"
"	mov $0x111111111111110b, %r11\n"
"	mov $0x111111111111110c, %r12\n"
"	mov $0x111111111111110d, %r13\n"
"	mov $0x111111111111110e, %r14\n"
"	mov $0x111111111111110f, %r15\n"
"hold_general_begin:\n"
"	jnz 1f\n"
"	stui\n"
"	jmp 2f\n"
"1:	movq $1, held_ready(%rip)\n"
"2:	pause\n"
"	cmpq $0, raw_count(%rip)\n"
"	je 2b\n"
"hold_general_end:\n"
"	mov %rax, held(%rip)\n"
"	mov %rbx, held+8(%rip)\n"
"	mov %rcx, held+16(%rip)\n"
"	mov %rdx, held+24(%rip)\n"
"	mov %rsi, held+32(%rip)\n"
"	mov %rdi, held+40(%rip)\n"
"	mov %rbp, held+48(%rip)\n"
"	mov %r8, held+56(%rip)\n"
"	mov %r9, held+64(%rip)\n"
"	mov %r10, held+72(%rip)\n"
"	mov %r11, held+80(%rip)\n"
"	mov %r12, held+88(%rip)\n"
"	mov %r13, held+96(%rip)\n"
"	mov %r14, held+104(%rip)\n"
"	mov %r15, held+112(%rip)\n"
"	pop %r15\n"
"	pop %r14\n"
"	pop %r13\n"
"	pop %r12\n"
"	pop %rbp\n"
"	pop %rbx\n"
"	ret\n"
"	.popsection\n"
);

static void check_general(void)
{
	static const char *const names[] = {
		"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8",
		"r9", "r10", "r11", "r12", "r13", "r14", "r15",
	};
	unsigned int i;

	ktap_check(raw_log[0].rip >= (uintptr_t)hold_general_begin &&
		   raw_log[0].rip <= (uintptr_t)hold_general_end,
		   "the interrupt came at the wrong place: RIP 0x%lx", raw_log[0].rip);
	for (i = 0; i < 15; i++)
		ktap_check(held[i] == 0x1111111111111101ULL + i, "%s is 0x%lx after the interrupt",
			   names[i], held[i]);
}

static void general_registers_at_stui(void)
{
	int index;

	ktap_ok(uintr_register_handler(raw_entry, 0));
	index = sender_to(ktap_ok(uintr_create_fd(0, 0)));
	_senduipi(index);
	sleep_ms(5);
	hold_general(0);
	check_general();
}

/*
 * A handler in C that needs every general register. The attribute makes the compiler save them.
 */
static UINTR_HANDLER void uses_all_registers(struct __uintr_frame *frame,
					     unsigned long long vector)
{
	raw_log[0].rip = frame->rip;
	raw_log[0].vector = vector;
	asm volatile("mov %%rsp, %%rax\n\t"
		     "mov %%rax, %%rbx\n\tmov %%rax, %%rcx\n\tmov %%rax, %%rdx\n\t"
		     "mov %%rax, %%rsi\n\tmov %%rax, %%rdi\n\tmov %%rax, %%r8\n\t"
		     "mov %%rax, %%r9\n\tmov %%rax, %%r10\n\tmov %%rax, %%r11\n\t"
		     "mov %%rax, %%r12\n\tmov %%rax, %%r13\n\tmov %%rax, %%r14\n\t"
		     "mov %%rax, %%r15"
		     : : : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
		       "r12", "r13", "r14", "r15", "memory", "cc");
	raw_count++;
}

/* By Clang's rules a handler may call this function, because it saves what it uses. */
static __attribute__((noinline, no_caller_saved_registers, target("general-regs-only")))
uint64_t mixes(uint64_t x)
{
	uint64_t a = x * 3, b = x ^ 5, c = x + 7, d = x >> 9, i;

	for (i = 0; i < 11; i++) {
		a += b * c;
		b ^= d + a;
		c -= a ^ i;
		d = d * 13 + b;
		asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
	}
	return a ^ b ^ c ^ d;
}

static volatile uint64_t mixed;

static UINTR_HANDLER void calls_a_function(struct __uintr_frame *frame, unsigned long long vector)
{
	raw_log[0].rip = frame->rip;
	raw_log[0].vector = vector;
	mixed = mixes(vector);
	raw_count++;
}

static void general_registers_after(void (*handler)(struct __uintr_frame *, unsigned long long))
{
	int index;

	ktap_ok(uintr_register_handler(handler, 0));
	index = sender_to(ktap_ok(uintr_create_fd(11, 0)));
	_senduipi(index);
	sleep_ms(5);
	hold_general(0);
	check_general();
	ktap_check(raw_log[0].vector == 11, "the handler got vector %lu", raw_log[0].vector);
}

static void compiled_handler_saves_what_it_uses(void)
{
	general_registers_after(uses_all_registers);
}

static void compiled_handler_may_call_a_function(void)
{
	general_registers_after(calls_a_function);
	ktap_check(mixed == mixes(11), "the handler's function gave 0x%lx", mixed);
}

struct from {
	int fd;
	unsigned int cpu;
	uint64_t *ready;
};

static void *sends_when_ready(void *arg)
{
	struct from *from = arg;
	int index;

	pin_to(from->cpu);
	index = sender_to(from->fd);
	while (!shared_load(from->ready))
		sched_yield();
	_senduipi(index);
	return NULL;
}

static void general_registers_when_running(void)
{
	struct from from = { .cpu = 1, .ready = &held_ready };
	pthread_t thread;

	pin_to(0);
	ktap_ok(uintr_register_handler(raw_entry, 0));
	from.fd = ktap_ok(uintr_create_fd(0, 0));
	_stui();
	thread = thread_start(sends_when_ready, &from);
	hold_general(1);
	check_general();
	thread_join(thread);
}

/*
 * The same for the vector and x87 registers. 16 x 32 bytes, then MXCSR, x87 control word and the
 * eight x87 values.
 */
struct vector_state {
	uint8_t ymm[16][32];
	uint32_t mxcsr;
	uint16_t control;
	uint16_t pad[5];
	double st[8];
} __attribute__((aligned(64)));

/* Load the state, wait for raw_count to become more than seen, store the state. */
#define HOLD_VECTORS(name, move, width)						\
void name(const struct vector_state *in, struct vector_state *out, uint64_t seen);	\
asm(										\
"	.pushsection .text\n"							\
"	.type " #name ", @function\n"						\
#name ":\n"									\
"	sub $24, %rsp\n"							\
"	stmxcsr 8(%rsp)\n"							\
"	fnstcw 12(%rsp)\n"							\
"	fninit\n"								\
"	.irp i, 7,6,5,4,3,2,1,0\n"						\
"	fldl 528+8*\\i(%rdi)\n"							\
"	.endr\n"								\
"	fldcw 516(%rdi)\n"							\
"	ldmxcsr 512(%rdi)\n"							\
"	.irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"			\
"	" move " 32*\\i(%rdi), %" width "\\i\n"					\
"	.endr\n"								\
"	movq $1, held_ready(%rip)\n"						\
"1:	pause\n"								\
"	cmp raw_count(%rip), %rdx\n"						\
"	je 1b\n"								\
"	.irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"			\
"	" move " %" width "\\i, 32*\\i(%rsi)\n"					\
"	.endr\n"								\
"	stmxcsr 512(%rsi)\n"							\
"	fnstcw 516(%rsi)\n"							\
"	.irp i, 0,1,2,3,4,5,6,7\n"						\
"	fstpl 528+8*\\i(%rsi)\n"						\
"	.endr\n"								\
"	fninit\n"								\
"	fldcw 12(%rsp)\n"							\
"	ldmxcsr 8(%rsp)\n"							\
"	add $24, %rsp\n"							\
"	ret\n"									\
"	.popsection\n"								\
)

HOLD_VECTORS(hold_sse, "movaps", "xmm");
HOLD_VECTORS(hold_avx, "vmovaps", "ymm");

static void vector_registers(void (*hold)(const struct vector_state *, struct vector_state *,
					  uint64_t), unsigned int width, unsigned int cpu)
{
	struct from from = { .cpu = cpu, .ready = &held_ready };
	static struct vector_state in, out;
	pthread_t thread;
	unsigned int i;

	for (i = 0; i < sizeof(in.ymm); i++)
		((uint8_t *)in.ymm)[i] = 3 + i * 7;
	in.mxcsr = 0x1f80 | 0x6000;	/* all masked, round to zero */
	in.control = 0x037f | 0x0400;	/* all masked, round down */
	for (i = 0; i < 8; i++)
		in.st[i] = 1.5 + i;

	pin_to(0);
	ktap_ok(uintr_register_handler(raw_entry, 0));
	from.fd = ktap_ok(uintr_create_fd(0, 0));
	_stui();
	thread = thread_start(sends_when_ready, &from);
	hold(&in, &out, 0);
	thread_join(thread);

	ktap_check(raw_count == 1, "%lu interrupts", raw_count);
	for (i = 0; i < 16; i++)
		ktap_check(!memcmp(in.ymm[i], out.ymm[i], width), "register %u changed", i);
	ktap_check(!memcmp(raw_xmm0, in.ymm[0], 16), "the handler saw another xmm0");
	ktap_check(in.mxcsr == out.mxcsr, "MXCSR is 0x%x, not 0x%x", out.mxcsr, in.mxcsr);
	ktap_check(in.control == out.control, "x87 control word is 0x%x, not 0x%x", out.control,
		   in.control);
	for (i = 0; i < 8; i++)
		ktap_check(in.st[i] == out.st[i], "x87 register %u changed", i);
}

static void sse_and_x87(void)
{
	vector_registers(hold_sse, 16, 1);
}

static void sse_and_x87_sender_on_the_same_cpu(void)
{
	vector_registers(hold_sse, 16, 0);
}

static void avx(void)
{
	if (!__builtin_cpu_supports("avx"))
		ktap_skip("no AVX");
	vector_registers(hold_avx, 32, 1);
}

static double series(unsigned int terms)
{
	volatile double step = 1.0;
	double sum = 0.0, n = 1.0;
	unsigned int i;

	for (i = 0; i < terms; i++, n += step)
		sum += 1.0 / (n * n);
	return sum;
}

static void *storms(void *arg)
{
	struct from *from = arg;
	int index;

	pin_to(from->cpu);
	index = sender_to(from->fd);
	while (shared_load(from->ready)) {
		_senduipi(index);
		sched_yield();
	}
	return NULL;
}

static void sums_are_right_in_a_storm(void)
{
	struct from from = { .cpu = 1, .ready = &held_ready };
	double expected = series(200000);
	pthread_t thread;
	unsigned int i;

	pin_to(0);
	from.fd = receiver(0);
	_stui();
	held_ready = 1;
	thread = thread_start(storms, &from);
	ktap_check(yield_until(hits > 0), "no interrupt came");
	for (i = 0; i < 30; i++)
		ktap_check(series(200000) == expected, "sum %u is wrong", i);
	shared_store(&held_ready, 0);
	thread_join(thread);
	ktap_diag("%lu interrupts", hits);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(general_registers_at_stui, TASK-13),
	KTAP_CASE(general_registers_when_running, TASK-13),
	KTAP_CASE(compiled_handler_saves_what_it_uses, TASK-13),
	KTAP_CASE(compiled_handler_may_call_a_function, TASK-13),
	KTAP_CASE(sse_and_x87, TASK-13),
	KTAP_CASE(sse_and_x87_sender_on_the_same_cpu, TASK-13),
	KTAP_CASE(avx, TASK-13),
	KTAP_CASE(sums_are_right_in_a_storm, TASK-13),
};

KTAP_MAIN(cases, uintr_missing())
