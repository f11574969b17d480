// SPDX-License-Identifier: GPL-2.0
/*
 * What a user interrupt does not end, in a receiver that registered with
 * UINTR_HANDLER_FLAG_WAITING_ANY: sleeps that are no part of a system call. They are in the cgroup
 * freezer, in stops by job control and by a debugger, and in a core dump. A call that was blocked
 * before ends once the thread goes on.
 */
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

#include <elf.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

/* A receiver in a process of its own. */
struct victim {
	pid_t pid;
	int index;		/* of this thread's connection to it */
	int socket[2];
	int pipe[2];
};

static void becomes_a_receiver(const struct victim *victim)
{
	fd_send(victim->socket[1], receiver_with(1, UINTR_HANDLER_FLAG_WAITING_ANY));
	_stui();
}

static void victim_start(struct victim *victim, void (*fn)(void *))
{
	ktap_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, victim->socket));
	ktap_ok(pipe(victim->pipe));
	victim->pid = child_start(fn, victim);
	victim->index = sender_to(fd_receive(victim->socket[0]));
}

static void reads(void *arg)
{
	struct victim *victim = arg;
	ssize_t n;
	char byte;

	becomes_a_receiver(victim);
	n = read(victim->pipe[0], &byte, 1);
	ktap_check(n == -1 && errno == EINTR, "read gave %zd, %s", n, ktap_errno(errno));
	ktap_check(hits == 1, "%lu interrupts when the call had returned", hits);
}

static void reader_start(struct victim *victim)
{
	victim_start(victim, reads);
	ktap_check(task_reaches(victim->pid, victim->pid, 'S'), "does not block");
}

static void expect_its_call_to_end(const struct victim *victim)
{
	ktap_assert(task_reaches(victim->pid, victim->pid, 'Z'), "the call is not ended");
	child_passes(victim->pid);
}

/* --- the freezer -------------------------------------------------------------------------- */

static char cgroup[64];

static void cgroup_write(const char *file, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/frozen/%s", cgroup, file);
	fd = ktap_ok(open(path, O_WRONLY | O_CLOEXEC));
	ktap_ok(write(fd, text, strlen(text)));
	close(fd);
}

static bool cgroup_is_frozen(void)
{
	char path[128], text[128] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/frozen/cgroup.events", cgroup);
	fd = ktap_ok(open(path, O_RDONLY | O_CLOEXEC));
	ktap_ok(read(fd, text, sizeof(text) - 1));
	close(fd);
	return strstr(text, "frozen 1");
}

static void need_cgroups(void)
{
	char path[128];

	snprintf(cgroup, sizeof(cgroup), "/tmp/cgroup-%d", getpid());
	ktap_ok(mkdir(cgroup, 0700));
	if (mount("none", cgroup, "cgroup2", 0, NULL)) {
		rmdir(cgroup);
		ktap_skip("the kernel has no cgroups (%s); fragment cgroups", ktap_errno(errno));
	}
	snprintf(path, sizeof(path), "%s/frozen", cgroup);
	ktap_ok(mkdir(path, 0700));
}

static void cgroup_end(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/frozen", cgroup);
	ktap_ok(rmdir(path));
	ktap_ok(umount(cgroup));
	ktap_ok(rmdir(cgroup));
}

/* How often a process was switched away from. */
static unsigned long switches_of(pid_t pid)
{
	unsigned long voluntary = 0, other = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	ktap_assert(f, "%s: %s", path, ktap_errno(errno));
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "voluntary_ctxt_switches: %lu", &voluntary);
		sscanf(line, "nonvoluntary_ctxt_switches: %lu", &other);
	}
	fclose(f);
	return voluntary + other;
}

/* It does not run, and not in the kernel either: others must not make it use its CPU. */
static void a_frozen_receiver_sleeps_on(void)
{
	struct victim victim;
	unsigned long before, after;
	char pid[16];

	need_cgroups();
	reader_start(&victim);
	snprintf(pid, sizeof(pid), "%d", victim.pid);
	cgroup_write("cgroup.procs", pid);
	cgroup_write("cgroup.freeze", "1");
	ktap_assert(yield_until(cgroup_is_frozen()), "the cgroup does not freeze");
	before = switches_of(victim.pid);
	_senduipi(victim.index);
	sleep_ms(NEVER_MS);
	after = switches_of(victim.pid);
	ktap_check(after == before, "it ran %lu times while it was frozen", after - before);
	cgroup_write("cgroup.freeze", "0");
	expect_its_call_to_end(&victim);
	cgroup_end();
}

/* --- stops -------------------------------------------------------------------------------- */

static void a_stop_by_job_control_goes_on(void)
{
	struct victim victim;

	reader_start(&victim);
	ktap_ok(kill(victim.pid, SIGSTOP));
	ktap_check(task_reaches(victim.pid, victim.pid, 'T'), "does not stop");
	_senduipi(victim.index);
	sleep_ms(NEVER_MS);
	ktap_check(task_state(victim.pid, victim.pid) == 'T', "does not stay stopped");
	ktap_ok(kill(victim.pid, SIGCONT));
	expect_its_call_to_end(&victim);
}

static void a_stop_by_a_debugger_goes_on(void)
{
	struct victim victim;
	int status;

	reader_start(&victim);
	ktap_ok(ptrace(PTRACE_SEIZE, victim.pid, NULL, NULL));
	ktap_ok(ptrace(PTRACE_INTERRUPT, victim.pid, NULL, NULL));
	ktap_ok(waitpid(victim.pid, &status, 0));
	ktap_check(WIFSTOPPED(status), "wait status 0x%x", status);
	_senduipi(victim.index);
	sleep_ms(NEVER_MS);
	ktap_check(task_state(victim.pid, victim.pid) == 't', "does not stay stopped");
	ktap_ok(ptrace(PTRACE_DETACH, victim.pid, NULL, NULL));
	expect_its_call_to_end(&victim);
}

/* --- core dumps --------------------------------------------------------------------------- */

#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"
#define CORE_PIPE_LIMIT	"/proc/sys/kernel/core_pipe_limit"

/* The program that gets the dump; it reads when it is told, and takes its time at the end. */
static const char core_script[] =
	"#!/bin/sh\n"
	"cd ${0%/*}\n"
	"n=0\n"
	"while [ ! -e go ] && [ $n -lt 200 ]; do sleep 0.1; n=$((n + 1)); done\n"
	"cat >core\n"
	"sleep 0.3\n"
	"echo >done\n";

static char core_folder[64];

/* A file of the folder; valid until the next call. */
static const char *core_file(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", core_folder, name);
	return path;
}

static void file_write(const char *path, const char *text, mode_t mode)
{
	int fd = ktap_ok(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));

	ktap_ok(write(fd, text, strlen(text)));
	close(fd);
}

/* Have dumps written to the script; store the pattern that was there before. */
static void need_core_dumps(char *pattern, size_t size)
{
	char text[160];
	ssize_t n;
	int fd = open(CORE_PATTERN, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		ktap_skip("the kernel has no core dumps (%s); fragment coredump",
			  ktap_errno(errno));
	n = ktap_ok(read(fd, pattern, size - 1));
	pattern[n] = '\0';
	close(fd);
	snprintf(core_folder, sizeof(core_folder), "/tmp/core-%d", getpid());
	ktap_ok(mkdir(core_folder, 0700));
	file_write(core_file("script"), core_script, 0700);
	snprintf(text, sizeof(text), "|%s", core_file("script"));
	file_write(CORE_PATTERN, text, 0600);
	/* Without a limit the reader is not waited for. */
	file_write(CORE_PIPE_LIMIT, "4", 0600);
}

static char much[1 << 20];

static void dumps_core(void *arg)
{
	memset(much, 'm', sizeof(much));
	becomes_a_receiver(arg);
	raise(SIGABRT);
}

static bool is_dumping(pid_t pid)
{
	char path[64], line[256];
	int dumping = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f))
		sscanf(line, "CoreDumping: %d", &dumping);
	fclose(f);
	return dumping;
}

/* The dump has as much as its headers say. */
static void expect_a_whole_dump(void)
{
	const Elf64_Ehdr *head;
	const Elf64_Phdr *segment;
	uint64_t end = 0;
	struct stat stat;
	char *dump;
	int fd, i;

	fd = ktap_ok(open(core_file("core"), O_RDONLY | O_CLOEXEC));
	ktap_ok(fstat(fd, &stat));
	ktap_assert(stat.st_size > 4096, "the dump has %ld bytes", (long)stat.st_size);
	dump = mmap(NULL, stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	ktap_assert(dump != MAP_FAILED, "mmap: %s", ktap_errno(errno));
	head = (const void *)dump;
	ktap_assert(!memcmp(head->e_ident, ELFMAG, SELFMAG), "the dump is no ELF file");
	segment = (const void *)(dump + head->e_phoff);
	for (i = 0; i < head->e_phnum; i++)
		if (segment[i].p_offset + segment[i].p_filesz > end)
			end = segment[i].p_offset + segment[i].p_filesz;
	ktap_check(end > sizeof(much), "the dump has %lu bytes of memory", (unsigned long)end);
	ktap_check((uint64_t)stat.st_size >= end, "the dump has %ld bytes of %lu",
		   (long)stat.st_size, (unsigned long)end);
}

/* The dump is written to a pipe that is full, and the interrupt comes meanwhile. */
static void a_core_dump_is_whole(void)
{
	struct victim victim;
	char pattern[128];

	need_core_dumps(pattern, sizeof(pattern));
	victim_start(&victim, dumps_core);
	if (ktap_check(yield_until(is_dumping(victim.pid)), "no core is dumped"))
		ktap_check(task_reaches(victim.pid, victim.pid, 'S'), "the pipe is not full");
	_senduipi(victim.index);
	sleep_ms(NEVER_MS);
	file_write(core_file("go"), "\n", 0600);
	child_dies(victim.pid, SIGABRT);
	file_write(CORE_PATTERN, pattern, 0600);
	file_write(CORE_PIPE_LIMIT, "0", 0600);
	ktap_check(!access(core_file("done"), F_OK), "the reader of the dump is not waited for");
	expect_a_whole_dump();
}

static const struct ktap_case cases[] = {
	KTAP_CASE(a_frozen_receiver_sleeps_on, BLOCKED-14, BLOCKED-15),
	KTAP_CASE(a_stop_by_job_control_goes_on, BLOCKED-15, SIGNAL-7),
	KTAP_CASE(a_stop_by_a_debugger_goes_on, BLOCKED-15),
	KTAP_CASE(a_core_dump_is_whole, BLOCKED-16),
};

KTAP_MAIN(cases, uintr_waiting_missing())
