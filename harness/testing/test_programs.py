"""The test that runs guest programs, with their cases as subtests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError
from harness.lib.text import clean_for_log, clean_line
from harness.run.live import NOT_FOR_CELL
from harness.testing.itemrun import OnCase
from harness.testing.stash import Recorded
from harness.testing.ways import run_class

if TYPE_CHECKING:
    from harness.results.ktap.reader import CaseResult
    from harness.run.cellguest import CellGuest
    from harness.run.journal import Journal


def test_program(
    guest: CellGuest,
    program: str,
    uintr_journal: Journal,
    uintr_attempt: int,
    uintr_retries: int,
    subtests: pytest.Subtests,
) -> None:
    """Run a guest program in a cell.

    With ``uintr_retries``, a failed program is run again in a fresh guest. If it passes then, it is
    flaky, and still counts as failed.
    """
    found = guest.program(program)
    way = run_class(guest.setup, found)
    on_case = _subtest_of_each(subtests)
    lost: list[HarnessError] = []
    for attempt in range(uintr_attempt, uintr_attempt + 1 + uintr_retries):
        run = way(guest, found, uintr_journal, on_case, attempt)
        if attempt > uintr_attempt and way.needs_guest:
            guest.ready(fresh=True)
        try:
            run.run()
        except HarnessError as error:
            lost.append(error)
        if not run.failed:
            break
    if lost:
        raise lost[0]


def _subtest_of_each(subtests: pytest.Subtests) -> OnCase:
    """Return a callback that reports each case as a subtest."""

    def on_case(case: CaseResult) -> None:
        try:
            with subtests.test(msg=clean_for_log(clean_line(case.name))):
                if case.status == "fail":
                    text = clean_for_log("\n".join(filter(None, [case.message, case.diagnostics])))
                    raise Recorded(text or "not ok", pytrace=False)
                if case.lacks:
                    pytest.skip(f"{NOT_FOR_CELL}{clean_for_log(clean_line(case.message))}")
                if case.status == "skip":
                    pytest.skip(clean_for_log(clean_line(case.message)) or "skipped by the program")
        except (pytest.fail.Exception, pytest.skip.Exception):
            # With -x a failing subtest ends the test at once, which would close the connection of
            # a running program. pytest stops after this test in any case.
            pass

    return on_case
