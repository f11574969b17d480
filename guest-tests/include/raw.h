/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A handler in assembly that logs the frame of a delivery before a compiler's prologue can change
 * it, and that can change what UIRET pops.
 */
#ifndef GUEST_TESTS_RAW_H
#define GUEST_TESTS_RAW_H

#include "uintr.h"

#define RAW_LOG 128

struct raw_frame {
	uint64_t vector;	/* the four words that delivery pushes, lowest first */
	uint64_t rip;
	uint64_t rflags;
	uint64_t rsp;
	uint64_t handler_rsp;	/* RSP at the handler's first instruction */
	uint64_t handler_rflags;
	uint64_t handler_uif;
	uint64_t pad;
};

extern struct raw_frame raw_log[RAW_LOG];
extern volatile uint64_t raw_count;
extern uint64_t raw_xmm0[2];		/* as the handler last saw it */
extern uint64_t raw_rflags_or;		/* put into the frame before UIRET */
extern uint64_t raw_rflags_and;
extern uint64_t raw_rip;		/* likewise, if not 0 */
extern char raw_uiret[];		/* the address of the UIRET */

void raw_entry(void);

asm(
"	.pushsection .bss\n"
"	.balign 64\n"
"raw_log:	.skip 64 * 128\n"
"raw_count:	.skip 8\n"
"raw_rflags_or:	.skip 8\n"
"raw_rip:	.skip 8\n"
"	.balign 16\n"
"raw_xmm0:	.skip 16\n"
"	.popsection\n"
"	.pushsection .data\n"
"	.balign 8\n"
"raw_rflags_and:	.quad -1\n"
"	.popsection\n"
"	.pushsection .text\n"
"	.type raw_entry, @function\n"
"raw_entry:\n"
"	pushfq\n"
"	push %rax\n"
"	push %rcx\n"
"	push %rdx\n"
"	mov raw_count(%rip), %rax\n"
"	and $127, %rax\n"
"	shl $6, %rax\n"
"	lea raw_log(%rip), %rcx\n"
"	add %rax, %rcx\n"
"	mov 32(%rsp), %rax\n"
"	mov %rax, (%rcx)\n"
"	mov 40(%rsp), %rax\n"
"	mov %rax, 8(%rcx)\n"
"	mov 48(%rsp), %rax\n"
"	mov %rax, 16(%rcx)\n"
"	mov 56(%rsp), %rax\n"
"	mov %rax, 24(%rcx)\n"
"	lea 32(%rsp), %rax\n"
"	mov %rax, 32(%rcx)\n"
"	mov 24(%rsp), %rax\n"
"	mov %rax, 40(%rcx)\n"
"	xor %eax, %eax\n"
"	testui\n"
"	setc %al\n"
"	mov %rax, 48(%rcx)\n"
"	movups %xmm0, raw_xmm0(%rip)\n"
"	mov raw_rflags_or(%rip), %rax\n"
"	or %rax, 48(%rsp)\n"
"	mov raw_rflags_and(%rip), %rax\n"
"	and %rax, 48(%rsp)\n"
"	mov raw_rip(%rip), %rax\n"
"	test %rax, %rax\n"
"	jz 1f\n"
"	mov %rax, 40(%rsp)\n"
"1:	incq raw_count(%rip)\n"
"	pop %rdx\n"
"	pop %rcx\n"
"	pop %rax\n"
"	add $16, %rsp\n"	/* RFLAGS, and the vector, which UIRET does not pop */
"raw_uiret:\n"
"	uiret\n"
"	.popsection\n"
);

/*
 * uint64_t raw_stui(rflags, offset): load these RFLAGS, move RSP down by offset, STUI. Pending
 * interrupts are delivered at raw_stui_rip with RSP raw_stui_rsp. Returns RFLAGS after that.
 */
uint64_t raw_stui(uint64_t rflags, uint64_t offset);
extern char raw_stui_rip[];
extern uint64_t raw_stui_rsp, raw_stui_rsp_after;

asm(
"	.pushsection .bss\n"
"	.balign 8\n"
"raw_stui_rsp:	.skip 8\n"
"raw_stui_rsp_after:	.skip 8\n"
"	.popsection\n"
"	.pushsection .text\n"
"	.type raw_stui, @function\n"
"raw_stui:\n"
"	push %rbp\n"
"	mov %rsp, %rbp\n"
"	pushfq\n"
"	sub %rsi, %rsp\n"
"	mov %rsp, raw_stui_rsp(%rip)\n"
"	push %rdi\n"
"	popfq\n"
"	stui\n"
"raw_stui_rip:\n"
"	mov %rsp, raw_stui_rsp_after(%rip)\n"
"	pushfq\n"
"	pop %rax\n"
"	lea -8(%rbp), %rsp\n"
"	popfq\n"
"	pop %rbp\n"
"	ret\n"
"	.popsection\n"
);

/* RFLAGS bits */
#define FLAG_CF		(1ULL << 0)
#define FLAG_PF		(1ULL << 2)
#define FLAG_AF		(1ULL << 4)
#define FLAG_ZF		(1ULL << 6)
#define FLAG_SF		(1ULL << 7)
#define FLAG_TF		(1ULL << 8)
#define FLAG_IF		(1ULL << 9)
#define FLAG_DF		(1ULL << 10)
#define FLAG_OF		(1ULL << 11)
#define FLAG_IOPL	(3ULL << 12)
#define FLAG_NT		(1ULL << 14)
#define FLAG_RF		(1ULL << 16)
#define FLAG_VM		(1ULL << 17)
#define FLAG_AC		(1ULL << 18)
#define FLAG_VIF	(1ULL << 19)
#define FLAG_VIP	(1ULL << 20)
#define FLAG_ID		(1ULL << 21)
#define FLAG_ARITHMETIC	(FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)
/* RFLAGS bits that UIRET loads from the frame. */
#define UIRET_FLAGS	0x254dd5ULL

static inline uint64_t rflags_now(void)
{
	return __builtin_ia32_readeflags_u64();
}

#endif /* GUEST_TESTS_RAW_H */
