// SPDX-License-Identifier: GPL-2.0
/*
 * Plays scripts of system calls and instructions, one step at a time over a few threads, and
 * prints the result of each step: the same lines for the same script, wherever it is played.
 *
 *	interpreter --scripts FILE
 *
 * FILE has lines of "script NAME", "threads WAY…", "THREAD OP ARGUMENT…" for each step, and "end";
 * "#" begins a comment. A WAY is how a thread waits for its turn: blocked; far, which is blocked
 * on the second CPU; or spin, which is in user mode on the second CPU. A line of output is a
 * step's number, the step, its result, and after a bar for each thread its user interrupt flag (-
 * while it is blocked) and its events since the step before: V a user interrupt, ( and ) begin and
 * end of one that can be interrupted, X one without its handler, L the result of unregistering in
 * the handler, S a signal, F a fault and its place, H a fault in a handler, T a step, = the result
 * of a call that was blocked.
 *
 * Without arguments it plays some scripts with known results.
 */
#include "ktap.h"
#include "ops.h"

#define STEPS_MAX	256
#define LINE_SIZE	512

struct script {
	char name[64];
	unsigned int count;
	char steps[STEPS_MAX][LINE_SIZE];
};

/* Where lines go: to the standard output, or for a case to where they are compared. */
static char *said;
static size_t said_size;

static __attribute__((format(printf, 1, 2))) void say(const char *fmt, ...)
{
	char line[4096];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	if (said)
		strncat(said, line, said_size - strlen(said) - 1);
	else if (write(STDOUT_FILENO, line, n) != n)
		_exit(KTAP_EXIT_FAIL);
}

/* --- events of a thread -------------------------------------------------------------------- */

static int by_what(const void *a, const void *b)
{
	const struct event *left = a, *right = b;

	return left->what != right->what ? left->what - right->what : left->value - right->value;
}

/*
 * Sorted if other threads cause the events, because their order then depends on timing.
 */
static void log_text(const struct log *log, bool sorted, char *text, size_t size)
{
	unsigned int i, count = log->count < LOG_MAX ? log->count : LOG_MAX;
	struct event events[LOG_MAX];
	size_t used = 0;

	memcpy(events, log->events, count * sizeof(*events));
	if (sorted)
		qsort(events, count, sizeof(*events), by_what);
	text[0] = '\0';
	for (i = 0; i < count && used < size; i++) {
		used += snprintf(text + used, size - used, " %c%d", events[i].what, events[i].value);
		if (events[i].place >= 0 && used < size)
			used += snprintf(text + used, size - used, "@%d", events[i].place);
	}
}

/* --- turns -------------------------------------------------------------------------------- */

static unsigned int activity(void)
{
	unsigned int i, sum = 0;

	for (i = 0; i < worker_count; i++)
		sum += shared_load(&workers[i].log.count) + shared_load(&workers[i].log.ended) +
		       workers[i].unblocked;
	return sum;
}

/* Let each thread run in user mode until no more events happen. */
static void settle(void)
{
	unsigned int i, before;
	struct worker *w;

	do {
		before = activity();
		for (i = 0; i < worker_count; i++) {
			w = &workers[i];
			if (w->busy && worker_finishes(w)) {
				w->busy = false;
				w->unblocked = true;
			}
			if (w->busy)
				continue;
			worker_ask(w, TASK_TOUCH);
			worker_finishes(w);
		}
	} while (activity() != before);
}

static void report(const char *head, const struct worker *actor, const char *result, bool many)
{
	char line[4000], text[1024];
	size_t used = snprintf(line, sizeof(line), "%s: %s |", head, result);
	unsigned int i;

	for (i = 0; i < worker_count && used < sizeof(line); i++) {
		struct worker *w = &workers[i];

		log_text(&w->log, w != actor || many, text, sizeof(text));
		used += snprintf(line + used, sizeof(line) - used, " %u:%c%s", i,
				 w->busy ? '-' : '0' + w->uif, text);
		if (w->unblocked && used < sizeof(line))
			used += snprintf(line + used, sizeof(line) - used, " =%s", w->result);
		w->unblocked = false;
		w->log.count = 0;
	}
	say("%s\n", line);
}

static const char *turn(struct worker *w)
{
	if (!w->op->run) {
		worker_end(w);
		worker_start(w);
		return "ok";
	}
	worker_ask(w, TASK_RUN);
	if (worker_finishes(w))
		return w->result;
	w->busy = true;
	return "blocks";
}

/* Whether the operations of a child are some that can neither block nor take a turn. */
static bool fits_child(char **args)
{
	const struct op *op;
	int i;

	while (*args) {
		op = find_op(*args++);
		if (!op || op->blocks || !op->run || op->args < 0)
			return false;
		for (i = 0; i < op->args; i++)
			if (!*args++)
				return false;
		if (*args && strcmp(*args++, ";"))
			return false;
	}
	return true;
}

/* Split a step into words. Returns its worker, or NULL if the step is not valid. */
static struct worker *parse(const char *step)
{
	unsigned int who = number(step), words = 0;
	char *word, *rest = NULL;
	const struct op *op;
	struct worker *w;

	if (who >= worker_count)
		return NULL;
	w = &workers[who];
	if (w->busy)
		return w;
	snprintf(w->text, sizeof(w->text), "%s", step);
	strtok_r(w->text, " ", &rest);
	word = strtok_r(NULL, " ", &rest);
	op = word ? find_op(word) : NULL;
	while ((word = strtok_r(NULL, " ", &rest)) && words < WORDS_MAX - 1)
		w->args[words++] = word;
	w->args[words] = NULL;
	if (!op || (op->args < 0 ? !fits_child(w->args) : words != (unsigned int)op->args))
		return NULL;
	w->op = op;
	return w;
}

static void play_step(unsigned int at, const char *step)
{
	struct worker *w = parse(step);
	char head[LINE_SIZE + 16];
	const char *result;

	snprintf(head, sizeof(head), "%u: %s", at, step);
	if (!w) {
		say("%s: no such step\n", head);
		return;
	}
	result = w->busy ? "busy" : turn(w);
	settle();
	report(head, w, result, w->op->args < 0);
}

/* Deliver at the end what is still pending. */
static void play_end(void)
{
	char step[16];
	unsigned int i;

	for (i = 0; i < worker_count; i++) {
		snprintf(step, sizeof(step), "%u stui", i);
		if (!workers[i].busy)
			play_step(STEPS_MAX + i, step);
	}
}

static void start_workers(char *ways)
{
	char *way, *rest = NULL;

	signals_init();
	places_init();
	pin_to(0);
	for (way = strtok_r(ways, " ", &rest); way && worker_count < THREADS_MAX;
	     way = strtok_r(NULL, " ", &rest)) {
		workers[worker_count].spins = !strcmp(way, "spin");
		workers[worker_count].cpu = !!strcmp(way, "blocked");
		worker_count++;
	}
	/* Only now: a step that names a thread counts by how many there are. */
	for (unsigned int i = 0; i < worker_count; i++)
		worker_start(&workers[i]);
}

static void play(struct script *script)
{
	unsigned int i;

	for (i = 0; i < script->count; i++)
		if (!strncmp(script->steps[i], "threads ", 8))
			start_workers(script->steps[i] + 8);
		else
			play_step(i, script->steps[i]);
	play_end();
}

/* --- many scripts, each in a separate process ----------------------------------------------- */

static void play_in_child(struct script *script, unsigned int seconds)
{
	pid_t self = getpid(), pid;
	int status = 0, pidfd;

	say("script %s\n", script->name);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == self)
			play(script);
		_exit(0);
	}
	setpgid(pid, pid);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (!ktap_wait(pidfd, seconds)) {
		ktap_show_tasks(pid);
		say("hangs\n");
	}
	kill(-pid, SIGKILL);
	if (!ktap_wait(pidfd, KTAP_KILL_GRACE)) {
		ktap_show_tasks(pid);
		say("end %s: does not die\n", script->name);
		_exit(KTAP_EXIT_FAIL);
	}
	close(pidfd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	while (waitpid(-pid, NULL, 0) > 0)
		;
	say("end %s: %s %d\n", script->name, WIFSIGNALED(status) ? "killed" : "exited",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* Add a line. Returns true if the script is complete. */
static bool take_line(struct script *script, char *line)
{
	line[strcspn(line, "#\n")] = '\0';
	if (!strncmp(line, "script ", 7)) {
		script->count = 0;
		snprintf(script->name, sizeof(script->name), "%.63s", line + 7);
	} else if (!strcmp(line, "end")) {
		return true;
	} else if (line[0] && script->count < STEPS_MAX) {
		snprintf(script->steps[script->count++], LINE_SIZE, "%s", line);
	}
	return false;
}

static int play_file(const char *path)
{
	static struct script script;
	const char *scale = getenv("KTAP_TIMEOUT_SCALE");
	unsigned int seconds = KTAP_TIMEOUT * (scale && atoi(scale) > 0 ? atoi(scale) : 1);
	char line[LINE_SIZE];
	FILE *file = fopen(path, "re");

	if (!file) {
		fprintf(stderr, "%s: %s\n", path, ktap_errno(errno));
		return KTAP_EXIT_FAIL;
	}
	ktap_name = "script";
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	while (fgets(line, sizeof(line), file))
		if (take_line(&script, line))
			play_in_child(&script, seconds);
	fclose(file);
	return KTAP_EXIT_PASS;
}

/* --- scripts whose lines are known ---------------------------------------------------------- */

static void gives(const char *steps, const char *lines)
{
	static char space[65536], copy[8192];
	static struct script script;
	char *line, *rest = NULL;

	said = space;
	said_size = sizeof(space);
	snprintf(copy, sizeof(copy), "%s", steps);
	for (line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		take_line(&script, line);
	play(&script);
	ktap_check(!strcmp(space, lines), "not as expected");
	for (line = strtok_r(space, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		ktap_diag("%s", line);
}

static void sends_to_a_thread(void)
{
	gives("threads blocked spin\n"
	      "1 register log 0\n"
	      "1 create 5 0 f0\n"
	      "1 create 9 0 f1\n"
	      "0 connect f0 0\n"
	      "0 connect f1 0\n"
	      "0 senduipi 0\n"
	      "0 senduipi 1\n"
	      "1 stui\n"
	      "0 senduipi 0\n",
	      "1: 1 register log 0: 0 | 0:0 1:0\n"
	      "2: 1 create 5 0 f0: fd | 0:0 1:0\n"
	      "3: 1 create 9 0 f1: fd | 0:0 1:0\n"
	      "4: 0 connect f0 0: 0 | 0:0 1:0\n"
	      "5: 0 connect f1 0: 1 | 0:0 1:0\n"
	      "6: 0 senduipi 0: flags 0 changed 0 | 0:0 1:0\n"
	      "7: 0 senduipi 1: flags 0 changed 0 | 0:0 1:0\n"
	      "8: 1 stui: flags 0 changed 0 | 0:0 1:1 V9 V5\n"
	      "9: 0 senduipi 0: flags 0 changed 0 | 0:0 1:1 V5\n"
	      "256: 0 stui: flags 0 changed 0 | 0:1 1:1\n"
	      "257: 1 stui: flags 0 changed 0 | 0:1 1:1\n");
}

static void ends_a_wait(void)
{
	gives("threads blocked far\n"
	      "1 wait 0\n"
	      "1 register log 0\n"
	      "1 create 63 0 f0\n"
	      "1 wait 0\n"
	      "1 stui\n"
	      "0 connect f0 0\n"
	      "0 senduipi 0\n",
	      "1: 1 wait 0: EOPNOTSUPP | 0:0 1:0\n"
	      "2: 1 register log 0: 0 | 0:0 1:0\n"
	      "3: 1 create 63 0 f0: fd | 0:0 1:0\n"
	      "4: 1 wait 0: blocks | 0:0 1:-\n"
	      "5: 1 stui: busy | 0:0 1:-\n"
	      "6: 0 connect f0 0: 0 | 0:0 1:-\n"
	      "7: 0 senduipi 0: flags 0 changed 0 | 0:0 1:0 =EINTR\n"
	      "256: 0 stui: flags 0 changed 0 | 0:1 1:0\n"
	      "257: 1 stui: flags 0 changed 0 | 0:1 1:1 V63\n");
}

static void survives_faults(void)
{
	gives("threads blocked\n"
	      "0 senduipi 0\n"
	      "0 register log 0\n"
	      "0 create 1 0 f0\n"
	      "0 connect f0 0\n"
	      "0 senduipi 0x100000000\n"
	      "0 uiret 0x202 rip\n"
	      "0 stui\n"
	      "0 child testing\n",
	      "1: 0 senduipi 0: flags 0 changed 0 | 0:0 F4@0\n"
	      "2: 0 register log 0: 0 | 0:0\n"
	      "3: 0 create 1 0 f0: fd | 0:0\n"
	      "4: 0 connect f0 0: 0 | 0:0\n"
	      "5: 0 senduipi 0x100000000: flags 0 changed 0 | 0:0 F11@0\n"
	      "6: 0 uiret 0x202 rip: flags 0 changed 0 | 0:0 F11@0\n"
	      "7: 0 stui: flags 0 changed 0 | 0:1\n"
	      "8: 0 child testing: no such step\n"
	      "256: 0 stui: flags 0 changed 0 | 0:1\n");
}

static const struct ktap_case cases[] = {
	KTAP_CASE(sends_to_a_thread, HANDOVER-2, POST-9, DELIVERY-2, DELIVERY-13, SENDER-2),
	KTAP_CASE(ends_a_wait, WAIT-2, WAIT-3, WAIT-4, WAIT-8),
	KTAP_CASE(survives_faults, POST-1, POST-2, POST-3, POST-4, UIRET-4),
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--scripts"))
		return play_file(argv[2]);
	return ktap_main(cases, sizeof(cases) / sizeof(cases[0]), uintr_rfc_missing(), argc, argv);
}
