"""Rules for the reports of the kernel: how each begins and ends, its kind and its title.

This module is data. The wording comes from the kernel's own format strings, 6.1 to 7.3;
``tools/splats.py --tree DIR`` lists the strings of a tree that no rule knows. To add a rule, add a
line to `RULES` and a log to ``tests/unit/guest/golden`` that only the new rule explains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """How a report begins, how it ends and how people call it.

    :param key: fixed text in the first line. It is looked for before any expression is tried.
    :param rest: expression for what stands behind the key. Its named groups are for the title.
        No expression may try more than a bounded number of characters at a time.
    :param title: how people name the report. ``{frame}`` is the first frame that tells something.
    :param anywhere: the key may stand anywhere in a line. Only for text that nothing else prints.
    :param end: last line of a complete report.
    :param trace: a complete report has a call trace, and its ``end`` where there is one. Without,
        a report is complete with its first line.
    :param single: the report is this one line.
    :param preface: the line is the message of a WARN, BUG or oops and tells more than these do.
    :param more: expression for a later line with more named groups for the title.
    :param skip: frames of the machinery that this kind of report always shows.
    """

    kind: str
    key: bytes
    rest: re.Pattern[bytes]
    title: str
    anywhere: bool = False
    end: re.Pattern[bytes] | None = None
    trace: bool = True
    single: bool = False
    preface: bool = False
    more: re.Pattern[bytes] | None = None
    skip: re.Pattern[bytes] | None = None

    def match(self, line: bytes) -> re.Match[bytes] | None:
        """Return the match of a report's first line, or None."""
        at = line.find(self.key)
        if at < 0 or (at > 0 and not self.anywhere):
            return None
        return self.rest.match(line, at + len(self.key))


def _rule(
    kind: str,
    key: bytes,
    rest: bytes,
    title: str,
    *,
    end: bytes | None = None,
    more: bytes | None = None,
    skip: bytes | None = None,
    anywhere: bool = False,
    trace: bool = True,
    single: bool = False,
    preface: bool = False,
) -> Rule:
    """Compile a row of the table."""
    return Rule(
        kind=kind,
        key=key,
        rest=re.compile(rest),
        title=title,
        anywhere=anywhere,
        end=re.compile(end) if end else None,
        trace=trace and not single,
        single=single,
        preface=preface,
        more=re.compile(more) if more else None,
        skip=re.compile(rb"(?:" + skip + rb")$") if skip else None,
    )


#: Lines that look like a report and are none, or are the end of one.
NEVER = re.compile(
    rb"---\[ end |\[Firmware (?:Bug|Warn|Info)\]|Spectre V|Modules linked in:|Hardware name:|Code: "
    rb"|(?:Kernel c|C|Unknown kernel c)ommand line"
)
CUT_HERE = b"------------[ cut here ]------------"

_TRACE_END = rb"^---\[ end trace |^---\[ end Kernel panic"
_BAR = rb"^={20,}$"
_ALLOC = (
    rb"kfree\w*|kvfree\w*|k[mz]alloc\w*|kmem_cache_\w+|slab_\w+|__slab_\w+|vfree|kasprintf"
    rb"|mem(?:cpy|set|move|cmp|chr)|str\w+|_?copy_(?:to|from)_user\w*|free_(?:to_|from_)\w+"
    rb"|object_err|check_\w+|on_freelist|free_debug_processing|__free_pages\w*|free_\w+|bad_page\w*"
    rb"|alloc_\w+|init_object|__\w*free\w*|get_(?:from_)?\w*partial\w*|___slab_alloc"
)
_LOCKS = (
    rb"(?:__)?(?:mutex|ww_mutex|down|up|rt_mutex|spin|rtlock|rwlock|_raw_\w+|do_raw)_\w+|mutex_lock"
    rb"|print_\w+|(?:__)?lock_\w+|mark_lock\w*|mark_\w+|debug_\w+|verify_\w+|register_lock_class"
    rb"|assign_lock_key|check_\w+|down|up|down_(?:read|write)\w*"
)
_WAITS = (
    rb"(?:__)?schedule\w*|(?:do_|__)?wait_for_\w+|(?:__)?mutex_lock\w*|rwsem_\w+|down\w*|__down\w*"
    rb"|context_switch|(?:__)?ww_mutex_\w+|rt_mutex_\w+|msleep\w*|usleep\w*|bit_wait\w*|out_of_line_wait\w*"
)
#: Frames of the watchdogs, which interrupt what they report.
_SPINS = (
    rb"watchdog\w*|(?:__)?hrtimer_\w+|__run_hrtimer|tick_\w+|update_process_times|rcu_\w+|print_cpu_stall"
    rb"|(?:__)?sysvec_\w+|nmi\w*|dump_cpu_task|trigger_\w+|check_cpu_stall|csd_lock\w*|__csd_lock\w*"
    rb"|smp_call_function\w*|on_each_cpu\w*|panic|arch_trigger\w*|sched_\w*clock\w*|local_clock\w*"
    rb"|kvm_\w*clock\w*|pvclock\w*|native_sched_clock|cpu_relax|generic_exec_single"
)
_STALL = "INFO: rcu detected stall in {frame}"

#: In order: the first rule that matches names the report.
RULES: tuple[Rule, ...] = (
    _rule(
        "panic",
        b"Kernel panic - not syncing",
        rb"(?:: (?P<text>.{1,200}))?",
        "kernel panic: {text}",
        anywhere=True,
        end=rb"^---\[ end Kernel panic",
        trace=False,
    ),
    # --- sanitizers -------------------------------------------------------------------------
    _rule(
        "kasan",
        b"BUG: KASAN: ",
        rb"(?P<what>[\w-]+(?: or [\w-]+)?)",
        "KASAN: {what} {way} in {frame}",
        anywhere=True,
        end=_BAR,
        more=rb"^(?P<way>Read|Write) of size ",
        skip=_ALLOC,
    ),
    _rule(
        "kcsan",
        b"BUG: KCSAN: ",
        rb"(?P<what>[\w-]+) in (?P<where>.{1,200})",
        "KCSAN: {what} in {where}",
        anywhere=True,
        end=_BAR,
    ),
    _rule(
        "kmsan",
        b"BUG: KMSAN: ",
        rb"(?P<what>[\w-]+)",
        "KMSAN: {what} in {frame}",
        anywhere=True,
        end=_BAR,
        skip=_ALLOC,
    ),
    _rule(
        "kfence",
        b"BUG: KFENCE: ",
        rb"(?P<what>[\w-]+(?: [\w-]+)?) in ",
        "KFENCE: {what} in {frame}",
        anywhere=True,
        end=_BAR,
        skip=_ALLOC,
    ),
    _rule(
        "ubsan",
        b"UBSAN: ",
        rb"(?P<what>[\w-]+)",
        "UBSAN: {what} in {frame}",
        end=rb"^---\[ end trace|" + _BAR,
        skip=rb"__ubsan_\w+|ubsan_\w+|handle_\w+",
    ),
    # --- slabs and pages --------------------------------------------------------------------
    _rule(
        "leak",
        b"BUG ",
        rb"(?P<cache>\S{1,80}) \([^()]{1,80}\): Objects remaining",
        "memory leak: objects remain in cache {cache}",
        skip=_ALLOC,
    ),
    _rule(
        "slab",
        b"BUG ",
        rb"(?P<cache>\S{1,80}) \([^()]{1,80}\): (?P<what>[A-Za-z][\w ]{2,60})",
        "BUG: {cache}: {what} in {frame}",
        end=rb"^FIX |^---\[ end trace",
        skip=_ALLOC,
    ),
    _rule(
        "bad-page",
        b"BUG: Bad page ",
        rb"(?P<what>state|map|cache)",
        "BUG: bad page {what} in {frame}",
        anywhere=True,
        skip=_ALLOC,
    ),
    _rule(
        "bug",
        b"BUG: Bad rss-counter state",
        rb"",
        "BUG: bad rss-counter state",
        anywhere=True,
        single=True,
    ),
    _rule(
        "bug",
        b"BUG: non-zero pgtables_bytes",
        rb"",
        "BUG: non-zero pgtables_bytes",
        anywhere=True,
        single=True,
    ),
    _rule(
        "leak",
        b"kmemleak: ",
        rb"\d+ new suspected memory leaks",
        "memory leak in {frame}",
        trace=False,
        skip=_ALLOC,
    ),
    _rule(
        "leak", b"unreferenced object 0x", rb"", "memory leak in {frame}", trace=False, skip=_ALLOC
    ),
    _rule(
        "usercopy",
        b"usercopy: Kernel memory ",
        rb"(?P<what>exposure|overwrite) attempt detected",
        "BUG: bad usercopy ({what}) in {frame}",
        preface=True,
        end=_TRACE_END,
        skip=rb"usercopy_abort|__check_\w+|check_heap_object|_?copy_\w+",
    ),
    _rule(
        "fortify",
        b"detected buffer overflow",
        rb"",
        "buffer overflow in {frame}",
        anywhere=True,
        preface=True,
        end=_TRACE_END,
        skip=rb"_*fortify_\w+|" + _ALLOC,
    ),
    _rule(
        "fortify",
        b"detected field-spanning write",
        rb"",
        "field-spanning write in {frame}",
        anywhere=True,
        preface=True,
        end=_TRACE_END,
        skip=_ALLOC,
    ),
    # --- lockdep ----------------------------------------------------------------------------
    _rule(
        "lockdep",
        b"WARNING: possible circular locking dependency detected",
        rb"",
        "possible deadlock in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"WARNING: possible recursive locking detected",
        rb"",
        "possible deadlock in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"WARNING: ",
        rb"(?P<class>\w+)-safe -> \w+-unsafe lock order detected",
        "possible deadlock ({class}-safe to unsafe) in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"WARNING: inconsistent lock state",
        rb"",
        "inconsistent lock state in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"WARNING: possible irq lock inversion dependency detected",
        rb"",
        "possible irq lock inversion dependency in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"[ BUG: Invalid wait context ]",
        rb"",
        "BUG: invalid wait context in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"INFO: trying to register non-static key",
        rb"",
        "INFO: trying to register non-static key in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"WARNING: bad ",
        rb"(?P<what>unlock balance|contention) detected",
        "bad {what} in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"WARNING: chain_key collision",
        rb"",
        "lockdep: chain_key collision in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"WARNING: Nested lock was not taken",
        rb"",
        "nested lock was not taken in {frame}",
        anywhere=True,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"WARNING: held lock freed",
        rb"",
        "held lock freed in {frame}",
        anywhere=True,
        skip=_LOCKS + rb"|" + _ALLOC,
    ),
    _rule(
        "lockdep",
        b"WARNING: lock held when returning to user space",
        rb"",
        "lock held when returning to user space",
        anywhere=True,
        trace=False,
    ),
    _rule(
        "lockdep",
        b"WARNING: ",
        rb"\S{1,40} still has locks held",
        "locks held at exit",
        anywhere=True,
        skip=_LOCKS + rb"|debug_check_no_locks_held|do_exit",
    ),
    _rule(
        "lockdep",
        b"WARNING: suspicious RCU usage",
        rb"",
        "suspicious RCU usage in {frame}",
        anywhere=True,
        skip=_LOCKS + rb"|lockdep_rcu_suspicious",
    ),
    _rule(
        "lockdep",
        b"DEBUG_LOCKS_WARN_ON(",
        rb"(?P<what>[^\n]{1,80})\)",
        "DEBUG_LOCKS_WARN_ON({what}) in {frame}",
        preface=True,
        end=_TRACE_END,
        skip=_LOCKS,
    ),
    _rule(
        "lockdep",
        b"BUG: MAX_",
        rb"(?P<what>LOCK\w+|STACK_TRACE\w+) too low",
        "lockdep: MAX_{what} is too low",
        trace=False,
    ),
    _rule(
        "lockdep",
        b"BUG: ",
        rb"looking up invalid subclass|key \S+ has not been registered",
        "lockdep: invalid key in {frame}",
        skip=_LOCKS,
    ),
    _rule(
        "lock",
        b"BUG: ",
        rb"(?P<lock>spinlock|rwlock|rwsem|rt_?mutex) (?P<what>[\w ]{2,40}) on CPU#",
        "BUG: {lock} {what} in {frame}",
        skip=_LOCKS,
    ),
    # --- stalls -----------------------------------------------------------------------------
    _rule(
        "soft-lockup",
        b"BUG: soft lockup - CPU#",
        rb"",
        "BUG: soft lockup in {frame}",
        anywhere=True,
        skip=_SPINS,
    ),
    _rule(
        "hard-lockup",
        b"hard LOCKUP on cpu",
        rb"",
        "BUG: hard lockup in {frame}",
        anywhere=True,
        skip=_SPINS,
    ),
    _rule(
        "workqueue-lockup",
        b"BUG: workqueue lockup",
        rb"",
        "BUG: workqueue lockup",
        anywhere=True,
        trace=False,
    ),
    _rule(
        "rcu-stall",
        b"rcu: INFO: ",
        rb"\w+ (?:detected|self-detected) (?:expedited )?stalls?\b",
        _STALL,
        anywhere=True,
        trace=False,
        skip=_SPINS,
    ),
    _rule(
        "rcu-stall",
        b"INFO: rcu_tasks detected stalls on tasks",
        rb"",
        "INFO: rcu_tasks detected stall in {frame}",
        anywhere=True,
        trace=False,
        skip=_WAITS,
    ),
    _rule(
        "rcu-stall",
        b"rcu: rcu_",
        rb"\w+ kthread (?:starved|timer wakeup)",
        _STALL,
        anywhere=True,
        trace=False,
        skip=_SPINS,
    ),
    _rule(
        "csd-lock",
        b"csd: ",
        rb"\w+ non-responsive CSD lock",
        "INFO: CSD lock stalled in {frame}",
        anywhere=True,
        skip=_SPINS,
    ),
    _rule(
        "csd-lock",
        b"csd: CSD lock",
        rb" \(#\d+\) got unstuck",
        "INFO: CSD lock was stuck",
        anywhere=True,
        single=True,
    ),
    _rule(
        "hung-task",
        b"INFO: task ",
        rb".{1,60} blocked (?:for|in I/O wait for) more than \d+ seconds",
        "INFO: task hung in {frame}",
        anywhere=True,
        skip=_WAITS,
    ),
    # --- contexts ---------------------------------------------------------------------------
    _rule(
        "atomic",
        b"BUG: scheduling while atomic",
        rb"",
        "BUG: scheduling while atomic in {frame}",
        anywhere=True,
        skip=_WAITS,
    ),
    _rule(
        "atomic",
        b"BUG: scheduling in a non-blocking section",
        rb"",
        "BUG: scheduling in a non-blocking section in {frame}",
        skip=_WAITS,
    ),
    _rule(
        "atomic",
        b"BUG: sleeping function called from invalid context",
        rb"",
        "BUG: sleeping function called from invalid context in {frame}",
        anywhere=True,
        skip=_WAITS,
    ),
    _rule(
        "atomic",
        b"BUG: assuming ",
        rb"(?P<what>atomic|non migratable) context",
        "BUG: assuming {what} context in {frame}",
    ),
    _rule(
        "atomic",
        b"BUG: using ",
        rb"(?P<what>smp_processor_id|__this_cpu_\w{1,20})\(?\)? in preemptible",
        "BUG: using {what}() in preemptible code in {frame}",
        anywhere=True,
        skip=rb"check_preemption_disabled|debug_smp_processor_id|__this_cpu_preempt_check",
    ),
    _rule(
        "atomic",
        b"BUG: workqueue leaked ",
        rb"",
        "BUG: workqueue leaked atomic, lock or RCU",
        anywhere=True,
    ),
    _rule(
        "atomic",
        b"huh, entered softirq ",
        rb"",
        "softirq leaked preempt count",
        anywhere=True,
        single=True,
    ),
    _rule(
        "atomic",
        b" preempt leak: ",
        rb"",
        "timer leaked preempt count",
        anywhere=True,
        preface=True,
        end=_TRACE_END,
    ),
    _rule(
        "atomic",
        b"initcall ",
        rb"\S{1,80} returned with ",
        "initcall returned with a leaked context",
        single=True,
        preface=True,
    ),
    # --- objects ----------------------------------------------------------------------------
    _rule(
        "odebug",
        b"ODEBUG: ",
        rb"(?P<what>(?:free|init|activate|assert_init)[\w ]{0,30}?) (?:\(|object)",
        "ODEBUG: {what} in {frame}",
        preface=True,
        end=_TRACE_END,
        skip=rb"debug_\w+|__debug_\w+|" + _ALLOC,
    ),
    _rule(
        "sysfs",
        b"sysfs: cannot create duplicate filename",
        rb"",
        "sysfs: duplicate filename in {frame}",
        anywhere=True,
        skip=rb"sysfs_\w+|kobject_\w+|create_dir",
    ),
    _rule(
        "kobject",
        b"kobject: ",
        rb"kobject_add_internal failed for (?P<name>\S{1,60}) with -EEXIST",
        "kobject: {name} is registered twice",
        single=True,
    ),
    _rule(
        "kobject",
        b"kobject",
        rb"(?:: kobject|: '[^']{0,60}')?(?: '[^']{0,60}')? \([^()]{1,40}\): "
        rb"(?P<what>tried to \w+ an \w+ object|is not initialized)",
        "kobject: {what} in {frame}",
        preface=True,
        skip=rb"kobject_\w+",
    ),
    _rule(
        "list",
        b"list_",
        rb"(?P<what>add|del|add double add)\w* corruption",
        "BUG: corrupted list ({what}) in {frame}",
        preface=True,
        end=_TRACE_END,
        skip=rb"__list_\w+|list_\w+",
    ),
    _rule(
        "list",
        b"list_add double add",
        rb"",
        "BUG: corrupted list (add) in {frame}",
        preface=True,
        end=_TRACE_END,
        skip=rb"__list_\w+|list_\w+",
    ),
    _rule(
        "refcount",
        b"refcount_t: ",
        rb"(?P<what>[\w -]{3,60})",
        "refcount bug ({what}) in {frame}",
        preface=True,
        end=_TRACE_END,
        skip=rb"refcount_\w+|__refcount_\w+",
    ),
    # --- interrupts -------------------------------------------------------------------------
    _rule(
        "irq", b"No irq handler for ", rb"", "no irq handler for vector", anywhere=True, single=True
    ),
    _rule(
        "irq",
        b"unexpected IRQ trap at vector ",
        rb"",
        "unexpected interrupt",
        anywhere=True,
        single=True,
    ),
    _rule("irq", b"irq ", rb"\d+: nobody cared", "irq: nobody cared", trace=False),
    _rule(
        "irq", b"irq event ", rb"\d+: bogus return value", "irq: bogus return value", trace=False
    ),
    # --- traps ------------------------------------------------------------------------------
    _rule("bug", b"kernel BUG at ", rb"", "kernel BUG in {frame}", anywhere=True, end=_TRACE_END),
    _rule("bug", b"Kernel BUG at ", rb"", "kernel BUG in {frame}", anywhere=True, end=_TRACE_END),
    _rule(
        "oops",
        b"BUG: kernel NULL pointer dereference",
        rb"",
        "BUG: kernel NULL pointer dereference in {frame}",
        anywhere=True,
        end=_TRACE_END,
    ),
    _rule(
        "oops",
        b"BUG: unable to handle ",
        rb"",
        "BUG: unable to handle page fault in {frame}",
        anywhere=True,
        end=_TRACE_END,
    ),
    _rule(
        "oops",
        b"BUG: ",
        rb"[\w ]{0,20}stack guard page was hit",
        "BUG: stack guard page was hit in {frame}",
        end=_TRACE_END,
    ),
    _rule(
        "oops",
        b"kernel tried to execute NX-protected page",
        rb"",
        "BUG: execution of data in {frame}",
        anywhere=True,
        end=_TRACE_END,
    ),
    _rule(
        "oops",
        b"PANIC: double fault",
        rb"",
        "PANIC: double fault in {frame}",
        anywhere=True,
        end=_TRACE_END,
    ),
    _rule(
        "oops",
        b"Oops: ",
        rb"(?P<what>[^:,\n]{3,60}?)(?:[,:][^\n]{0,90}?)?: [0-9a-f]{4} \[#\d+\]",
        "{what} in {frame}",
        end=_TRACE_END,
    ),
    _rule(
        "oops",
        b"",
        rb"(?P<what>[A-Za-z#][^:,\n]{2,60}?)(?:, [^\n:]{0,90}?)?: [0-9a-f]{4} \[#\d+\]",
        "{what} in {frame}",
        end=_TRACE_END,
    ),
    _rule(
        "oops",
        b"unchecked MSR access error: ",
        rb"(?P<what>RDMSR|WRMSR)",
        "unchecked MSR access ({what}) in {frame}",
        anywhere=True,
        skip=rb"(?:native_)?(?:read|write)_msr\w*|\w*(?:rd|wr)msr\w*",
    ),
    _rule("oops", b"Thread overran stack", rb"", "stack overrun in {frame}", trace=False),
    # --- the unwinder -----------------------------------------------------------------------
    _rule(
        "unwinder",
        b"WARNING: stack recursion on stack type",
        rb"",
        "unwinder: stack recursion",
        anywhere=True,
        single=True,
    ),
    _rule(
        "unwinder",
        b"WARNING: kernel stack ",
        rb"(?:regs|frame pointer) at ",
        "unwinder: bad kernel stack",
        anywhere=True,
        single=True,
    ),
    _rule(
        "unwinder",
        b"WARNING: can't ",
        rb"(?:access|dereference) (?:\w{1,8} )?registers\b",
        "unwinder: no registers",
        anywhere=True,
        single=True,
    ),
    _rule(
        "unwinder",
        b"WARNING: ",
        rb"(?:WARNING: )?(?:bad lookup (?:idx|value)|Bad or missing \.orc|Corrupt \.orc"
        rb"|missing \w{2,3} value at|unknown (?:SP|BP) base reg|unknown \.orc_unwind entry"
        rb"|stack going in the wrong direction)",
        "unwinder: bad frame",
        single=True,
    ),
    _rule(
        "unwinder",
        b"bad: scheduling from the idle thread",
        rb"",
        "scheduling from the idle thread",
        trace=False,
    ),
    # --- other sub-systems' own checks -------------------------------------------------------
    _rule(
        "rcu",
        b"(): Double-freed CB ",
        rb"",
        "rcu: a callback is freed twice",
        anywhere=True,
        single=True,
    ),
    _rule(
        "irq",
        b'genirq: exiting task "',
        rb"[^\n]{0,40}is an active IRQ thread",
        "irq: the thread of an interrupt exits",
        single=True,
    ),
    _rule(
        "irq",
        b"Spurious",
        rb"(?: and unmasked)? percpu IRQ\d+ on CPU\d+",
        "irq: spurious per-CPU interrupt",
        single=True,
    ),
    _rule(
        "irq",
        b"Managed startup ",
        rb"(?:for )?irq \d+, (?:but no CPU|no vector available)",
        "irq: no vector for a managed interrupt",
        single=True,
    ),
    _rule(
        "irq",
        b"Unexpected ",
        rb"(?:LVT thermal interrupt|(?:deferred|threshold) interrupt at vector)",
        "unexpected interrupt",
        anywhere=True,
        single=True,
    ),
    _rule(
        "irq",
        b"Unable to reset IRR for apic",
        rb"",
        "irq: an IRR cannot be reset",
        anywhere=True,
        single=True,
    ),
    _rule(
        "cpu",
        b"smpboot: ",
        rb"(?:do_boot_cpu failed|APIC never delivered|APIC delivery error"
        rb"|CPU \d+ (?:has invalid APIC ID|APIC ID \S{1,20} is not present)|CPU\d+ is stuck)",
        "a CPU does not start",
        single=True,
    ),
    _rule(
        "fpu",
        b"x86/fpu: ",
        rb"(?:xfeatures modified from |FP/SSE not present |Giving up, no FPU)",
        "x86/fpu: the state cannot be used",
        single=True,
    ),
    _rule("fpu", b"XFD: Invalid xfd error", rb"", "XFD: invalid error", single=True),
    _rule(
        "psi",
        b"psi: ",
        rb"(?P<what>task underflow|inconsistent task state)!",
        "psi: {what}",
        single=True,
    ),
    _rule(
        "sched",
        b"ERROR: ",
        rb"(?:domain->(?:span|groups) does not|flag \S{1,40} set here but not in|group is NULL"
        rb"|empty group|repeated CPUs|groups don't span|parent span is not a superset)",
        "sched: broken domain",
        single=True,
    ),
    _rule(
        "timer",
        b"schedule_timeout: wrong timeout value ",
        rb"",
        "schedule_timeout: wrong timeout in {frame}",
        skip=rb"schedule_timeout\w*",
    ),
    _rule(
        "timer",
        b"Failed to broadcast timer tick",
        rb"",
        "no tick for some CPUs",
        anywhere=True,
        single=True,
    ),
    _rule(
        "timer",
        b"smp: sched_clock on CPU ",
        rb"\d+ went backward",
        "sched_clock went backward",
        single=True,
    ),
    _rule(
        "exit",
        b"Fixing recursive fault but reboot is needed!",
        rb"",
        "recursive fault in the exit of a task",
        single=True,
    ),
    _rule(
        "workqueue",
        b"WARNING: Flushing system-wide workqueues",
        rb"",
        "flush of a system-wide workqueue in {frame}",
        skip=rb"__warn_flushing_systemwide_wq|__flush_workqueue",
    ),
    _rule(
        "slab",
        b"kmem_cache_create(",
        rb"[^)\n]{0,80}\) integrity check failed",
        "kmem_cache_create of a bad cache in {frame}",
        skip=rb"\w*kmem_cache_\w+",
    ),
    _rule(
        "slab",
        b"SLUB",
        rb":? [^:\n]{1,60}:? \d+ (?:partial )?slabs counted but counter=",
        "slab: wrong count of slabs",
        single=True,
    ),
    _rule("mm", b"PAGETABLE BUG #", rb"", "page table bug", single=True),
    _rule("mm", b"iounmap: bad address", rb"", "iounmap of a bad address in {frame}"),
    _rule(
        "mm",
        b"x86/PAT: ",
        rb"[^\n]{1,40}:\d+ map pfn expected mapping type",
        "x86/PAT: conflicting types of a mapping",
        single=True,
    ),
    _rule(
        "oops",
        b"PANIC: invalid or fatal FRED event",
        rb"",
        "PANIC: invalid FRED event in {frame}",
        end=_TRACE_END,
    ),
    _rule(
        "alternatives",
        b"Something went horribly wrong trying to rewrite the CFI",
        rb"",
        "CFI cannot be rewritten",
        anywhere=True,
        single=True,
    ),
    # --- the rest ---------------------------------------------------------------------------
    _rule(
        "warn",
        b"WARNING: CPU: ",
        rb"\d{1,6} PID: \d+ at ",
        "WARNING in {frame}",
        anywhere=True,
        end=_TRACE_END,
    ),
    _rule(
        "warn",
        b"WARNING: ",
        rb"(?:\S{1,200}:\d+ )?at \S{1,200}, CPU#\d+: ",
        "WARNING in {frame}",
        anywhere=True,
        end=_TRACE_END,
    ),
    _rule(
        "warn", b"WARNING: ", rb".{1,200}? at \S{1,200}:\d+", "WARNING in {frame}", end=_TRACE_END
    ),
    _rule("warn", CUT_HERE, rb"", "WARNING in {frame}", anywhere=True, end=_TRACE_END),
    _rule(
        "uintr",
        b"uintr: ",
        rb"self-?test.{0,200}?(?:fail|FAIL)",
        "uintr: self-test failed",
        single=True,
    ),
    _rule("bug", b"BUG: ", rb"(?P<what>.{1,100})", "BUG: {what}", trace=False),
)

#: Kinds that say more than one of their first lines in one report.
SEVERAL_LINES = frozenset({"rcu-stall", "leak", "csd-lock", "workqueue-lockup"})
#: Kinds that show other CPUs' stacks, which those CPUs print themselves.
OTHER_CPUS = frozenset(
    {
        "rcu-stall",
        "soft-lockup",
        "hard-lockup",
        "csd-lock",
        "hung-task",
        "workqueue-lockup",
        "panic",
    }
)
#: Kind → kinds whose first line may follow, before any frame, in the same report.
FOLLOWS = {
    "oops": frozenset({"oops"}),
    "bug": frozenset({"oops"}),
    "slab": frozenset({"warn"}),
    "leak": frozenset({"warn"}),
    "ubsan": frozenset({"warn"}),
}
#: Kinds that follow the message of a report with ``preface``.
AFTER_PREFACE = frozenset({"warn", "bug", "oops"})

#: Machinery of reporting and of entering the kernel. It tells nothing about the fault.
GENERIC = re.compile(
    rb"(?:_*dump_stack\w*|show_stack\w*|__warn\w*|warn_slowpath\w*"
    rb"|report_bug\w*|_*handle_bug|v?panic|check_panic_on_warn"
    rb"|exc_\w+|asm_\w+|die\w*|oops_\w+|_*die_body|page_fault_oops|fixup_exception|no_context"
    rb"|_*bad_area\w*|do_user_addr_fault|do_kern_addr_fault|do_trap|do_error_trap|kernelmode_\w+"
    rb"|k[acm]san_\w+|__[akm]san_\w+|__tsan_\w+|print_\w+|ubsan_\w+|__ubsan_\w+"
    rb"|lock_acquire\w*|__lock_acquire|lock_release|lockdep_\w+|check_\w*deadlock|check_noncircular"
    rb"|check_prevs?_add|validate_chain"
    rb"|refcount_warn_saturate|__list_(?:add|del)\w*|_raw_\w+lock\w*|__might_(?:sleep|resched)"
    rb"|__schedule(?:_bug)?|schedule|preempt_schedule\w*|sched_show_task|rcu_dump_cpu_stacks"
    rb"|nmi_\w+|default_do_nmi|end_repeat_nmi|perf_trace_\w+|do_syscall_64|entry_\w+"
    rb"|ret_from_fork\w*|kthread|x64_sys_call|__kmem_cache_\w+|start_report\w*"
    rb"|sysvec_\w+|__sysvec_\w+|run_ksoftirqd|irq_exit_rcu|handle_softirqs|__do_softirq"
    rb"|apic_timer_interrupt|smp_apic_\w+|__die\w*|rcu_read_unlock_\w+)$"
)
