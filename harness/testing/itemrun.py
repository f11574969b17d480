"""What is the same in every run of a program: where it goes, and how its cases are told."""

from __future__ import annotations

from collections.abc import Callable

from harness.guest.limits import Enough
from harness.results.folder import attempt_name
from harness.results.ktap.reader import CaseResult, KtapReader
from harness.results.ktap.selftest import SelftestReader
from harness.run.cellguest import CellGuest
from harness.run.journal import Journal
from harness.values import Program

#: Called with each case as it happens.
Report = Callable[[CaseResult], None]


class ItemRun:
    """One program in one cell, from its first byte to its last case.

    :param attempt: counted from 1; a later one has files of its own.
    """

    def __init__(
        self,
        cell: CellGuest,
        program: Program,
        journal: Journal,
        report: Report,
        attempt: int = 1,
    ) -> None:
        self._cell = cell
        self._program = program
        self._journal = journal
        self._report = report
        self._attempt = attempt
        #: Whether a case of it has failed so far.
        self.failed = False
        self._reader = self._make_reader()
        name = attempt_name(program.name.replace("/", "."), attempt)
        self._output = cell.folder / "output" / f"{name}.txt"
        self._samples = cell.folder / "samples" / name

    def run(self) -> None:
        """Run it; each case is recorded and reported the moment its line is complete."""
        raise NotImplementedError

    def _make_reader(self) -> KtapReader | SelftestReader:
        return KtapReader()

    def _hear(self, data: bytes) -> None:
        """Read output as it comes.

        :raise Enough: the program has reported more cases than are kept.
        """
        self._tell(self._reader.feed(data))
        if self._reader.full:
            raise Enough(self._reader.full)

    def _tell(self, cases: list[CaseResult]) -> None:
        for case in cases:
            self.failed |= case.status == "fail"
            self._journal.case(self._cell.name, self._program.name, case, attempt=self._attempt)
            self._report(case)
