"""What a person sees while the cells run, from pytest's own events.

Works with and without pytest-xdist: workers send their reports to the process that this is in.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest

from harness.progress import Progress, Step

CELL, PROGRAM = "cell", "program"


class Live:
    """A pytest plugin that tells a :class:`~harness.progress.Progress` how each cell goes."""

    def __init__(self, progress: Progress) -> None:
        self.interrupted = False
        #: Errors outside any test: collection, pytest itself.
        self.errors: list[str] = []
        self.collected = 0
        self._progress = progress
        self._steps: dict[str, Step] = {}
        self._open = ExitStack()
        self._counts: dict[str, Counter[str]] = {}
        self._totals: Counter[str] = Counter()
        self._done: Counter[str] = Counter()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn how much there is to do in each cell."""
        self.collected = max(self.collected, len(session.items))
        for item in session.items:
            cell = dict(item.user_properties).get(CELL)
            if cell is not None:
                self._totals[str(cell)] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be collected."""
        if report.failed:
            self.errors.append(f"{report.nodeid}: {report.longreprtext}")

    def pytest_internalerror(self, excrepr: object) -> None:
        """Keep an error of pytest or of this plugin."""
        self.errors.append(str(excrepr))

    def pytest_keyboard_interrupt(self) -> None:
        """Remember that the user stopped it."""
        self.interrupted = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a case, and say what failed at once."""
        properties = dict(report.user_properties)
        cell = str(properties.get(CELL, ""))
        if not cell:
            return
        program = str(properties.get(PROGRAM) or report.nodeid)
        step = self._step(cell)
        if isinstance(report, pytest.SubtestReport):
            self._case(cell, program, report)
        elif report.failed and report.when != "call":
            self._progress.note(f"FAIL {cell}: {_last_line(report.longreprtext)}")
        elif report.failed and not report.longreprtext.startswith("contains "):
            self._progress.note(f"FAIL {cell} {program}: {_first_line(report.longreprtext)}")
        if report.when == "teardown":
            self._done[cell] += 1
        counts = self._counts[cell]
        text = ", ".join(f"{counts[word]} {word}" for word in ("passed", "failed", "skipped"))
        step.update(
            f"{program}: {text}",
            done=self._done[cell],
            total=self._totals[cell] or None,
        )

    def close(self) -> None:
        """End what is shown."""
        self._open.close()

    def _case(self, cell: str, program: str, report: pytest.SubtestReport) -> None:
        self._counts[cell][report.outcome] += 1
        if report.failed:
            name = report.context.msg
            self._progress.note(
                f"FAIL {cell} {program} {name}: {_first_line(report.longreprtext)}"
            )

    def _step(self, cell: str) -> Step:
        if cell not in self._steps:
            self._steps[cell] = self._open.enter_context(self._progress.step(cell))
            self._counts[cell] = Counter()
        return self._steps[cell]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
