/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * First sector of a floppy disk: loads a program of this folder's parent where its linker script
 * wants it, and starts it as QEMU's -kernel would. For emulators that boot disks only.
 *
 * TRACKS: how many tracks (both sides, 36 sectors of 512 bytes) the program takes from track 1 on.
 * SMP, SCALE: the words of the command line.
 */
	.code16
	.globl	_start
_start:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7c00, %sp
	movb	%dl, drive

	/* A20 by port 92h, then "unreal" mode: a DS that reaches above 1 MiB. */
	inb	$0x92, %al
	orb	$2, %al
	outb	%al, $0x92

	movl	$0x100000, %edi
	movb	$1, %ch			/* track */
next_track:
	xorb	%dh, %dh		/* side */
next_side:
	movw	$0x1000, %ax
	movw	%ax, %es
	xorw	%bx, %bx
	movb	drive, %dl
	movb	$1, %cl			/* sector */
	movw	$0x0212, %ax		/* INT 13h, AH=02h: read 18 sectors */
	pushl	%edi
	int	$0x13
	popl	%edi
	jc	next_side
	cli				/* it returns with IF=1 */

	lgdt	gdt_pointer
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmp	$8, $copy
	.code32
copy:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movl	$0x10000, %esi
	pushw	%cx
	movl	$(18 * 512 / 4), %ecx
	cld
	rep movsl
	popw	%cx
	ljmp	$24, $back
	.code16
back:
	movl	%cr0, %eax
	andb	$0xfe, %al
	movl	%eax, %cr0
	ljmp	$0, $real
real:
	xorw	%ax, %ax
	movw	%ax, %ds
	incb	%dh
	cmpb	$2, %dh
	jb	next_side
	incb	%ch
	cmpb	$(1 + TRACKS), %ch
	jb	next_track

	cli
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmp	$8, $start
	.code32
start:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$info, %ebx
	movl	$ENTRY, %eax
	jmp	*%eax

	.align	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00009b000000ffff	/* 16 bits, for the way back */
gdt_pointer:
	.word	31
	.long	gdt
drive:
	.byte	0
	.align	8
info:					/* struct hvm_start_info */
	.long	0x336ec578, 1, 0, 0
	.quad	0
	.long	words, 0
words:
	.asciz	WORDS
	.org	510
	.word	0xaa55
