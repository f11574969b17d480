"""Rules for the reports of the kernel: how each begins and ends, its kind and its title.

The rules themselves are in ``splat-rules.toml``.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Places in a line where a rule's key is tried behind the text of another writer.
_PLACES = 8


@dataclass(frozen=True)
class Rule:
    """A rule for one kind of report.

    :param key: fixed text in the first line. It is searched before any expression is tried.
    :param rest: expression for the text behind the key. Its named groups are for the title. It
        must not backtrack over an unbounded number of characters.
    :param title: the usual name of the report. ``{frame}`` is the first frame that identifies the
        fault.
    :param before: expression for the text before the key, None if the key begins the line.
    :param end: last line of a complete report.
    :param trace: a complete report has a call trace and, if the rule has an ``end``, that line.
        Otherwise a report is complete with its first line.
    :param single: the report has only this line.
    :param preface: the line is the message of a WARN, BUG or oops, and more specific than these.
    :param more: expression for a later line with more named groups for the title.
    :param proof: ordinary lines can match; the report counts only if registers or frames follow.
    :param skip: functions of the reporting code that this kind of report always shows.
    """

    kind: str
    key: bytes
    rest: re.Pattern[bytes]
    title: str
    before: re.Pattern[bytes] | None = None
    end: re.Pattern[bytes] | None = None
    trace: bool = True
    single: bool = False
    preface: bool = False
    more: re.Pattern[bytes] | None = None
    proof: bool = False
    skip: re.Pattern[bytes] | None = None

    def match(self, line: bytes) -> re.Match[bytes] | None:
        """Return the match of a report's first line, or None."""
        at = line.find(self.key)
        if at < 0 or (at > 0 and (self.before is None or not self.before.fullmatch(line, 0, at))):
            return None
        return self.rest.match(line, at + len(self.key))

    def search(self, line: bytes) -> re.Match[bytes] | None:
        """Return the match of a report's first line behind any other text, or None."""
        at = line.find(self.key) if self.key else -1
        for _ in range(_PLACES):
            if at < 0:
                break
            if match := self.rest.match(line, at + len(self.key)):
                return match
            at = line.find(self.key, at + 1)
        return None


def _read_rules(text: str) -> tuple[Rule, ...]:
    """Return the rules of a table in TOML."""
    table = tomllib.loads(text)
    parts = {
        name: part if isinstance(part, str) else "|".join(part)
        for name, part in table["parts"].items()
    }

    def compiled(expression: str, form: str = "{}") -> re.Pattern[bytes]:
        text = re.sub(r"@(\w+)", lambda found: parts[found[1]], expression)
        return re.compile(form.format(text).encode())

    def rule(row: dict[str, Any]) -> Rule:
        row["key"] = row["key"].encode()
        row["rest"] = compiled(row.get("rest", ""))
        for name in ("before", "end", "more"):
            if name in row:
                row[name] = compiled(row[name])
        if "skip" in row:
            row["skip"] = compiled(row["skip"], "(?:{})$")
        row.setdefault("trace", not row.get("single", False))
        return Rule(**row)

    return tuple(map(rule, table["rule"]))


#: In order of priority: the first rule that matches determines the kind.
RULES = _read_rules(Path(__file__).with_name("splat-rules.toml").read_text(encoding="utf-8"))

#: Lines that look like the first line of a report and are not.
NEVER = re.compile(
    rb"---\[ end |\[Firmware (?:Bug|Warn|Info)\]|Spectre V|Modules linked in:|Hardware name:|Code: "
    rb"|(?:Kernel c|C|Unknown kernel c)ommand line"
)
CUT_HERE = b"------------[ cut here ]------------"

#: Kinds with several first lines in one report.
SEVERAL_LINES = frozenset({"rcu-stall", "leak", "csd-lock", "workqueue-lockup"})
#: Kinds with stacks of other CPUs, which those CPUs print themselves.
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
#: Kind → kinds whose first line may follow in the same report, before any frame.
FOLLOWS = {
    "oops": frozenset({"oops"}),
    "bug": frozenset({"oops"}),
    "slab": frozenset({"warn"}),
    "leak": frozenset({"warn"}),
    "ubsan": frozenset({"warn"}),
}
#: Kinds that follow the message of a report with ``preface``.
AFTER_PREFACE = frozenset({"warn", "bug", "oops"})

#: Functions for reporting and for kernel entry, which do not identify a fault.
GENERIC = re.compile(
    rb"(?:_*dump_stack\w*|show_stack\w*|__warn\w*|warn_slowpath\w*"
    rb"|report_bug\w*|_*handle_bug|v?panic|check_panic_on_warn"
    rb"|exc_\w+|asm_\w+|(?:__)?die(?:_addr|_body|_header|_nmi)?|oops_(?:begin|end|enter|exit)"
    rb"|page_fault_oops|fixup_exception|no_context"
    rb"|_*bad_area\w*|do_user_addr_fault|do_kern_addr_fault|do_trap|do_error_trap|kernelmode_\w+"
    rb"|_*k[acm]san_\w+|__[akm]san_\w+|__tsan_\w+|start_report\w*"
    rb"|ubsan_(?:prologue|epilogue|type_mismatch_common)|__ubsan_handle_\w+"
    rb"|print_(?:report|address_\w+|error_description|memory_metadata|bug_type|track\w*|trailer"
    rb"|page_info|slab_info|section|vma_addr|kernel_ident|shortest_lock_\w+|lock\w*|collision"
    rb"|unlock_imbalance\w*|freed_lock\w*|held_locks\w*|\w+_bug(?:_header|_entry)?"
    rb"|\w*irq_\w*dependency|\w*cpu_stall\w*|\w*deadlock_scenario|usage_bug\w*)"
    rb"|lock_acquire\w*|__lock_acquire|lock_release|lockdep_\w+|check_\w*deadlock|check_noncircular"
    rb"|check_prevs?_add|validate_chain"
    rb"|refcount_warn_saturate|__list_(?:add|del)\w*|_raw_\w+lock\w*|__might_(?:sleep|resched)"
    rb"|__schedule(?:_bug)?|schedule|preempt_schedule\w*|sched_show_task|rcu_dump_cpu_stacks"
    rb"|nmi_(?:handle|enter|exit|restore|panic\w*|shootdown_cpus|(?:raise_)?cpu_backtrace\w*"
    rb"|trigger_\w+)|default_do_nmi|end_repeat_nmi|perf_trace_\w+|do_syscall_64|entry_\w+"
    rb"|ret_from_fork\w*|kthread|x64_sys_call|__kmem_cache_\w+"
    rb"|sysvec_\w+|__sysvec_\w+|run_ksoftirqd|irq_exit_rcu|handle_softirqs|__do_softirq"
    rb"|apic_timer_interrupt|smp_apic_\w+|rcu_read_unlock_\w+"
    rb"|_*mem(?:cpy|set|move|cmp|chr)(?:_(?:orig|erms|inv|io|fromio|toio))?)$"
)
