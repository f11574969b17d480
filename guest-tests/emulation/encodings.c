// SPDX-License-Identifier: GPL-2.0
/*
 * All encodings of the five instructions: every register, redundant prefixes, any place in memory.
 * An emulation that decodes by comparing four bytes fails here.
 *
 * The address-size prefix (67) is left out, because no document that we know says what it does
 * here.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "raw.h"
#include "task.h"
#include "uintr.h"

/* --- SENDUIPI: the operand --------------------------------------------------------------- */

extern uint64_t send_index, send_rsp;

asm(
"	.pushsection .bss\n"
"	.balign 8\n"
"send_index:	.skip 8\n"
"send_rsp:	.skip 8\n"
"	.popsection\n"
);

/* SENDUIPI by this register, while all the others hold an index that faults. */
#define SEND_BY(reg)						\
void send_by_##reg(void);					\
asm(								\
"	.pushsection .text\n"					\
"	.type send_by_" #reg ", @function\n"			\
"send_by_" #reg ":\n"						\
"	push %rbx\n"						\
"	push %rbp\n"						\
"	push %r12\n"						\
"	push %r13\n"						\
"	push %r14\n"						\
"	push %r15\n"						\
"	mov %rsp, send_rsp(%rip)\n"				\
"	.irp r, rax,rbx,rcx,rdx,rsi,rdi,rbp,rsp,r8,r9,r10,r11,r12,r13,r14,r15\n" \
"	mov $-1, %\\r\n"					\
"	.endr\n"						\
"	mov send_index(%rip), %" #reg "\n"			\
"	senduipi %" #reg "\n"					\
"	mov send_rsp(%rip), %rsp\n"				\
"	pop %r15\n"						\
"	pop %r14\n"						\
"	pop %r13\n"						\
"	pop %r12\n"						\
"	pop %rbp\n"						\
"	pop %rbx\n"						\
"	ret\n"							\
"	.popsection\n"						\
)

SEND_BY(rax); SEND_BY(rbx); SEND_BY(rcx); SEND_BY(rdx);
SEND_BY(rsi); SEND_BY(rdi); SEND_BY(rbp); SEND_BY(rsp);
SEND_BY(r8); SEND_BY(r9); SEND_BY(r10); SEND_BY(r11);
SEND_BY(r12); SEND_BY(r13); SEND_BY(r14); SEND_BY(r15);

static void call_plain(void *fn)
{
	((void (*)(void))fn)();
}

static void senduipi_takes_every_register(void)
{
	static const struct {
		const char *name;
		void (*send)(void);
	} by[] = {
		{ "rax", send_by_rax }, { "rbx", send_by_rbx }, { "rcx", send_by_rcx },
		{ "rdx", send_by_rdx }, { "rsi", send_by_rsi }, { "rdi", send_by_rdi },
		{ "rbp", send_by_rbp }, { "rsp", send_by_rsp }, { "r8", send_by_r8 },
		{ "r9", send_by_r9 }, { "r10", send_by_r10 }, { "r11", send_by_r11 },
		{ "r12", send_by_r12 }, { "r13", send_by_r13 }, { "r14", send_by_r14 },
		{ "r15", send_by_r15 },
	};
	unsigned int i;

	ktap_ok(uintr_register_handler(count_hit, 0));
	for (i = 0; i < 16; i++) {
		struct fault fault;

		send_index = sender_to(ktap_ok(uintr_create_fd(10 + i, 0)));
		_clui();	/* RSP is no stack while it is the operand */
		fault = fault_of(call_plain, (void *)by[i].send);
		if (!ktap_check(!fault.sig, "%s: signal %s", by[i].name, fault_name(fault.sig)))
			continue;
		_stui();
		ktap_check(spin_until(hits_of[10 + i] == 1), "%s: nothing came", by[i].name);
	}
}

/* --- prefixes ---------------------------------------------------------------------------- */

/* Two pages of code followed by one that is not mapped. */
#define PAGE 4096UL
static uint8_t *code;

static void code_init(void)
{
	code = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ktap_assert(code != MAP_FAILED, "mmap: %s", ktap_errno(errno));
	munmap(code + 2 * PAGE, PAGE);
}

enum insn { UIRET, TESTUI, CLUI, STUI, SENDUIPI };

static const char *const insn_name[] = { "UIRET", "TESTUI", "CLUI", "STUI", "SENDUIPI" };

/* The opcode without F3 and the prefixes before it; SENDUIPI by rax. */
static unsigned int put_opcode(uint8_t *at, enum insn insn)
{
	at[0] = 0x0f;
	at[1] = insn == SENDUIPI ? 0xc7 : 0x01;
	at[2] = insn == SENDUIPI ? 0xf0 : 0xec + insn;
	return 3;
}

/*
 * uint64_t run_code(code, rax): call it with this rax, all arithmetic flags set and, for UIRET, a
 * frame on the stack that goes back to the caller. Returns RFLAGS after it.
 */
uint64_t run_code(void *at, uint64_t rax, bool uiret);

asm(
"	.pushsection .text\n"
"	.type run_code, @function\n"
"run_code:\n"
"	push %rbx\n"
"	mov %rsi, %rax\n"
"	mov %rsp, %rbx\n"
"	pushfq\n"
"	orq $0x8d5, (%rsp)\n"
"	test %edx, %edx\n"
"	jnz 1f\n"
"	popfq\n"
"	call *%rdi\n"
"	jmp 2f\n"
"1:	pop %rcx\n"
"	push %rbx\n"
"	push %rcx\n"
"	lea 2f(%rip), %rcx\n"
"	push %rcx\n"
"	jmp *%rdi\n"
"2:	pushfq\n"
"	pop %rax\n"
"	cld\n"
"	pop %rbx\n"
"	ret\n"
"	.popsection\n"
);

struct run {
	uint8_t *at;
	uint64_t rax;
	bool uiret;
	uint64_t rflags;
};

static void run_it(void *arg)
{
	struct run *run = arg;

	run->rflags = run_code(run->at, run->rax, run->uiret);
}

/* Run the instruction at this place and check its effect. RET must follow it. */
static bool has_effect(const char *what, uint8_t *at, enum insn insn, int index)
{
	struct run run = { .at = at, .rax = index, .uiret = insn == UIRET };
	unsigned long before = hits;
	struct fault fault;
	bool uif;

	if (insn == CLUI || insn == TESTUI)
		_stui();
	else
		_clui();
	fault = fault_of(run_it, &run);
	uif = _testui();
	if (!ktap_check(!fault.sig, "%s %s: signal %s", what, insn_name[insn],
			fault_name(fault.sig)))
		return false;
	switch (insn) {
	case UIRET:
	case STUI:
		return ktap_check(uif, "%s %s: UIF is clear", what, insn_name[insn]);
	case CLUI:
		return ktap_check(!uif, "%s CLUI: UIF is set", what);
	case TESTUI:
		return ktap_check((run.rflags & FLAG_ARITHMETIC) == FLAG_CF,
				  "%s TESTUI: RFLAGS 0x%lx", what, run.rflags);
	case SENDUIPI:
		_stui();
		return ktap_check(spin_until(hits == before + 1), "%s SENDUIPI: nothing came",
				  what);
	}
	return false;
}

struct prefixes {
	const char *what;
	uint8_t before[12], n_before;	/* before F3 */
	uint8_t after[12], n_after;	/* between F3 and the opcode */
};

static const struct prefixes legal[] = {
	{ "plain", {}, 0, {}, 0 },
	{ "66 F3", { 0x66 }, 1, {}, 0 },
	{ "F3 66", {}, 0, { 0x66 }, 1 },
	{ "66 66 66 F3", { 0x66, 0x66, 0x66 }, 3, {}, 0 },
	{ "F3 REX", {}, 0, { 0x40 }, 1 },
	{ "F3 REX.W", {}, 0, { 0x48 }, 1 },
	{ "66 F3 REX.W", { 0x66 }, 1, { 0x48 }, 1 },
	{ "F3 F3", { 0xf3 }, 1, {}, 0 },
	{ "F3 F3 F3 REX.W", { 0xf3, 0xf3 }, 2, { 0x48 }, 1 },
	{ "F2 F3", { 0xf2 }, 1, {}, 0 },
	{ "ES F3", { 0x26 }, 1, {}, 0 },
	{ "CS F3", { 0x2e }, 1, {}, 0 },
	{ "SS F3", { 0x36 }, 1, {}, 0 },
	{ "DS F3", { 0x3e }, 1, {}, 0 },
	{ "FS F3", { 0x64 }, 1, {}, 0 },
	{ "GS F3", { 0x65 }, 1, {}, 0 },
	{ "F3 FS", {}, 0, { 0x64 }, 1 },
	/* A REX that does not stand right before the opcode counts for nothing. */
	{ "REX.B F3", { 0x41 }, 1, {}, 0 },
	{ "REX.WRXB 66 F3", { 0x4f, 0x66 }, 2, {}, 0 },
	/* 15 bytes, the longest instruction there is. */
	{ "11 times CS, F3", { 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e },
	  11, {}, 0 },
};

static unsigned int put_insn(uint8_t *at, const struct prefixes *p, enum insn insn)
{
	unsigned int n = 0;

	memcpy(at, p->before, p->n_before);
	n += p->n_before;
	at[n++] = 0xf3;
	memcpy(at + n, p->after, p->n_after);
	n += p->n_after;
	n += put_opcode(at + n, insn);
	at[n] = 0xc3;
	return n;
}

static int coded_receiver(void)
{
	code_init();
	return sender_to(receiver(0));
}

static void redundant_prefixes(void)
{
	int index = coded_receiver();
	enum insn insn;
	unsigned int i;

	for (i = 0; i < sizeof(legal) / sizeof(legal[0]); i++) {
		for (insn = UIRET; insn <= SENDUIPI; insn++) {
			put_insn(code, &legal[i], insn);
			has_effect(legal[i].what, code, insn, index);
		}
	}
}

static void expect_fault(const char *what, uint8_t *at, enum insn insn, int index, int sig)
{
	struct run run = { .at = at, .rax = index, .uiret = insn == UIRET };
	struct fault fault = fault_of(run_it, &run);

	ktap_check(fault.sig == sig, "%s %s: signal %s, not %s", what, insn_name[insn],
		   fault_name(fault.sig), fault_name(sig));
	if (fault.sig)
		ktap_check(fault.rip == (uintptr_t)at, "%s %s: RIP is %ld bytes off", what,
			   insn_name[insn], (long)(fault.rip - (uintptr_t)at));
}

/* The last one of F2 and F3 counts; with F2 two of them are undefined. */
static void f2_after_f3_is_undefined(void)
{
	static const struct prefixes last = { "F3 F2", {}, 0, { 0xf2 }, 1 };
	enum insn insn;

	code_init();
	for (insn = UIRET; insn <= TESTUI; insn++) {
		put_insn(code, &last, insn);
		expect_fault(last.what, code, insn, 0, SIGILL);
	}
}

/* Neighbours in the opcode map that are undefined on a processor without shadow stacks. */
static void what_is_not_defined_stays_undefined(void)
{
	static const uint8_t others[][3] = {
		{ 0x0f, 0x01, 0xe9 }, { 0x0f, 0x01, 0xeb }, { 0x0f, 0xc7, 0xc0 },
		{ 0x0f, 0xc7, 0xc8 }, { 0x0f, 0xc7, 0xd0 }, { 0x0f, 0xc7, 0xd8 },
		{ 0x0f, 0xc7, 0xe0 }, { 0x0f, 0xc7, 0xe8 },
	};
	int index = coded_receiver(), uif;
	unsigned int i;

	for (i = 0; i < 2 * sizeof(others) / sizeof(others[0]); i++) {
		const uint8_t *other = others[i / 2];
		struct run run = { .at = code, .rax = index };
		struct fault fault;

		uif = i % 2;
		if (uif)
			_stui();
		else
			_clui();
		code[0] = 0xf3;
		memcpy(code + 1, other, 3);
		code[4] = 0xc3;
		fault = fault_of(run_it, &run);
		ktap_check(fault.sig == SIGILL, "F3 0F %02X %02X: signal %s", other[1], other[2],
			   fault_name(fault.sig));
		ktap_check(_testui() == uif, "F3 0F %02X %02X: UIF is %d", other[1], other[2], !uif);
	}
	sleep_ms(5);
	ktap_check(hits == 0, "one of them sent");
}

static void lock_prefix_is_undefined(void)
{
	static const struct prefixes lock[] = {
		{ "LOCK F3", { 0xf0 }, 1, {}, 0 },
		{ "F3 LOCK", {}, 0, { 0xf0 }, 1 },
		{ "66 LOCK F3 REX.W", { 0x66, 0xf0 }, 2, { 0x48 }, 1 },
	};
	int index = coded_receiver();
	enum insn insn;
	unsigned int i;

	_stui();
	for (i = 0; i < sizeof(lock) / sizeof(lock[0]); i++) {
		for (insn = UIRET; insn <= SENDUIPI; insn++) {
			put_insn(code, &lock[i], insn);
			expect_fault(lock[i].what, code, insn, index, SIGILL);
			ktap_check(_testui(), "%s %s: changed UIF", lock[i].what,
				   insn_name[insn]);
		}
	}
	ktap_check(hits == 0, "LOCK SENDUIPI sent");
}

static void sixteen_bytes_are_too_long(void)
{
	static const struct prefixes twelve = {
		"12 times CS, F3",
		{ 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e }, 12,
		{}, 0
	};
	int index = coded_receiver();
	enum insn insn;

	for (insn = UIRET; insn <= SENDUIPI; insn++) {
		put_insn(code, &twelve, insn);
		expect_fault(twelve.what, code, insn, index, SIGSEGV);
	}
}

/* Without F3 two of them are undefined; the other three are RDPKRU, WRPKRU and RDRAND. */
static void no_f3_is_undefined(void)
{
	enum insn insn;

	code_init();
	for (insn = UIRET; insn <= TESTUI; insn++) {
		put_opcode(code, insn);
		code[3] = 0xc3;
		expect_fault("without F3", code, insn, 0, SIGILL);
		code[0] = 0xf2;
		put_opcode(code + 1, insn);
		code[4] = 0xc3;
		expect_fault("with F2", code, insn, 0, SIGILL);
	}
}

/* 06 and 0E differ from 0F in one or two bits, and are undefined in 64-bit mode. */
static void another_escape_byte_is_undefined(void)
{
	static const uint8_t escapes[] = { 0x06, 0x0e };
	enum insn insn;
	unsigned int i;

	coded_receiver();
	code[0] = 0xf3;
	for (i = 0; i < sizeof(escapes); i++) {
		for (insn = UIRET; insn <= SENDUIPI; insn++) {
			put_opcode(code + 1, insn);
			code[1] = escapes[i];
			code[4] = 0xc3;
			expect_fault("with another escape byte", code, insn, 0, SIGILL);
		}
	}
}

/* --- places ------------------------------------------------------------------------------ */

static void across_two_pages(void)
{
	int index = coded_receiver();
	enum insn insn;
	unsigned int i, n;

	for (i = 0; i < sizeof(legal) / sizeof(legal[0]); i += 5) {
		for (insn = UIRET; insn <= SENDUIPI; insn++) {
			for (n = 1; n <= 4; n++) {
				put_insn(code + PAGE - n, &legal[i], insn);
				has_effect("across pages,", code + PAGE - n, insn, index);
			}
		}
	}
}

/* The last bytes before an unmapped page: only the next instruction may fault. */
static void is_all_that_is_fetched(enum insn insn, unsigned int prefixes, int index)
{
	uint8_t *end = code + 2 * PAGE, *at = end - 4 - prefixes;
	unsigned long before = hits;
	struct run run = { .at = at, .rax = index };
	struct fault fault;

	memset(at, 0x66, prefixes);
	at[prefixes] = 0xf3;
	put_opcode(at + prefixes + 1, insn);
	if (insn == CLUI)
		_stui();
	else
		_clui();
	fault = fault_of(run_it, &run);
	ktap_check(fault.sig == SIGSEGV && fault.rip == (uintptr_t)end,
		   "%s: signal %s, %ld bytes on", insn_name[insn], fault_name(fault.sig),
		   (long)(fault.rip - (uintptr_t)at));
	ktap_check(fault.uif == (insn == STUI), "%s: UIF is %d", insn_name[insn], fault.uif);
	_stui();
	if (insn == SENDUIPI)
		ktap_check(spin_until(hits == before + 1), "SENDUIPI: nothing came");
}

static void at_the_end_of_memory(void)
{
	int index = coded_receiver();
	enum insn insn;

	fault_wants_uif = true;
	for (insn = TESTUI; insn <= SENDUIPI; insn++) {
		is_all_that_is_fetched(insn, 0, index);
		is_all_that_is_fetched(insn, 1, index);
	}
}

/*
 * Memory that may be executed and not read; where the processor has protection keys the kernel
 * makes such memory of PROT_EXEC. Fetching an instruction is not reading.
 */
static void in_execute_only_memory(void)
{
	int index = coded_receiver();
	enum insn insn;

	for (insn = UIRET; insn <= SENDUIPI; insn++) {
		mprotect(code, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
		put_insn(code, &legal[0], insn);
		ktap_ok(mprotect(code, PAGE, PROT_EXEC));
		has_effect("execute-only", code, insn, index);
	}
}

/* The first bytes can be read, the others cannot. */
static void into_execute_only_memory(void)
{
	int index = coded_receiver();
	uint8_t *at = code + PAGE - 2;
	enum insn insn;

	for (insn = UIRET; insn <= SENDUIPI; insn++) {
		mprotect(code, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
		put_insn(at, &legal[0], insn);
		ktap_ok(mprotect(code + PAGE, PAGE, PROT_EXEC));
		has_effect("into execute-only", at, insn, index);
	}
}

/* --- flags ------------------------------------------------------------------------------- */

static void testui_sets_cf_and_clears_the_rest(void)
{
	uint64_t flags;
	int uif;

	for (uif = 0; uif < 2; uif++) {
		if (uif)
			_stui();
		else
			_clui();
		asm volatile("sub $128, %%rsp\n\t"
			     "pushfq\n\torl $0x2008d5, (%%rsp)\n\tpopfq\n\t"
			     "testui\n\t"
			     "pushfq\n\tpop %0\n\tadd $128, %%rsp"
			     : "=r"(flags) : : "cc", "memory");
		ktap_check((flags & FLAG_ARITHMETIC) == (uif ? FLAG_CF : 0),
			   "UIF %d: RFLAGS 0x%lx", uif, flags);
		ktap_check(flags & FLAG_ID, "TESTUI changed the ID flag");
	}
}

static void stui_clui_senduipi_leave_flags_alone(void)
{
	static const uint64_t want[] = { 0, FLAG_ARITHMETIC, FLAG_CF | FLAG_OF, FLAG_ZF | FLAG_DF };
	uint64_t index = sender_to(receiver(0)), base, stui, clui, senduipi;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		base = (rflags_now() & ~(FLAG_ARITHMETIC | FLAG_DF)) | want[i];
		asm volatile("sub $128, %%rsp\n\t"
			     "push %3\n\tpopfq\n\t"
			     "stui\n\tpushfq\n\tpop %0\n\t"
			     "clui\n\tpushfq\n\tpop %1\n\t"
			     "senduipi %4\n\tpushfq\n\tpop %2\n\t"
			     "cld\n\tadd $128, %%rsp"
			     : "=&r"(stui), "=&r"(clui), "=&r"(senduipi)
			     : "r"(base), "r"(index) : "cc", "memory");
		ktap_check(stui == base, "STUI: RFLAGS 0x%lx, not 0x%lx", stui, base);
		ktap_check(clui == base, "CLUI: RFLAGS 0x%lx, not 0x%lx", clui, base);
		ktap_check(senduipi == base, "SENDUIPI: RFLAGS 0x%lx, not 0x%lx", senduipi, base);
	}
}

static const struct ktap_case cases[] = {
	KTAP_CASE(senduipi_takes_every_register, INSN-14),
	KTAP_CASE(redundant_prefixes, INSN-1, INSN-12, INSN-13, INSN-15),
	KTAP_CASE(f2_after_f3_is_undefined, INSN-11),
	KTAP_CASE(what_is_not_defined_stays_undefined, INSN-11, INSN-26),
	KTAP_CASE(lock_prefix_is_undefined, INSN-4, INSN-10),
	KTAP_CASE(sixteen_bytes_are_too_long, INSN-15),
	KTAP_CASE(no_f3_is_undefined, INSN-11),
	KTAP_CASE(another_escape_byte_is_undefined, INSN-27),
	KTAP_CASE(across_two_pages, INSN-16),
	KTAP_CASE(at_the_end_of_memory, INSN-16),
	KTAP_CASE(in_execute_only_memory, TASK-14),
	KTAP_CASE(into_execute_only_memory, TASK-14),
	KTAP_CASE(testui_sets_cf_and_clears_the_rest, INSN-18),
	KTAP_CASE(stui_clui_senduipi_leave_flags_alone, INSN-19),
};

KTAP_MAIN(cases, uintr_missing())
