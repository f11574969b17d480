from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

import pytest

from harness.errors import ExitCode, GuestError
from harness.results.records import Record
from harness.results.summary import SUMMARY_FILE, Summary, fold
from tests.unit.results import make

BOOTED: list[Record] = [make.boot(), make.case()]


def test_the_form_that_others_script_against() -> None:
    records: list[Record] = [
        make.boot(),
        make.case("a"),
        make.case("b", "fail"),
        make.case("c", "skip"),
        make.latency(),
        make.splat(),
    ]
    text = fold(records).summary.to_json()
    assert json.loads(text) == {
        "schema": 1,
        "cells": [
            {
                "name": "linux-6.12-hidden-smp1-gcc",
                "kernel": "linux-6.12",
                "cpu": "hidden",
                "smp": 1,
                "cc": "gcc",
                "accel": "tcg",
                "boot_s": 5.5,
                "pass": 1,
                "fail": 1,
                "skip": 1,
                "splats": 1,
                "failed": ["api/open::b"],
            }
        ],
        "latency": [
            {
                "cell": "linux-6.12-hidden-smp1-gcc",
                "mechanism": "uintr",
                "mode": "ping-pong",
                "unit": "ns",
                "count": 4,
                "min": 1000,
                "p50": 2000,
                "p90": 4000,
                "p99": 4000,
                "max": 4000,
                "mean": 2500.0,
                "p50_interval": None,
                "p99_interval": None,
                "to_uintr": None,
                "host": None,
            }
        ],
        "totals": {"pass": 1, "fail": 1, "skip": 1},
    }
    assert Summary.model_validate_json(text) == fold(records).summary


@pytest.mark.parametrize(
    ("records", "code", "verdict"),
    [
        ([make.case()], ExitCode.PASSED, "passed"),
        ([make.case(), make.case("b", "skip")], ExitCode.PASSED, "passed"),
        ([make.case(), make.case("b", "fail")], ExitCode.TESTS_FAILED, "failed"),
        ([make.case(), make.splat()], ExitCode.TESTS_FAILED, "splats"),
        ([make.case(), make.splat(excused="known, see LINK")], ExitCode.PASSED, "passed"),
        ([make.case("b", "skip")], ExitCode.TESTS_FAILED, "skipped"),
        ([make.case(), make.lost()], ExitCode.GUEST, "guest failed"),
        ([make.case("b", "fail"), make.lost(verdict="hang")], ExitCode.GUEST, "guest failed"),
        ([make.boot()], ExitCode.GUEST, "not run"),
    ],
)
def test_verdict_and_exit_code(records: list[Record], code: ExitCode, verdict: str) -> None:
    outcome = fold(records)
    assert outcome.exit_code is code
    assert outcome.verdicts == {make.CELL: verdict}
    assert outcome.reason


def test_nothing_at_all_is_not_a_success() -> None:
    assert fold([]).exit_code is ExitCode.GUEST
    assert fold([], [make.cell()]).exit_code is ExitCode.GUEST
    assert fold([], [make.cell()], select="nothing").exit_code is ExitCode.USAGE


def test_a_planned_cell_without_results_fails_the_run() -> None:
    outcome = fold(BOOTED, [make.cell(1), make.cell(4)])
    assert [cell.name for cell in outcome.summary.cells] == [make.cell(1).name, make.cell(4).name]
    assert outcome.summary.cells[1].boot_s is None
    assert outcome.exit_code is ExitCode.GUEST
    assert make.cell(4).name in outcome.reason


@pytest.mark.parametrize("order", [1, -1])
def test_a_second_attempt_hides_no_failure(order: int) -> None:
    tries = [make.case(status="fail"), make.case(status="pass", attempt=2)]
    outcome = fold(tries[::order])
    assert outcome.summary.totals.fail == 1
    assert outcome.summary.totals.passed == 0


def test_a_full_disk_leaves_the_old_summary(tmp_path: Path) -> None:
    path = tmp_path / SUMMARY_FILE
    fold([make.case()]).summary.write(path)
    before = path.read_text()
    full = OSError(28, "No space left on device")
    with (
        mock.patch.object(os, "fsync", side_effect=full),
        pytest.raises(GuestError, match="No space"),
    ):
        fold([]).summary.write(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_repeated_programs_are_counted_by_their_runs() -> None:
    records: list[Record] = [
        make.boot(),
        *(make.case("a", attempt=n) for n in (1, 2, 3)),
        make.case("b", "fail"),
        make.case("b", "fail", attempt=3),
        make.case("c", "fail", attempt=3),
        make.case("once", program="api/close"),
        *(make.case("idle", "skip", program="api/idle", attempt=n) for n in (1, 2)),
    ]
    summary = fold(records).summary
    assert [one.model_dump(by_alias=True) for one in summary.repeated] == [
        {
            "cell": make.CELL,
            "program": "api/open",
            "runs": 3,
            "pass": 1,
            "fail": 2,
            "skip": 0,
            "failed": {"b": 2, "c": 1},
        },
        {
            "cell": make.CELL,
            "program": "api/idle",
            "runs": 2,
            "pass": 0,
            "fail": 0,
            "skip": 2,
            "failed": {},
        },
    ]
    assert json.loads(summary.to_json())["repeated"][0]["failed"] == {"b": 2, "c": 1}
    # A case counts once, by its worst result, as in every run.
    assert summary.totals.model_dump() == {"passed": 2, "fail": 2, "skip": 1}


def test_a_summary_without_repetition_does_not_speak_of_it() -> None:
    assert "repeated" not in json.loads(fold([make.case()]).summary.to_json())
