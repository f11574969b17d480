"""The end of a run, from ``run.json``, and whether its records are complete.

When a run ends, it writes its exit code and a seal of ``results.jsonl``: number of lines, size and
SHA-256. A run that was killed has no exit code, and a file that was changed later does not match
its seal. Such runs are *incomplete*, whatever their records say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ConfigDict, Field

from harness.errors import ExitCode, HarnessError, UserError
from harness.lib.documents import read_json
from harness.lib.files import may_exist
from harness.results.reading import Reading
from harness.results.records import CaseRecord, LatencyRecord, ProgramRecord
from harness.results.summary import SUMMARY_FILE, Outcome, Totals, fold
from harness.values import Value

RUN_FILE = "run.json"

#: Exit codes from the most complete result to the least.
_SEVERITY = (
    ExitCode.PASSED,
    ExitCode.TESTS_FAILED,
    ExitCode.BUILD,
    ExitCode.USAGE,
    ExitCode.GUEST,
    ExitCode.INTERRUPTED,
)


class RunError(Value):
    """An error that ended a run, or that prevented a cell."""

    model_config = ConfigDict(extra="ignore")

    #: The class: ``UserError``, ``BuildError``, ``GuestError``, or that of an unexpected error.
    kind: str
    what: str
    where: str | None = None
    hint: str | None = None
    detail: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> RunError:
        """Return an exception as data. Characters that UTF-8 cannot encode are escaped."""
        kind = type(error).__name__
        if not isinstance(error, HarnessError):
            return cls(kind=kind, what=_encodable(str(error) or kind))
        parts = {name: getattr(error, name) for name in ("what", "where", "hint", "detail")}
        known = next((c.__name__ for c in type(error).__mro__ if c in _FAMILIES), kind)
        said = {name: _encodable(text) for name, text in parts.items() if text is not None}
        return cls(kind=known, **said)


V = TypeVar("V", bound=Value)
_FAMILIES = frozenset(HarnessError.__subclasses__())


class Seal(Value):
    """Size and digest of ``results.jsonl`` at the end of the run."""

    lines: int
    bytes: int
    sha256: str


class RunInfo(Value):
    """``run.json``: how the run was started, and how it ended."""

    # A later version may add fields; the verdict must still be readable.
    model_config = ConfigDict(extra="ignore")

    version: str
    argv: tuple[str, ...]
    #: RFC 3339, UTC.
    started: str
    finished: str | None = None
    exit_code: int | None = Field(default=None, ge=0, le=255)
    #: Reason for the exit code, in one sentence.
    reason: str = ""
    #: Errors of builds, followed by the error that ended the run, if any.
    errors: tuple[RunError, ...] = ()
    #: The cells that should have results; None for all cells of the plan.
    cells: tuple[str, ...] | None = None
    #: None before the end, and in folders of versions without seals.
    results: Seal | None = None


class _Kept(Value):
    """What is needed of ``summary.json``."""

    model_config = ConfigDict(extra="ignore")

    totals: Totals


class Ending(Value):
    """The end of a run, according to its folder."""

    state: Literal["ended", "interrupted", "incomplete"]
    exit_code: ExitCode
    #: Reason for the state or the exit code; may be empty for a run that passed.
    reason: str = ""
    #: The cells that should have results; None for all cells of the plan.
    cells: tuple[str, ...] | None = None


#: The ending of a run without an exit code.
NOT_ENDED = Ending(
    state="incomplete",
    exit_code=ExitCode.GUEST,
    reason="the run did not end: it was killed, or it still goes on",
)


def read_info(folder: Path) -> RunInfo | None:
    """Read ``run.json``. None if it does not exist or cannot be read."""
    try:
        return _read(folder / RUN_FILE, RunInfo)
    except UserError:
        return None


def _read(path: Path, kind: type[V]) -> V:
    if not may_exist(path):
        raise UserError(f"{path.name} is missing")
    return read_json(path, kind, f"{path.name} is damaged", "run again")


def seal(results: Path) -> Seal:
    """Return the seal of a results file. A missing file counts as empty.

    :raise OSError: the file exists and cannot be read.
    """
    lines = size = 0
    digest = hashlib.sha256()
    if results.exists():
        with results.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                lines += chunk.count(b"\n")
                size += len(chunk)
    return Seal(lines=lines, bytes=size, sha256=digest.hexdigest())


def read_ending(folder: Path, results: Path) -> Ending:
    """Return how the run in a folder ended.

    :param results: its ``results.jsonl``.
    """
    try:
        info = _read(folder / RUN_FILE, RunInfo)
    except UserError as error:
        return _incomplete(f"it is unknown whether the run ended: {error.what}; run again")
    if info.finished is None or info.exit_code is None:
        return NOT_ENDED.model_copy(update={"cells": info.cells})
    damage = _damage(folder, results, info)
    if damage:
        return _incomplete(damage, info.cells)
    try:
        code = ExitCode(info.exit_code)
    except ValueError:
        return _incomplete(f"{RUN_FILE} has an unknown exit code: {info.exit_code}", info.cells)
    reason = info.reason or (info.errors[-1].what if info.errors else "")
    return Ending(
        state="interrupted" if code == ExitCode.INTERRUPTED else "ended",
        exit_code=code,
        reason=reason
        or ("" if code == ExitCode.PASSED else f"the run ended with exit code {code}"),
        cells=info.cells,
    )


def _damage(folder: Path, results: Path, info: RunInfo) -> str:
    """Return why the results do not match their seal; empty if they do."""
    try:
        found = seal(results)
    except OSError as error:
        return f"{results.name} cannot be read: {error.strerror}"
    if info.results is None:
        return _old_damage(folder, results)
    if found == info.results:
        return ""
    return (
        f"{results.name} was changed after the run: it has {found.lines} lines and {found.bytes}"
        f" bytes, and had {info.results.lines} and {info.results.bytes}"
    )


def ended_without_seal(folder: Path) -> bool:
    """Return true if a run has ended without a seal, as in earlier versions.

    Only ``summary.json`` tells whether its results are complete. So it must not be rewritten from
    fewer results.
    """
    info = read_info(folder)
    return info is not None and info.finished is not None and info.results is None


def _old_damage(folder: Path, results: Path) -> str:
    """Return why the records of a run without a seal do not match its summary; empty if they do."""
    try:
        totals = _read(folder / SUMMARY_FILE, _Kept).totals
    except UserError as error:
        return f"there is no seal to check the results with, and {error.what}; run again"
    reading = Reading(results)
    counted = fold(one for one in reading if not isinstance(one, LatencyRecord))
    if reading.unread or counted.summary.totals != totals:
        return f"{results.name} does not match the totals in {SUMMARY_FILE}"
    ended, last = False, None
    for record in reading:
        if isinstance(record, CaseRecord | ProgramRecord):
            ended, last = ended or isinstance(record, ProgramRecord), record
    # A program's record follows those of its cases.
    if ended and isinstance(last, CaseRecord):
        return f"{results.name} ends in the middle of a program"
    return ""


def _incomplete(reason: str, cells: tuple[str, ...] | None = None) -> Ending:
    return Ending(state="incomplete", exit_code=ExitCode.GUEST, reason=reason, cells=cells)


def conclude(outcome: Outcome, ending: Ending) -> Outcome:
    """Return an outcome whose verdict takes into account how the run ended.

    The worse of the two counts. In a run that did not end, no cell is *passed*, because some of
    its programs may be missing.
    """
    if ending.state != "ended":
        so_far = f"until then: {_counts(outcome)}"
        verdicts = {
            name: "incomplete" if verdict in {"passed", "skipped"} else verdict
            for name, verdict in outcome.verdicts.items()
        }
        word = "interrupted" if ending.state == "interrupted" else "incomplete"
        reason = word if ending.state == "interrupted" else ending.reason
        return outcome.model_copy(
            update={
                "state": ending.state,
                "exit_code": ending.exit_code,
                "reason": f"{reason}, {so_far}",
                "verdicts": verdicts,
            }
        )
    # If nothing ran, only the ending has the reason.
    nothing = all(verdict == "not run" for verdict in outcome.verdicts.values())
    decides = nothing or worse(ending.exit_code, outcome.exit_code) != outcome.exit_code
    if decides and ending.exit_code != ExitCode.PASSED:
        return outcome.model_copy(update={"exit_code": ending.exit_code, "reason": ending.reason})
    return outcome


def worse(*codes: ExitCode) -> ExitCode:
    """Return the exit code that stands for the least complete result."""
    return max(codes, key=_SEVERITY.index)


def _counts(outcome: Outcome) -> str:
    """Return the numbers of recorded results as text."""
    totals = outcome.summary.totals
    counts = {"passed": totals.passed, "failed": totals.fail, "skipped": totals.skip}
    said = [f"{number} {word}" for word, number in counts.items() if number]
    if outcome.splats:
        said.append(f"{len(outcome.splats)} splats")
    if outcome.guest_failures:
        lost = dict.fromkeys(f"{one.verdict} in {one.cell}" for one in outcome.guest_failures)
        said.append(f"a guest failed ({', '.join(lost)})")
    return ", ".join(said) or "no result"


def errors_of(errors: Iterable[BaseException]) -> tuple[RunError, ...]:
    """Return exceptions as data."""
    return tuple(map(RunError.of, errors))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
