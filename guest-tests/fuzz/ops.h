/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The operations of steps. Each writes its result into the worker's.
 */
#ifndef GUEST_TESTS_FUZZ_OPS_H
#define GUEST_TESTS_FUZZ_OPS_H

#include "worker.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>

#ifndef UINTR_FD_ATTACH
#define UINTR_FD_ATTACH _IO(0xB9, 0x00)
#endif

#define SLOTS 8

static int slots[SLOTS] = { -1, -1, -1, -1, -1, -1, -1, -1 };

#define answer(w, ...)	snprintf((w)->result, sizeof((w)->result), __VA_ARGS__)

static uint64_t number(const char *word)
{
	return strtoull(word, NULL, 0);
}

static int *slot(const char *word)
{
	return &slots[number(word + 1) % SLOTS];
}

/* The descriptor of a slot, or the number given instead. */
static int descriptor(const char *word)
{
	return word[0] == 'f' ? *slot(word) : (int)number(word);
}

static void answer_call(struct worker *w, long result)
{
	if (result < 0)
		answer(w, "%s", ktap_errno(errno));
	else
		answer(w, "%ld", result);
}

static void answer_fd(struct worker *w, int fd, const char *into)
{
	if (fd < 0)
		return answer_call(w, fd);
	*slot(into) = fd;
	answer(w, "fd");
}

/* --- system calls ------------------------------------------------------------------------- */

static const void *handler(const char *name)
{
	if (!strcmp(name, "log"))
		return hand_log;
	if (!strcmp(name, "nest"))
		return hand_nest;
	if (!strcmp(name, "send"))
		return hand_sends;
	if (!strcmp(name, "leave"))
		return hand_leave;
	if (!strcmp(name, "unmapped"))
		return places.unmapped;
	return (const void *)number(name);
}

static void op_register(struct worker *w, char **args)
{
	answer_call(w, uintr_register_handler(handler(args[0]), number(args[1])));
}

static void op_unregister(struct worker *w, char **args)
{
	answer_call(w, uintr_unregister_handler(number(args[0])));
}

static void op_create(struct worker *w, char **args)
{
	answer_fd(w, uintr_create_fd(number(args[0]), number(args[1])), args[2]);
}

static void op_connect(struct worker *w, char **args)
{
	answer_call(w, uintr_register_sender(descriptor(args[0]), number(args[1])));
}

static void op_disconnect(struct worker *w, char **args)
{
	answer_call(w, uintr_unregister_sender(descriptor(args[0]), number(args[1])));
}

static void op_wait(struct worker *w, char **args)
{
	shared_store(&w->in_call, true);
	answer_call(w, uintr_wait(number(args[0])));
}

static void op_pause(struct worker *w, char **args)
{
	(void)args;
	shared_store(&w->in_call, true);
	answer_call(w, pause());
}

static void op_read(struct worker *w, char **args)
{
	uint64_t value = 0;
	ssize_t n;

	shared_store(&w->in_call, true);
	n = read(descriptor(args[0]), &value, sizeof(value));
	if (n < 0)
		answer_call(w, n);
	else
		answer(w, "%zd:%lu", n, value);
}

static void op_write(struct worker *w, char **args)
{
	uint64_t value = number(args[1]);

	answer_call(w, write(descriptor(args[0]), &value, sizeof(value)));
}

static void op_close(struct worker *w, char **args)
{
	answer_call(w, close(descriptor(args[0])));
	if (args[0][0] == 'f')
		*slot(args[0]) = -1;
}

static void op_dup(struct worker *w, char **args)
{
	answer_fd(w, dup(descriptor(args[0])), args[1]);
}

static void op_eventfd(struct worker *w, char **args)
{
	answer_fd(w, eventfd(number(args[0]), EFD_CLOEXEC), args[1]);
}

static void op_pipe(struct worker *w, char **args)
{
	int fds[2];

	if (pipe(fds))
		return answer_call(w, -1);
	answer_fd(w, fds[0], args[0]);
}

static void op_attach(struct worker *w, char **args)
{
	answer_call(w, ioctl(descriptor(args[0]), UINTR_FD_ATTACH, (long)descriptor(args[1])));
}

static void op_signal(struct worker *w, char **args)
{
	pid_t tid = workers[number(args[0]) % worker_count].tid;

	answer_call(w, syscall(SYS_tgkill, getpid(), tid, *args[1] == '1' ? SIGUSR1 : SIGUSR2));
}

static void op_move(struct worker *w, char **args)
{
	pin_to(number(args[0]));
	answer(w, "ok");
}

static void op_yield(struct worker *w, char **args)
{
	(void)args;
	answer_call(w, sched_yield());
}

static void op_arm(struct worker *w, char **args)
{
	own_log->index = number(args[0]);
	own_log->armed = 1;
	answer(w, "ok");
}

/* --- instructions ------------------------------------------------------------------------- */

/* After a fault only the signal is reported, not registers and flags. */
static void answer_trip(struct worker *w, uint64_t mask)
{
	answer(w, "flags %lx changed %u", trip_flags_after & mask, trip_changed());
}

static void trip_hex(struct worker *w, const char *hex, uint64_t index, uint64_t flags)
{
	unsigned char bytes[24];
	unsigned int length = 0;

	for (; hex[0] && hex[1] && length < sizeof(bytes); hex += 2)
		sscanf(hex, "%2hhx", &bytes[length++]);
	trip_prepare(index, flags);
	trip_with(bytes, length);
	answer_trip(w, FLAG_ARITHMETIC | FLAG_DF);
}

static void op_insn(struct worker *w, char **args)
{
	trip_hex(w, args[0], number(args[1]), number(args[2]));
}

/* The same under TF. */
static void op_step(struct worker *w, char **args)
{
	trip_hex(w, args[0], number(args[1]), FLAG_TF | 0x202);
}

static void op_senduipi(struct worker *w, char **args)
{
	trip_hex(w, "f30fc7f0", number(args[0]), 0x202);
}

static void op_clui(struct worker *w, char **args)
{
	(void)args;
	trip_hex(w, "f30f01ee", 0, 0x202);
}

static void op_stui(struct worker *w, char **args)
{
	(void)args;
	trip_hex(w, "f30f01ef", 0, 0x202);
}

/* Set the flag where the frame may have no place. */
static void op_stui_on(struct worker *w, char **args)
{
	static const unsigned char stui[] = { 0xf3, 0x0f, 0x01, 0xef };

	trip_prepare(0, 0x202);
	trip_stack = stack_at(args[0]);
	trip_with(stui, sizeof(stui));
	answer(w, "ok");
}

static void op_uiret(struct worker *w, char **args)
{
	static const unsigned char uiret[] = { 0xf3, 0x0f, 0x01, 0xec };

	trip_prepare(0, 0x202);
	((uint64_t *)places.stack)[1] = number(args[0]);
	if (!strcmp(args[1], "rip"))
		((uint64_t *)places.stack)[0] = NOT_CANONICAL;
	else
		trip_stack = stack_at(args[1]);
	trip_with(uiret, sizeof(uiret));
	answer_trip(w, UIRET_FLAGS & ~(FLAG_TF | FLAG_RF));
}

/* --- in a child --------------------------------------------------------------------------- */

static const struct op *find_op(const char *name);
static void log_text(const struct log *log, bool sorted, char *text, size_t size);

static void child_runs(struct worker *w, char **args, char *said, size_t size)
{
	char text[256];
	const struct op *op;
	size_t used = 0;

	own_log->count = 0;
	while (*args && used < size) {
		op = find_op(*args++);
		op->run(w, args);
		args += op->args;
		used += snprintf(said + used, size - used, "%s;", w->result);
		if (*args && !strcmp(*args, ";"))
			args++;
	}
	log_text(own_log, false, text, sizeof(text));
	if (used < size)
		snprintf(said + used, size - used, " uif %d%s", _testui(), text);
}

/* Run the rest of the line in a forked process. */
static void op_child(struct worker *w, char **args)
{
	char *said = place(PAGE, PROT_READ | PROT_WRITE);
	char *shared = mmap(said, PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		child_runs(w, args, shared, RESULT_MAX - 32);
		_exit(0);
	}
	if (pid < 0)
		return answer_call(w, pid);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	answer(w, "[%s] status %x", shared, status);
	munmap(shared, PAGE);
}

/* An operation with -1 arguments takes the rest of the line. */
static const struct op ops[] = {
	{ "register", op_register, 2, false },
	{ "unregister", op_unregister, 1, false },
	{ "create", op_create, 3, false },
	{ "connect", op_connect, 2, false },
	{ "disconnect", op_disconnect, 2, false },
	{ "wait", op_wait, 1, true },
	{ "pause", op_pause, 0, true },
	{ "read", op_read, 1, true },
	{ "write", op_write, 2, false },
	{ "close", op_close, 1, false },
	{ "dup", op_dup, 2, false },
	{ "eventfd", op_eventfd, 2, false },
	{ "pipe", op_pipe, 1, false },
	{ "attach", op_attach, 2, false },
	{ "signal", op_signal, 2, false },
	{ "move", op_move, 1, false },
	{ "yield", op_yield, 0, false },
	{ "arm", op_arm, 1, false },
	{ "insn", op_insn, 3, false },
	{ "step", op_step, 2, false },
	{ "senduipi", op_senduipi, 1, false },
	{ "clui", op_clui, 0, false },
	{ "stui", op_stui, 0, false },
	{ "stui_on", op_stui_on, 1, false },
	{ "uiret", op_uiret, 2, false },
	{ "child", op_child, -1, false },
	{ "renew", NULL, 0, false },	/* done by the main thread */
};

static const struct op *find_op(const char *name)
{
	unsigned int i;

	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (!strcmp(ops[i].name, name))
			return &ops[i];
	return NULL;
}

#endif /* GUEST_TESTS_FUZZ_OPS_H */
