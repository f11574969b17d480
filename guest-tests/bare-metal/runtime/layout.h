/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers that assembly and C share. */
#ifndef BARE_LAYOUT_H
#define BARE_LAYOUT_H

#define MAX_CPUS		16
#define STACK_SHIFT		15
#define AP_START		0x8000

/* GDT selectors in the order that SYSCALL and SYSRET want (SDM volume 3A, 5.8.8) */
#define SEL_KCODE		0x08
#define SEL_KDATA		0x10
#define SEL_UCODE32		0x1b
#define SEL_UDATA		0x23
#define SEL_UCODE		0x2b
#define SEL_TSS			0x30
#define SEL_KCODE32		(SEL_TSS + MAX_CPUS * 16)
#define SEL_KCODE16		(SEL_KCODE32 + 8)
#define SEL_KDATA16		(SEL_KCODE32 + 16)
#define SEL_TSS32		(SEL_KCODE32 + 24)
#define GDT_SIZE		(SEL_KCODE32 + 32)

/* Modes that legacy_run() starts from. */
#define LEGACY_PROTECTED	0
#define LEGACY_PAGED		1
#define LEGACY_REAL		2
/* Low memory, for what runs outside of long mode: see legacy.S */
#define LEGACY_CODE		0x9000
#define LEGACY_TRIED		0xa000
#define LEGACY_TSS		0xb000
#define LEGACY_FRAME		0xd000

#define PTE_P			0x001
#define PTE_W			0x002
#define PTE_U			0x004
#define PTE_PS			0x080

#define CR0_PE			0x00000001
#define CR0_TS			0x00000008
#define CR0_ET			0x00000010
#define CR0_NE			0x00000020
#define CR0_WP			0x00010000
#define CR0_PG			0x80000000
#define CR4_PAE			0x00000020
#define CR4_LA57		0x00001000
#define CR4_OSFXSR		0x00000200
#define CR4_OSXSAVE		0x00040000
#define CR4_SMAP		0x00200000
#define CR4_PKE			0x00400000
#define CR4_UINTR		0x02000000

#define MSR_EFER		0xc0000080
#define EFER_SCE		0x001
#define EFER_LME		0x100
#define EFER_LMA		0x400
#define EFER_NXE		0x800

#define MSR_GSBASE		0xc0000101

/* The vector that ends user code. */
#define VECTOR_DONE		0x80

/* Pages that tests map as they like: 512 of 4 KiB, at 512 GiB. */
#define WINDOW_PML4_INDEX	1
#define WINDOW			0x8000000000
#define WINDOW_PAGES		512

#endif
