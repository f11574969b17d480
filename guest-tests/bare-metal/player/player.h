/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Layout of random sequences and their results, in 64-bit words. The host reads and writes them in
 * the file that is the machine's memory. harness/campaigns/bare_fuzz/case.py has the same layout.
 *
 * Bochs has no such file. There the sequences are in a ROM, and the results are written to a disk.
 */
#ifndef PLAYER_H
#define PLAYER_H

#include "bare.h"

#define PLAYER_IN	0x4000000UL
#define PLAYER_OUT	0x6000000UL
#define PLAYER_MAGIC	0x72657961
#define MAX_EVENTS	16

/* On a disk the first sector has struct player_out, and each result takes some of the next. */
#define SECTOR		512
#define RESULT_SECTORS	4

/* Pages of the window; the others are not mapped. */
#define PAGE_CODE	2
#define PAGE_HANDLER	5
#define PAGE_STACK	8	/* and the next one */
#define PAGE_UPID	12
#define PAGE_UITT	15
#define PAGE_AREA	18
/* Only with several CPUs: the mailbox, and the code of actions. */
#define PAGE_MAIL	21
#define PAGE_ACTIONS	24

/* Words with known content, at the end of a page; the stack's are on both of its pages. */
#define CODE_WORDS	64
#define HANDLER_WORDS	16
#define STACK_WORDS	64
#define UPID_WORDS	16
#define UITT_WORDS	16
#define AREA_WORDS	16
#define ACTION_WORDS	16
#define MAX_ACTIONS	4
#define MAX_PLAYERS	3	/* CPUs */

struct player_in {
	u64 magic, count, x2apic, la57;
};

struct player_case {
	u64 level;		/* CPL, 0 or 3 */
	u64 uif, cr4_uintr, cr4_smap, cr4_pke;
	u64 pkru;
	u64 dr[2], dr7;
	u64 pending[2];		/* vectors that the local APIC has pending, or 0 */
	u64 pic;		/* vector that the 8259 has pending, or 0 */
	u64 nmi_blocked, nmi_pending;
	u64 rflags, rip;
	u64 regs[16];		/* by their numbers in ModRM */
	u64 msrs[6];		/* from IA32_UINTR_RR on */
	/* Page-table bits of code, handler, stack, stack, UPID, UITT and area of XSAVES. */
	u64 rights[7];
	u64 code[CODE_WORDS], handler[HANDLER_WORDS];
	u64 stack[STACK_WORDS], upid[UPID_WORDS], uitt[UITT_WORDS], area[AREA_WORDS];
	/* Code that another CPU, with this APIC ID, runs when CPU 0 asks for it. */
	struct {
		u64 cpu, code[ACTION_WORDS];
	} actions[MAX_ACTIONS];
	/* Of a storm: rounds, or 0; senders wait for a time below the longest, which grows so. */
	u64 rounds, stride, longest;
};

/* At the beginning of its page; see others.h. */
struct player_mail {
	u64 request, go;
};

struct player_out {
	/* Sequences that have begun and ended. */
	u64 begun, ended;
	/* From CPUID: 57-bit linear addresses, flexible UIRET. */
	u64 la57, uiret_uif;
};

struct player_event {
	u64 vector, rip, rflags, rsp;	/* the last three are 0 in the player's code */
	u64 dr6;		/* BS, and B0 and B1 if they are enabled */
};

struct player_result {
	u64 vector, error, rip, level, rflags, cr2;
	u64 regs[16];
	u64 msrs[6];
	u64 uif;
	u64 irr[4];
	u64 pic, nmi;		/* whether one is pending */
	u64 event_count;
	struct player_event events[MAX_EVENTS];
	u64 stack[STACK_WORDS], upid[UPID_WORDS], uitt[UITT_WORDS], area[AREA_WORDS];
	u64 other_irr[MAX_PLAYERS - 1][4];
	struct player_action_result {
		u64 count;	/* how often it ran; the others are of the last time */
		u64 vector, error, rax;
	} actions[MAX_ACTIONS];
	u64 late, arrived;	/* of a storm */
};

_Static_assert(sizeof(struct player_result) <= RESULT_SECTORS * SECTOR, "a result's sectors");

#endif
