"""A streaming reader of what one of the kernel's selftests prints.

Many print KTAP, and are read as such (:mod:`harness.results.ktap.reader`). Others have forms of
their own, or none: then the exit code is the verdict (0 pass, 4 skip, anything else fail), and
each line that begins with ``[OK]``, ``[FAIL]`` or ``[SKIP]``, as those of x86 print them, is a case
besides.
"""

from __future__ import annotations

import re
from collections import Counter

from harness.lib.kept import MAX_MESSAGE, LineCutter, Lines, cut
from harness.results.ktap.exit_status import EXIT_SKIP, death
from harness.results.ktap.lines import (
    MAX_NAME,
    CaseStatus,
    Plan,
    Result,
    Version,
    classify,
    decode,
)
from harness.results.ktap.reader import MAX_CASES, MAX_SAID, PROGRAM, CaseResult, KtapReader

#: Bytes of output without any form that are held until a line tells which it is.
MAX_HELD = 1 << 20
_SAID = re.compile(r"\s*\[(RUN|OK|FAIL|SKIP)\]\s*(.*)")
_STATUS: dict[str, CaseStatus] = {"OK": "pass", "FAIL": "fail", "SKIP": "skip"}


class SelftestReader:
    """Reads one program's output; :meth:`feed` what arrives, then :meth:`close` once."""

    def __init__(self) -> None:
        #: Whether it is KTAP, or has lines of x86's form; neither until a line tells.
        self._is_ktap = False
        self._is_plain = False
        self._ktap = KtapReader()
        self._held: list[bytes] = []
        self._held_size = 0
        self._cutter = LineCutter()
        self._lines = Lines()
        self._stray = Lines()
        self._running: str | None = None
        self._names: Counter[str] = Counter()
        self._counts: Counter[CaseStatus] = Counter()
        self._problems: list[str] = []
        self._last = ""
        self._said = 0

    @property
    def counts(self) -> Counter[CaseStatus]:
        """How many cases were given, by status."""
        return self._ktap.counts if self._is_ktap else self._counts

    @property
    def full(self) -> str:
        """Why no more output is wanted; empty while it is."""
        if self._is_ktap:
            return self._ktap.full
        return f"more than {MAX_CASES} cases" if sum(self._counts.values()) > MAX_CASES else ""

    @property
    def stray(self) -> str:
        """Every line that belongs to no case."""
        return self._ktap.stray if self._is_ktap else "\n".join(self._stray)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is odd without deciding a verdict."""
        return self._ktap.problems if self._is_ktap else tuple(self._problems)

    def feed(self, data: bytes) -> list[CaseResult]:
        """Take the next bytes; return the cases that they completed."""
        if self._is_ktap:
            return self._ktap.feed(data)
        found: list[CaseResult] = []
        for line in self._cutter.feed(data):
            if self._is_ktap:
                found += self._ktap.feed(line + b"\n")
            else:
                found += self._line(line)
        if self._is_ktap:
            found += self._ktap.feed(self._cutter.rest())
        return found

    def close(
        self,
        returncode: int | None,
        *,
        signal: str | None = None,
        reason: str | None = None,
        stderr: bytes = b"",
    ) -> list[CaseResult]:
        """End the output; return the cases that were still open and the program's own, if any.

        The parameters are those of :meth:`harness.results.ktap.reader.KtapReader.close`.
        """
        found: list[CaseResult] = []
        if not self._is_ktap and (rest := self._cutter.rest()):
            found += self._line(rest)
        if self._is_ktap:
            return found + self._ktap.close(returncode, signal=signal, reason=reason, stderr=stderr)
        for line in self._held:
            self._plain(line)
        self._held = []
        return found + self._conclude(returncode, death(returncode, signal, reason), stderr)

    def _line(self, raw: bytes) -> list[CaseResult]:
        """Take a whole line of output that is not known to be KTAP."""
        raw = raw.removesuffix(b"\r")
        if self._is_plain:
            return self._plain(raw)
        self._held.append(raw)
        self._held_size += len(raw) + 64
        # So many lines without any form: what comes later is no KTAP either.
        gave_up = self._held_size > MAX_HELD
        self._is_ktap, self._is_plain = _is_ktap(raw), bool(_SAID.fullmatch(decode(raw)))
        self._is_plain |= gave_up and not self._is_ktap
        if not self._is_ktap and not self._is_plain:
            return []
        held, self._held = self._held, []
        if self._is_ktap:
            return self._ktap.feed(b"".join(line + b"\n" for line in held))
        return [case for line in held for case in self._plain(line)]

    def _plain(self, raw: bytes) -> list[CaseResult]:
        text = decode(raw)
        self._last = text.strip()[:MAX_NAME] or self._last
        self._lines.append(text)
        found = _SAID.fullmatch(text)
        if not found:
            return []
        if found[1] == "RUN":
            self._running = found[2].strip()
            return []
        # What a line says of a failure is not what it says of a pass: a case goes by what was
        # announced, or by its place.
        name = self._running or f"case {sum(self._counts.values()) + 1}"
        return [self._case(name, _STATUS[found[1]], found[2].strip())]

    def _case(
        self, wanted: str, status: CaseStatus, message: str, *, synthetic: bool = False
    ) -> CaseResult:
        """Make a case of the lines until here."""
        wanted = wanted[:MAX_NAME]
        if len(self._names) < MAX_CASES or wanted in self._names:
            self._names[wanted] += 1
        number = self._names[wanted]
        self._counts[status] += 1
        lines, self._lines = self._lines, Lines()
        diagnostics = "\n".join(lines)
        self._said += len(diagnostics)
        if self._said > MAX_SAID and not synthetic:
            diagnostics = cut(diagnostics, 100)
        return CaseResult(
            name=wanted if number == 1 else f"{wanted} ({number})",
            status=status,
            message=cut(message, MAX_MESSAGE),
            diagnostics=diagnostics,
            synthetic=synthetic,
        )

    def _conclude(
        self, returncode: int | None, died: str | None, stderr: bytes
    ) -> list[CaseResult]:
        """Return the program's own case, unless its exit code only says what a case has said."""
        if stderr.strip():
            self._lines.extend(decode(stderr).rstrip("\n").split("\n"))
        failed = self._counts["fail"]
        said = f"; last line: {self._last[:MAX_NAME]!r}" if self._last else ""
        if died is not None:
            return [self._case(PROGRAM, "fail", died + said, synthetic=True)]
        if returncode == EXIT_SKIP:
            skipped = self._last[:MAX_NAME] or "skipped without a word"
            return [self._case(PROGRAM, "skip", skipped, synthetic=True)]
        if returncode != 0 and not failed:
            return [self._case(PROGRAM, "fail", f"exit code {returncode}{said}", synthetic=True)]
        if returncode == 0 and failed:
            self._problems.append("exit code 0, although a case failed")
        if not self._counts:
            return [self._case(PROGRAM, "pass", "exit code 0", synthetic=True)]
        self._stray.extend(self._lines)
        return []


def _is_ktap(raw: bytes) -> bool:
    """Tell whether a line can be nothing but KTAP."""
    said = classify(raw)
    return isinstance(said, Version | Plan) or (isinstance(said, Result) and said.certain)
