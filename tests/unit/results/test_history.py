from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from harness.errors import GuestError
from harness.report.history import failures_sheet, history_sheet
from harness.results.history import (
    FORM,
    HistoryRow,
    ProgramRow,
    add,
    read,
    read_programs,
)


def row(**more: Any) -> HistoryRow:
    values: dict[str, Any] = {
        "time": "2026-01-01T00:00:00Z",
        "run": "/runs/1",
        "cell": "c",
        "mechanism": "uintr",
        "mode": "sender",
        "unit": "ns",
        "count": 10,
        "min": 1,
        "p50": 2000,
        "p90": 3,
        "p99": 4,
        "max": 5,
        "mean": 2.5,
        "p50_low": 1.5,
        "p50_high": None,
        "accel": "tcg",
        "clock": "host",
        "host": "CPU",
        "load": 0.5,
        "steal_percent": None,
        "waited_percent": 3.0,
        "kernel": "k",
        "series": "s",
        "emulator": "e",
        "programs": "p",
        **more,
    }
    return HistoryRow(**values)


def test_rows_come_back_as_they_were_and_once(tmp_path: Path) -> None:
    path = tmp_path / "history"
    assert read(path) == []
    rows = [row(), row(mechanism="pipe")]
    add(path, rows)
    add(path, [row(p50=7)])
    assert read(path) == [rows[1], row(p50=7)]
    assert read(path, ["pipe"]) == [rows[1]]
    assert read(path, ["'; DROP TABLE latency; --"]) == []


def test_the_last_runs(tmp_path: Path) -> None:
    path = tmp_path / "history"
    for number in range(5):
        add(path, [row(run=f"/runs/{number}", time=f"2026-01-0{number + 1}T00:00:00Z")])
    assert [found.run for found in read(path, last=2)] == ["/runs/3", "/runs/4"]
    assert len(read(path)) == 5


def _add_many(path: Path, worker: int) -> None:
    for number in range(20):
        add(path, [row(run=f"/runs/{worker}-{number}", mode=f"m{m}") for m in range(10)])


def test_runs_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add_many, args=(path, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert len(read(path)) == 4 * 20 * 10


def test_damage_and_other_forms_are_errors_with_a_hint(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"no database" * 100)
    other = tmp_path / "other"
    with sqlite3.connect(other) as database:
        database.execute(f"PRAGMA user_version = {FORM + 1}")
    for path in (broken, other, tmp_path / "no" / "such" / "folder"):
        with pytest.raises(GuestError) as caught:
            add(path, [row()])
        assert caught.value.hint
    assert broken.read_bytes() == b"no database" * 100


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "history"
    add(path, [row()])
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM latency")
    assert len(read(path)) == 1
    writer.close()


def test_the_table_never_mixes_accelerators() -> None:
    rows = [
        row(p50=2000),
        row(p50=3000, run="/runs/2"),
        row(p50=30, accel="kvm", run="/runs/3"),
        row(p50=60, accel="kvm", run="/runs/4", waited_percent=None, host="\x1b[2J"),
    ]
    sheet = history_sheet(rows)
    assert [(r[0].split("(")[1][:3], r[5]) for r in sheet.rows] == [
        ("kvm", "-"),
        ("kvm", "-"),
        ("tcg", "-"),
        ("tcg", "1.50x"),
    ]
    assert "\x1b" not in str(sheet.rows)


def program(name: str, number: int, fail: int = 0, failed: str = "") -> ProgramRow:
    return ProgramRow(
        time=f"2026-01-0{number}T00:00:00Z",
        run=f"/runs/{number}",
        cell="c",
        program=name,
        runs=1 + bool(fail),
        fail=fail,
        failed=failed,
        kernel="k",
        series="s",
        emulator="e",
        programs="p",
    )


def test_how_often_programs_failed_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "history"
    assert read_programs(path) == []
    add(path, [row()])
    # As a file of a version that kept no programs.
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE program")
    assert read_programs(path) == []
    runs = [
        [program("api/good", 1), program("api/shaky", 1)],
        [program("api/good", 2), program("api/shaky", 2, 1, "a b\nc")],
        [program("api/good", 3), program("api/shaky", 3, 1, "a b")],
    ]
    for programs in runs:
        add(path, [], programs)
    add(path, [], runs[2])
    assert read_programs(path) == [one for programs in runs for one in programs]
    assert read_programs(path, last=1) == runs[2]
    assert read(path) == [row()]
    assert failures_sheet(read_programs(path)).rows == (
        ("api/shaky", "c", "5", "2", "40 %", "2026-01-03 00:00:00", "a b, c"),
        ("api/good", "c", "3", "0", "-", "-", ""),
    )


def test_a_file_of_before_gets_the_new_column(tmp_path: Path) -> None:
    path = tmp_path / "history"
    add(path, [row(run="old")])
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE latency DROP COLUMN verdict")
    assert [one.verdict for one in read(path)] == [""]
    add(path, [row(run="new", verdict="interrupted")])
    assert {one.run: one.verdict for one in read(path)} == {"old": "", "new": "interrupted"}
    sheet = history_sheet(read(path))
    assert sorted(cells[-1] for cells in sheet.rows) == ["-", "interrupted"]
