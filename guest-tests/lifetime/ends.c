// SPDX-License-Identifier: GPL-2.0
/*
 * The end of either side, in every order: close, unregister and exit of the receiver and of the
 * sender, and exec. New objects must not be affected by old ones.
 *
 * Sending to a receiver that has unregistered or exited while its fd is still open is harmless:
 * no signal, nothing delivered to anyone. Once the last reference to the fd is closed, the
 * sender's entry is gone and SENDUIPI faults.
 */
#include "fault.h"
#include "ktap.h"
#include "peer.h"
#include "task.h"
#include "uintr.h"

/* --- close ------------------------------------------------------------------------------- */

static void close_disconnects_own_sender(void)
{
	int fd = receiver(0), index = sender_to(fd);

	close(fd);
	ktap_check(senduipi_signal(index) == SIGSEGV, "the connection outlived the fd");
	_stui();
	sleep_ms(NEVER_MS);
	ktap_check(hits == 0, "delivered over a closed fd");
}

struct remote {
	int fd;
	int index;
	int step;	/* what the sender is asked to do next */
	int done;
	int sig;
	pid_t tid;
};

/* A sender that does step after step: 1 send and note the signal, 2 unregister, 3 end. */
static void *remote_sender(void *arg)
{
	struct remote *r = arg;

	r->tid = task_tid();
	r->index = sender_to(r->fd);
	shared_store(&r->done, 1);
	for (;;) {
		ktap_assert(yield_until(shared_load(&r->step)), "the sender was left alone");
		switch (shared_load(&r->step)) {
		case 1:
			r->sig = senduipi_signal(r->index);
			break;
		case 2:
			r->sig = uintr_unregister_sender(r->fd, 0) ? errno : 0;
			break;
		default:
			return NULL;
		}
		shared_store(&r->step, 0);
		shared_add(&r->done, 1);
	}
}

static pthread_t remote_start(struct remote *r, int fd)
{
	pthread_t thread;

	*r = (struct remote){ .fd = fd };
	thread = thread_start(remote_sender, r);
	ktap_assert(yield_until(shared_load(&r->done) == 1), "the sender did not connect");
	return thread;
}

static int remote_do(struct remote *r, int step)
{
	int done = shared_load(&r->done);

	shared_store(&r->step, step);
	ktap_assert(yield_until(shared_load(&r->done) == done + 1), "the sender does not answer");
	return r->sig;
}

static void remote_end(struct remote *r, pthread_t thread)
{
	shared_store(&r->step, 3);
	thread_join(thread);
}

static void close_disconnects_another_thread(void)
{
	int fd = receiver(0);
	struct remote r;
	pthread_t thread = remote_start(&r, fd);

	ktap_check(remote_do(&r, 1) == 0, "the connection does not work");
	close(fd);
	ktap_check(remote_do(&r, 1) == SIGSEGV, "the connection outlived the fd");
	remote_end(&r, thread);
}

struct child_sender {
	int fd;
	struct turn ready, go;
};

static void child_sends_until_it_dies(void *arg)
{
	struct child_sender *c = arg;
	int index = sender_to(c->fd);

	close(c->fd);		/* a connection is no reference to the fd */
	_senduipi(index);
	turn_give(&c->ready);
	turn_take(&c->go);
	_senduipi(index);
	ktap_assert(false, "the connection outlived the fd");
}

static void close_disconnects_another_process(void)
{
	struct child_sender c;
	pid_t child;

	turn_init(&c.ready);
	turn_init(&c.go);
	c.fd = receiver(0);
	_stui();
	child = child_start(child_sends_until_it_dies, &c);
	turn_take(&c.ready);
	ktap_check(spin_until(hits == 1), "not delivered");
	close(c.fd);
	turn_give(&c.go);
	child_dies(child, SIGSEGV);
	ktap_check(hits == 1, "%lu hits", hits);
}

static void close_of_a_copy_changes_nothing(void)
{
	int fd = receiver(0), copy = ktap_ok(dup(fd)), index = sender_to(fd);

	close(fd);
	ktap_check(senduipi_signal(index) == 0, "the connection is gone with one of two fds");
	_stui();
	ktap_check(spin_until(hits == 1), "not delivered");
	close(copy);
	ktap_check(senduipi_signal(index) == SIGSEGV, "the connection outlived the last fd");
}

static void vector_and_index_are_used_again_after_close(void)
{
	int fd, index, i;

	ktap_ok(uintr_register_handler(count_hit, 0));
	_stui();
	for (i = 1; i <= 300; i++) {
		fd = ktap_ok(uintr_create_fd(i % UINTR_VECTORS, 0));
		index = sender_to(fd);
		ktap_assert(index == 0, "round %d: index %d", i, index);
		_senduipi(index);
		ktap_assert(spin_until(hits == (unsigned long)i), "round %d: not delivered", i);
		close(fd);
	}
}

/*
 * The entry of a closed fd is free: a later connection may get its index, and then leads to the
 * new receiver only.
 */
static void index_leads_to_the_new_receiver(void)
{
	int old = receiver(1), index = sender_to(old), new;

	close(old);
	new = ktap_ok(uintr_create_fd(2, 0));
	ktap_check(sender_to(new) == index, "the index is not used again");
	_senduipi(index);
	_stui();
	ktap_check(spin_until(hits == 1), "not delivered");
	ktap_check(hits_of[2] == 1, "delivered with the old vector");
}

/* What was sent to a closed fd is lost, even if another fd gets its number. */
static void what_is_pending_ends_with_the_fd(void)
{
	int i, fd, next = -1;

	need_more_than_the_rfc();
	ktap_ok(uintr_register_handler(count_hit, 0));
	for (i = 0; i < 50; i++) {
		_clui();
		fd = ktap_ok(uintr_create_fd(7, 0));
		_senduipi(sender_to(fd));
		close(fd);
		if (i % 2)
			next = ktap_ok(uintr_create_fd(7, 0));
		_stui();
		getppid();
		ktap_assert(hits == 0, "round %d: delivered over %s", i,
			    i % 2 ? "another fd of the same vector" : "a closed fd");
		if (i % 2)
			close(next);
	}
}

/* --- unregister -------------------------------------------------------------------------- */

static void unregister_drops_what_is_pending(void)
{
	int fd = receiver(1), index = sender_to(fd);

	_clui();
	_senduipi(index);
	ktap_ok(uintr_unregister_handler(0));
	_stui();
	sleep_ms(NEVER_MS);
	ktap_check(hits == 0, "delivered without a handler");
	ktap_ok(uintr_register_handler(count_hit, 0));
	sleep_ms(NEVER_MS);
	ktap_check(hits == 0, "a new registration got the old one's interrupt");
}

static void send_to_unregistered_is_harmless(void)
{
	int fd = receiver(1), index = sender_to(fd), other;

	ktap_ok(uintr_unregister_handler(0));
	ktap_check(senduipi_signal(index) == 0, "signal");
	_stui();
	/* The same vector, registered again, is another one. */
	other = receiver(1);
	_senduipi(index);
	sleep_ms(NEVER_MS);
	ktap_check(hits == 0, "the old fd reaches the new registration");
	_senduipi(sender_to(other));
	ktap_check(spin_until(hits == 1), "the new fd does not work");
	close(fd);
	ktap_check(senduipi_signal(index) == SIGSEGV, "the connection outlived the fd");
	ktap_check(hits == 1, "%lu hits", hits);
}

static void close_after_unregister_leaves_the_new_vector(void)
{
	int old = receiver(1), new, index;

	ktap_ok(uintr_unregister_handler(0));
	new = receiver(1);
	close(old);
	/* Closing the old registration's fd must not free the vector of the new. */
	ktap_fails(uintr_create_fd(1, 0), EBUSY);
	index = sender_to(new);
	_stui();
	_senduipi(index);
	ktap_check(spin_until(hits == 1), "not delivered");
}

static void sender_unregisters_first(void)
{
	int fd = receiver(0);
	struct remote r;
	pthread_t thread = remote_start(&r, fd);

	ktap_check(remote_do(&r, 1) == 0, "the connection does not work");
	ktap_check(remote_do(&r, 2) == 0, "unregister gave %d", r.sig);
	ktap_check(remote_do(&r, 1) == SIGSEGV, "sends after unregister");
	ktap_check(remote_do(&r, 2) == EINVAL, "unregister again gave %d", r.sig);
	_stui();
	ktap_check(spin_until(hits == 1), "what was sent before is lost");
	close(fd);
	ktap_ok(uintr_unregister_handler(0));
	remote_end(&r, thread);
}

static void sender_unregisters_after_the_receiver(void)
{
	int fd = receiver(0);
	struct remote r;
	pthread_t thread = remote_start(&r, fd);

	ktap_ok(uintr_unregister_handler(0));
	ktap_check(remote_do(&r, 2) == 0, "unregister gave %d", r.sig);
	ktap_check(remote_do(&r, 1) == SIGSEGV, "sends after unregister");
	remote_end(&r, thread);
	close(fd);
}

static void new_handler_takes_over(void)
{
	int i, fd, index;

	_stui();
	for (i = 1; i <= 100; i++) {
		fd = receiver(i % UINTR_VECTORS);
		index = sender_to(fd);
		_senduipi(index);
		ktap_assert(spin_until(hits == (unsigned long)i), "round %d: not delivered", i);
		if (i % 2)
			close(fd);
		ktap_ok(uintr_unregister_handler(0));
		if (i % 2 == 0)
			close(fd);
	}
}

static volatile unsigned long other_hits;

static UINTR_HANDLER void count_other(struct __uintr_frame *frame, unsigned long long vector)
{
	(void)frame;
	(void)vector;
	other_hits++;
}

static void each_registration_has_its_handler(void)
{
	int fd = receiver(0), other;

	_stui();
	_senduipi(sender_to(fd));
	ktap_check(spin_until(hits == 1), "not delivered");
	ktap_ok(uintr_unregister_handler(0));
	ktap_ok(uintr_register_handler(count_other, 0));
	other = ktap_ok(uintr_create_fd(0, 0));
	_senduipi(sender_to(other));
	ktap_check(spin_until(other_hits == 1), "not delivered to the second handler");
	ktap_check(hits == 1, "delivered to the first handler");
}

/* --- exit -------------------------------------------------------------------------------- */

struct thread_receiver {
	int fd;
	pid_t tid;
	bool stop;
	bool masked;
};

static void *receives_for_a_while(void *arg)
{
	struct thread_receiver *t = arg;
	int fd = receiver(4);

	t->tid = task_tid();
	if (!t->masked)
		_stui();
	shared_store(&t->fd, fd);
	ktap_assert(yield_until(shared_load(&t->stop)), "left alone");
	return NULL;
}

static pthread_t thread_receiver_start(struct thread_receiver *t)
{
	pthread_t thread = thread_start(receives_for_a_while, t);

	ktap_assert(yield_until(shared_load(&t->fd) >= 0), "no fd");
	return thread;
}

static void sender_outlives_receiver_thread(void)
{
	struct thread_receiver t = { .fd = -1 };
	pthread_t thread = thread_receiver_start(&t);
	int index = sender_to(t.fd), i;

	_senduipi(index);
	ktap_check(yield_until(hits == 1), "not delivered");
	shared_store(&t.stop, true);
	thread_join(thread);
	thread_vanishes(t.tid);
	for (i = 0; i < 100; i++)
		ktap_check(senduipi_signal(index) == 0, "signal for a receiver that is gone");
	ktap_ok(uintr_unregister_sender(t.fd, 0));
	ktap_fails(uintr_register_sender(t.fd, 0), ESHUTDOWN);
	close(t.fd);
	ktap_check(senduipi_signal(index) == SIGSEGV, "the entry is still there");
	ktap_check(hits == 1, "%lu hits", hits);
}

static void receiver_thread_exits_with_one_pending(void)
{
	struct thread_receiver t = { .fd = -1, .masked = true };
	pthread_t thread = thread_receiver_start(&t);
	int index = sender_to(t.fd);

	_senduipi(index);
	shared_store(&t.stop, true);
	thread_join(thread);
	thread_vanishes(t.tid);
	ktap_check(hits == 0, "delivered with UIF clear");
	close(t.fd);
	ktap_check(senduipi_signal(index) == SIGSEGV, "the connection outlived the fd");
}

static void *connects_and_ends(void *arg)
{
	_senduipi(sender_to(*(int *)arg));
	return NULL;
}

static void receiver_outlives_sender_threads(void)
{
	int fd = receiver(0), i;

	_stui();
	for (i = 1; i <= 100; i++) {
		in_thread(connects_and_ends, &fd);
		ktap_assert(spin_until(hits == (unsigned long)i), "round %d: not delivered", i);
	}
	close(fd);
	fd = ktap_ok(uintr_create_fd(0, 0));
	in_thread(connects_and_ends, &fd);
	ktap_check(spin_until(hits == 101), "not delivered over a new fd");
}

static void *only_connects(void *arg)
{
	sender_to(*(int *)arg);
	return NULL;
}

/* A sender that has ended must not affect the next one. */
static void sender_that_ended_harms_no_other(void)
{
	int stays, goes, i;
	struct remote r;
	pthread_t thread;

	pin_to(0);
	stays = receiver(0);
	for (i = 0; i < 20; i++) {
		goes = ktap_ok(uintr_create_fd(1, 0));
		in_thread(only_connects, &goes);
		sleep_ms(2);
		thread = remote_start(&r, stays);
		close(goes);
		ktap_check(remote_do(&r, 1) == 0, "round %d: the connection of another is gone", i);
		remote_end(&r, thread);
	}
}

static void connects_and_is_killed(void *arg)
{
	_senduipi(sender_to(*(int *)arg));
	raise(SIGKILL);
}

static void receiver_outlives_killed_senders(void)
{
	int fd = receiver(0), i;

	_stui();
	for (i = 1; i <= 20; i++) {
		child_dies(child_start(connects_and_is_killed, &fd), SIGKILL);
		ktap_assert(spin_until(hits == (unsigned long)i), "round %d: not delivered", i);
	}
}

static void receives_then_dies(void *arg)
{
	int fd = receiver(0);

	_stui();
	fd_send(*(int *)arg, fd);
	raise(SIGKILL);
}

/* The receiver's process is gone, and its fd lives on in the sender's. */
static void sender_outlives_killed_receiver(void)
{
	int sock[2], fd, index;
	pid_t child;

	ktap_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	child = child_start(receives_then_dies, &sock[1]);
	fd = fd_receive(sock[0]);
	index = uintr_register_sender(fd, 0);
	ktap_check(index >= 0 || errno == ESHUTDOWN, "%s", ktap_errno(errno));
	child_dies(child, SIGKILL);
	ktap_fails(uintr_register_sender(fd, 0), index >= 0 ? EISCONN : ESHUTDOWN);
	if (index >= 0)
		ktap_check(senduipi_signal(index) == 0, "signal");
	close(fd);
	if (index >= 0)
		ktap_check(senduipi_signal(index) == SIGSEGV, "the connection outlived the fd");
}

static volatile bool sends_on;

static void *sends_for_ever(void *arg)
{
	int index = sender_to(*(int *)arg);

	sends_on = true;
	for (;;)
		_senduipi(index);
	return NULL;
}

static void ends_in_a_storm(void *arg)
{
	int fd = receiver(0);

	(void)arg;
	thread_start(sends_for_ever, &fd);
	ktap_assert(yield_until(sends_on), "no storm");
	_stui();
	sleep_ms(2);
	_exit(0);
}

/* exit_group with the receiver's handler running and a sender at it. */
static void process_exits_in_a_storm(void)
{
	int i;

	for (i = 0; i < 15; i++)
		child_passes(child_start(ends_in_a_storm, NULL));
}

/* --- exec -------------------------------------------------------------------------------- */

/*
 * After exec this program runs again with one of these arguments; nothing of the RFC's state may be
 * there.
 */
static int after_exec(void)
{
	struct fault fault = {};

	if (_testui())
		return 10;
	if (uintr_unregister_handler(0) != -1 || errno != EINVAL)
		return 11;
	fault = fault_of(fault_senduipi, NULL);
	if (fault.sig != SIGILL)
		return 12;
	if (uintr_register_handler(count_hit, 0))
		return 13;
	_stui();
	sleep_ms(NEVER_MS);
	if (hits)
		return 14;
	return 0;
}

static void execs(void *arg)
{
	int fd = receiver(0);

	_senduipi(sender_to(fd));
	if (arg)
		_stui();
	execl("/proc/self/exe", "ends", "--after-exec", NULL);
	ktap_assert(false, "exec: %s", ktap_errno(errno));
}

static void nothing_is_left_after_exec(void)
{
	static const char *const what[] = {
		"UIF is set", "there is a handler", "there is a table of senders",
		"a handler cannot be registered", "an old interrupt was delivered",
	};
	int i, status;

	for (i = 0; i < 2; i++) {
		status = child_wait(child_start(execs, i ? "" : NULL));
		ktap_check(WIFEXITED(status), "wait status 0x%x", status);
		if (WEXITSTATUS(status) >= 10 && WEXITSTATUS(status) < 15)
			ktap_check(false, "after exec: %s", what[WEXITSTATUS(status) - 10]);
		else
			ktap_check(WEXITSTATUS(status) == 0, "wait status 0x%x", status);
	}
}

struct exec_receiver {
	int sock[2];
};

static void receives_then_execs(void *arg)
{
	struct exec_receiver *e = arg;

	fd_send(e->sock[1], receiver(0));
	turn_take(&(struct turn){ .fd = { e->sock[1], -1 } });
	_stui();
	execl("/proc/self/exe", "ends", "--after-exec", NULL);
	ktap_assert(false, "exec: %s", ktap_errno(errno));
}

/* For a sender, a receiver that calls exec is gone. */
static void exec_ends_the_receiver(void)
{
	struct exec_receiver e;
	int fd, index, i;
	pid_t child;

	ktap_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, e.sock));
	child = child_start(receives_then_execs, &e);
	fd = fd_receive(e.sock[0]);
	index = sender_to(fd);
	ktap_ok(write(e.sock[0], "x", 1));
	for (i = 0; i < 50; i++) {
		ktap_check(senduipi_signal(index) == 0, "signal");
		sleep_ms(1);
	}
	child_passes(child);
	ktap_ok(uintr_unregister_sender(fd, 0));
	ktap_fails(uintr_register_sender(fd, 0), ESHUTDOWN);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(close_disconnects_own_sender, LIFE-1),
	KTAP_CASE(close_disconnects_another_thread, LIFE-1),
	KTAP_CASE(close_disconnects_another_process, LIFE-1, LIFE-3, SENDER-17),
	KTAP_CASE(close_of_a_copy_changes_nothing, LIFE-1, LIFE-2, SENDER-17),
	KTAP_CASE(vector_and_index_are_used_again_after_close, LIFE-4),
	KTAP_CASE(index_leads_to_the_new_receiver, LIFE-4),
	KTAP_CASE(what_is_pending_ends_with_the_fd, LIFE-5),
	KTAP_CASE(unregister_drops_what_is_pending, HANDLER-14),
	KTAP_CASE(send_to_unregistered_is_harmless, POST-6, LIFE-1, LIFE-6),
	KTAP_CASE(close_after_unregister_leaves_the_new_vector, LIFE-7),
	KTAP_CASE(sender_unregisters_first, LIFE-8, LIFE-9, POST-5, SENDER-16),
	KTAP_CASE(sender_unregisters_after_the_receiver, LIFE-8, POST-5),
	KTAP_CASE(new_handler_takes_over, HANDLER-11, LIFE-4),
	KTAP_CASE(each_registration_has_its_handler, HANDLER-11),
	KTAP_CASE(sender_outlives_receiver_thread, POST-6, LIFE-1, LIFE-8, SENDER-8),
	KTAP_CASE(receiver_thread_exits_with_one_pending, LIFE-10, LIFE-1),
	KTAP_CASE(receiver_outlives_sender_threads, LIFE-11),
	KTAP_CASE(sender_that_ended_harms_no_other, LIFE-11),
	KTAP_CASE(receiver_outlives_killed_senders, LIFE-11),
	KTAP_CASE(sender_outlives_killed_receiver, POST-6, LIFE-1, LIFE-12),
	KTAP_CASE(process_exits_in_a_storm, LIFE-13),
	KTAP_CASE(nothing_is_left_after_exec, LIFE-14),
	KTAP_CASE(exec_ends_the_receiver, LIFE-15, POST-6),
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		return after_exec();
	return ktap_main(cases, sizeof(cases) / sizeof(cases[0]), uintr_rfc_missing(), argc, argv);
}
