"""Programs run with each mutant, in cells that differ only in emulator or kernel.

What each run needs is prepared once. Each mutant has its own run folder, and pytest runs in
a separate process. The programs that killed the most mutants so far run first. The run ends with
the first failure that a second attempt confirms.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from harness.campaigns.child_runs import Failure, Start, failures
from harness.campaigns.mutants import MutantTarget
from harness.campaigns.mutation.trees import Built
from harness.errors import ExitCode, GuestError, UserError
from harness.guest.verdict.deadlines import ACCEL_FACTOR
from harness.guest.verdict.failure import HOST_FAILED, QEMU_FAILED
from harness.progress import Progress
from harness.request.request import Request
from harness.results.folder import CellSetup, RunArtefacts, RunFolder
from harness.results.reading import Reading
from harness.results.records import ProgramRecord
from harness.run.engine import begin_run, errors_noted
from harness.run.suite import (
    PYTEST_FAILED,
    PYTEST_INTERRUPTED,
    PYTEST_NO_TESTS,
    PYTEST_OK,
    RunOptions,
    pytest_argv,
)
from harness.values import Plan

#: Programs that are run before all others.
FIRST = 3
#: Limit for programs that fail once and then pass; beyond it the mutant is not judged.
MAX_UNSTEADY = 2
#: A program hangs if it takes 10 times as long as without the mutant, and at least 30 s.
_PATIENCE, _SHORTEST_S = 10.0, 30.0

Way = Literal["case", "splat", "hang", "guest"]


class Kill(NamedTuple):
    """What a mutant was noticed by."""

    way: Way
    #: ``SUBJECT/PROGRAM::CASE``.
    by: str
    cell: str
    message: str
    program: str


class NotJudged(NamedTuple):
    """A run that did not come to a verdict, and why."""

    message: str


class Unnoticed(NamedTuple):
    """No program notices a mutant; what failed once and not again."""

    unsteady: tuple[str, ...] = ()


class Suite:
    """The unchanged cells, and the programs that have killed mutants in them so far.

    :param of: what the mutants are of.
    :param killers: programs that killed mutants before, one for each.
    """

    def __init__(
        self,
        of: MutantTarget,
        request: Request,
        out: Path,
        jobs: int,
        start: Start,
        killers: Iterable[str] = (),
    ) -> None:
        self._of = of
        self._request = request
        self._out = out
        self._jobs = jobs
        self._start = start
        self._killers = Counter(killers)
        self._plan: Plan = Plan(cells=())
        self._setups: tuple[CellSetup, ...] = ()

    @property
    def cells(self) -> tuple[CellSetup, ...]:
        """The unchanged cells, once :meth:`prepare` has returned."""
        return self._setups

    def prepare(self, name: str, progress: Progress) -> None:
        """Build what the cells need, and see that the unchanged series passes.

        :param name: of the folder of that run, which may be there already.
        :raise GuestError: it does not pass.
        """
        folder = RunFolder(self._out / name)
        folder.path.mkdir(parents=True, exist_ok=True)
        known = folder.read_info()
        run = begin_run(self._request, progress, lambda: folder, sys.argv)
        self._plan, self._setups = folder.read_plan(), run.setups
        if known is None or known.exit_code != ExitCode.PASSED or not known.finished:
            folder.results.unlink(missing_ok=True)
            with progress.step("the programs without a mutant") as step:
                options = RunOptions(verbose=1, jobs=self._jobs, retries=0)
                code = self._pytest(folder, self._request.select, options, step.update)
            if code != PYTEST_OK:
                self._refuse(code, folder)
        folder.end(ExitCode.PASSED)
        self._setups = tuple(_impatient(one, folder) for one in run.setups)

    def _refuse(self, code: int, folder: RunFolder) -> None:
        folder.end(ExitCode.GUEST, reason="the programs do not pass without a mutant")
        if code == PYTEST_NO_TESTS:
            raise UserError("no program matches, so nothing would be run", where="-k")
        found = next(failures(folder.path), None)
        raise GuestError(
            "the programs do not pass without a mutant, so that no verdict would mean anything",
            where=folder.path / "pytest.log",
            detail=f"{found.by} in {found.cell}: {found.message}" if found else None,
        )

    def judge(
        self, name: str, built: Built, on_line: Callable[[str], None]
    ) -> Kill | NotJudged | Unnoticed:
        """Run the programs until one notices a mutant, twice.

        What fails once and not again may be the host's doing: the others are run without it.

        :param name: the folder of its runs; what a campaign that was ended left there is removed.
        """
        shutil.rmtree(self._out / name, ignore_errors=True)
        first = " or ".join(one for one, _ in self._killers.most_common(FIRST))
        parts = [("first", first), ("rest", f"not ({first})")] if first else [("all", "")]
        unsteady: list[Kill] = []
        while parts:
            part, chosen = parts[0]
            folder = self._out / name / (f"{part}-{len(unsteady)}" if unsteady else part)
            without = [f"not {one.program}" for one in unsteady]
            verdict = self._run(folder, [chosen, *without], built, on_line)
            if verdict is None:
                parts.pop(0)
                continue
            if isinstance(verdict, NotJudged):
                return verdict
            again = self._run(
                folder.with_name(f"{folder.name}-again"),
                [verdict.program or chosen, *without],
                built,
                on_line,
                cell=verdict.cell,
            )
            if again:
                if isinstance(again, Kill):
                    self._killers[again.program] += 1
                return again
            unsteady.append(verdict)
            if len(unsteady) > MAX_UNSTEADY or not verdict.program:
                return NotJudged(f"failed once, and not again: {verdict.by}")
        return Unnoticed(tuple(one.by for one in unsteady))

    def _run(
        self,
        path: Path,
        chosen: Sequence[str],
        built: Built,
        on_line: Callable[[str], None],
        *,
        cell: str = "",
    ) -> Kill | NotJudged | None:
        """Run programs with what was built until one fails; None if none does.

        :param chosen: expressions that each program has to match.
        :param cell: the name of the only one; all by default.
        """
        folder = RunFolder(path)
        folder.path.mkdir(parents=True)
        select = " and ".join(f"({one})" for one in (self._request.select, *chosen) if one)
        setups = [one for one in self._setups if cell in {"", one.cell.name}]
        cells = tuple(one.cell for one in setups)
        folder.write_plan(self._plan.model_copy(update={"select": select, "cells": cells}))
        folder.begin(sys.argv)
        with errors_noted(folder):
            changed = tuple(one.model_copy(update=dict(built)) for one in setups)
            folder.write_artefacts(RunArtefacts(cells=changed))
            options = RunOptions(verbose=1, jobs=self._jobs, exit_first=True)
            code = self._pytest(folder, select, options, on_line)
        found = next(filter(self._notices, failures(path)), None)
        ended = ExitCode.TESTS_FAILED if found else ExitCode.GUEST
        passed = code in {PYTEST_OK, PYTEST_NO_TESTS} and not found
        folder.end(ExitCode.PASSED if passed else ended)
        if passed:
            return None
        if found and code in {PYTEST_FAILED, PYTEST_INTERRUPTED}:
            return _kill(found, path)
        return NotJudged(f"pytest ended with {code}: {path / 'pytest.log'}")

    def _notices(self, failure: Failure) -> bool:
        """Tell whether a failure is the mutant's doing, and not the host's."""
        if failure.verdict == QEMU_FAILED:
            return self._of == "emulator"
        return failure.verdict != HOST_FAILED

    def _pytest(
        self, folder: RunFolder, select: str, options: RunOptions, on_line: Callable[[str], None]
    ) -> int:
        """Run pytest in a process of its own: it is not made to run many times in one."""
        # What failed here is not what `run --lf` should run next.
        options = options.model_copy(update={"pytest_args": ("-p", "no:cacheprovider")})
        request = self._request.model_copy(update={"select": select})
        argv = [sys.executable, "-m", "pytest", *pytest_argv(folder, request, options)]
        return self._start(argv, folder.path / "pytest.log", lambda line: on_line(line[:60]))


def _kill(failure: Failure, run: Path) -> Kill:
    way: Way = failure.kind
    if failure.verdict.startswith("hang") or any(
        record.timed_out
        for record in Reading(RunFolder(run).results)
        if isinstance(record, ProgramRecord) and record.program == failure.program
    ):
        way = "hang"
    return Kill(way, failure.by, failure.cell, failure.message, failure.program or "")


def _impatient(setup: CellSetup, unchanged: RunFolder) -> CellSetup:
    """Return a cell whose programs hang sooner, by what each took unchanged."""
    took: dict[str, float] = {}
    for record in Reading(unchanged.results):
        if isinstance(record, ProgramRecord) and record.cell == setup.cell.name:
            took[record.program] = max(record.seconds, took.get(record.program, 0.0))
    # The guest's factor multiplies a time-out, and so is taken out of it.
    factor = ACCEL_FACTOR[setup.accel]
    programs = tuple(
        program.model_copy(
            update={
                "timeout_s": min(
                    program.timeout_s,
                    max(_SHORTEST_S, _PATIENCE * took[program.name]) / factor,
                )
            }
        )
        if program.name in took
        else program
        for program in setup.programs.programs
    )
    return setup.model_copy(
        update={"programs": setup.programs.model_copy(update={"programs": programs})}
    )
