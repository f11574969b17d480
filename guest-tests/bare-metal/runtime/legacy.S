/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Out of long mode and back, by SDM volume 3A, "Switching Out of IA-32e Mode Operation" and
 * "Switching Back to Real-Address Mode".
 *
 * What has to lie below 64 KiB is copied to LEGACY_CODE: code of real-address mode, the gates and
 * the entries that they lead to.
 */
#include "layout.h"

	.text
	.code64
/* void legacy_enter(u32 mode): with the frame at LEGACY_FRAME; what ends it is in legacy_trap */
	.globl	legacy_enter
legacy_enter:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, saved_rsp
	sidt	saved_idt
	str	saved_tr
	movq	%cr3, %rax
	movq	%rax, saved_cr3
	movl	$MSR_GSBASE, %ecx
	rdmsr
	movl	%eax, saved_gs
	movl	%edx, saved_gs + 4
	pushq	$SEL_KCODE32
	pushq	$leave_long_mode
	lretq

	.code32
leave_long_mode:
	movl	$SEL_KDATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%cr0, %eax
	movl	%eax, saved_cr0
	andl	$~CR0_PG, %eax
	movl	%eax, %cr0
	movl	$MSR_EFER, %ecx
	rdmsr
	andl	$~EFER_LME, %eax
	wrmsr
	andb	$~2, gdt + SEL_TSS32 + 5	/* not busy */
	movl	$SEL_TSS32, %eax
	ltr	%ax
	cmpl	$LEGACY_REAL, %edi
	je	enter_real
	cmpl	$LEGACY_PAGED, %edi
	jne	1f
	movl	$pdpt, %eax
	movl	%eax, %cr3
	movl	%cr0, %eax
	orl	$CR0_PG, %eax
	movl	%eax, %cr0
1:	lidt	idt32
	movl	$LEGACY_FRAME, %esp
	xorl	%eax, %eax
	iretl

enter_real:
	lidt	idt16
	ljmp	$SEL_KCODE16, $(real_entry - legacy_code)

/* EBX vector, ESI EIP, EDI CS, EBP EFLAGS, EDX CR0 */
trapped:
	movl	$SEL_KDATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movzwl	%di, %edi
	movl	%ebx, legacy_trap
	movl	%esi, legacy_trap + 4
	movl	%edi, legacy_trap + 8
	movl	%ebp, legacy_trap + 12
	movl	%edx, legacy_trap + 16
	movl	%cr4, %eax
	movl	%eax, legacy_trap + 20
	movl	$MSR_EFER, %ecx
	rdmsr
	movl	%eax, legacy_trap + 24
	movl	%edx, legacy_trap + 28

	movl	%cr0, %ebx
	andl	$~CR0_PG, %ebx
	movl	%ebx, %cr0
	movl	saved_cr3, %ebx
	movl	%ebx, %cr3
	orl	$EFER_LME, %eax
	wrmsr
	movl	saved_cr0, %eax
	movl	%eax, %cr0
	ljmp	$SEL_KCODE, $long_mode

	.code64
long_mode:
	lidt	saved_idt
	movzwl	saved_tr, %eax
	andb	$~2, gdt + 5(%rax)	/* not busy */
	ltr	%ax
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	$MSR_GSBASE, %ecx
	movl	saved_gs, %eax
	movl	saved_gs + 4, %edx
	wrmsr
	movq	saved_rsp, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

/* --- low memory ---------------------------------------------------------------------------- */

	.globl	legacy_code, legacy_code_end
	.align	16
legacy_code:
	.code16
real_entry:
	movw	$SEL_KDATA16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movl	%cr0, %eax
	andb	$~CR0_PE, %al
	movl	%eax, %cr0
	ljmp	$(LEGACY_CODE >> 4), $(1f - legacy_code)
1:	xorl	%eax, %eax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movl	$LEGACY_FRAME, %esp
	iretl

	/* 16 bytes for each vector, VECTOR_DONE behind the exceptions. */
	.align	16
entries16:
	.set	vector, 0
	.rept	33
	.align	16
	pushw	$(vector / 32 * (VECTOR_DONE - 32) + vector)
	jmp	common16
	.set	vector, vector + 1
	.endr

common16:
	xorl	%ebx, %ebx
	xorl	%esi, %esi
	xorl	%ebp, %ebp
	popw	%bx
	popw	%si
	popw	%di
	popw	%bp
	movl	%cr0, %edx
	movl	%edx, %eax
	orb	$CR0_PE, %al
	movl	%eax, %cr0
	ljmpl	$SEL_KCODE32, $trapped

	.code32
	.align	16
entries32:
	.set	vector, 0
	.rept	33
	.align	16
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	pushl	$0
	.endif
	pushl	$(vector / 32 * (VECTOR_DONE - 32) + vector)
	jmp	common32
	.set	vector, vector + 1
	.endr

common32:
	popl	%ebx
	popl	%eax
	popl	%esi
	popl	%edi
	popl	%ebp
	movl	%cr0, %edx
	ljmp	$SEL_KCODE32, $trapped

	.align	8
vectors16:
	.set	vector, 0
	.rept	33
	.if	vector == 32
	.fill	VECTOR_DONE - 32, 4, 0
	.endif
	.word	entries16 - legacy_code + vector * 16, LEGACY_CODE >> 4
	.set	vector, vector + 1
	.endr
vectors16_end:

	.align	8
gates32:
	.set	vector, 0
	.rept	33
	.if	vector == 32
	.fill	VECTOR_DONE - 32, 8, 0
	.endif
	.word	LEGACY_CODE + (entries32 - legacy_code) + vector * 16, SEL_KCODE32
	.word	0x8e00 + vector / 32 * 0x6000, 0	/* CPL 3 may use VECTOR_DONE */
	.set	vector, vector + 1
	.endr
gates32_end:
legacy_code_end:
	/* Refused if there is not so much room. */
	.org	legacy_code + LEGACY_TRIED - LEGACY_CODE

/* --- data ---------------------------------------------------------------------------------- */

	.data
	.align	32
pdpt:
	.quad	boot_pd + PTE_P
	.quad	boot_pd + 0x1000 + PTE_P
	.quad	boot_pd + 0x2000 + PTE_P
	.quad	boot_pd + 0x3000 + PTE_P
idt16:
	.word	vectors16_end - vectors16 - 1
	.long	LEGACY_CODE + (vectors16 - legacy_code)
idt32:
	.word	gates32_end - gates32 - 1
	.long	LEGACY_CODE + (gates32 - legacy_code)

	.bss
	.align	8
	.globl	legacy_trap
legacy_trap:	.skip	32
saved_rsp:	.skip	8
saved_cr3:	.skip	8
saved_gs:	.skip	8
saved_idt:	.skip	10
saved_tr:	.skip	2
saved_cr0:	.skip	4
	.section .note.GNU-stack, "", @progbits
