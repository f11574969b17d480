/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the loader to C, on each CPU; traps; and the ways into CPL 3 and back.
 *
 * QEMU's -kernel starts the program in 32-bit protected mode without paging, with the address of
 * a struct hvm_start_info in EBX (Xen's "x86/HVM direct boot ABI", called PVH).
 */
#include "layout.h"

	.section .note.pvh, "a", @note
	.align 4
	.long	4, 8, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.quad	start32

	.text
	.code32
	.globl	start32
start32:
	cli
	cld
	movl	%ebx, start_info
	movl	$boot_stack_top, %esp

	/* 4 GiB are mapped as they are, by pages of 2 MiB; CPL 3 may use the first GiB. */
	movl	$boot_pdpt + PTE_P + PTE_W + PTE_U, boot_pml4
	movl	$window_pdpt + PTE_P + PTE_W + PTE_U, boot_pml4 + 8 * WINDOW_PML4_INDEX
	movl	$window_pd + PTE_P + PTE_W + PTE_U, window_pdpt
	movl	$window_pt + PTE_P + PTE_W + PTE_U, window_pd
	xorl	%ecx, %ecx
1:	movl	%ecx, %eax
	shll	$12, %eax
	addl	$boot_pd + PTE_P + PTE_W + PTE_U, %eax
	movl	%eax, boot_pdpt(, %ecx, 8)
	incl	%ecx
	cmpl	$4, %ecx
	jb	1b
	xorl	%ecx, %ecx
2:	movl	%ecx, %eax
	shll	$21, %eax
	orl	$PTE_P + PTE_W + PTE_PS, %eax
	cmpl	$512, %ecx
	jae	3f
	orl	$PTE_U, %eax
3:	movl	%eax, boot_pd(, %ecx, 8)
	incl	%ecx
	cmpl	$2048, %ecx
	jb	2b

	/* With "la57=1" on the command line, paging has five levels. */
	movl	$CR4_PAE, %eax
	movl	$boot_pml4, %edx
	movl	24(%ebx), %ecx		/* cmdline_paddr of struct hvm_start_info */
	jecxz	5f
4:	cmpb	$0, (%ecx)
	je	5f
	incl	%ecx
	cmpl	$0x3735616c, -1(%ecx)	/* "la57" */
	jne	4b
	cmpw	$0x313d, 3(%ecx)	/* "=1" */
	jne	4b
	movl	$boot_pml4 + PTE_P + PTE_W + PTE_U, boot_pml5
	orl	$CR4_LA57, %eax
	movl	$boot_pml5, %edx
5:	movl	%eax, ap_cr4
	movl	%edx, ap_cr3
	movl	%eax, %cr4
	movl	%edx, %cr3
	movl	$MSR_EFER, %ecx
	movl	$EFER_SCE + EFER_LME + EFER_NXE, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$CR0_PG + CR0_WP + CR0_NE + CR0_ET + CR0_PE, %eax
	movl	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$SEL_KCODE, $start64

	.code64
start64:
	xorl	%edi, %edi
	movl	$boot_stack_top, %esp
enter_c:
	movl	$SEL_KDATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	xorl	%ebp, %ebp
	call	cpu_main
1:	cli
	hlt
	jmp	1b

/* Copied to AP_START; a startup IPI enters it in real mode. */
	.globl	ap_code, ap_code_end
	.code16
ap_code:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movl	AP_START + (ap_cr4 - ap_code), %eax
	movl	%eax, %cr4
	movl	AP_START + (ap_cr3 - ap_code), %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	movl	$EFER_SCE + EFER_LME + EFER_NXE, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$CR0_PG + CR0_WP + CR0_NE + CR0_ET + CR0_PE, %eax
	movl	%eax, %cr0
	lgdtl	AP_START + (ap_gdt_pointer - ap_code)
	ljmpl	$SEL_KCODE, $ap64
ap_gdt_pointer:
	.word	GDT_SIZE - 1
	.long	gdt
ap_cr4:	.long	0
ap_cr3:	.long	0
ap_code_end:

	.code64
ap64:
	movl	$1, %edi
	lock xaddl %edi, ap_next
	movl	%edi, %eax
	shll	$STACK_SHIFT, %eax
	leal	ap_stacks(%rax), %esp
	jmp	enter_c

/* --- traps --------------------------------------------------------------------------------- */

	/* One of 16 bytes for each vector; the processor pushes an error code for some. */
	.globl	trap_entries
	.align	16
trap_entries:
	.set	vector, 0
	.rept	256
	.align	16
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap_common
	.set	vector, vector + 1
	.endr

trap_common:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rbx
	pushq	%rbp
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	cld
	movq	%rsp, %rdi
	movq	%rsp, %rbx
	andq	$-16, %rsp
	call	trap
	movq	%rbx, %rsp
	.globl	regs_return
regs_return:
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbp
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

/* void regs_load(struct regs *): continue with these registers, at any privilege level */
	.globl	regs_load
regs_load:
	movq	%rdi, %rsp
	jmp	regs_return

/* int context_save(struct context *): 0 now, 1 when context_load() comes back here */
	.globl	context_save
context_save:
	movq	%rbx, 0(%rdi)
	movq	%rbp, 8(%rdi)
	movq	%r12, 16(%rdi)
	movq	%r13, 24(%rdi)
	movq	%r14, 32(%rdi)
	movq	%r15, 40(%rdi)
	leaq	8(%rsp), %rax
	movq	%rax, 48(%rdi)
	movq	(%rsp), %rax
	movq	%rax, 56(%rdi)
	xorl	%eax, %eax
	ret

	.globl	context_load
context_load:
	movq	0(%rdi), %rbx
	movq	8(%rdi), %rbp
	movq	16(%rdi), %r12
	movq	24(%rdi), %r13
	movq	32(%rdi), %r14
	movq	40(%rdi), %r15
	movq	48(%rdi), %rsp
	movl	$1, %eax
	jmpq	*56(%rdi)

/* Where user code returns to. */
	.globl	user_done
user_done:
	int	$VECTOR_DONE

/* --- user interrupts ----------------------------------------------------------------------- */

/*
 * The handler: user_interrupt(struct ui_frame *) with the frame as it is on the stack; then the
 * vector is dropped, and UIRET (F3 0F 01 EC).
 */
	.globl	ui_entry
ui_entry:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rbx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	leaq	80(%rsp), %rdi
	movq	%rsp, %rbx
	andq	$-16, %rsp
	cld
	call	user_interrupt
	movq	%rbx, %rsp
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$8, %rsp
	.byte	0xf3, 0x0f, 0x01, 0xec

/* --- data ---------------------------------------------------------------------------------- */

	.data
	.align	16
	.globl	gdt, gdt_pointer
gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* SEL_KCODE */
	.quad	0x00cf93000000ffff	/* SEL_KDATA */
	.quad	0x00cffb000000ffff	/* SEL_UCODE32 */
	.quad	0x00cff3000000ffff	/* SEL_UDATA */
	.quad	0x00affb000000ffff	/* SEL_UCODE */
	.fill	MAX_CPUS * 2, 8, 0	/* a TSS for each CPU */
	.quad	0x00cf9b000000ffff	/* SEL_KCODE32 */
	.quad	0x00009b000000ffff + (LEGACY_CODE << 16)	/* SEL_KCODE16 */
	.quad	0x000093000000ffff	/* SEL_KDATA16 */
	.quad	0x0000890000000067 + (LEGACY_TSS << 16)	/* SEL_TSS32 */
gdt_pointer:
	.word	GDT_SIZE - 1
	.quad	gdt
	.globl	ap_next
ap_next:
	.long	1

	.bss
	.align	4096
	.globl	boot_pml4, boot_pd, window_pt
boot_pml4:	.skip	4096
boot_pml5:	.skip	4096
boot_pdpt:	.skip	4096
boot_pd:	.skip	4 * 4096
window_pdpt:	.skip	4096
window_pd:	.skip	4096
window_pt:	.skip	4096
boot_stack:	.skip	1 << STACK_SHIFT
boot_stack_top:
ap_stacks:	.skip	MAX_CPUS << STACK_SHIFT
	.globl	start_info
start_info:	.long	0
	.section .note.GNU-stack, "", @progbits
