"""The live display of a run, driven by pytest's hooks.

Works with and without pytest-xdist, whose workers send their reports to this process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

import pytest

from harness.errors import HarnessError
from harness.progress import Progress
from harness.run.journal import ResultsLost

CELL, PROGRAM, OWN = "cell", "program", "own"
#: Begins pytest's reason for a case that does not apply to its cell.
NOT_FOR_CELL = "does not apply to this cell: "

#: The test that runs programs, in :mod:`harness.testing.test_programs`.
PROGRAM_TEST = "test_program"
#: A test's parameters, and the number of its run.
_NUMBERED = re.compile(r"(.*?)-?(#\d+)?", re.DOTALL)


class Table(Protocol):
    """The table of cells and results, see :class:`harness.report.table.ResultsTable`."""

    def program(self, cell: str, program: str) -> None:
        """Show that a program begins in a cell."""

    def case(self, cell: str, status: str) -> None:
        """Count a case: ``pass``, ``fail``, ``skip``, or ``elsewhere`` if it does not apply."""

    def program_done(self, cell: str) -> None:
        """Show that the cell's current program has ended."""

    def cell_done(self, cell: str) -> None:
        """Show that a cell has ended."""


class Display(Progress, Protocol):
    """The display of a run, see :class:`harness.report.progress.RichProgress`."""

    def table(self) -> Table:
        """Return the table of cells and results."""

    def close(self) -> None:
        """Remove the display, before the results are printed."""


class Live:
    """A pytest plugin that shows the progress of each cell.

    :param cells: names of the cells that tests run in.
    :param jobs: number of cells that run at a time.
    """

    def __init__(self, display: Display, cells: Sequence[str], jobs: int = 1) -> None:
        self.interrupted = False
        #: The error that stopped the run, if any.
        self.fatal: HarnessError | None = None
        #: Errors outside tests: in collection, or in pytest itself.
        self.errors: list[str] = []
        #: Failed tests that take no guest. They have no cell, so there are no records of them.
        self.guestless: list[str] = []
        #: Cells in which a test began, in order.
        self.begun: dict[str, None] = {}
        self._display = display
        self._table = display.table()
        self._cells = list(cells)
        self._jobs = jobs
        self._boots: dict[str, ExitStack] = {}
        #: Tests whose subtests were counted as cases. A test without subtests is a case itself.
        self._counted: set[str] = set()
        #: Status of each of the developer's own tests so far. Such a test is one case.
        self._statuses: dict[str, str] = {}
        #: Errors shown already. Each test of a cell that does not boot has the same error.
        self._told: set[tuple[str, str]] = set()
        #: Tests that did not run because their setup failed.
        self._not_run: set[str] = set()

    # --- pytest's hooks ------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep an error in collection."""
        if report.failed:
            self.errors.append(report.longreprtext)

    def pytest_internalerror(self, excrepr: object) -> None:
        """Keep an error of pytest or of this plugin."""
        self.errors.append(str(excrepr))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember what stopped pytest: the user, or results that could not be stored."""
        if isinstance(excinfo.value, ResultsLost):
            self.fatal = excinfo.value.error
        elif not isinstance(excinfo.value, pytest.Session.Interrupted):
            # pytest raises Session.Interrupted itself when it cannot collect tests.
            self.interrupted = True

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Show that a test begins. The first test of a cell boots a guest."""
        cell = cell_of(nodeid, self._cells)
        if cell is None:
            return
        if cell not in self.begun:
            if self._jobs == 1:
                self._end_cells()
            self.begun[cell] = None
            stack = self._boots[cell] = ExitStack()
            stack.enter_context(self._display.step(f"boot {cell}"))
        self._table.program(cell, _program(nodeid, cell))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a case. A failure in setup or teardown is shown at once."""
        properties = dict(report.user_properties)
        cell = properties.get(CELL)
        if not isinstance(cell, str):
            self._without_cell(report, properties)
            return
        if cell in self._boots:
            self._boots.pop(cell).close()
        status = {"passed": "pass", "failed": "fail", "skipped": "skip"}[report.outcome]
        if isinstance(report, pytest.SubtestReport):
            if report.skipped and f"Skipped: {NOT_FOR_CELL}" in report.longreprtext:
                status = "elsewhere"
            self._table.case(cell, status)
            self._counted.add(report.nodeid)
        elif properties.get(OWN):
            self._own_test(cell, report, status)
        elif report.when == "call" and report.nodeid not in self._counted:
            self._table.case(cell, status)
        elif report.failed and report.when != "call":
            self._tell(cell, report.longreprtext.strip())
            if report.when == "setup":
                self._not_run.add(report.nodeid)
        if report.when == "teardown" and report.nodeid not in self._not_run:
            self._table.program_done(cell)

    def _own_test(self, cell: str, report: pytest.TestReport, status: str) -> None:
        """Count a developer's own test as one case, which fails if its setup or its end does."""
        before = self._statuses.pop(report.nodeid, "pass")
        if report.when == "call" and report.nodeid in self._counted:
            status = "pass"  # its subtests are the cases
        status = status if before == "pass" else before
        if report.when != "teardown":
            self._statuses[report.nodeid] = status
        elif status != "pass" or report.nodeid not in self._counted:
            self._table.case(cell, status)

    def _without_cell(self, report: pytest.TestReport, properties: Mapping[str, object]) -> None:
        """Show the failure of a test that takes no guest."""
        if report.failed:
            name = str(properties.get(PROGRAM, report.nodeid))
            self.guestless.append(name)
            self._display.note(f"FAIL {name} (takes no guest)")
            self._display.note(report.longreprtext.strip())

    def _tell(self, cell: str, text: str) -> None:
        if (cell, text) not in self._told:
            self._told.add((cell, text))
            self._display.note(text)

    def close(self) -> None:
        """End the steps and cells that are shown."""
        for stack in self._boots.values():
            stack.close()
        self._end_cells()

    def _end_cells(self) -> None:
        for cell in self.begun:
            self._table.cell_done(cell)


def _program(nodeid: str, cell: str) -> str:
    """Return the program of a test, or the name of another test with its own parameters."""
    name, _, params = nodeid.rpartition("::")[2].partition("[")
    rest = params.removesuffix("]").replace(cell, "", 1).strip("-")
    rest, number = _NUMBERED.fullmatch(rest).groups()  # type: ignore[union-attr]  # matches all
    own = rest if name == PROGRAM_TEST else name + (f"[{rest}]" if rest else "")
    return f"{own} {number}" if number else own


def cell_of(nodeid: str, cells: Sequence[str]) -> str | None:
    """Return which of ``cells`` is among a test's parameters, None if none is.

    The longest match is taken, because a cell's name can end another's, as with the kernels
    ``6.12`` and ``linux-6.12``.
    """
    params = f"-{nodeid.partition('[')[2].removesuffix(']')}-"
    return max((cell for cell in cells if f"-{cell}-" in params), key=len, default=None)
