"""What a run is compared by: ``baseline.json``, one small file in each run's folder.

It holds cases and blocks of the samples, and what the figures were measured on. It is all that a
pipeline has to keep of a run that later ones are compared with.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field
from typing_extensions import override

from harness.results.document import Document
from harness.results.environment import Environment
from harness.results.ktap.lines import CaseStatus
from harness.results.measurements import Measurement
from harness.results.summary import CellSummary, Outcome, case_id
from harness.values import Clock, Value

BASELINE_FILE = "baseline.json"


class BaselineCell(Value):
    """A cell: what it ran on, and what its cases came to."""

    name: str
    kernel: str
    accel: str
    clock: Clock = "host"
    #: Hashes and versions that tell one build from another, by what they are of.
    made_of: dict[str, str] = Field(default_factory=dict)
    #: By ``SUBJECT/PROGRAM::CASE``.
    cases: dict[str, CaseStatus]
    #: Titles of the kernel's complaints that count.
    splats: tuple[str, ...] = ()
    #: What its guests failed of.
    lost: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Its name without the kernel's: the same cell with another kernel has the same."""
        return self.name.removeprefix(f"{self.kernel}-")


class Baseline(Document):
    """``baseline.json``."""

    model_config = ConfigDict(extra="ignore")

    #: The name of the run's folder.
    run: str
    #: The host's CPU model; nothing where nobody recorded it.
    host_cpu: str
    cells: tuple[BaselineCell, ...]
    measurements: tuple[Measurement, ...]
    #: Why the run did not come to its end; nothing if it did.
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

    :param made_of: by cell, the hashes and versions of what it was made of.
    :param clocks: by cell, what its clock counts; the host's time for those that are not in it.
    """
    return Baseline(
        run=run,
        host_cpu=environment.host.cpu if environment else "",
        cells=tuple(
            _cell(cell, outcome, made_of.get(cell.name, {}), clocks.get(cell.name, "host"))
            for cell in outcome.summary.cells
        ),
        measurements=measurements,
        incomplete="" if outcome.state == "ended" else f"{outcome.verdict}: {outcome.reason}",
    )


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
