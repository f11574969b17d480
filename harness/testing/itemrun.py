"""One run of a program in a cell: the part that all kinds of programs have in common."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import IO, ClassVar

from harness.errors import HarnessError
from harness.guest.limits import OutputLimitError
from harness.guest.verdict.failure import Completed
from harness.results.folder import attempt_name
from harness.results.ktap.exit_status import EXIT_SKIP
from harness.results.ktap.reader import CaseResult, KtapReader
from harness.results.ktap.selftest import SelftestReader
from harness.results.needs import settle
from harness.results.records import HostLoad
from harness.run.cellguest import CellGuest
from harness.run.journal import SAMPLES, Journal
from harness.run.known import known_of
from harness.values import Program

#: Called with each case as soon as it is known.
OnCase = Callable[[CaseResult], None]


class ItemRun:
    """One run of a program in a cell.

    :meth:`_execute` starts the program. Its output is stored and parsed as it arrives, and each
    case is recorded and reported as soon as its line is complete.

    :param on_case: called with each case.
    :param attempt: number of the run, from 1. Each has its own files.
    """

    #: Whether it needs the cell's guest, which must be ready.
    needs_guest: ClassVar[bool] = False

    def __init__(
        self,
        cell: CellGuest,
        program: Program,
        journal: Journal,
        on_case: OnCase,
        attempt: int = 1,
    ) -> None:
        self._cell = cell
        self._program = program
        self._journal = journal
        self._on_case = on_case
        self._attempt = attempt
        #: Whether a case has failed so far.
        self.failed = False
        self._reader = self._make_reader()
        self._known = known_of(cell.setup)
        name = attempt_name(program.name.replace("/", "."), attempt)
        self._output = cell.folder / "output" / f"{name}.txt"
        self._samples = cell.folder / "samples" / name

    def run(self) -> None:
        """Run the program to its end, and name its guest's console in the records.

        :raise GuestFailure: the guest died. The cases so far have been reported, and a failed one
            for the rest.
        :raise HarnessError: the guest or the host failed in another way. It is recorded.
        """
        console = self._console()
        own = console and console.relative_to(self._cell.folder)
        with self._journal.inside(self._cell.name, own) if own else nullcontext():
            try:
                self._run()
            except HarnessError as error:
                self._journal.failure(self._cell.name, self._program.name, error)
                raise

    def _console(self) -> Path | None:
        """Return the console's log; None if the program runs in the cell's guest."""
        return None

    def _run(self) -> None:
        self._output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._samples, ignore_errors=True)
        self._journal.start()
        with self._output.open("wb", buffering=0) as output:

            def hear(data: bytes) -> None:
                output.write(data)
                self._tell(self._reader.feed(data))
                if self._reader.full:
                    raise OutputLimitError(self._reader.full)

            try:
                done, reason = self._execute(hear)
            except HarnessError as error:
                self._tell(self._reader.close(None, reason=error.what))
                raise
            self._keep(output, done)
        cases = self._reader.close(
            done.returncode,
            signal=done.signal,
            reason=done.cut_short or reason,
            stderr=done.stderr,
        )
        self._tell(cases)
        self._journal.program(
            self._cell.name, self._program.name, done, self._reader, attempt=self._attempt
        )
        self._finish(done)

    def _execute(self, hear: Callable[[bytes], None]) -> tuple[Completed, str | None]:
        """Run the program.

        :param hear: called with standard output as it arrives.
        :return: the result, and the reason if it has neither an exit code nor a signal.
        """
        raise NotImplementedError

    def _keep(self, output: IO[bytes], done: Completed) -> None:
        """Complete the file with the program's output."""

    def _finish(self, done: Completed) -> None:
        """Do further work after all cases have been reported."""

    def _make_reader(self) -> KtapReader | SelftestReader:
        return KtapReader()

    def _tell(self, cases: list[CaseResult]) -> None:
        for said in cases:
            case = settle(said, self._known)
            self.failed |= case.status == "fail"
            self._journal.case(self._cell.name, self._program.name, case, attempt=self._attempt)
            self._on_case(case)

    def _record_samples(
        self, done: Completed, host: HostLoad | None = None, *, restored: bool = False
    ) -> None:
        """Record the distributions of the raw samples. Errors in them are a failed case."""
        wrong = self._journal.samples(
            self._cell.name,
            self._program.name,
            self._samples,
            attempt=self._attempt,
            host=host,
            restored=restored,
        )
        if wrong and done.returncode != EXIT_SKIP and not self._reader.counts["fail"]:
            self._tell([CaseResult(name=SAMPLES, status="fail", message="; ".join(wrong))])
