"""One report of the kernel: the place of the fault, its kind, title and fingerprint."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from harness.guest.verdict.splat_rules import GENERIC, OTHER_CPUS, Rule
from harness.lib.text import clean_line
from harness.values import Value

#: Number of frames in a fingerprint.
FRAMES = 5
#: Limit for the frames kept of one report, for reliable and for unreliable ones.
_MAX_FRAMES = 64


class Splat(Value):
    """One report of the kernel."""

    kind: str
    #: The usual name of such a report, such as ``KASAN: slab-use-after-free Read in f``.
    title: str
    fingerprint: str
    #: Number of its first line on the console, from 1.
    first_line: int
    excerpt: str
    #: First line of the report without time stamp, CPU numbers, process ids and addresses.
    line: str = ""
    #: The report is cut or mixed with another. Its frames and its kind are unreliable.
    corrupted: bool = False


_FRAME = re.compile(
    rb"\s*(?:\[<[0-9a-f]+>\] )?(\? )?([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+(?: |$)"
)
#: The place that a report's first line names.
_PLACE = re.compile(rb" (?:at|in) (?:\S{1,200}:\d+ )?([A-Za-z_][\w.]{0,200})\+0x")
_RIP = re.compile(rb"RIP: [0-9a-f]+:([A-Za-z_][\w.]*)\+0x")
#: Headings of parts about other places than that of the fault.
_ELSEWHERE = re.compile(
    rb"(?:[Aa]llocated|[Ff]reed) by task |(?:Allocated|Freed) in |Uninit was |Local variable "
    rb"|(?:Last|Second to last) potentially related|Showing all locks held|Disabled preemption at"
    rb"|(?:kfence-#|hardirqs |softirqs )"
)
_TRACE = re.compile(rb"\s*(?:Call Trace:|stack backtrace:|backtrace)")
_STACK = re.compile(rb"\s*<(/?)(TASK|IRQ|SOFTIRQ|NMI|#\w+|ENTRY_TRAMPOLINE)>\s*$")
HEADER = re.compile(rb"CPU: (\d+) (?:UID: \d+ )?PID: (\d+) ")
DIED = re.compile(rb": [0-9a-f]{4} \[#\d+\]")
_SUFFIX = re.compile(rb"\.(isra|constprop|part|cold|lto_priv|llvm)(\.\d+)*")
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
class OpenReport:
    """A report whose lines are still being read."""

    rule: Rule
    first: bytes
    first_line: int
    words: dict[str, bytes]
    lines: list[bytes] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    maybe: list[bytes] = field(default_factory=list)
    rip: bytes | None = None
    #: CPU and process that the report names. A second pair belongs to another report.
    header: tuple[bytes, bytes] | None = None
    #: Number of stacks in the trace that have begun and not ended.
    stacks: int = 0
    #: The current lines are about other places than that of the fault.
    elsewhere: bool = False
    #: The line that counts the oopses was seen: ``[#1]``.
    died: bool = False
    #: The last line of the report was seen.
    ended: bool = False
    #: Some lines belong to another report, or were lost.
    mixed: bool = False
    #: The kernel printed it, not a program that quotes a report.
    proven: bool = True

    @property
    def has_only_first_lines(self) -> bool:
        """Whether only first lines were seen so far."""
        return self.rip is None and not self.frames

    @property
    def complete(self) -> bool:
        """Whether the report is complete."""
        if self.ended or self.rule.single:
            return True
        if not self.rule.trace:
            return True
        return self.rule.end is None and bool(self._places) and self.stacks == 0

    @property
    def corrupted(self) -> bool:
        """Whether the report is cut or mixed with another."""
        return self.mixed or not self.complete or (self.rule.trace and not self._places)

    @property
    def _places(self) -> bool:
        return bool(self.rip or self.frames or self.maybe)

    def take(self, line: bytes) -> None:
        """Read a further line of the report."""
        self._take_heading(line)
        if self.rule.kind in {"bug", "oops"} and DIED.search(line):
            self.died = True
        if stack := _STACK.match(line):
            self.stacks = max(0, self.stacks + (-1 if stack[1] else 1))
        if header := HEADER.match(line):
            self._take_header(header)
            self.proven = True
        if self.elsewhere:
            return
        if frame := _FRAME.match(line):
            self.proven = True
            names = self.maybe if frame[1] else self.frames
            if len(names) < _MAX_FRAMES:
                names.append(frame[2])
        elif self.rip is None and (rip := _RIP.match(line)):
            self.rip = rip[1]
            self.proven = True

    def _take_heading(self, line: bytes) -> None:
        """Read a heading, which says what the next frames are about."""
        if _TRACE.match(line):
            self.elsewhere = False
            if self.rule.kind == "lockdep":
                self.frames, self.maybe = [], []
        elif _ELSEWHERE.match(line):
            self.elsewhere = True

    def _take_header(self, header: re.Match[bytes]) -> None:
        found = (header[1], header[2])
        if self.header is None:
            self.header = found
        elif self.header != found and self.rule.kind not in OTHER_CPUS:
            self.mixed = True

    def splat(self) -> Splat:
        """Return the report as read so far."""
        frames = self._frames()
        line = _plain(self.first)
        return Splat(
            kind=self.rule.kind,
            title=self._title(frames),
            fingerprint=":".join([self.rule.kind, "|".join(frames) or line]),
            first_line=self.first_line,
            excerpt=b"\n".join(self.lines).decode(errors="replace"),
            line=line,
            corrupted=self.corrupted,
        )

    def _title(self, frames: list[str]) -> str:
        """Return the rule's title with its fields filled in. Unknown fields are left out.

        A program can write to the console: control characters are escaped.
        """
        words = {name: _OFFSETS.sub("", _plain(text)) for name, text in self.words.items()}
        if frames:
            words["frame"] = frames[0]
        elif named := _PLACE.search(self.first):
            words["frame"] = _SUFFIX.sub(b"", named[1]).decode(errors="replace")
        template = self.rule.title
        if "frame" not in words:
            template = template.replace(" in {frame}", "")
        text = _FIELD.sub(lambda found: words.get(found[1], ""), template)
        return clean_line(" ".join(text.split()).rstrip(": "))

    def _frames(self) -> list[str]:
        """Return the frames that identify the fault.

        Unreliable ones (``?``) count only if there are no others.
        """
        names = [*([self.rip] if self.rip else []), *(self.frames or self.maybe)]
        plain = [_SUFFIX.sub(b"", name) for name in names]
        telling = [name for name in plain if not GENERIC.match(name)]
        skip = self.rule.skip
        special = [name for name in telling if skip is None or not skip.match(name)]
        found: list[str] = []
        for name in special or telling:
            text = name.decode(errors="replace")
            if text not in found[-1:]:
                found.append(text)
        return found[:FRAMES]


def _plain(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    for pattern, replacement in _VARIABLE:
        text = pattern.sub(replacement, text)
    return text
