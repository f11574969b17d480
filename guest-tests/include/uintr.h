/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User interrupts: system calls with the numbers of the kernel under test, handlers, instructions.
 *
 * In ordinary code use the compiler's _stui(), _clui(), _testui() and _senduipi(). In a handler use
 * the uintr_insn_*() macros: a handler must not call functions (the compiler does not save the SSE
 * registers that a callee may use), and Clang treats the intrinsics as calls.
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
 * has uintr_vector_fd, a table of senders per process and other lifetime rules. Calls that the
 * headers do not know get the number -1, for which every kernel returns ENOSYS.
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

/* Flag of register_handler(): interrupts end system calls. 0 if the headers do not have it. */
#ifndef UINTR_HANDLER_FLAG_WAITING_ANY
#define UINTR_HANDLER_FLAG_WAITING_RECEIVER	0
#define UINTR_HANDLER_FLAG_WAITING_SENDER	0
#define UINTR_HANDLER_FLAG_WAITING_ANY		0
#endif

/*
 * Flags of a handler whose interrupts end uintr_wait(): in the RFC's ABI they always do, in the
 * later one only with a flag.
 */
#define UINTR_WAKES	(UINTR_ABI_RFC ? 0 : UINTR_HANDLER_FLAG_WAITING_ANY)

/* The longest time that the later ABI's uintr_wait() takes, in microseconds. */
#define UINTR_WAIT_LONGEST	1000000000

/* An ABI with the RFC's calls and these flags also states what the RFC leaves open. */
#define UINTR_ABI_STATES_MORE	(UINTR_ABI_RFC && UINTR_HANDLER_FLAG_WAITING_ANY)

#define UINTR_VECTORS		64
#define UINTR_SENDERS		256	/* entries in a sender's table */
#define UINTR_REDZONE		128	/* bytes below RSP that delivery leaves alone */

typedef void uintr_handler_t(struct __uintr_frame *frame, unsigned long long vector);

/* GCC needs a handler without SSE; "interrupt" makes both compilers return by UIRET. */
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

/* End a connection, given by its fd and its index; the ABI uses one of them. */
static inline int uintr_disconnect(int fd, int index)
{
	return uintr_unregister_sender(UINTR_ABI_RFC ? fd : index, 0);
}

/* The later ABI's call; the RFC's has no timeout. */
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

/* The last three calls are added by the later ABI. */
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
 * Return why no case can run, or NULL. The call has two invalid arguments and changes nothing. Its
 * error is EINVAL if the kernel has the feature, ENOSYS if not, and EOPNOTSUPP (in the later ABI
 * ENOSYS) if the feature is off.
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
		missing = "needs abi:rfc: the kernel's headers have no uintr_create_fd";
	return missing;
}

/* The same, for programs whose receivers ask for the end of blocking calls. */
static inline const char *uintr_waiting_missing(void)
{
	const char *missing = uintr_rfc_missing();

	if (!missing && !UINTR_HANDLER_FLAG_WAITING_ANY)
		missing = "the kernel's headers have no UINTR_HANDLER_FLAG_WAITING_ANY";
	return missing;
}

/* The same, for programs whose cases state rules of the later ABI. */
static inline const char *uintr_later_missing(void)
{
	if (UINTR_ABI_RFC)
		return "needs abi:later: the kernel's headers have no uintr_vector_fd";
	return uintr_missing();
}

/* The same, for programs whose cases wait, for which the later ABI has a separate option. */
static inline const char *uintr_wait_missing(void)
{
	const char *missing = uintr_missing();

	if (!missing && !UINTR_ABI_RFC && uintr_wait(~0U) == -1 && errno == ENOSYS)
		missing = "the kernel has no uintr_wait() (CONFIG_X86_UINTR_BLOCKING is off)";
	return missing;
}

#endif /* GUEST_TESTS_UINTR_H */
