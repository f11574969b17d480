"""Find the kernel's complaints on its console: panics, oopses, warnings, sanitizers, lockups.

The scanner takes console bytes line by line and never raises. One report has one context: the
task or CPU that printk names on each line where ``CONFIG_PRINTK_CALLER`` is set. So two CPUs that
report at once give two reports. Without the caller their lines cannot be told apart, and the
reports are marked as corrupted; so is a report that lacks its end or its call trace.

The rules are in `splat_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from harness.guest.limits import MATCHED
from harness.guest.verdict.splat_report import DIED, OpenReport, Splat
from harness.guest.verdict.splat_rules import (
    AFTER_PREFACE,
    CUT_HERE,
    FOLLOWS,
    NEVER,
    OTHER_CPUS,
    RULES,
    SEVERAL_LINES,
    Rule,
)

#: A report without an end is cut after this many lines.
MAX_EXCERPT = 160
#: Number of reports kept. A kernel that warns for ever is as broken after a hundred.
MAX_SPLATS = 200
#: Reports that are open at the same time, one for each context.
MAX_OPEN = 32

#: ``[    1.234567]``, with ``[    T1]`` behind it where printk names its caller. A console log of
#: the harness has a second stamp in front.
_STAMP = re.compile(
    rb"(?:\[ *\d{1,9}\.\d{3}\] )?(?:<\d{1,3}>)?\[ *\d{1,9}\.\d{6}\](?:\[ *([TC]\d{1,10})\])? ?"
)
_OTHER_CPU = re.compile(rb"(?:NMI backtrace for cpu |Sending NMI from CPU )")
_DROPPED = re.compile(rb"\*\* \d+ printk messages dropped \*\*")


class Scanner:
    """Finds reports in lines as they come. Never raises on what a guest prints.

    :param keep: takes each report that is complete, in place of :meth:`splats`.
    """

    def __init__(self, keep: Callable[[Splat], None] | None = None) -> None:
        self._number = 0
        self._done: list[Splat] = []
        self._keep = keep or self._keep_first
        #: Context → its open report, which several contexts can share.
        self._open: dict[bytes | None, OpenReport] = {}

    def feed(self, raw: bytes) -> None:
        """Take one line, without its end."""
        self._number += 1
        raw = raw[:MATCHED].rstrip(b"\r\n")
        context, line = _split(raw)
        report = self._open.get(context)
        rule, match = _first_line(line)
        if report is None and _OTHER_CPU.match(line):
            report = self._adopt(context)
        if _DROPPED.search(raw):
            for each in self._open.values():
                each.mixed = True
        if report is None:
            if rule is not None and match is not None:
                self._begin(context, rule, match, line, raw)
        elif rule is not None and match is not None and not _belongs(report, rule):
            mixed = context is None and not report.complete and rule.kind != "panic"
            report.mixed |= mixed
            report.ended |= rule.kind == "panic"
            self._finish(context)
            self._begin(context, rule, match, line, raw)
            if mixed and (begun := self._open.get(context)):
                begun.mixed = True
        else:
            self._more(context, report, rule, match, line, raw)

    def splats(self) -> tuple[Splat, ...]:
        """Return the reports so far, in the order of their first lines, open ones included."""
        pending = [report.splat() for report in self._pending()]
        return tuple(sorted([*self._done, *pending], key=lambda splat: splat.first_line))

    @property
    def unfinished(self) -> bool:
        """Tell whether a report is open that is not complete: more of it may come."""
        return any(not report.complete for report in self._open.values())

    def _pending(self) -> list[OpenReport]:
        """Return the open reports, the latest last."""
        unique = {id(report): report for report in self._open.values()}
        return sorted(unique.values(), key=lambda report: report.first_line)

    def _adopt(self, context: bytes | None) -> OpenReport | None:
        """Return the report for which a CPU without one of its own shows its stack."""
        for report in reversed(self._pending()):
            if report.rule.kind in OTHER_CPUS:
                if len(self._open) < MAX_OPEN:
                    self._open[context] = report
                return report
        return None

    def _begin(
        self, context: bytes | None, rule: Rule, match: re.Match[bytes], line: bytes, raw: bytes
    ) -> None:
        if len(self._open) >= MAX_OPEN:
            self._finish(next(iter(self._open)))
        report = OpenReport(rule, line, self._number, _words(match), [raw])
        report.died = DIED.search(line) is not None
        self._open[context] = report
        if rule.single:
            self._finish(context)

    def _more(
        self,
        context: bytes | None,
        report: OpenReport,
        rule: Rule | None,
        match: re.Match[bytes] | None,
        line: bytes,
        raw: bytes,
    ) -> None:
        report.lines.append(raw)
        if rule is not None and match is not None and _says_more(report, rule):
            report.rule, report.first, report.words = rule, line, _words(match)
        elif report.rule.more is not None and (more := report.rule.more.match(line)):
            report.words.update({**_words(more), **report.words})
        report.take(line)
        if report.rule.end is not None and report.rule.end.search(line):
            report.ended = True
        if report.ended or len(report.lines) >= MAX_EXCERPT:
            self._finish(context)

    def _finish(self, context: bytes | None) -> None:
        report = self._open[context]
        self._open = {key: each for key, each in self._open.items() if each is not report}
        self._keep(report.splat())

    def _keep_first(self, splat: Splat) -> None:
        if len(self._done) < MAX_SPLATS:
            self._done.append(splat)


def _split(raw: bytes) -> tuple[bytes | None, bytes]:
    """Return the context that printk names and the text of a line.

    Whatever stands before a stamp is an unfinished line of somebody else.
    """
    stamp = _STAMP.match(raw) or _STAMP.search(raw)
    if stamp is None:
        return None, raw
    return stamp[1], raw[stamp.end() :]


def _first_line(line: bytes) -> tuple[Rule | None, re.Match[bytes] | None]:
    """Return the rule by which a report begins with this line, and how it matched."""
    if not NEVER.match(line):
        for rule in RULES if _AT_START.match(line) or _ANYWHERE.search(line) else _WITHOUT_KEY:
            if match := rule.match(line):
                return rule, match
    return None, None


def _any_key(*, anywhere: bool) -> re.Pattern[bytes]:
    keys = [rule.key for rule in RULES if rule.key and rule.anywhere == anywhere]
    return re.compile(b"|".join(map(re.escape, keys)))


#: Nearly no line has the key of a rule, and to ask each rule takes five times as long.
_AT_START, _ANYWHERE = _any_key(anywhere=False), _any_key(anywhere=True)
_WITHOUT_KEY = tuple(rule for rule in RULES if not rule.key)


def _words(match: re.Match[bytes]) -> dict[str, bytes]:
    return {name: text for name, text in match.groupdict().items() if text is not None}


def _belongs(report: OpenReport, rule: Rule) -> bool:
    """Tell whether a line that could begin a report is a part of the open one.

    The bar "cut here" comes before what it is about, and a warning's message before or after its
    "WARNING:". An oops says first what happened, and "Oops:" after it.
    """
    if rule.kind == "panic":
        return False
    if _is_cut(report.first):
        return True
    if rule.kind == report.rule.kind and rule.kind in SEVERAL_LINES:
        return True
    if not report.early or (rule.kind == "oops" and report.died):
        return False
    if rule.kind in FOLLOWS.get(report.rule.kind, ()):
        return True
    if report.rule.preface and rule.kind in AFTER_PREFACE:
        return True
    return report.rule.kind in AFTER_PREFACE and rule.preface


def _says_more(report: OpenReport, rule: Rule) -> bool:
    """Tell whether a further first line names the report better than the one before."""
    if _is_cut(report.first):
        return not _is_cut(rule.key)
    return rule.preface and not report.rule.preface


def _is_cut(line: bytes) -> bool:
    return line.startswith(CUT_HERE)


def scan(lines: Iterable[bytes]) -> tuple[Splat, ...]:
    """Return the reports in ``lines``."""
    scanner = Scanner()
    for line in lines:
        scanner.feed(line)
    return scanner.splats()
