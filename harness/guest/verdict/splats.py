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
from dataclasses import dataclass, field

from harness.guest.limits import MATCHED
from harness.guest.verdict.splat_rules import (
    AFTER_PREFACE,
    CUT_HERE,
    FOLLOWS,
    GENERIC,
    NEVER,
    OTHER_CPUS,
    RULES,
    SEVERAL_LINES,
    Rule,
)
from harness.values import Value

#: Frames in a fingerprint.
FRAMES = 5
#: A report without an end is cut after this many lines.
MAX_EXCERPT = 160
#: Number of reports kept. A kernel that warns for ever is as broken after a hundred.
MAX_SPLATS = 200
#: Reports that are open at the same time, one for each context.
MAX_OPEN = 32
#: Frames kept of one report, of each sort.
_MAX_FRAMES = 64


class Splat(Value):
    """One report of the kernel."""

    kind: str
    #: What people call such a report, such as ``KASAN: slab-use-after-free Read in f``.
    title: str
    fingerprint: str
    #: Line on the console where it begins, from 1.
    first_line: int
    excerpt: str
    #: First line of the report without time stamp, CPU numbers, process ids and addresses.
    line: str = ""
    #: The report is cut or mixed with another. Its frames and its kind are no evidence.
    corrupted: bool = False


#: ``[    1.234567]``, with ``[    T1]`` behind it where printk names its caller. A console log of
#: the harness has a second stamp in front.
_STAMP = re.compile(
    rb"(?:\[ *\d{1,9}\.\d{3}\] )?(?:<\d{1,3}>)?\[ *\d{1,9}\.\d{6}\](?:\[ *([TC]\d{1,10})\])? ?"
)
_FRAME = re.compile(
    rb"\s*(?:\[<[0-9a-f]+>\] )?(\? )?([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+(?: |$)"
)
#: Where a report's first line names the place.
_PLACE = re.compile(rb" (?:at|in) (?:\S{1,200}:\d+ )?([A-Za-z_][\w.]{0,200})\+0x")
_RIP = re.compile(rb"RIP: [0-9a-f]+:([A-Za-z_][\w.]*)\+0x")
#: The report goes on with other places than where the fault was.
_ELSEWHERE = re.compile(
    rb"(?:[Aa]llocated|[Ff]reed) by task |(?:Allocated|Freed) in |Uninit was |Local variable "
    rb"|(?:Last|Second to last) potentially related|Showing all locks held|Disabled preemption at"
    rb"|(?:kfence-#|hardirqs |softirqs )"
)
_TRACE = re.compile(rb"\s*(?:Call Trace:|stack backtrace:|backtrace)")
_STACK = re.compile(rb"\s*<(/?)(TASK|IRQ|SOFTIRQ|NMI|#\w+|ENTRY_TRAMPOLINE)>\s*$")
_HEADER = re.compile(rb"CPU: (\d+) (?:UID: \d+ )?PID: (\d+) ")
_OTHER_CPU = re.compile(rb"(?:NMI backtrace for cpu |Sending NMI from CPU )")
_DROPPED = re.compile(rb"\*\* \d+ printk messages dropped \*\*")
_DIED = re.compile(rb": [0-9a-f]{4} \[#\d+\]")
_SUFFIX = re.compile(rb"\.(isra|constprop|part|cold|lto_priv|llvm)(\.\d+)*")
_PANIC = b"Kernel panic - not syncing"
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
    (re.compile(r"(CPU#N: )[^\s/]+/\d+$"), r"\1TASK"),
)
_OFFSETS = re.compile(r"\+(?:0x[0-9a-f]+|ADDR)(?:/(?:0x[0-9a-f]+|ADDR))?")
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass
class _Report:
    rule: Rule
    first: bytes
    first_line: int
    words: dict[str, bytes]
    lines: list[bytes] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    maybe: list[bytes] = field(default_factory=list)
    rip: bytes | None = None
    #: CPU and process that the report names; a second pair is somebody else's.
    header: tuple[bytes, bytes] | None = None
    #: Stacks of the trace that were begun and not ended.
    stacks: int = 0
    #: The lines are now about other places than where the fault was.
    elsewhere: bool = False
    #: The line that counts the oopses was seen: ``[#1]``.
    died: bool = False
    #: Its last line was seen.
    ended: bool = False
    #: Its lines are not all its own, or some of them were lost.
    mixed: bool = False

    @property
    def early(self) -> bool:
        """Tell whether nothing but first lines was seen yet."""
        return self.rip is None and not self.frames

    @property
    def complete(self) -> bool:
        """Tell whether nothing is missing."""
        if self.ended or self.rule.single:
            return True
        if not self.rule.trace:
            return True
        return self.rule.end is None and bool(self._places) and self.stacks == 0

    @property
    def corrupted(self) -> bool:
        """Tell whether the report is cut or mixed."""
        return self.mixed or not self.complete or (self.rule.trace and not self._places)

    @property
    def _places(self) -> bool:
        return bool(self.rip or self.frames or self.maybe)


class Scanner:
    """Finds reports in lines as they come. Never raises on what a guest prints.

    :param keep: takes each report that is complete, in place of :meth:`splats`.
    """

    def __init__(self, keep: Callable[[Splat], None] | None = None) -> None:
        self._number = 0
        self._done: list[Splat] = []
        self._keep = keep or self._keep_first
        #: Context → its open report, which several contexts can share.
        self._open: dict[bytes | None, _Report] = {}

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
        pending = [_splat(report) for report in self._pending()]
        return tuple(sorted([*self._done, *pending], key=lambda splat: splat.first_line))

    @property
    def unfinished(self) -> bool:
        """Tell whether a report is open that is not complete: more of it may come."""
        return any(not report.complete for report in self._open.values())

    def _pending(self) -> list[_Report]:
        """Return the open reports, the latest last."""
        unique = {id(report): report for report in self._open.values()}
        return sorted(unique.values(), key=lambda report: report.first_line)

    def _adopt(self, context: bytes | None) -> _Report | None:
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
        report = _Report(rule, line, self._number, _words(match), [raw])
        report.died = _DIED.search(line) is not None
        self._open[context] = report
        if rule.single:
            self._finish(context)

    def _more(
        self,
        context: bytes | None,
        report: _Report,
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
        _take(report, line)
        if report.rule.end is not None and report.rule.end.search(line):
            report.ended = True
        if report.ended or len(report.lines) >= MAX_EXCERPT:
            self._finish(context)

    def _finish(self, context: bytes | None) -> None:
        report = self._open[context]
        self._open = {key: each for key, each in self._open.items() if each is not report}
        self._keep(_splat(report))

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


def _belongs(report: _Report, rule: Rule) -> bool:
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


def _says_more(report: _Report, rule: Rule) -> bool:
    """Tell whether a further first line names the report better than the one before."""
    if _is_cut(report.first):
        return not _is_cut(rule.key)
    return rule.preface and not report.rule.preface


def _is_cut(line: bytes) -> bool:
    return line.startswith(CUT_HERE)


def _take(report: _Report, line: bytes) -> None:
    """Take what a line of a report says about the place of the fault."""
    _take_heading(report, line)
    if report.rule.kind in {"bug", "oops"} and _DIED.search(line):
        report.died = True
    if stack := _STACK.match(line):
        report.stacks = max(0, report.stacks + (-1 if stack[1] else 1))
    if header := _HEADER.match(line):
        _take_header(report, header)
    if report.elsewhere:
        return
    if frame := _FRAME.match(line):
        names = report.maybe if frame[1] else report.frames
        if len(names) < _MAX_FRAMES:
            names.append(frame[2])
    elif report.rip is None and (rip := _RIP.match(line)):
        report.rip = rip[1]


def _take_heading(report: _Report, line: bytes) -> None:
    """Take which place the next frames are about."""
    if _TRACE.match(line):
        report.elsewhere = False
        if report.rule.kind == "lockdep":
            report.frames, report.maybe = [], []
    elif _ELSEWHERE.match(line):
        report.elsewhere = True


def _take_header(report: _Report, header: re.Match[bytes]) -> None:
    found = (header[1], header[2])
    if report.header is None:
        report.header = found
    elif report.header != found and report.rule.kind not in OTHER_CPUS:
        report.mixed = True


def _splat(report: _Report) -> Splat:
    frames = _frames(report)
    line = _plain(report.first)
    return Splat(
        kind=report.rule.kind,
        title=_title(report, frames),
        fingerprint=":".join([report.rule.kind, "|".join(frames) or line]),
        first_line=report.first_line,
        excerpt=b"\n".join(report.lines).decode(errors="replace"),
        line=line,
        corrupted=report.corrupted,
    )


def _plain(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    for pattern, replacement in _VARIABLE:
        text = pattern.sub(replacement, text)
    return text


def _title(report: _Report, frames: list[str]) -> str:
    """Return the rule's title with what the report says; what it does not say is left out."""
    words = {name: _OFFSETS.sub("", _plain(text)) for name, text in report.words.items()}
    if frames:
        words["frame"] = frames[0]
    elif named := _PLACE.search(report.first):
        words["frame"] = _SUFFIX.sub(b"", named[1]).decode(errors="replace")
    template = report.rule.title
    if "frame" not in words:
        template = template.replace(" in {frame}", "")
    text = _FIELD.sub(lambda found: words.get(found[1], ""), template)
    return " ".join(text.split()).rstrip(": ")


def _frames(report: _Report) -> list[str]:
    """Return the frames that identify the fault; unreliable ones (``?``) only if alone."""
    names = [*([report.rip] if report.rip else []), *(report.frames or report.maybe)]
    plain = [_SUFFIX.sub(b"", name) for name in names]
    telling = [name for name in plain if not GENERIC.match(name)]
    skip = report.rule.skip
    special = [name for name in telling if skip is None or not skip.match(name)]
    found: list[str] = []
    for name in special or telling:
        text = name.decode(errors="replace")
        if text not in found[-1:]:
            found.append(text)
    return found[:FRAMES]


def scan(lines: Iterable[bytes]) -> tuple[Splat, ...]:
    """Return the reports in ``lines``."""
    scanner = Scanner()
    for line in lines:
        scanner.feed(line)
    return scanner.splats()
