"""From a run's records to everything that people and programs read: the run's last stage."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.junit import render_junit
from harness.results.records import read_records
from harness.results.summary import Outcome, fold, write_summary
from harness.runfolder import RunFolder, write_atomically
from harness.values import Cell


def render_run(folder: RunFolder, cells: Sequence[Cell] | None = None) -> Outcome:
    """Write a run's summary and JUnit file from its records, and return what it came to.

    :param cells: the cells that should have results; None for the plan's.
    :raise UserError: this is not a run's folder.
    :raise GuestError: the host cannot keep the files.
    """
    plan = folder.read_plan()
    chosen = plan.cells if cells is None else tuple(cells)
    records = read_records(folder.results).records
    outcome = fold(records, chosen, select=plan.select)
    write_summary(folder.path, outcome.summary)
    write_atomically(folder.junit, render_junit(records, [cell.name for cell in chosen]))
    return outcome
