"""What the kernel complains of on its console: panics, oopses, warnings, sanitizers, lockups.

A scanner takes console bytes line by line and never raises. Each report becomes one value with a
fingerprint that stays the same from run to run: its kind and the first frames of its call trace
that are not the machinery of reporting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from harness.guest.limits import MATCHED
from harness.values import Value

#: Frames in a fingerprint.
FRAMES = 5
#: A report without an end is cut after this many lines.
MAX_EXCERPT = 160
#: Reports kept; a kernel that warns for ever is as broken after a hundred as after a million.
MAX_SPLATS = 200


class Splat(Value):
    """One report of the kernel."""

    kind: str
    #: The report's first line, without time stamp, CPU numbers, process ids and addresses.
    title: str
    fingerprint: str
    #: Line on the console where it begins, from 1.
    first_line: int
    excerpt: str


@dataclass(frozen=True)
class Rule:
    """How a report begins, and what its lines are once it has begun."""

    kind: str
    begin: re.Pattern[bytes]
    #: A line that ends it; a report also ends where another, unrelated one begins.
    end: re.Pattern[bytes] | None = None


def _rule(kind: str, begin: bytes, end: bytes | None = None) -> Rule:
    return Rule(kind, re.compile(begin), re.compile(end) if end else None)


_TRACE_END = rb"^---\[ end trace |^---\[ end Kernel panic"
_BAR = rb"^={20,}$"
#: In order: the first rule that matches names the kind.
RULES: tuple[Rule, ...] = (
    _rule("panic", rb"^Kernel panic - not syncing", rb"^---\[ end Kernel panic"),
    _rule("kasan", rb"BUG: KASAN: ", _BAR),
    _rule("kcsan", rb"BUG: KCSAN: ", _BAR),
    _rule("kmsan", rb"BUG: KMSAN: ", _BAR),
    _rule("kfence", rb"BUG: KFENCE: ", _BAR),
    _rule("ubsan", rb"^UBSAN: ", rb"^---\[ end trace|" + _BAR),
    _rule("soft-lockup", rb"watchdog: BUG: soft lockup"),
    _rule("hard-lockup", rb"watchdog: .*hard LOCKUP|NMI watchdog: .*LOCKUP"),
    _rule("workqueue-lockup", rb"^BUG: workqueue lockup"),
    _rule("atomic", rb"^BUG: scheduling while atomic|^BUG: sleeping function called from invalid"),
    _rule("atomic", rb"^BUG: using (smp_processor_id|__this_cpu_\w+)\(?.*\)? in preemptible"),
    _rule("leak", rb"^BUG \S+ \(.*\): |^=+ BUG \S+", rb"^FIX "),
    _rule(
        "lockdep",
        rb"^(WARNING|BUG): .*(lock(ing)?|lockdep|recursive|deadlock|irq|RCU).*"
        rb"(dependency|detected|inversion|usage|held|context|freed|state)"
        rb"|^WARNING: bad unlock balance|^WARNING: suspicious RCU usage"
        rb"|^WARNING: Nested lock was not taken|^DEBUG_LOCKS_WARN_ON",
    ),
    _rule(
        "rcu-stall",
        rb"rcu: INFO: .*(detected stalls|self-detected stall|detected expedited stalls)"
        rb"|rcu: rcu_\w+ kthread (starved|timer wakeup)",
    ),
    _rule("hung-task", rb"^INFO: task .* blocked (for|in I/O wait for) more than \d+ seconds"),
    _rule(
        "bug",
        rb"^kernel BUG at ",
        _TRACE_END,
    ),
    _rule("list", rb"^list_\w+ corruption", _TRACE_END),
    _rule(
        "oops",
        rb"^BUG: (unable to handle|kernel NULL pointer|stack guard page|non-zero|Bad )"
        rb"|^(Oops|general protection fault|divide error|invalid opcode|stack segment|"
        rb"double fault|int3|kernel tried to execute NX|PANIC: double fault|"
        rb"Unable to handle kernel|traps: PANIC|unchecked MSR access error)"
        rb"|^WARNING: stack recursion|kernel stack overflow",
        _TRACE_END,
    ),
    _rule("refcount", rb"^refcount_t: ", _TRACE_END),
    _rule("warn", rb"^WARNING: (CPU: \d+ PID: \d+ at |.* at \S+:\d+)", _TRACE_END),
    _rule("warn", rb"^------------\[ cut here \]------------", _TRACE_END),
    _rule("leak", rb"^kmemleak: \d+ new suspected memory leaks|^unreferenced object 0x"),
    _rule("irq", rb"^irq \d+: nobody cared|^do_IRQ: .* No irq handler for vector"),
    _rule("bug", rb"^BUG: "),
    _rule("uintr", rb"^uintr: (self-?test|selftest).*(fail|FAIL)"),
)

#: Kinds that say more than one of their first lines in one report.
SEVERAL_LINES = frozenset({"rcu-stall", "leak"})
#: Kind → kinds whose first line may follow, before any frame, in the same report.
PREFACES = {
    "oops": {"oops"},
    "bug": {"oops"},
    "list": {"warn", "bug", "oops"},
    "refcount": {"warn"},
    "ubsan": {"warn"},
}

#: ``[    1.234567]``, with ``[    T1]`` behind it where printk names its caller.
_STAMP = re.compile(rb"^(?:<\d>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
_FRAME = re.compile(rb"^\s*(?:\[<[0-9a-f]+>\] )?(\? )?([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")
_RIP = re.compile(rb"^RIP: [0-9a-f]+:([A-Za-z_][\w.]*)\+0x")
#: KASAN goes on with where the memory came from.
_ELSEWHERE = re.compile(rb"^(Allocated|Freed) by task |^(Last|Second to last) potentially related")
_SUFFIX = re.compile(rb"\.(isra|constprop|part|cold|lto_priv|llvm)(\.\d+)*")
#: The machinery of reporting and of entering the kernel, which says nothing about the fault.
_GENERIC = re.compile(
    rb"^(_*dump_stack\w*|show_stack\w*|_*warn\w*|report_bug|handle_bug|v?panic|check_panic_on_warn"
    rb"|exc_\w+|asm_\w+|die\w*|oops_\w+|_*die_body|page_fault_oops|fixup_exception|no_context"
    rb"|__bad_area\w*|bad_area\w*|do_user_addr_fault|do_kern_addr_fault|do_trap|do_error_trap"
    rb"|k[acm]san_\w+|__[akm]san_\w+|__tsan_\w+|print_\w+|ubsan_\w+|__ubsan_\w+"
    rb"|lock_acquire\w*|__lock_acquire|lock_release|lockdep_\w+|check_\w*deadlock|check_noncircular|check_prevs?_add|validate_chain"
    rb"|refcount_warn_saturate|__list_(add|del)\w*|_raw_\w+lock\w*|__might_(sleep|resched)"
    rb"|__schedule(_bug)?|schedule|preempt_schedule\w*|sched_show_task|rcu_dump_cpu_stacks"
    rb"|nmi_\w+|default_do_nmi|end_repeat_nmi|perf_trace_\w+|do_syscall_64|entry_\w+"
    rb"|ret_from_fork\w*|kthread|x64_sys_call|__kmem_cache_\w+|start_report\w*"
    rb"|sysvec_\w+|__sysvec_\w+|run_ksoftirqd|irq_exit_rcu|handle_softirqs|__do_softirq)$"
)
_VARIABLE = (
    (re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{16}\b"), "ADDR"),
    (re.compile(r"CPU: \d+"), "CPU: N"),
    (re.compile(r"CPU#\d+"), "CPU#N"),
    (re.compile(r"PID: \d+"), "PID: N"),
    (re.compile(r"\[[\w./:-]+:\d+\]"), "[TASK]"),
    (re.compile(r"task [^:\s]+:\d+"), "task TASK"),
    (re.compile(r"\bby task \S+"), "by task TASK"),
    (re.compile(r"\b\d+(\.\d+)?s\b"), "Ns"),
    (re.compile(r"\d+ seconds"), "N seconds"),
    (re.compile(r"\d+ new suspected"), "N new suspected"),
    (re.compile(r": [^\s:/]+/\d+/0x[0-9a-fA-FADR]+"), ": TASK"),
)


@dataclass
class _Open:
    rule: Rule
    kind: str
    title: bytes
    first_line: int
    lines: list[bytes] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    maybe: list[bytes] = field(default_factory=list)
    rip: bytes | None = None
    #: The lines are now about other places than where the fault was.
    elsewhere: bool = False


class Scanner:
    """Finds reports in lines as they come. Never raises on what a guest prints.

    :param keep: takes each report that is complete, in place of :meth:`splats`.
    """

    def __init__(self, keep: Callable[[Splat], None] | None = None) -> None:
        self._number = 0
        self._open: _Open | None = None
        self._done: list[Splat] = []
        self._keep = keep or self._keep_first

    def feed(self, raw: bytes) -> None:
        """Take one line, without its end."""
        self._number += 1
        raw = raw[:MATCHED]
        line = _STAMP.sub(b"", raw.rstrip(b"\r\n"))
        rule = next((rule for rule in RULES if rule.begin.search(line)), None)
        if self._open is None:
            if rule is not None:
                self._begin(rule, line, raw)
            return
        if rule is not None and not self._belongs(rule):
            self._finish()
            self._begin(rule, line, raw)
            return
        self._more(rule, line, raw)

    def splats(self) -> tuple[Splat, ...]:
        """Return the reports so far, one that has not ended included."""
        pending = [_splat(self._open)] if self._open is not None else []
        return (*self._done, *pending)

    def _begin(self, rule: Rule, line: bytes, raw: bytes) -> None:
        self._open = _Open(rule, rule.kind, line, self._number, [raw])

    def _belongs(self, rule: Rule) -> bool:
        """Tell whether a line that could begin a report is a part of the open one.

        The bar "cut here" comes before what it is about; an oops says what happened first and
        "Oops:" after; a panic that follows a report is that report's end, and a kind of its own.
        """
        assert self._open is not None
        if _is_cut(self._open.title):
            return rule.kind != "panic"
        if rule.kind in SEVERAL_LINES and rule.kind == self._open.kind:
            return True
        early = self._open.rip is None and not self._open.frames
        return early and rule.kind in PREFACES.get(self._open.kind, ())

    def _more(self, rule: Rule | None, line: bytes, raw: bytes) -> None:
        report = self._open
        assert report is not None
        report.lines.append(raw)
        if rule is not None and _is_cut(report.title):
            report.rule, report.kind, report.title = rule, rule.kind, line
        report.elsewhere |= _ELSEWHERE.match(line) is not None
        if report.elsewhere:
            pass
        elif frame := _FRAME.match(line):
            (report.maybe if frame[1] else report.frames).append(frame[2])
        elif report.rip is None and (rip := _RIP.match(line)):
            report.rip = rip[1]
        ended = report.rule.end is not None and report.rule.end.search(line)
        if (ended and (report.frames or report.rule.end is not None)) or (
            len(report.lines) >= MAX_EXCERPT
        ):
            self._finish()

    def _finish(self) -> None:
        if self._open is not None:
            self._keep(_splat(self._open))
        self._open = None

    def _keep_first(self, splat: Splat) -> None:
        if len(self._done) < MAX_SPLATS:
            self._done.append(splat)


def _is_cut(title: bytes) -> bool:
    return title.startswith(b"------------[ cut here")


def _splat(report: _Open) -> Splat:
    title = _title(report.title)
    frames = _frames(report)
    return Splat(
        kind=report.kind,
        title=title,
        fingerprint=":".join([report.kind, "|".join(frames) or title]),
        first_line=report.first_line,
        excerpt=b"\n".join(report.lines).decode(errors="replace"),
    )


def _title(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    for pattern, replacement in _VARIABLE:
        text = pattern.sub(replacement, text)
    return text


def _frames(report: _Open) -> list[str]:
    """Return the frames that identify the fault; unreliable ones (``?``) only if alone."""
    names = [*([report.rip] if report.rip else []), *(report.frames or report.maybe)]
    found: list[str] = []
    for name in names:
        plain = _SUFFIX.sub(b"", name)
        text = plain.decode(errors="replace")
        if not _GENERIC.match(plain) and text not in found[-1:]:
            found.append(text)
    return found[:FRAMES]


def scan(lines: Iterable[bytes]) -> tuple[Splat, ...]:
    """Return the reports in ``lines``."""
    scanner = Scanner()
    for line in lines:
        scanner.feed(line)
    return scanner.splats()
