"""A streaming parser for the output of the kernel's selftests.

Many print KTAP (:mod:`harness.results.ktap.reader`). For others the exit code is the verdict (0
pass, 4 skip, anything else fail). In addition, each line that begins with ``[OK]``, ``[FAIL]`` or
``[SKIP]``, the format of the x86 selftests, is a case.
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

#: Limit for the bytes that are held until a line shows the format.
MAX_HELD = 1 << 20
_SAID = re.compile(r"\s*\[(RUN|OK|FAIL|SKIP)\]\s*(.*)")
_STATUS: dict[str, CaseStatus] = {"OK": "pass", "FAIL": "fail", "SKIP": "skip"}


class SelftestReader:
    """Parser for one program's output. Call :meth:`feed` repeatedly, then :meth:`close` once."""

    def __init__(self) -> None:
        #: Whether it is KTAP, or has lines in the format of x86. Both false until a line shows it.
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
        """Number of returned cases by status."""
        return self._ktap.counts if self._is_ktap else self._counts

    @property
    def full(self) -> str:
        """Why further output is not accepted; empty if it is."""
        if self._is_ktap:
            return self._ktap.full
        return f"more than {MAX_CASES} cases" if sum(self._counts.values()) > MAX_CASES else ""

    @property
    def stray(self) -> str:
        """Lines that belong to no case."""
        return self._ktap.stray if self._is_ktap else "\n".join(self._stray)

    @property
    def problems(self) -> tuple[str, ...]:
        """Errors in the output that do not affect a verdict."""
        return self._ktap.problems if self._is_ktap else tuple(self._problems)

    def feed(self, data: bytes) -> list[CaseResult]:
        """Parse the next bytes, and return the cases that they complete."""
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
        """End the output, and return the remaining cases, with that of the program, if any.

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
        """Process a whole line of output that is not known to be KTAP."""
        raw = raw.removesuffix(b"\r")
        if self._is_plain:
            return self._plain(raw)
        self._held.append(raw)
        self._held_size += len(raw) + 64
        # After so many lines without a known format, later ones are not expected to be KTAP.
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
        # The text differs between a failure and a pass. So a case is named by the [RUN] line
        # before it, or by its number.
        name = self._running or f"case {sum(self._counts.values()) + 1}"
        return [self._case(name, _STATUS[found[1]], found[2].strip())]

    def _case(
        self, wanted: str, status: CaseStatus, message: str, *, synthetic: bool = False
    ) -> CaseResult:
        """Return a case with the lines so far as its diagnostics."""
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
        """Return the case for the program, unless its cases already show the same verdict."""
        if stderr.strip():
            self._lines.extend(decode(stderr).rstrip("\n").split("\n"))
        failed = self._counts["fail"]
        said = f"; last line: {self._last[:MAX_NAME]!r}" if self._last else ""
        if died is not None:
            return [self._case(PROGRAM, "fail", died + said, synthetic=True)]
        if returncode == EXIT_SKIP:
            skipped = self._last[:MAX_NAME] or "skipped without a reason"
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
    """Return true if a line can only be KTAP."""
    said = classify(raw)
    return isinstance(said, Version | Plan) or (isinstance(said, Result) and said.certain)
