"""A streaming parser for the KTAP of a guest program.

It takes bytes in pieces of any size, and returns each case as soon as its full name is known. It
never raises, whatever a guest prints. No line is lost: each is a case's result, its ``# checks:``
line or one of its diagnostics, or it is in :attr:`KtapReader.stray`. If these grow beyond some KiB,
only their first and last lines are kept. Time is linear in the input, and memory is bounded.

The structure of documents follows from indentation (ktap.rst, "Nested tests"). Only the leaves of
the tree are cases. A parent becomes a case if it adds a failure: ``not ok`` although none of its
children failed, or a plan that was not kept. An error of the program as a whole is a failing case
named :data:`PROGRAM`.
"""

from __future__ import annotations

from collections import Counter

from harness.lib.kept import MAX_MESSAGE, LineCutter, Lines, cut
from harness.results.ktap.exit_status import death, exit_complaint
from harness.results.ktap.levels import MAX_COMPLAINT, Complaints, Draft, Level, cases
from harness.results.ktap.lines import (
    MAX_NAME,
    BailOut,
    CaseStatus,
    Plan,
    Result,
    Subtest,
    Version,
    checks_of,
    classify,
    decode,
    indent_of,
    printk_prefix,
)
from harness.values import Value

#: The name of the case that stands for a whole program.
PROGRAM = "(program)"
#: Limit for nesting. A deeper line is kept as a diagnostic, and adds a complaint.
MAX_DEPTH = 16
#: Limits for the cases of one program, the characters of a name, and those of all diagnostics.
MAX_CASES, MAX_PATH, MAX_SAID = 10_000, 1000, 4 << 20
#: Limit for the remarks on the format of the output.
MAX_PROBLEMS = 50


class CaseResult(Value):
    """One case that a program reported, or that the parser added."""

    #: The parents' names and its own, joined by dots. `` (2)`` is appended to a duplicate.
    name: str
    status: CaseStatus
    #: The text after ``#`` on the result line, or why the parser added this case.
    message: str = ""
    #: The lines that belong to the case, as printed, without the last line end.
    diagnostics: str = ""
    #: Ids of the statements that the case checks (``# checks: A-1, B-2``).
    checks: tuple[str, ...] = ()
    #: Whether the case has no result line.
    synthetic: bool = False
    #: What the cell lacks, so that the case does not apply to it. The parser does not set it.
    lacks: str = ""


class KtapReader:
    """Parser for one program's output. Call :meth:`feed` repeatedly, then :meth:`close` once."""

    def __init__(self) -> None:
        self._cutter = LineCutter()
        self._stack = [Level(0)]
        self._ready: list[CaseResult] = []
        self._names: Counter[str] = Counter()
        self._dialect: str | None = None
        self._prefixed = False
        self._complaints = Complaints()
        self._stray = Lines()
        self._problems: list[str] = []
        self._last = ""
        self._closed = False
        self._cases = 0
        self._said = 0
        self._last_document: tuple[int, int | None, str | None] = (0, None, None)
        #: Number of returned cases by status.
        self.counts: Counter[CaseStatus] = Counter()

    @property
    def full(self) -> str:
        """Why further output is not accepted; empty if it is."""
        return f"more than {MAX_CASES} cases" if self._cases > MAX_CASES else ""

    @property
    def stray(self) -> str:
        """Lines that belong to no case: structure, and output around the results."""
        return "\n".join(self._stray)

    @property
    def problems(self) -> tuple[str, ...]:
        """Errors in the format of the output that do not affect a verdict."""
        return tuple(self._problems)

    def feed(self, data: bytes) -> list[CaseResult]:
        """Parse the next bytes, and return the cases that they complete."""
        for line in self._cutter.feed(data):
            self._line(line)
        return self._take()

    def close(
        self,
        returncode: int | None,
        *,
        signal: str | None = None,
        reason: str | None = None,
        stderr: bytes = b"",
    ) -> list[CaseResult]:
        """End the output, and return the remaining cases, with that of the program, if any.

        :param returncode: None if the program ended without one; -N and 128+N mean signal N.
        :param signal: the signal's name, if it is known.
        :param reason: why the harness ended the program ("timed out after 30 s").
        :param stderr: added to the diagnostics of the program's case.
        """
        if self._closed:
            return []
        died = death(returncode, signal, reason)
        if rest := self._cutter.rest():
            # The last line of a program that died may be cut: "ok 12 # SKIP" may read "ok 1".
            self._line(rest, plain=died is not None)
        if len(self._stack) > 1 and not self._stack[0].touched:
            self._unwrap()
        self._end_document(forgive=returncode == 4 and died is None)
        self._conclude(returncode, died, stderr)
        self._closed = True
        return self._take()

    # --- lines ---

    def _line(self, raw: bytes, *, plain: bool = False) -> None:
        raw = raw.removesuffix(b"\r")
        text = decode(raw)
        if text.strip():
            self._last = text.strip()[:MAX_NAME]
        start = printk_prefix(raw)
        said = None
        if self._closed:
            self._stray.append(text)
            return
        if not plain and (bool(start) == self._prefixed or self._dialect is None):
            said = classify(raw[start:])
        if isinstance(said, Result) and not said.certain and self._dialect is None:
            said = None
        if said is None or (start and self._dialect is None and not isinstance(said, Version)):
            self._stack[-1].lines.append(text)
        elif isinstance(said, BailOut):
            self._complaints.append(f"bailed out: {said.reason}" if said.reason else "bailed out")
            self._stray.append(text)
        elif not self._structure(said, indent_of(raw[start:]), text, prefixed=bool(start)):
            self._stack[-1].lines.append(text)

    def _structure(
        self, said: Version | Plan | Subtest | Result, indent: int, text: str, *, prefixed: bool
    ) -> bool:
        """Process a line of structure. Return false if it is nested too deeply."""
        popped = self._pop(indent)
        deeper = indent > self._stack[-1].indent
        if deeper and len(self._stack) > MAX_DEPTH:
            self._unfinished(popped)
            self._complain(f"results nested more than {MAX_DEPTH} deep were not read")
            return False
        is_result = isinstance(said, Result)
        self._unfinished(popped, keep=1 if is_result else 0)
        if deeper:
            self._open(indent)
        if isinstance(said, Result):
            self._result(said, popped[-1] if popped else None, text)
            return True
        self._stray.append(text)
        level = self._stack[-1]
        if isinstance(said, Version):
            self._version(said, level, prefixed=prefixed)
        elif isinstance(said, Plan):
            self._plan(said, level)
        elif len(self._stack) > 1 and level.name is None and not level.seen:
            level.name = said.name  # KUnit prints the name inside the document
        else:
            level.child = said.name  # TAP 14 prints it before the document
        return True

    def _version(self, said: Version, level: Level, *, prefixed: bool) -> None:
        if self._dialect is None:
            self._dialect, self._prefixed = said.dialect, prefixed
        if (said.dialect, said.number) not in {("KTAP", 1), ("TAP", 13), ("TAP", 14)}:
            self._problem(f"unknown version: {said.dialect} {said.number}")
        if level.seen or level.plan is not None:
            if len(self._stack) > 1:
                self._unfinished([self._stack.pop()])
                self._open(level.indent)
            else:
                self._problem("a second version line starts another document")
                self._end_document()
        self._stack[-1].header = True

    def _plan(self, said: Plan, level: Level) -> None:
        if level.plan is not None:
            self._problem("a document has two plans")
            if level.plan != said.total:
                level.complaints.append(f"two plans: {level.plan} and {said.total}")
            return
        level.plan, level.skip = said.total, said.skip

    def _result(self, said: Result, suite: Level | None, text: str) -> None:
        level = self._stack[-1]
        level.seen += 1
        if said.number is None:
            if self._dialect == "KTAP":
                self._problem("a result without a number")
        elif said.number != level.number + 1:
            self._problem(f"result {said.number}, expected {level.number + 1}")
        level.number = level.number + 1 if said.number is None else said.number
        name = said.name or (suite.name if suite else None) or f"case {level.seen}"
        lines, level.lines, level.child = level.lines, Lines(), None
        if said.cut:
            lines.append(text)
        if suite is None:
            self._emit(Draft((name,), said.status, said.message, lines))
        else:
            self._close_suite(suite, said, name, lines, text)

    # --- levels ---

    def _pop(self, indent: int) -> list[Level]:
        """Remove the levels that are deeper than ``indent``, and return them, innermost first."""
        popped = []
        while len(self._stack) > 1 and self._stack[-1].indent > indent:
            popped.append(self._stack.pop())
        return popped

    def _open(self, indent: int) -> None:
        parent = self._stack[-1]
        level = Level(indent, name=parent.child)
        # Lines before a subtest belong to the case that contains it.
        parent.child = None
        self._stack.append(level)

    def _unwrap(self) -> None:
        """Make the outermost open level the root, for output that is indented as a whole."""
        self._stray.extend(self._stack.pop(0).lines)
        root = self._stack[0]
        held, root.held = root.held, []
        for draft in held:
            self._finish(draft)

    def _unfinished(self, levels: list[Level], *, keep: int = 0) -> None:
        """Close levels without a result line, innermost first.

        :param keep: number of outermost levels to leave open.
        """
        for place, level in enumerate(levels[: len(levels) - keep]):
            above = [*self._stack, *reversed(levels[place + 1 :])]
            outer = above[-1]
            outer.lines.extend(level.lines)
            if not level.touched:
                continue
            name = level.name or f"case {outer.seen + 1}"
            what = [f"subtest {name} has no result", *level.all_complaints()]
            outer.complaints.append(": ".join(what))
            outer.failed += level.failed
            for draft in level.held:
                self._emit(draft._replace(path=(name, *draft.path)), above, counted=True)

    def _close_suite(self, suite: Level, said: Result, name: str, lines: Lines, text: str) -> None:
        """Combine a parent's result with the nested document before it."""
        for draft in suite.held:
            self._emit(draft._replace(path=(name, *draft.path)), counted=True)
        if suite.name is not None and said.name not in {"", suite.name}:
            self._problem(f"the result of subtest {suite.name} is named {said.name}")
        lines.extend(suite.lines)
        self._stack[-1].failed += suite.failed
        complaints = suite.all_complaints()
        if suite.seen == 0 and (said.status != "pass" or not complaints):
            self._emit(Draft((name,), said.status, said.message, lines))
        elif complaints:
            self._emit(
                Draft((name,), "fail", "; ".join(filter(None, [*complaints, said.message])), lines)
            )
        elif said.status == "fail" and not suite.failed:
            message = said.message or "not ok, although none of its subtests failed"
            self._emit(Draft((name,), "fail", message, lines))
        else:
            if said.status == "pass" and suite.failed:
                self._problem(f"{name} says ok, although {cases(suite.failed)} failed in it")
            self._stray.extend([*lines, text])

    def _end_document(self, *, forgive: bool = False) -> None:
        """Check the root's plan, and begin another document.

        :param forgive: the exit code says that the whole program was skipped.
        """
        root = self._stack[0]
        self._unfinished(self._pop(root.indent))
        complaints = root.all_complaints()
        if not (forgive and not self.counts["pass"] and not self.counts["fail"]):
            self._complaints.extend(complaints)
        self._last_document = (root.seen, root.plan, root.skip)
        self._stack = [Level(root.indent, lines=root.lines)]

    # --- cases ---

    def _emit(
        self, draft: Draft, above: list[Level] | None = None, *, counted: bool = False
    ) -> None:
        """Finish a case, or hold it if the name of a parent is not known yet."""
        if not draft.synthetic and not counted:
            self._cases += 1
        if self._cases > MAX_CASES and draft.status != "fail":
            return
        levels = self._stack if above is None else above
        if draft.status == "fail" and not counted:
            levels[-1].failed += 1
        for level in reversed(levels[1:]):
            if level.name is None:
                level.held.append(draft)
                return
            draft = draft._replace(path=(level.name, *draft.path))
        self._finish(draft)

    def _finish(self, draft: Draft) -> None:
        if len(self._names) >= 2 * MAX_CASES and not draft.synthetic:
            return
        wanted = name = cut(".".join(draft.path), MAX_PATH)
        while name in self._names:
            self._names[wanted] += 1
            name = f"{wanted} ({self._names[wanted]})"
        self._names[name] = 1
        self.counts[draft.status] += 1
        lines = list(draft.lines)
        checks = [checks_of(line) for line in lines]
        others = [line for line, ids in zip(lines, checks, strict=True) if not ids]
        diagnostics = "\n".join(others)
        self._said += len(diagnostics)
        if self._said > MAX_SAID and not draft.synthetic:
            diagnostics = cut(diagnostics, 100)
        self._ready.append(
            CaseResult(
                name=name,
                status=draft.status,
                message=cut(draft.message, MAX_MESSAGE),
                diagnostics=diagnostics,
                checks=tuple(dict.fromkeys(one for ids in checks for one in ids)),
                synthetic=draft.synthetic,
            )
        )

    def _conclude(self, returncode: int | None, died: str | None, stderr: bytes) -> None:
        """Add a case for the program if it failed or was skipped as a whole."""
        seen, plan, skip = self._last_document
        if returncode == 0 and self.counts["fail"]:
            self._problem(f"exit code 0, although {cases(self.counts['fail'])} failed")
        lines = self._stack[0].lines
        errors = decode(stderr).rstrip("\n").split("\n") if stderr.strip() else []
        status: CaseStatus = "fail"
        complaints = list(self._complaints)
        if died is not None:
            of = f"{seen} of {plan}" if plan is not None else str(seen)
            complaints.insert(0, f"{died} after {of} cases; last line: {self._last[:200]!r}")
        elif (
            not self.counts
            and not complaints
            and (returncode == 4 or (plan == 0 and returncode == 0))
        ):
            status = "skip"
            complaints = [skip or self._last[:200] or "skipped without a reason"]
        elif complaint := exit_complaint(returncode, self.counts, self._dialect is not None):
            complaints.append(f"{complaint}; last line: {self._last[:200]!r}")
        if complaints:
            message = "; ".join(complaints)
            lines.extend(errors)
            self._finish(Draft((PROGRAM,), status, message, lines, synthetic=True))
        else:
            self._stray.extend([*lines, *errors])
        self._stack[0].lines = Lines()

    def _take(self) -> list[CaseResult]:
        ready, self._ready = self._ready, []
        return ready

    def _complain(self, text: str) -> None:
        if text not in self._complaints:
            self._complaints.append(text)

    def _problem(self, text: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(cut(text, MAX_COMPLAINT))
