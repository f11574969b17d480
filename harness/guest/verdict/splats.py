"""A scanner for splats on the console: panics, oopses, warnings, sanitizers, lockups.

The scanner reads the console line by line and never raises. One report has one context: the task
or CPU that printk names on each line with ``CONFIG_PRINTK_CALLER``. So two CPUs that report at
once give two reports. Without the caller their lines cannot be told apart, and the reports are
marked as corrupted. So is a report that lacks its end or its call trace.

A program's output is ignored, even if it quotes a report. A key counts at the start of printk's
text, or behind a prefix that the kernel's own messages have. If the kernel stamps its lines, a line
without a stamp was written by another writer. It begins a report only if registers or frames
follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from harness.guest.limits import MATCHED
from harness.guest.verdict.splat_report import DIED, HEADER, OpenReport, Splat
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
from harness.guest.verdict.storm import SplatBuffer

#: Limit for the lines of a report. One without an end is cut there.
MAX_EXCERPT = 160
#: Limit for the reports that are open at the same time, one for each context.
MAX_OPEN = 32

#: ``[    1.234567]``, followed by ``[    T1]`` if printk names its caller. With ``printk.time=0``
#: the caller stands alone, in at least six characters. The harness's console log has a second stamp
#: in front.
_STAMP = re.compile(
    rb"(?:\[ *\d{1,9}\.\d{3}\] )?(?:<\d{1,3}>)?"
    rb"(?:\[ *\d{1,9}\.\d{6}\](?:\[ *([TC]\d{1,10})\])?|\[(?=[ TC\d]{6,11}\]) *([TC]\d{1,10})\]) ?"
)
#: What noise on the line, a terminal's colours or a log level alone put before a text.
_NOISE = re.compile(rb"(?:\x1b\[[\d;]{0,10}m|<\d{1,3}>|[\x00-\x20\x7f-\xff])+")
#: Bytes of a line that stamps are looked for in.
_SEARCHED = 64 << 10
_OTHER_CPU = re.compile(rb"(?:NMI backtrace for cpu |Sending NMI from CPU )")
_DROPPED = re.compile(rb"\*\* \d+ printk messages dropped \*\*")
#: The first message of a boot, and the last one before programs can print.
_BOOT, _PROGRAMS = b"Linux version ", re.compile(rb"Run \S{1,200} as init process")
#: The context of lines that printk did not stamp.
_UNSTAMPED = b""


class Scanner:
    """Finds reports in console lines. Never raises, whatever a guest prints."""

    #: Whether the kernel stamps its lines.
    stamped = False
    #: The first line of the first panic, from the panic's key on.
    panic: bytes | None = None

    def __init__(self) -> None:
        self._number = 0
        self._muted = False
        #: The kernel boots: each line is its own.
        self._booting = False
        #: A boot was seen.
        self._booted = False
        self._finished = SplatBuffer()
        #: Context → its open report. Several contexts can share one.
        self._open: dict[bytes | None, OpenReport] = {}

    def feed(self, raw: bytes) -> bytes | None:
        """Process one line. Its line end is ignored.

        Return the line's text without its stamp. None if another writer than the kernel printed it.
        """
        self._number += 1
        raw = raw.rstrip(b"\r\n")
        part = _last_part(raw)
        raw = raw if len(raw) <= MATCHED else part
        context, line = _split(part)
        self._note_stamps(context, line)
        report = self._open.get(context)
        found = _first_line(line, self.stamped if context == _UNSTAMPED else None)
        if report is None and _OTHER_CPU.match(line):
            report = self._adopt(context)
        elif report is None and found is None and HEADER.match(line):
            report = self._take_over(context)
        if _DROPPED.search(raw):
            for each in self._open.values():
                each.mixed = True
        if report is None:
            if found is not None:
                self._begin(context, found, line, raw)
        elif found is not None and not _belongs(report, found.rule):
            anonymous = context in {None, _UNSTAMPED}
            panics = found.rule.kind == "panic"
            mixed = anonymous and report.proven and not report.complete and not panics
            report.mixed |= mixed
            report.ended |= panics
            self._finish(context)
            self._begin(context, found, line, raw)
            if mixed and (begun := self._open.get(context)):
                begun.mixed = True
        else:
            self._more(context, report, found, line, raw)
        return None if self.stamped and context == _UNSTAMPED else line

    def mute(self) -> None:
        """Finish the open reports, and keep no later ones. A panic is still noticed."""
        for report in self._pending():
            self._keep(report)
        self._open.clear()
        self._muted = True

    def excuse(self, known: Callable[[Splat], bool]) -> None:
        """Set the test for known splats, which do not count towards the limit on splats."""
        self._finished.excuse(known)

    def splats(self) -> tuple[Splat, ...]:
        """Return the reports so far, open ones included, in the order of their first lines."""
        found = self._finished.splats()
        if not self._muted and not self._finished.full:
            found += [report.splat() for report in self._pending() if report.proven]
        return tuple(sorted(found, key=lambda splat: splat.first_line))

    @property
    def unfinished(self) -> bool:
        """Whether an open report is incomplete, so that more lines may follow."""
        return any(not report.complete for report in self._open.values())

    def _pending(self) -> list[OpenReport]:
        """Return the open reports, the latest last."""
        unique = {id(report): report for report in self._open.values()}
        return sorted(unique.values(), key=lambda report: report.first_line)

    def _adopt(self, context: bytes | None) -> OpenReport | None:
        """Return the report to which the stack of a CPU without its own report belongs."""
        for report in reversed(self._pending()):
            if report.rule.kind in OTHER_CPUS:
                if len(self._open) < MAX_OPEN:
                    self._open[context] = report
                return report
        return None

    def _take_over(self, context: bytes | None) -> OpenReport | None:
        """Return the report whose first line was just before, and whose stamp was damaged."""
        report = self._open.get(_UNSTAMPED)
        if report is None or report.proven or report.first_line != self._number - 1:
            return None
        self._open[context] = report
        return report

    def _note_stamps(self, context: bytes | None, line: bytes) -> None:
        """Find out whether the kernel stamps its lines, and whether programs may print.

        The boot decides, if the console has one. A program can print a stamp.
        """
        if line.startswith(_BOOT) and (context != _UNSTAMPED or not self.stamped):
            self._booting = self._booted = True
        elif self._booting and _PROGRAMS.match(line):
            self._booting = False
        if context != _UNSTAMPED and (self._booting or not self._booted):
            self.stamped = True
        elif self._booting and line:
            self.stamped = False

    def _begin(self, context: bytes | None, found: _Found, line: bytes, raw: bytes) -> None:
        if len(self._open) >= MAX_OPEN:
            self._finish(next(iter(self._open)))
        report = OpenReport(found.rule, line, self._number, _words(found.match), [raw])
        report.died = DIED.search(line) is not None
        report.proven = found.sure
        self._open[context] = report
        self._note_panic(report)
        if found.rule.single:
            self._finish(context)

    def _more(
        self,
        context: bytes | None,
        report: OpenReport,
        found: _Found | None,
        line: bytes,
        raw: bytes,
    ) -> None:
        report.lines.append(raw)
        if found is not None and _is_more_specific(report, found.rule):
            report.rule, report.first, report.words = found.rule, line, _words(found.match)
        elif report.rule.more is not None and (more := report.rule.more.match(line)):
            report.words.update({**_words(more), **report.words})
        report.take(line)
        if report.rule.end is not None and report.rule.end.search(line):
            report.ended = report.proven = True
        if found is not None and found.sure:
            report.proven = True
        self._note_panic(report)
        if report.ended or len(report.lines) >= MAX_EXCERPT:
            self._finish(context)

    def _note_panic(self, report: OpenReport) -> None:
        if self.panic is None and report.proven and report.rule.kind == "panic":
            self.panic = report.first[report.first.index(report.rule.key) :]

    def _finish(self, context: bytes | None) -> None:
        report = self._open[context]
        self._open = {key: each for key, each in self._open.items() if each is not report}
        self._keep(report)

    def _keep(self, report: OpenReport) -> None:
        if report.proven and not self._muted:
            self._finished.add(report.splat())


def _last_part(raw: bytes) -> bytes:
    """Return a line from its last stamp on, cut at its limit.

    Text before that stamp is an unfinished line of another writer, or of the same one.
    """
    start = 0
    for stamp in _STAMP.finditer(raw, 0, _SEARCHED):
        if stamp.end() < len(raw):
            start = stamp.start()
    return raw[start : start + MATCHED]


def _split(raw: bytes) -> tuple[bytes | None, bytes]:
    """Return the context that printk names, and the text of a line."""
    stamp = _STAMP.match(raw)
    if stamp is None:
        return _UNSTAMPED, raw
    return stamp[1] or stamp[2], raw[stamp.end() :]


class _Found(NamedTuple):
    """The rule for a report that begins with a line."""

    rule: Rule
    match: re.Match[bytes]
    #: The line alone shows that the kernel printed it.
    sure: bool


def _first_line(line: bytes, others_stamped: bool | None) -> _Found | None:
    """Return the rule for a report that begins with this line.

    :param others_stamped: None for a line with a stamp; otherwise whether the kernel's lines have
        one.
    """
    if noise := _NOISE.match(line):
        line = line[noise.end() :]
    if NEVER.match(line):
        return None
    candidates = RULES if _ANY_KEY.search(line) else _WITHOUT_KEY
    for rule in candidates:
        if match := rule.match(line):
            return _Found(rule, match, sure=not others_stamped and not rule.proof)
    if others_stamped is not None:
        for rule in candidates:
            if match := rule.search(line):
                return _Found(rule, match, sure=False)
    return None


#: Most lines have no rule's key. One search for any key is five times faster than trying each rule.
_ANY_KEY = re.compile(b"|".join(re.escape(rule.key) for rule in RULES if rule.key))
_WITHOUT_KEY = tuple(rule for rule in RULES if not rule.key)


def _words(match: re.Match[bytes]) -> dict[str, bytes]:
    return {name: text for name, text in match.groupdict().items() if text is not None}


def _belongs(report: OpenReport, rule: Rule) -> bool:
    """Return true if a line that could begin a report belongs to the open one.

    The "cut here" line precedes its report. A warning's message precedes or follows its
    "WARNING:" line. The cause of an oops precedes its "Oops:" line.
    """
    if rule.kind == "panic":
        return False
    if _is_cut(report.first):
        return True
    if rule.kind == report.rule.kind and rule.kind in SEVERAL_LINES:
        return True
    if not report.has_only_first_lines or (rule.kind == "oops" and report.died):
        return False
    if rule.kind in FOLLOWS.get(report.rule.kind, ()):
        return True
    if report.rule.preface and rule.kind in AFTER_PREFACE:
        return True
    return report.rule.kind in AFTER_PREFACE and rule.preface


def _is_more_specific(report: OpenReport, rule: Rule) -> bool:
    """Return true if a further first line names the report better than the previous one."""
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
