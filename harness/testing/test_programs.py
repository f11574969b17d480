"""The one test of the harness's own that runs in guests: a program, its cases as subtests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.testing.bare_metal import BareMetalRun
from harness.testing.counted import CountedRun
from harness.testing.itemrun import ItemRun
from harness.testing.programs import ProgramRun

if TYPE_CHECKING:
    from harness.results.ktap import CaseResult
    from harness.testing.cellguest import CellGuest
    from harness.testing.journal import Journal


def test_program(
    guest: CellGuest,
    program: str,
    uintr_journal: Journal,
    uintr_attempt: int,
    subtests: pytest.Subtests,
) -> None:
    """Run a guest program in a cell; it fails by its cases, by its death or by its guest's."""

    def report(case: CaseResult) -> None:
        try:
            with subtests.test(msg=case.name):
                if case.status == "fail":
                    text = "\n".join(filter(None, [case.message, case.diagnostics]))
                    pytest.fail(text or "not ok", pytrace=False)
                elif case.status == "skip":
                    pytest.skip(case.message or "skipped by the program")
        except (pytest.fail.Exception, pytest.skip.Exception):
            # With -x a failing subtest ends the test at once. Here that would tear the connection
            # down under a running program; pytest stops after this test anyway.
            pass

    found = guest.program(program)
    kind: type[ItemRun] = ProgramRun
    if found.kind == "bare-metal":
        kind = BareMetalRun
    elif guest.setup.cell.clock == "icount":
        kind = CountedRun
    kind(guest, found, uintr_journal, report, uintr_attempt).run()
