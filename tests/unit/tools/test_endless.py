"""The command that runs a program without end beside others."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.artefacts.programs import find_programs
from harness.results.folder import RunFolder
from harness.results.records import BootRecord, CaseRecord, Recorder
from tests.unit.runs import cell, prepared
from tools.endless import PROGRAM, lay_out, wrong_verdicts

ONE, TWO = cell(smp=1), cell(smp=2)
GOOD = (
    (ONE.name, "api/a", "pass", ""),
    (ONE.name, PROGRAM, "fail", "timed out after 60 s"),
    (ONE.name, "lifetime/b", "pass", ""),
    (TWO.name, "api/a", "pass", ""),
    (TWO.name, PROGRAM, "pass", ""),
    (TWO.name, "lifetime/b", "pass", ""),
)


def a_run(folder: Path, cases: tuple[tuple[str, str, str, str], ...]) -> RunFolder:
    run = prepared(folder, {"api/a": "true"}, (ONE, TWO))
    run.begin([])
    with Recorder(run.results) as recorder:
        for one in (ONE, TWO):
            recorder.write(
                BootRecord(
                    cell=one.name, kernel="k", cpu="hidden", smp=one.smp, cc="gcc", accel="tcg",
                    boot_s=1,
                )
            )  # fmt: skip
        for name, program, status, why in cases:
            recorder.write(
                CaseRecord.model_validate(
                    {"cell": name, "program": program, "case": "c", "status": status}
                    | {"message": why}
                )
            )
    run.end(1)
    return run


def test_right_verdicts(tmp_path: Path) -> None:
    assert list(wrong_verdicts(a_run(tmp_path, GOOD))) == []


@pytest.mark.parametrize(
    ("at", "case", "said"),
    [
        (1, (ONE.name, PROGRAM, "pass", ""), "is pass where it prints without end"),
        (1, (ONE.name, PROGRAM, "fail", "exit code 1"), "was not ended for what it did"),
        (2, (ONE.name, "lifetime/b", "fail", "x"), "lifetime/b c: fail: x"),
        (2, (ONE.name, "api/a", "pass", ""), "programs by cell"),
        (4, (TWO.name, PROGRAM, "fail", "timed out"), "endless/prints c: fail"),
    ],
)
def test_wrong_verdicts(
    at: int, case: tuple[str, str, str, str], said: str, tmp_path: Path
) -> None:
    wrong = list(wrong_verdicts(a_run(tmp_path, (*GOOD[:at], case, *GOOD[at + 1 :]))))
    assert any(said in line for line in wrong), wrong


def test_the_program_prints_no_more_than_its_limit_allows(tmp_path: Path) -> None:
    lay_out(tmp_path / "tests", minutes=60)
    found = {unit.name: unit for unit in find_programs(tmp_path / "tests")}
    assert found[PROGRAM].settings.timeout_s == 600
    text = found[PROGRAM].source.read_text()
    assert "left = 14913;" in text
    assert found[PROGRAM].settings.output_limit > 14913 * 3600
