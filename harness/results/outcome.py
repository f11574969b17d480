"""The outcome of a run, read from its folder: records, measurements, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import ExitCode, HarnessError, UserError
from harness.lib.documents import read_json
from harness.lib.files import is_folder, may_exist
from harness.results.compare.baseline import BASELINE_FILE, Baseline
from harness.results.compare.measured import baseline_of
from harness.results.ending import Ending, conclude
from harness.results.folder import RunFolder
from harness.results.latency import with_samples
from harness.results.measurements import gather, with_intervals
from harness.results.reading import Reading
from harness.results.records import LatencyRecord, Record
from harness.results.summary import Outcome, fold
from harness.values import Cell

#: Bytes of a baseline that is read; one of a large run has some MiB.
MAX_BASELINE = 64 << 20


class WithBaseline(NamedTuple):
    """The outcome of a run, and its baseline for comparisons."""

    outcome: Outcome
    baseline: Baseline


def read_outcome(
    folder: RunFolder, cells: Sequence[Cell] | None = None, *, ending: Ending | None = None
) -> WithBaseline:
    """Read the outcome of a run. Nothing is written.

    :param cells: the cells that should have results; by default those of ``run.json``, or all
        cells of the plan.
    :param ending: how the run ended; by default as its folder says.
    :raise UserError: this is not a run's folder, or a link leads out of it.
    :raise GuestError: the host cannot read the records.
    """
    plan = folder.read_plan()
    folder.check_links()
    reading = Reading(folder.results)
    ended = ending or folder.read_ending()
    chosen = plan.cells if cells is None else tuple(cells)
    if cells is None and ended.cells is not None:
        chosen = tuple(cell for cell in plan.cells if cell.name in ended.cells)
    outcome = fold(_with_samples(reading, folder), chosen, select=plan.select)
    if ended.state == "ended" and (unread := _unread(reading)):
        ended = Ending(
            state="incomplete", exit_code=ExitCode.GUEST, reason=unread, cells=ended.cells
        )
    measurements = gather(outcome.takes)
    summary = with_intervals(outcome.summary, measurements)
    outcome = conclude(outcome.model_copy(update={"summary": summary}), ended)
    return WithBaseline(outcome, baseline_of(folder, outcome, measurements))


def failure_in(folder: RunFolder) -> str:
    """Return why a run's records keep it from passing; empty if none does.

    Whether results are missing is not looked at.
    """
    try:
        reading = Reading(folder.results)
        outcome = fold(one for one in reading if not isinstance(one, LatencyRecord))
    except HarnessError as error:
        return error.what
    bad = outcome.failures or outcome.splats or outcome.guest_failures
    return outcome.reason if bad else _unread(reading)


def _with_samples(records: Iterable[Record], folder: RunFolder) -> Iterator[Record]:
    for record in records:
        yield with_samples(record, folder.path) if isinstance(record, LatencyRecord) else record


def _unread(reading: Reading) -> str:
    """Return why records are not known; empty if all are. Each might be of a failure."""
    if not reading.unread:
        return ""
    lines = "line of the results is" if reading.unread == 1 else "lines of the results are"
    return f"{reading.unread} {lines} damaged, or written by another version"


def load_baseline(path: Path) -> Baseline:
    """Read a baseline from a run's folder, or from a file that was kept of one.

    For a folder it is made from the results, so that the run may be of an earlier version.

    :raise UserError: ``path`` is neither.
    """
    hint = f"give a run's folder, or the {BASELINE_FILE} of one"
    if not may_exist(path):
        raise UserError("there is no such run", where=path, hint=hint)
    if is_folder(path):
        return read_outcome(RunFolder(path.resolve())).baseline
    return read_json(path, Baseline, "this is not a baseline", hint, most=MAX_BASELINE)
