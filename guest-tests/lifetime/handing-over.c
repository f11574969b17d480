// SPDX-License-Identifier: GPL-2.0
/*
 * Every way to pass a vector's fd to its sender: a thread, fork, SCM_RIGHTS, pidfd_getfd. Every
 * process with the fd may connect, and only the receiver's own thread is interrupted.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

static void *sends_once(void *arg)
{
	_senduipi(sender_to(*(int *)arg));
	return NULL;
}

static void to_a_thread(void)
{
	int fd = receiver(9);

	_stui();
	in_thread(sends_once, &fd);
	ktap_check(spin_until(hits_of[9] == 1), "not delivered");
}

static void sends_from_child(void *arg)
{
	unsigned long before = hits;

	sends_once(arg);
	ktap_check(hits == before, "the sender was interrupted");
}

static void over_fork(void)
{
	int fd = receiver(9);
	pid_t child;

	_stui();
	child = child_start(sends_from_child, &fd);
	ktap_check(spin_until(hits_of[9] == 1), "not delivered");
	child_passes(child);
}

/* A grandchild, and the process between them is gone. */
static void middle_child(void *arg)
{
	pid_t pid = fork();

	ktap_assert(pid >= 0, "fork: %s", ktap_errno(errno));
	if (pid)
		return;
	sleep_ms(20);
	sends_once(arg);
	_exit(0);
}

static void over_two_forks(void)
{
	int fd = receiver(9);

	_stui();
	child_passes(child_start(middle_child, &fd));
	ktap_check(spin_until(hits_of[9] == 1), "not delivered");
}

struct by_socket {
	int sock[2];
	struct turn go;
};

static void receives_fd_and_sends(void *arg)
{
	struct by_socket *by = arg;
	int fd = fd_receive(by->sock[1]);

	ktap_check(fcntl(fd, F_GETFD) != -1, "no fd");
	sends_once(&fd);
}

static void over_scm_rights(void)
{
	struct by_socket by;
	pid_t child;
	int fd;

	ktap_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, by.sock));
	/* The child is there before the fd is. */
	child = child_start(receives_fd_and_sends, &by);
	fd = receiver(9);
	_stui();
	fd_send(by.sock[0], fd);
	ktap_check(spin_until(hits_of[9] == 1), "not delivered");
	child_passes(child);
}

/* An fd in flight in a socket is open, although no process has it. */
static void in_flight_keeps_it_open(void)
{
	struct by_socket by;
	int fd, index;

	need_the_rfc();
	ktap_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, by.sock));
	fd = receiver(9);
	index = sender_to(fd);
	fd_send(by.sock[0], fd);
	close(fd);
	ktap_check(senduipi_signal(index) == 0, "the connection is gone");
	ktap_fails(uintr_create_fd(9, 0), EBUSY);
	_stui();
	ktap_check(spin_until(hits == 1), "not delivered");
	fd = fd_receive(by.sock[1]);
	ktap_fails(uintr_register_sender(fd, 0), EISCONN);
	close(fd);
	ktap_check(senduipi_signal(index) == SIGSEGV, "the connection outlived the fd");
}

struct by_pidfd {
	int fd;
	pid_t receiver;
};

static void takes_fd_and_sends(void *arg)
{
	struct by_pidfd *by = arg;
	int pidfd = ktap_ok(syscall(SYS_pidfd_open, by->receiver, 0));
	int fd = ktap_ok(syscall(SYS_pidfd_getfd, pidfd, by->fd, 0));

	sends_once(&fd);
}

static void over_pidfd_getfd(void)
{
	struct by_pidfd *by = shared_memory(sizeof(*by));
	pid_t child;

	by->receiver = getpid();
	by->fd = receiver(9);
	_stui();
	child = child_start(takes_fd_and_sends, by);
	ktap_check(spin_until(hits_of[9] == 1), "not delivered");
	child_passes(child);
}

/* Two processes connect to the same fd: two connections, one vector. */
static void two_senders_one_fd(void)
{
	int fd = receiver(9);
	pid_t child;

	_stui();
	child = child_start(sends_from_child, &fd);
	ktap_check(spin_until(hits_of[9] == 1), "the first is not delivered");
	child_passes(child);
	child = child_start(sends_from_child, &fd);
	ktap_check(spin_until(hits_of[9] == 2), "the second is not delivered");
	child_passes(child);
	ktap_check(hits == 2, "%lu hits", hits);
}

/* Both directions at once, between two processes. */
struct pair {
	int sock[2];
};

static void answers(void *arg)
{
	struct pair *pair = arg;
	int index, i;

	fd_send(pair->sock[1], receiver(2));
	index = sender_to(fd_receive(pair->sock[1]));
	_stui();
	for (i = 1; i <= 50; i++) {
		ktap_assert(yield_until(hits == (unsigned long)i), "question %d is lost", i);
		_senduipi(index);
	}
}

static void both_directions(void)
{
	struct pair pair;
	pid_t child;
	int index, i;

	ktap_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.sock));
	child = child_start(answers, &pair);
	fd_send(pair.sock[0], receiver(1));
	index = sender_to(fd_receive(pair.sock[0]));
	_stui();
	for (i = 1; i <= 50; i++) {
		_senduipi(index);
		ktap_assert(yield_until(hits == (unsigned long)i), "answer %d is lost", i);
	}
	child_passes(child);
	ktap_check(hits_of[1] == 50, "%lu answers", hits_of[1]);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(to_a_thread, HANDOVER-2),
	KTAP_CASE(over_fork, HANDOVER-3, HANDOVER-7),
	KTAP_CASE(over_two_forks, HANDOVER-1, HANDOVER-3),
	KTAP_CASE(over_scm_rights, HANDOVER-1, HANDOVER-4),
	KTAP_CASE(in_flight_keeps_it_open, LIFE-2, SENDER-17),
	KTAP_CASE(over_pidfd_getfd, HANDOVER-1, HANDOVER-5),
	KTAP_CASE(two_senders_one_fd, HANDOVER-3, LIFE-11),
	KTAP_CASE(both_directions, HANDOVER-8),
};

KTAP_MAIN(cases, uintr_missing())
