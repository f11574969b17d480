"""What a run came to: its records, its measurements and how it ended, read from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from harness.errors import GuestError, UserError
from harness.results.compare.baseline import BASELINE_FILE, Baseline
from harness.results.compare.measured import baseline_of
from harness.results.ending import Ending, conclude
from harness.results.folder import RunFolder
from harness.results.latency import with_samples
from harness.results.measurements import gather, with_intervals
from harness.results.records import LatencyRecord, Record, read_records
from harness.results.summary import Outcome, fold
from harness.values import Cell


class RunOutcome(NamedTuple):
    """What a run came to, and what it can be compared by."""

    outcome: Outcome
    baseline: Baseline


def read_outcome(
    folder: RunFolder, cells: Sequence[Cell] | None = None, *, ending: Ending | None = None
) -> RunOutcome:
    """Read what a run came to; nothing is written.

    :param cells: the cells that should have results; None for those of ``run.json``, or the plan's.
    :param ending: how the run ended; None: as its folder tells.
    :raise UserError: this is not a run's folder.
    """
    plan = folder.read_plan()
    ended = ending or folder.read_ending()
    chosen = plan.cells if cells is None else tuple(cells)
    if cells is None and ended.cells is not None:
        chosen = tuple(cell for cell in plan.cells if cell.name in ended.cells)
    outcome = fold(records_of(folder), chosen, select=plan.select)
    measurements = gather(outcome.takes)
    summary = with_intervals(outcome.summary, measurements)
    outcome = conclude(outcome.model_copy(update={"summary": summary}), ended)
    return RunOutcome(outcome, baseline_of(folder, outcome, measurements))


def records_of(folder: RunFolder) -> tuple[Record, ...]:
    """Return the records of a run, latencies with their samples.

    :raise GuestError: the host cannot read them.
    """
    try:
        return tuple(
            with_samples(record, folder.path) if isinstance(record, LatencyRecord) else record
            for record in read_records(folder.results).records
        )
    except OSError as error:
        raise GuestError(
            f"the results cannot be read: {error.strerror}", where=folder.results
        ) from error


def load_baseline(path: Path) -> Baseline:
    """Read a baseline from a run's folder, or from a file that was kept of one.

    A run's folder is read from its results, so that it need not be one of this version.

    :raise UserError: it is neither.
    """
    if path.is_dir():
        return read_outcome(RunFolder(path.resolve())).baseline
    from harness.results.compare.baseline import Baseline  # numpy, as above

    try:
        return Baseline.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"there is no such run: {error.strerror}",
            where=path,
            hint=f"give a run's folder, or the {BASELINE_FILE} of one",
        ) from error
    except ValidationError as error:
        raise UserError(
            f"this is no baseline: {error.errors()[0]['msg']}",
            where=path,
            hint=f"give a run's folder, or the {BASELINE_FILE} of one",
        ) from error
