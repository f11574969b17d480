// SPDX-License-Identifier: GPL-2.0
/*
 * Many senders at once. Whatever the timing, there is no handler call without a send, and none is
 * lost at the end: a handler that starts after the last send has received it.
 */
#include "ktap.h"
#include "peer.h"
#include "sides.h"
#include "task.h"
#include "uintr.h"
#include "wait.h"

#include <stdlib.h>

#define STORM_MS	1500
#define PING_PONG_MS	5000

struct cannon {
	pthread_t thread;
	int fd;
	unsigned int vector;
	unsigned int cpu;
	bool gently;		/* let others run after each shot */
	uint64_t sent;
};

static bool fire, cease;

static void *shoots(void *arg)
{
	struct cannon *cannon = arg;
	int index;

	pin_to(cannon->cpu);
	index = sender_to(cannon->fd);
	while (!shared_load(&fire))
		sched_yield();
	while (!shared_load(&cease)) {
		_senduipi(index);
		cannon->sent++;
		if (cannon->gently)
			sched_yield();
	}
	return NULL;
}

/* Each sender has a vector; the receiver computes meanwhile. */
static void storm(unsigned int senders, bool same_vector, bool gently, bool calls)
{
	struct cannon *cannons = calloc(senders, sizeof(*cannons));
	int fd = -1, last_fd, last;
	uint64_t sent = 0, handled, start;
	unsigned int i, vector;

	pin_to(0);
	ktap_ok(uintr_register_handler(count_hit, 0));
	last_fd = ktap_ok(uintr_create_fd(63, 0));
	last = sender_to(last_fd);
	for (i = 0; i < senders; i++) {
		vector = same_vector ? 0 : i % 63;
		if (!same_vector || i == 0)
			fd = ktap_ok(uintr_create_fd(vector, 0));
		cannons[i] = (struct cannon){
			.fd = fd, .vector = vector, .cpu = i + 1, .gently = gently,
		};
		cannons[i].thread = thread_start(shoots, &cannons[i]);
	}
	_stui();
	shared_store(&fire, true);
	start = now_ns();
	while (now_ns() - start < STORM_MS * 1000000ULL)
		if (calls)
			getppid();
	shared_store(&cease, true);
	for (i = 0; i < senders; i++) {
		thread_join(cannons[i].thread);
		sent += cannons[i].sent;
	}
	/* One more, at the highest vector: when it is handled, everything before it is pending. */
	_senduipi(last);
	ktap_check(spin_until(hits_of[63] == 1), "the last interrupt is lost");
	getppid();
	sleep_ms(5);
	handled = hits - hits_of[63];
	ktap_check(handled <= sent, "%lu handled of %lu sent", handled, sent);
	ktap_check(handled > 0, "none handled of %lu sent", sent);
	for (i = 0; i < senders && !same_vector; i++) {
		ktap_check(hits_of[i] <= cannons[i].sent, "vector %u: %lu handled of %lu sent", i,
			   hits_of[i], cannons[i].sent);
		ktap_check(!cannons[i].sent || hits_of[i], "vector %u: none handled of %lu", i,
			   cannons[i].sent);
	}
	ktap_diag("%lu sent, %lu handled", sent, handled);
}

static void one_sender(void)
{
	storm(1, false, false, false);
}

static void a_sender_on_every_cpu(void)
{
	storm(cpu_count(), false, false, true);
}

static void many_senders_of_their_own_vector(void)
{
	storm(24, false, true, true);
}

static void many_senders_of_one_vector(void)
{
	storm(24, true, true, true);
}

#define VOLLEY	8
#define ENOUGH	40000

struct volley {
	int fd[VOLLEY];		/* of the vectors 0 to VOLLEY - 1 */
	uint64_t sent[VOLLEY];
	bool over;
};

static void *sends_what_was_answered(void *arg)
{
	struct volley *volley = arg;
	uint64_t start, all = 0, before;
	int index[VOLLEY];
	unsigned int i;

	pin_to(1);
	for (i = 0; i < VOLLEY; i++)
		index[i] = sender_to(volley->fd[i]);
	start = now_ns();
	/* A slow machine makes fewer. */
	while (all < ENOUGH && now_ns() - start < PING_PONG_MS * 1000000ULL) {
		before = all;
		for (i = 0; i < VOLLEY; i++) {
			if (shared_load(&hits_of[i]) != volley->sent[i])
				continue;
			volley->sent[i]++;
			_senduipi(index[i]);
			all++;
		}
		if (all == before)
			sched_yield();
	}
	for (i = 0; i < VOLLEY; i++)
		ktap_check(yield_until(shared_load(&hits_of[i]) == volley->sent[i]),
			   "vector %u: %lu handled of %lu", i, shared_load(&hits_of[i]),
			   volley->sent[i]);
	shared_store(&volley->over, true);
	return NULL;
}

/*
 * A vector is sent again only after it was handled, while others are posted and delivered all the
 * time. So a lost one never arrives again, and one delivered twice is counted twice.
 */
static void each_vector_is_answered(void)
{
	struct volley volley = {};
	uint64_t sent = 0;
	pthread_t thread;
	unsigned int i;

	pin_to(0);
	ktap_ok(uintr_register_handler(count_hit, 0));
	for (i = 0; i < VOLLEY; i++)
		volley.fd[i] = ktap_ok(uintr_create_fd(i, 0));
	_stui();
	thread = thread_start(sends_what_was_answered, &volley);
	/* Not in the kernel, at whose exit a missed notification would be found. */
	while (!shared_load(&volley.over))
		__builtin_ia32_pause();
	thread_join(thread);
	for (i = 0; i < VOLLEY; i++)
		sent += volley.sent[i];
	ktap_check(hits == sent, "%lu handled of %lu sent", hits, sent);
	ktap_diag("%lu sent", sent);
}

/* --- waiters ------------------------------------------------------------------------------ */

struct player {
	unsigned int self;
	unsigned int cpu;
	bool spins;
	int fd;
};

static struct player players[2];
static unsigned long last_round;	/* set by side 0 before it sends for that round */

static void *plays(void *arg)
{
	struct player *p = arg, *other = &players[!p->self];
	uint64_t deadline = now_ns() + PING_PONG_MS * 1000000ULL;
	unsigned long i;
	int index;
	long ret;

	pin_to(p->cpu);
	register_side(p->self);
	shared_store(&p->fd, ktap_ok(uintr_create_fd(0, 0)));
	ktap_assert(yield_until(shared_load(&other->fd) >= 0), "no fd");
	index = sender_to(other->fd);
	_stui();
	for (i = 0; i <= shared_load(&last_round); i++) {
		if (!p->self) {
			/* A slow machine makes fewer. */
			if (now_ns() > deadline)
				shared_store(&last_round, i);
			_senduipi(index);
		}
		while (arrived[p->self] == i) {
			if (p->spins) {
				__builtin_ia32_pause();
				continue;
			}
			ret = wait_while(&arrived[p->self], i);
			ktap_assert(ret == 0 || ret == -EINTR, "uintr_wait() gave %ld", ret);
		}
		ktap_assert(arrived[p->self] == i + 1, "round %lu: %lu arrived", i,
			    arrived[p->self]);
		if (p->self)
			_senduipi(index);
	}
	/* Stay until the other is done: a receiver that is gone takes no part. */
	ktap_assert(yield_until(shared_load(&arrived[!p->self]) == shared_load(&last_round) + 1),
		    "the other is stuck");
	return NULL;
}

static void ping_pong(unsigned long rounds, bool spins, unsigned int cpu)
{
	pthread_t thread;
	int i;

	for (i = 0; i < 2; i++)
		players[i] = (struct player){
			.self = i, .cpu = i ? cpu : 0, .spins = spins, .fd = -1,
		};
	last_round = rounds - 1;
	thread = thread_start(plays, &players[1]);
	plays(&players[0]);
	thread_join(thread);
	rounds = last_round + 1;
	ktap_check(arrived[0] == rounds && arrived[1] == rounds, "%lu and %lu of %lu",
		   arrived[0], arrived[1], rounds);
	ktap_diag("%lu rounds", rounds);
}

static void ping_pong_waiting(void)
{
	need_the_rfc();
	ping_pong(10000, false, 1);
}

static void ping_pong_waiting_on_one_cpu(void)
{
	need_the_rfc();
	ping_pong(10000, false, 0);
}

static void ping_pong_spinning(void)
{
	if (cpu_count() < 2)
		ktap_skip("one CPU: both sides cannot spin");
	ping_pong(10000, true, 1);
}

/* As many pairs as there are CPUs, each a process of two threads. */
static void pair_child(void *arg)
{
	(void)arg;
	ping_pong(1500, false, 1);
}

static void many_pairs_waiting(void)
{
	int n = 2 * cpu_count(), i;
	pid_t *pid = calloc(n, sizeof(*pid));

	need_the_rfc();
	for (i = 0; i < n; i++)
		pid[i] = child_start(pair_child, NULL);
	for (i = 0; i < n; i++)
		child_passes(pid[i]);
}

static uint64_t round_begun;

static void *answers_each_round(void *arg)
{
	struct cannon *cannon = arg;
	int index;
	uint64_t seen = 0, now;

	pin_to(cannon->cpu);
	index = sender_to(cannon->fd);
	while (!shared_load(&cease)) {
		now = shared_load(&round_begun);
		if (now == seen)
			continue;
		seen = now;
		_senduipi(index);
	}
	return NULL;
}

/*
 * An interrupt sent while the receiver sets its flag: either it is pending when the flag is set,
 * or the flag is set when it is sent. The order varies.
 */
static void sent_while_the_flag_is_being_set(void)
{
	struct cannon cannon = { .fd = receiver(0), .cpu = 1 };
	uint64_t start, late = 0, round;
	volatile unsigned int delay;

	if (cpu_count() < 2)
		ktap_skip("there is one CPU");
	pin_to(0);
	_clui();
	cannon.thread = thread_start(answers_each_round, &cannon);
	start = now_ns();
	for (round = 1; now_ns() - start < STORM_MS * 1000000ULL; round++) {
		shared_store(&round_begun, round);
		for (delay = 0; delay < round % 4096; delay++)
			;
		_stui();
		late += shared_load(&hits) < round;
		ktap_assert(spin_until(shared_load(&hits) == round), "round %lu: the interrupt is lost",
			    round);
		_clui();
	}
	shared_store(&cease, true);
	thread_join(cannon.thread);
	ktap_diag("%lu rounds, %lu came after the flag was set", round - 1, late);
}

static const struct ktap_case cases[] = {
	KTAP_CASE(one_sender, TASK-12),
	KTAP_CASE(a_sender_on_every_cpu, TASK-12),
	KTAP_CASE(many_senders_of_their_own_vector, TASK-12),
	KTAP_CASE(many_senders_of_one_vector, TASK-12, HANDOVER-6),
	KTAP_CASE(each_vector_is_answered, TASK-12),
	KTAP_CASE(sent_while_the_flag_is_being_set, TASK-12, DELIVERY-2),
	KTAP_CASE(ping_pong_waiting, WAIT-9, HANDOVER-8),
	KTAP_CASE(ping_pong_waiting_on_one_cpu, WAIT-9),
	KTAP_CASE(ping_pong_spinning, TASK-1, HANDOVER-8),
	KTAP_CASE(many_pairs_waiting, WAIT-9),
};

KTAP_MAIN(cases, uintr_missing())
