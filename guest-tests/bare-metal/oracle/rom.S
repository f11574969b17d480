/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Last page of a ROM that takes the BIOS's place: copies a program and its data to memory, and
 * starts the program as QEMU's -kernel would. bochs.py fills the first half, and puts what is
 * copied before this page.
 */
#define PAGE 0xfffff000
#define AT(label) (PAGE + (label) - page)

	.text
	.code16
page:
	.long	0		/* where the program begins */
	.long	0		/* number of parts to copy */
info:
	.skip	40		/* struct hvm_start_info */
parts:
	/* From, to and number of words of each part; then the command line. */

	.org	0x800
begin:
	cli
	cld
	inb	$0x92, %al	/* A20 */
	orb	$2, %al
	outb	%al, $0x92
	lgdtl	%cs:0xf000 + gdt_pointer - page
	movl	$0x11, %eax	/* ET, PE */
	movl	%eax, %cr0
	ljmpl	$8, $AT(protected)
	.code32
protected:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$AT(parts), %ebx
	movl	AT(page + 4), %edx
next_part:
	movl	(%ebx), %esi
	movl	4(%ebx), %edi
	movl	8(%ebx), %ecx
	rep movsl
	addl	$12, %ebx
	decl	%edx
	jnz	next_part
	movl	$AT(info), %ebx
	jmp	*AT(page)

	.align	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdt_pointer:
	.word	23
	.long	AT(gdt)

	.org	0xff0		/* where a processor begins */
	.code16
	jmp	begin
	.org	0x1000
