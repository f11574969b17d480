/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User interrupts: system calls by the numbers of the kernel under test, handlers, instructions.
 *
 * In ordinary code use the compiler's _stui(), _clui(), _testui() and _senduipi(). In a handler use
 * the uintr_insn_*() macros: a handler must not call anything (the compiler does not save the SSE
 * registers that a callee may use), and Clang counts the intrinsics as calls.
 */
#ifndef GUEST_TESTS_UINTR_H
#define GUEST_TESTS_UINTR_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86gprintrin.h>

/*
 * Two generations of the ABI are known. The one of the 2021 RFC has uintr_create_fd; the later one
 * has uintr_vector_fd, a table of senders per process and other rules of life time. Calls that
 * the headers do not know get the number -1, which every kernel answers with ENOSYS.
 */
#if defined(__NR_uintr_vector_fd) && !defined(__NR_uintr_create_fd)
#define UINTR_ABI_RFC		0
#define __NR_uintr_create_fd	__NR_uintr_vector_fd
#else
#define UINTR_ABI_RFC		1
#endif
#ifndef __NR_uintr_register_self
#define __NR_uintr_register_self	(-1)
#define __NR_uintr_alt_stack		(-1)
#define __NR_uintr_ipi_fd		(-1)
#endif
#ifndef __NR_uintr_register_handler
#define __NR_uintr_register_handler	(-1)
#define __NR_uintr_unregister_handler	(-1)
#define __NR_uintr_create_fd		(-1)
#define __NR_uintr_register_sender	(-1)
#define __NR_uintr_unregister_sender	(-1)
#define __NR_uintr_wait			(-1)
#endif

#if __has_include(<asm/uintr.h>)
#include <asm/uintr.h>
#endif

/* To register_handler(): interrupts end system calls. 0 where no such thing can be asked for. */
#ifndef UINTR_HANDLER_FLAG_WAITING_ANY
#define UINTR_HANDLER_FLAG_WAITING_RECEIVER	0
#define UINTR_HANDLER_FLAG_WAITING_SENDER	0
#define UINTR_HANDLER_FLAG_WAITING_ANY		0
#endif

/*
 * What a handler is registered with for its interrupts to end uintr_wait(): in the RFC's ABI they
 * always do, in the later one they do for those that ask.
 */
#define UINTR_WAKES	(UINTR_ABI_RFC ? 0 : UINTR_HANDLER_FLAG_WAITING_ANY)

/* The longest time that the later ABI's uintr_wait() takes, in microseconds. */
#define UINTR_WAIT_LONGEST	1000000000

/* What the RFC leaves open is stated by an ABI that has its calls and, beyond them, these flags. */
#define UINTR_ABI_STATES_MORE	(UINTR_ABI_RFC && UINTR_HANDLER_FLAG_WAITING_ANY)

#define UINTR_VECTORS		64
#define UINTR_SENDERS		256	/* entries in a sender's table */
#define UINTR_REDZONE		128	/* bytes below RSP that delivery leaves alone */

typedef void uintr_handler_t(struct __uintr_frame *frame, unsigned long long vector);

/* GCC wants a handler free of SSE; "interrupt" makes both compilers return by UIRET. */
#define UINTR_HANDLER __attribute__((interrupt, target("general-regs-only"), used))

#define uintr_insn_stui()	asm volatile("stui" : : : "memory")
#define uintr_insn_clui()	asm volatile("clui" : : : "memory")
#define uintr_insn_senduipi(index) \
	asm volatile("senduipi %0" : : "r"((uint64_t)(index)) : "memory")
#define uintr_insn_testui() ({							\
	unsigned char uintr_uif;						\
	asm volatile("testui\n\tsetc %0" : "=r"(uintr_uif) : : "cc", "memory");	\
	uintr_uif; })

static inline int uintr_register_handler(const void *handler, unsigned int flags)
{
	return syscall(__NR_uintr_register_handler, handler, flags);
}

static inline int uintr_unregister_handler(unsigned int flags)
{
	return syscall(__NR_uintr_unregister_handler, flags);
}

static inline int uintr_create_fd(uint64_t vector, unsigned int flags)
{
	return syscall(__NR_uintr_create_fd, vector, flags);
}

static inline int uintr_register_sender(int fd, unsigned int flags)
{
	return syscall(__NR_uintr_register_sender, fd, flags);
}

/* The RFC takes the fd, the later ABI takes the index. */
static inline int uintr_unregister_sender(int fd_or_index, unsigned int flags)
{
	return syscall(__NR_uintr_unregister_sender, fd_or_index, flags);
}

/* End the connection to this fd that has this index, whichever of the two the ABI wants. */
static inline int uintr_disconnect(int fd, int index)
{
	return uintr_unregister_sender(UINTR_ABI_RFC ? fd : index, 0);
}

/* Of the later ABI alone: the RFC's has no time. */
static inline int uintr_wait_for(uint64_t usec, unsigned int flags)
{
	return syscall(__NR_uintr_wait, usec, flags);
}

static inline int uintr_wait(unsigned int flags)
{
#if UINTR_ABI_RFC
	return syscall(__NR_uintr_wait, flags);
#else
	return uintr_wait_for(UINTR_WAIT_LONGEST, flags);
#endif
}

/* The last three calls are those that the later ABI adds. */
static inline int uintr_register_self(uint64_t vector, unsigned int flags)
{
	return syscall(__NR_uintr_register_self, vector, flags);
}

static inline int uintr_alt_stack(void *sp, size_t size, unsigned int flags)
{
	return syscall(__NR_uintr_alt_stack, sp, size, flags);
}

static inline int uintr_ipi_fd(unsigned int flags)
{
	return syscall(__NR_uintr_ipi_fd, flags);
}

/*
 * Why no case can run, or NULL. A call that is wrong in two ways tells a kernel with the feature
 * (EINVAL) from one without (ENOSYS) and one where it is off (EOPNOTSUPP, or, in the later ABI,
 * ENOSYS as well), and changes nothing.
 */
static inline const char *uintr_missing(void)
{
	if (uintr_register_handler(NULL, ~0U) == 0)
		return NULL;	/* wrong, and for the cases to find */
	if (errno == ENOSYS)
		return UINTR_ABI_RFC ? "the kernel has no user interrupt system calls (ENOSYS)" :
			"the kernel has no user interrupts, or has them turned off (ENOSYS)";
	if (errno == EOPNOTSUPP && UINTR_ABI_RFC)
		return "the kernel has user interrupts turned off (EOPNOTSUPP)";
	return NULL;
}

/* The same, for programs whose cases state rules of the RFC's ABI. */
static inline const char *uintr_rfc_missing(void)
{
	const char *missing = uintr_missing();

	if (!missing && !UINTR_ABI_RFC)
		missing = "the kernel's ABI is not that of the RFC (no uintr_create_fd)";
	return missing;
}

/* The same, for programs whose cases state rules of the later ABI. */
static inline const char *uintr_later_missing(void)
{
	if (UINTR_ABI_RFC)
		return "the kernel's headers do not have the later ABI (no uintr_vector_fd)";
	return uintr_missing();
}

/* The same, for programs whose cases wait: the later ABI has that by an option of its own. */
static inline const char *uintr_wait_missing(void)
{
	const char *missing = uintr_missing();

	if (!missing && !UINTR_ABI_RFC && uintr_wait(~0U) == -1 && errno == ENOSYS)
		missing = "the kernel has no uintr_wait() (CONFIG_X86_UINTR_BLOCKING is off)";
	return missing;
}

#endif /* GUEST_TESTS_UINTR_H */
