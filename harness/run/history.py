"""A finished run's rows in the history of the runs on this host."""

from __future__ import annotations

from harness import paths
from harness.progress import Progress
from harness.results.compare.measured import clock, made_of, read_setups
from harness.results.folder import RunFolder
from harness.results.history import HISTORY_FILE, HistoryRow, ProgramRow, add
from harness.results.summary import LatencySummary, Outcome


def add_to_history(folder: RunFolder, outcome: Outcome, began: str, progress: Progress) -> None:
    """Add a run to the history. An error is shown as a note and does not fail the run.

    :param began: when the run began: RFC 3339, UTC.
    """
    try:
        add(
            paths.cache_dir() / HISTORY_FILE,
            history_rows(folder, outcome, began),
            program_rows(folder, outcome, began),
        )
    # Any exception: an unforeseen error in the history must not lose a run's results.
    except Exception as error:
        progress.note(f"not in the history: {error}")


def history_rows(folder: RunFolder, outcome: Outcome, began: str) -> list[HistoryRow]:
    """Return a row for each latency of a run."""
    environment = folder.read_environment()
    accels = {cell.name: cell.accel for cell in outcome.summary.cells}
    parts = {name: made_of(setup) for name, setup in read_setups(folder).items()}
    return [
        _row(
            latency,
            {
                "time": began,
                "run": str(folder.path),
                "verdict": outcome.verdict,
                "accel": accels.get(latency.cell, ""),
                "clock": clock(folder, latency.cell),
                "host": environment.host.cpu if environment else "",
                **{
                    what: parts.get(latency.cell, {}).get(what, "")
                    for what in ("kernel", "series", "emulator", "programs")
                },
            },
        )
        for latency in outcome.summary.latency
    ]


def program_rows(folder: RunFolder, outcome: Outcome, began: str) -> list[ProgramRow]:
    """Return a row for each program in each cell of a run."""
    parts = {name: made_of(setup) for name, setup in read_setups(folder).items()}
    return [
        ProgramRow(
            time=began,
            run=str(folder.path),
            verdict=outcome.verdict,
            cell=one.cell,
            program=one.program,
            runs=one.runs,
            fail=one.fail,
            failed="\n".join(one.failed),
            **{
                what: parts.get(one.cell, {}).get(what, "")
                for what in ("kernel", "series", "emulator", "programs")
            },
        )
        for one in outcome.tallies
    ]


def _row(latency: LatencySummary, about: dict[str, str]) -> HistoryRow:
    low, high = latency.p50_interval or (None, None)
    host = latency.host
    return HistoryRow(
        **{
            name: getattr(latency, name)
            for name in LatencySummary.model_fields
            if name in HistoryRow.model_fields and name not in about
        },
        p50_low=low,
        p50_high=high,
        load=host.load if host else None,
        steal_percent=host.steal_percent if host else None,
        waited_percent=host.waited_percent if host else None,
        **about,
    )
