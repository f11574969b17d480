"""Runs as child processes, each with a profile of its own.

Shared by :mod:`harness.campaigns.mutants` and :mod:`harness.campaigns.bisect`: writing a profile,
starting a run with it, and reading the failures that the run recorded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import tomli_w

from harness.errors import ExitCode
from harness.lib.process import host_error, stream
from harness.results.folder import RunFolder
from harness.results.reading import Reading
from harness.results.records import CaseRecord, GuestFailureRecord, SplatRecord
from harness.results.summary import case_id
from harness.values import EmulatorProfile, KernelProfile

#: Function that runs a command, passes each line of its output to a function, and returns its exit
#: code.
Start = Callable[[Sequence[str], Path, Callable[[str], None]], int]

#: Last lines of a command's output that are kept; its log has all.
_REMEMBERED = 200


class ChildRun(NamedTuple):
    """A finished run, as recorded in its folder."""

    exit_code: ExitCode
    #: The error that ended it, in one line, or empty.
    error: str
    #: The last non-empty lines of its output.
    said: tuple[str, ...]
    seconds: float


class Failure(NamedTuple):
    """A failure that a run recorded."""

    kind: Literal["case", "splat", "guest"]
    #: ``SUBJECT/PROGRAM::CASE``, ``(kernel log)``, or the way in which a guest was lost.
    by: str
    cell: str
    message: str
    #: The program that ran, if any.
    program: str | None
    #: The way in which a guest was lost (:mod:`harness.guest.verdict.failure`).
    verdict: str = ""


def start_command(argv: Sequence[str], log: Path, on_line: Callable[[str], None]) -> int:
    """Run a command as a bounded process; see :data:`Start`."""
    return stream(argv, env=os.environ, log=log, on_line=on_line)


def run_child(
    argv: Sequence[str], run: Path, log: Path, on_line: Callable[[str], None], start: Start
) -> ChildRun:
    """Start a run, wait for its end, and read from its folder how it ended.

    If the run did not record its end, an exit code of 2 or 130 is returned, and any other as a
    failure of the host.

    :param run: the folder that ``argv`` names with ``--out``; it is made here.
    :raise HarnessError: the folder cannot be made.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise host_error(error, run) from error
    said: list[str] = []

    def tell(line: str) -> None:
        if line.strip():
            said.append(line)
            del said[:-_REMEMBERED]
            on_line(line.strip())

    began = time.monotonic()
    code = start(argv, log, tell)
    seconds = time.monotonic() - began
    folder = RunFolder(run)
    info, ending = folder.read_info(), folder.read_ending()
    if info is not None and info.finished is not None:
        why = info.errors[-1].what if info.errors else ""
        return ChildRun(ending.exit_code, why, tuple(said), seconds)
    told = code in {ExitCode.USAGE, ExitCode.INTERRUPTED}
    exit_code = ExitCode(code) if told else ExitCode.GUEST
    why = f"the run ended with {code} and did not say why"
    return ChildRun(exit_code, why, tuple(said), seconds)


def failures(run: Path) -> Iterator[Failure]:
    """Yield the failures of a run, in the order in which they were recorded."""
    for record in Reading(RunFolder(run).results):
        match record:
            case CaseRecord(status="fail"):
                said = record.message or record.diagnostics.strip().partition("\n")[0]
                yield Failure("case", case_id(record), record.cell, said, record.program)
            case SplatRecord(excused=None):
                by = "(kernel log)"
                yield Failure("splat", by, record.cell, record.title, record.program)
            case GuestFailureRecord():
                by = f"({record.verdict})"
                by = f"{record.program}::{by}" if record.program else by
                yield Failure(
                    "guest", by, record.cell, record.message, record.program, record.verdict
                )


def all_skipped(run: Path) -> bool:
    """Tell whether a run has cases, and each of them was skipped."""
    cases = [one for one in Reading(RunFolder(run).results) if isinstance(one, CaseRecord)]
    return bool(cases) and all(case.status == "skip" for case in cases)


def write_profile(profile: EmulatorProfile | KernelProfile, folder: Path) -> Path:
    """Write a profile as a TOML file into a folder, and return the file's path.

    :raise HarnessError: the file cannot be written.
    """
    path = folder / f"{profile.name}.toml"
    table = profile.model_dump(mode="json", exclude={"name"}, exclude_none=True)
    try:
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
    except OSError as error:
        raise host_error(error, path) from error
    return path
