/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KTAP output, with each case in a separate process.
 *
 * A crash or a hang is one failed case, the rest still runs, and nothing (handler, tables, fds,
 * signal state) leaks from one case to the next. Results are in shared memory, so that children
 * of a case can report, too, and a report survives a crash.
 *
 *	static void adds(void)
 *	{
 *		ktap_check(1 + 1 == 2, "1 + 1 is not 2");
 *	}
 *
 *	static const struct ktap_case cases[] = {
 *		KTAP_CASE(adds, SUM-1),
 *	};
 *
 *	KTAP_MAIN(cases, NULL)
 *
 * The arguments after the function are the statements of CONTRACT.md that the case checks; the
 * program prints them before it runs the case. The program's arguments, if any, name the cases
 * to run.
 */
#ifndef GUEST_TESTS_KTAP_H
#define GUEST_TESTS_KTAP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define KTAP_EXIT_PASS	0
#define KTAP_EXIT_FAIL	1
#define KTAP_EXIT_SKIP	4

/* Seconds; long, because a guest without KVM is some twenty times slower than the host. */
#define KTAP_TIMEOUT	20
/* Seconds that a killed case may take to vanish before it counts as stuck in the kernel. */
#define KTAP_KILL_GRACE	5

struct ktap_case {
	const char *name;
	void (*fn)(void);
	unsigned int timeout;	/* seconds; 0 means KTAP_TIMEOUT */
	const char *checks;	/* statements of CONTRACT.md, separated by commas */
};

#define KTAP_CASE(function, ...)						\
	{ .name = #function, .fn = function, .checks = #__VA_ARGS__ }
#define KTAP_SLOW_CASE(function, s, ...)					\
	{ .name = #function, .fn = function, .timeout = s, .checks = #__VA_ARGS__ }

enum ktap_status {
	KTAP_PASS,
	KTAP_SKIP,
	KTAP_FAIL,
};

struct ktap_result {
	int status;		/* the worst that was reported; only ever grows */
	char message[384];	/* of the first report with that status */
	char crash[128];	/* where the case's own process crashed */
};

static struct ktap_result *ktap_result;
static const char *ktap_name = "";

/* Print one diagnostic line in one write, so that lines of several processes do not mix. */
static __attribute__((format(printf, 1, 2), unused)) void ktap_diag(const char *fmt, ...)
{
	char text[512], line[640];
	va_list args;
	int n;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	n = snprintf(line, sizeof(line), "# %s: %s\n", ktap_name, text);
	fflush(stdout);
	if (write(STDOUT_FILENO, line, n) != n)
		_exit(KTAP_EXIT_FAIL);
}

static __attribute__((format(printf, 4, 5), unused)) void
ktap_report(int status, const char *file, int line, const char *fmt, ...)
{
	char text[320];
	va_list args;
	int old;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);

	old = __atomic_load_n(&ktap_result->status, __ATOMIC_SEQ_CST);
	while (old < status &&
	       !__atomic_compare_exchange_n(&ktap_result->status, &old, status, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	file = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
	if (status == KTAP_FAIL)
		ktap_diag("%s:%d: %s", file, line, text);
	if (old < status)
		snprintf(ktap_result->message, sizeof(ktap_result->message), "%s", text);
}

/* Fail the case unless the condition holds, and go on. Returns the condition. */
#define ktap_check(cond, ...) ({						\
	bool ktap_ok = (cond);							\
	if (!ktap_ok)								\
		ktap_report(KTAP_FAIL, __FILE__, __LINE__, __VA_ARGS__);	\
	ktap_ok; })

/* Fail the case unless the condition holds, and end the calling process. */
#define ktap_assert(cond, ...) do {						\
	if (!ktap_check(cond, __VA_ARGS__))					\
		_exit(KTAP_EXIT_FAIL);						\
} while (0)

/* Skip the case for a reason, which is printed, and end the calling process. */
#define ktap_skip(...) do {							\
	ktap_report(KTAP_SKIP, __FILE__, __LINE__, __VA_ARGS__);		\
	_exit(KTAP_EXIT_SKIP);							\
} while (0)

static inline const char *ktap_errno(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "?";
}

/* The call must succeed: a result of -1 ends the case. Returns the result. */
#define ktap_ok(call) ({							\
	long ktap_ret = (long)(call);						\
	ktap_assert(ktap_ret != -1, "%s gave %s", #call, ktap_errno(errno));	\
	ktap_ret; })

/* The call must return -1 with this errno; otherwise the case fails, and goes on. */
#define ktap_fails(call, error) ({						\
	long ktap_ret = (errno = 0, (long)(call));				\
	int ktap_err = errno;							\
	ktap_check(ktap_ret == -1 && ktap_err == (error),			\
		   "%s: expected -1 and %s, got %ld and %s", #call,		\
		   ktap_errno(error), ktap_ret,					\
		   ktap_err ? ktap_errno(ktap_err) : "no error"); })

/* --- inside the case's process ------------------------------------------------------------ */

static void ktap_crashed(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	snprintf(ktap_result->crash, sizeof(ktap_result->crash),
		 "rip 0x%llx, rsp 0x%llx, address %p, code %d",
		 uc->uc_mcontext.gregs[REG_RIP], uc->uc_mcontext.gregs[REG_RSP],
		 info->si_addr, info->si_code);
	signal(sig, SIG_DFL);
	raise(sig);		/* for the true wait status */
}

static void ktap_watch_crashes(void)
{
	static const int fatal[] = { SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGTRAP };
	struct sigaction action = {
		.sa_sigaction = ktap_crashed,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};
	static char stack[65536];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	unsigned int i;

	sigaltstack(&alternate, NULL);
	for (i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaction(fatal[i], &action, NULL);
}

static void __attribute__((noreturn)) ktap_child(const struct ktap_case *c, pid_t parent)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(KTAP_EXIT_FAIL);
	ktap_watch_crashes();
	c->fn();
	fflush(stdout);
	_exit(KTAP_EXIT_PASS);
}

/* --- outside ------------------------------------------------------------------------------ */

static void ktap_show_file(const char *task, const char *file)
{
	char path[320], text[384];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", task, file);
	f = fopen(path, "re");
	if (!f)
		return;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	ktap_diag("%s: %s", path, text);
}

/* Print where each thread of a hanging case is, for diagnosis. */
static void ktap_show_tasks(pid_t pid)
{
	char folder[64], task[300];
	struct dirent *entry;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%d/task", pid);
	dir = opendir(folder);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(task, sizeof(task), "/proc/%d/task/%s", pid, entry->d_name);
		ktap_show_file(task, "stat");
		ktap_show_file(task, "syscall");
		ktap_show_file(task, "wchan");
	}
	closedir(dir);
}

static bool ktap_wait(int pidfd, unsigned int seconds)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, seconds * 1000) == 1;
}

static const char *ktap_signal(int sig)
{
	const char *name = sigabbrev_np(sig);

	return name ? name : "?";
}

/* Run one case, and set the verdict if its process could not. */
static void ktap_run_case(const struct ktap_case *c, unsigned int scale)
{
	unsigned int timeout = (c->timeout ? c->timeout : KTAP_TIMEOUT) * scale;
	pid_t self = getpid(), pid;
	int status = 0, pidfd;

	memset(ktap_result, 0, sizeof(*ktap_result));
	ktap_name = c->name;
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		ktap_child(c, self);
	if (pid < 0) {
		ktap_report(KTAP_FAIL, __FILE__, __LINE__, "fork: %s", ktap_errno(errno));
		return;
	}
	setpgid(pid, pid);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (pidfd >= 0 && !ktap_wait(pidfd, timeout)) {
		ktap_show_tasks(pid);
		ktap_report(KTAP_FAIL, __FILE__, __LINE__, "hung for %u s", timeout);
		kill(-pid, SIGKILL);
		if (!ktap_wait(pidfd, KTAP_KILL_GRACE)) {
			ktap_report(KTAP_FAIL, __FILE__, __LINE__, "does not die of SIGKILL");
			ktap_show_tasks(pid);
			close(pidfd);
			return;
		}
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	kill(-pid, SIGKILL);	/* children that the case left behind */
	while (waitpid(-pid, NULL, 0) > 0)
		;
	if (pidfd >= 0)
		close(pidfd);
	if (WIFSIGNALED(status) && ktap_result->status != KTAP_FAIL)
		ktap_report(KTAP_FAIL, __FILE__, __LINE__, "killed by SIG%s (%s)",
			    ktap_signal(WTERMSIG(status)),
			    ktap_result->crash[0] ? ktap_result->crash : "not a fault");
	else if (WIFEXITED(status) && WEXITSTATUS(status) && ktap_result->status == KTAP_PASS)
		ktap_report(KTAP_FAIL, __FILE__, __LINE__, "exited with %d and no word",
			    WEXITSTATUS(status));
}

static bool ktap_wanted(const char *name, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc < 2;
}

static __attribute__((unused)) int
ktap_main(const struct ktap_case *cases, unsigned int count, const char *skip, int argc, char **argv)
{
	unsigned int i, number = 0, wanted = 0, tally[3] = {};
	const char *scale = getenv("KTAP_TIMEOUT_SCALE");

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n");
	if (skip) {
		printf("1..0 # SKIP %s\n", skip);
		return KTAP_EXIT_SKIP;
	}
	ktap_result = mmap(NULL, sizeof(*ktap_result), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ktap_result == MAP_FAILED) {
		printf("Bail out! no memory to share\n");
		return KTAP_EXIT_FAIL;
	}
	/* Reap orphans of a case's children here. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (i = 0; i < count; i++)
		wanted += ktap_wanted(cases[i].name, argc, argv);
	printf("1..%u\n", wanted);
	for (i = 0; i < count; i++) {
		if (!ktap_wanted(cases[i].name, argc, argv))
			continue;
		/* Printed before the case runs, in case it takes the program down. */
		if (cases[i].checks && cases[i].checks[0])
			printf("# checks: %s\n", cases[i].checks);
		ktap_run_case(&cases[i], scale && atoi(scale) > 0 ? atoi(scale) : 1);
		tally[ktap_result->status]++;
		printf("%s %u %s", ktap_result->status == KTAP_FAIL ? "not ok" : "ok", ++number,
		       cases[i].name);
		if (ktap_result->status == KTAP_SKIP)
			printf(" # SKIP %s", ktap_result->message);
		printf("\n");
	}
	printf("# Totals: pass:%u fail:%u xfail:0 xpass:0 skip:%u error:0\n",
	       tally[KTAP_PASS], tally[KTAP_FAIL], tally[KTAP_SKIP]);
	if (tally[KTAP_FAIL] || !wanted)
		return KTAP_EXIT_FAIL;
	return tally[KTAP_PASS] ? KTAP_EXIT_PASS : KTAP_EXIT_SKIP;
}

/*
 * The program's main(). skip is an expression: the reason why no case can run here, or NULL.
 */
#define KTAP_MAIN(cases, skip)							\
int main(int argc, char **argv)							\
{										\
	return ktap_main(cases, sizeof(cases) / sizeof((cases)[0]), skip,	\
			 argc, argv);						\
}

#endif /* GUEST_TESTS_KTAP_H */
