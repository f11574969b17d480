"""``baseline.json``: the data of a run that comparisons need, in one small file.

It has the cases, blocks of the samples, and the host and artefacts. A pipeline need not keep more
of a run to compare later runs with it.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field
from typing_extensions import override

from harness.errors import ExitCode
from harness.results.document import Document
from harness.results.environment import Environment
from harness.results.ktap.lines import CaseStatus
from harness.results.measurements import Measurement
from harness.results.summary import CellSummary, Outcome, case_id
from harness.values import Clock, Value

BASELINE_FILE = "baseline.json"


class BaselineCell(Value):
    """A cell: its kernel, accelerator, clock, artefacts and results."""

    name: str
    kernel: str
    accel: str
    clock: Clock = "host"
    #: Kind of artefact → its hash or version.
    made_of: dict[str, str] = Field(default_factory=dict)
    #: ``SUBJECT/PROGRAM::CASE`` → status.
    cases: dict[str, CaseStatus]
    #: Titles of the splats that are not excused.
    splats: tuple[str, ...] = ()
    #: Verdicts on its failed guests.
    lost: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The cell's name without the kernel's. Equal for the same cell with another kernel."""
        return self.name.removeprefix(f"{self.kernel}-")


class Baseline(Document):
    """``baseline.json``."""

    model_config = ConfigDict(extra="ignore")

    #: The name of the run's folder.
    run: str
    #: The host's CPU model; empty if it was not recorded.
    host_cpu: str
    cells: tuple[BaselineCell, ...]
    measurements: tuple[Measurement, ...]
    #: Why the run did not end; empty if it did.
    incomplete: str = ""

    @override
    def to_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"


def make_baseline(
    run: str,
    outcome: Outcome,
    measurements: tuple[Measurement, ...],
    *,
    environment: Environment | None,
    made_of: dict[str, dict[str, str]],
    clocks: dict[str, Clock],
) -> Baseline:
    """Make the baseline of a run.

    :param made_of: cell → hashes and versions of its artefacts.
    :param clocks: cell → its clock; the host's time for cells that are not in it.
    """
    return Baseline(
        run=run,
        host_cpu=environment.host.cpu if environment else "",
        cells=tuple(
            _cell(cell, outcome, made_of.get(cell.name, {}), clocks.get(cell.name, "host"))
            for cell in outcome.summary.cells
        ),
        measurements=measurements,
        incomplete=f"{outcome.verdict}: {outcome.reason}" if _lacks_results(outcome) else "",
    )


def _lacks_results(outcome: Outcome) -> bool:
    """Return true if a run has less than its plan: it did not end, or an error took some of it.

    A guest that failed is a result.
    """
    if outcome.state != "ended":
        return True
    if outcome.exit_code == ExitCode.GUEST:
        return not outcome.guest_failures
    return outcome.exit_code not in {ExitCode.PASSED, ExitCode.TESTS_FAILED}


def _cell(
    cell: CellSummary, outcome: Outcome, made_of: dict[str, str], clock: Clock
) -> BaselineCell:
    cases = [case for case in outcome.cases if case.cell == cell.name]
    splats = [splat.title for splat in outcome.splats if splat.cell == cell.name]
    lost = [failure.verdict for failure in outcome.guest_failures if failure.cell == cell.name]
    return BaselineCell(
        name=cell.name,
        kernel=cell.kernel,
        accel=cell.accel,
        clock=clock,
        made_of=made_of,
        cases={case_id(case): case.status for case in cases},
        splats=tuple(dict.fromkeys(splats)),
        lost=tuple(dict.fromkeys(lost)),
    )
