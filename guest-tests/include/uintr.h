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
#define UINTR_HANDLER_FLAG_WAITING_ANY	0
#endif

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
static inline int uintr_unregister_sender(int fd, unsigned int flags)
{
	return syscall(__NR_uintr_unregister_sender, fd, flags);
}

static inline int uintr_wait(unsigned int flags)
{
#if UINTR_ABI_RFC
	return syscall(__NR_uintr_wait, flags);
#else
	return syscall(__NR_uintr_wait, 1000000000ULL, flags);
#endif
}

/*
 * Why no case can run, or NULL. A call that is wrong in two ways tells a kernel with the feature
 * (EINVAL) from one without (ENOSYS) and one where it is off (EOPNOTSUPP), and changes nothing.
 */
static inline const char *uintr_missing(void)
{
	if (uintr_register_handler(NULL, ~0U) == 0)
		return NULL;	/* wrong, and for the cases to find */
	if (errno == ENOSYS)
		return "the kernel has no user interrupt system calls (ENOSYS)";
	if (errno == EOPNOTSUPP)
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

#endif /* GUEST_TESTS_UINTR_H */
