/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest that tests whether an accelerator runs guests. probe_guest.py has it assembled.
 *
 * QEMU starts it in 32-bit protected mode (the PVH boot protocol) at LOAD. It enters 64-bit mode,
 * as every kernel does, runs a short loop and halts. The three pages behind it are zero.
 */
	.equ	LOAD, 0x100000
	.equ	PML4, LOAD + 0x1000
	.equ	PDPT, LOAD + 0x2000
	.equ	PD, LOAD + 0x3000

	.text
	.code32
begin:
	movl	$PDPT + 3, PML4			/* present, writable */
	movl	$PD + 3, PDPT
	movl	$0x83, PD			/* the first 2 MiB, mapped as they are */
	movl	$PML4, %eax
	movl	%eax, %cr3
	movl	$0x20, %eax			/* CR4.PAE */
	movl	%eax, %cr4
	movl	$0xc0000080, %ecx		/* IA32_EFER.LME */
	movl	$0x100, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$0x80000011, %eax		/* CR0.PG, ET, PE */
	movl	%eax, %cr0
	lgdt	LOAD + gdt_pointer - begin
	ljmp	$8, $LOAD + long_mode - begin

	.code64
long_mode:
	movl	$0x1000000, %ecx
1:	decl	%ecx
	jnz	1b
2:	cli
	hlt
	jmp	2b

gdt:
	.quad	0
	.quad	0x00209a0000000000		/* 64-bit code */
gdt_pointer:
	.word	15
	.long	LOAD + gdt - begin
