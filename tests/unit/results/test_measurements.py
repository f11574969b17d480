from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from harness.report.rows import latency
from harness.results.latency import read_folder
from harness.results.measurements import gather, with_intervals
from harness.results.records import LatencyRecord
from harness.results.summary import fold
from tests.unit.results import make


def records(run: Path, attempt: int = 1, **factors: float) -> list[LatencyRecord]:
    folder = run / "samples" / str(attempt)
    folder.mkdir(parents=True)
    spread = np.random.default_rng(attempt).permutation(np.linspace(9_000, 11_000, 2001))
    for mechanism, factor in factors.items():
        values = (spread * factor).astype(int).tolist()
        data = struct.pack(f"<{len(values)}Q", *values)
        (folder / f"{mechanism}.sender.ns.u64").write_bytes(data)
    return list(
        read_folder(folder, cell=make.CELL, program="latency/x", run=run, attempt=attempt).records
    )


def test_intervals_stand_beside_what_they_are_of(tmp_path: Path) -> None:
    outcome = fold(records(tmp_path, uintr=1, pipe=3))
    summary = with_intervals(outcome.summary, gather(outcome.takes))
    rows = {row.mechanism: row for row in summary.latency}
    for row in rows.values():
        assert row.p50_interval is not None
        assert row.p99_interval is not None
        assert row.p50_interval[0] <= row.p50 <= row.p50_interval[1]
        assert row.p99_interval[0] <= row.p99 <= row.p99_interval[1]
    assert rows["uintr"].to_uintr is None
    ratio = rows["pipe"].to_uintr
    assert ratio is not None
    assert ratio.ratio == pytest.approx(3, rel=0.01)
    assert 2.9 < ratio.low < ratio.ratio < ratio.high < 3.1


def test_another_spin_makes_no_ratio(tmp_path: Path) -> None:
    for spin, ratio in (("bare", True), ("pause", False)):
        several = [
            record.model_copy(update={"spin": "bare" if record.mechanism == "uintr" else spin})
            for record in records(tmp_path / spin, uintr=1, pipe=3)
        ]
        outcome = fold(several)
        summary = with_intervals(outcome.summary, gather(outcome.takes))
        rows = {row.mechanism: row for row in summary.latency}
        assert (rows["pipe"].to_uintr is not None) == ratio
        shown = {
            row[1]: row[9]
            for row in latency(outcome.model_copy(update={"summary": summary}))[0].rows
        }
        assert shown == {"uintr": "1.00x", "pipe": "3.00x" if ratio else "-"}


def test_attempts_are_takes_of_one_measurement(tmp_path: Path) -> None:
    several = records(tmp_path, 1, uintr=1) + records(tmp_path, 2, uintr=2)
    outcome = fold(several)
    (one,) = gather(outcome.takes)
    assert [take.count for take in one.takes] == [2001, 2001]
    (row,) = with_intervals(outcome.summary, [one]).latency
    assert row.count == 4002
    assert row.p50_interval is not None
    assert row.p50_interval[0] < 10_500
    assert row.p50_interval[1] > 19_500


def test_records_without_samples_keep_their_figures() -> None:
    outcome = fold([make.latency(takes=())])
    assert gather(outcome.takes) == ()
    assert with_intervals(outcome.summary, ()) == outcome.summary
    assert outcome.summary.latency[0].p50 == 2000
