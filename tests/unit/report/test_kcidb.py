"""A run as a submission to KCIDB, judged by KCIDB's own schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kcidb_io.schema import V5_3

from harness import cli
from harness.errors import UserError
from harness.report.kcidb import render_kcidb
from harness.results.folder import RunArtefacts, RunFolder
from harness.results.outcome import read_outcome
from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    LatencyRecord,
    ProgramRecord,
    Record,
    Recorder,
    SplatRecord,
)
from tests.unit.runs import cell, prepared

NAME = "k-hidden-smp1-gcc"
OTHER = "k-hidden-smp2-gcc"
LATENCY = LatencyRecord(
    cell=NAME,
    program="latency/uintr",
    mechanism="uintr",
    mode="ping-pong",
    unit="ns",
    count=3,
    min=1000,
    p50=1500,
    p90=2000,
    p99=3000,
    max=4000,
    mean=1600.0,
)
RECORDS: Sequence[Record] = (
    BootRecord(
        cell=NAME, kernel="k", cpu="hidden", smp=1, cc="gcc", accel="tcg", boot_s=1.5, factor=1
    ),
    CaseRecord(cell=NAME, program="api/wait", case="a case. (1)", status="pass", seconds=0.5),
    CaseRecord(
        cell=OTHER,
        program="api/wait",
        case="b",
        status="fail",
        message="1 is\0not 2",
        diagnostics="x" * 20_000 + "end",
    ),
    CaseRecord(cell=NAME, program="api/wait", case="c", status="skip"),
    ProgramRecord(cell=NAME, program="api/wait", returncode=0),
    SplatRecord(cell=NAME, kind="warn", title="WARNING: x", excerpt="line"),
    SplatRecord(cell=NAME, kind="warn", title="WARNING: x", excused="known"),
    GuestFailureRecord(cell=NAME, verdict="panic", message="gone", program="api/wait"),
    GuestFailureRecord(cell=OTHER, verdict="silent", message="gone"),
    LATENCY,
    LATENCY.model_copy(update={"unit": "insn"}),
    CaseRecord(cell="of-nobody", program="api/wait", case="d", status="pass"),
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of one kernel, of which the store knows the patches, in two cells."""
    store = tmp_path / "store"
    kernel = store / "kernel" / ("0" * 64)
    config = store / "kernel-config" / ("1" * 64)
    for folder in (kernel, config):
        folder.mkdir(parents=True)
    (kernel / "inputs.json").write_text('{"tree": "abc"}')
    (config / "tree").write_text("abc\n")
    patches = [{"sha256": "1" * 64, "strip": 1}, {"sha256": "2" * 64, "strip": 1}]
    (config / "inputs.json").write_text(json.dumps({"patches": patches}))
    run = prepared(tmp_path, {"api/wait": ""}, (cell(), cell(smp=2)))
    cells = run.read_artefacts().cells
    artefact = cells[0].kernel.model_copy(update={"path": kernel})
    changed = tuple(one.model_copy(update={"kernel": artefact}) for one in cells)
    run.write_artefacts(RunArtefacts(cells=changed))
    with Recorder(run.results) as recorder:
        for record in RECORDS:
            recorder.write(record)
    run.end(4)
    return run


def submission(run: RunFolder, origin: str = "bench") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        "".join(render_kcidb(run, origin, read_outcome(run).outcome))
    )
    V5_3.validate(found)
    return found


def test_a_run_is_what_kcidb_takes(run: RunFolder) -> None:
    found = submission(run)
    (checkout,) = found["checkouts"]
    (build,) = found["builds"]
    assert build["checkout_id"] == checkout["id"]
    assert {test["build_id"] for test in found["tests"]} == {build["id"]}
    lines = f"{'1' * 64}\n{'2' * 64}\n"
    assert checkout["patchset_hash"] == hashlib.sha256(lines.encode()).hexdigest()
    assert [(test["path"], test["status"]) for test in found["tests"]] == [
        ("uintr.boot", "PASS"),
        ("uintr.api.wait.a_case_1_", "PASS"),
        ("uintr.api.wait.b", "FAIL"),
        ("uintr.api.wait.c", "SKIP"),
        ("uintr.kernel-log.warn", "FAIL"),
        ("uintr.kernel-log.warn", "SKIP"),
        ("uintr.api.wait.panic", "ERROR"),
        ("uintr.boot.silent", "ERROR"),
        ("uintr.latency.uintr.ping-pong", "DONE"),
        ("uintr.latency.uintr.ping-pong", "DONE"),
    ]
    cells = [test["environment"]["misc"]["cell"] for test in found["tests"]]
    assert [number for number, name in enumerate(cells) if name == OTHER] == [2, 7]
    assert len({test["id"] for test in found["tests"]}) == len(found["tests"])


def test_every_test_has_a_start(run: RunFolder) -> None:
    """KCIDB leaves out tests without one."""
    with Recorder(run.results) as recorder:
        noted = datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)
        case = CaseRecord(cell=NAME, program="api/x", case="y", status="pass", seconds=2.5)
        recorder.write(case.model_copy(update={"time": noted}))
    run.end(4)
    tests = submission(run)["tests"]
    assert tests[-1]["start_time"] == "2026-03-01T12:00:07.500000+00:00"
    # Records of an earlier version have no time: the run's own start stands for it.
    info = run.read_info()
    assert info is not None
    starts = {datetime.fromisoformat(test["start_time"]) for test in tests[:-1]}
    assert starts == {datetime.fromisoformat(info.started)}


def test_the_kernels_selftests_have_the_kernels_names(run: RunFolder) -> None:
    with Recorder(run.results) as recorder:
        for program in ("kselftest-x86/sigreturn_64", "kselftest-net-forwarding/a.sh"):
            recorder.write(CaseRecord(cell=NAME, program=program, case="a b", status="pass"))
    run.end(4)
    found = [test["path"] for test in submission(run)["tests"][-2:]]
    assert found == ["kselftest.x86.sigreturn_64.a_b", "kselftest.net-forwarding.a_sh.a_b"]


def test_a_run_that_did_not_end_says_so(run: RunFolder) -> None:
    run.begin(["uintr-harness", "run"])
    last = submission(run)["tests"][-1]
    assert (last["path"], last["status"]) == ("uintr.run", "ERROR")
    assert "did not end" in last["log_excerpt"]


def test_numbers_and_logs(run: RunFolder) -> None:
    tests = submission(run)["tests"]
    assert tests[0]["number"] == {"value": 1.5, "unit": "s"}
    assert tests[1]["duration"] == 0.5
    log = tests[2]["log_excerpt"]
    assert len(log) == 16_384
    assert log.endswith("xend")
    assert tests[8]["number"] == {
        "value": pytest.approx(1.5e-6),
        "unit": "s",
        "prefix": "metric",
    }
    assert tests[9]["number"]["value"] == 1500


def test_the_same_run_is_the_same_submission(run: RunFolder, tmp_path: Path) -> None:
    assert submission(run) == submission(RunFolder(run.path))
    assert {one["origin"] for one in submission(run, "other")["tests"]} == {"other"}


def test_what_is_no_origin_and_no_run(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a valid origin"):
        render_kcidb(run, "My Bench", read_outcome(run).outcome)
    with pytest.raises(UserError, match="not the folder"):
        read_outcome(RunFolder(tmp_path / "nowhere"))


@pytest.mark.parametrize("text", [None, "", "{", '{"cells": []}'])
@pytest.mark.parametrize(("ended", "code"), [(0, 2), (3, 3)])
def test_without_artefacts_nothing_is_submitted(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    ended: int,
    code: int,
) -> None:
    run = prepared(tmp_path, {"api/wait": ""}, (cell(),))
    with Recorder(run.results) as recorder:
        recorder.write(CaseRecord(cell=NAME, program="api/x", case="a", status="pass"))
    run.end(ended)
    path = run.path / "artefacts.json"
    path.unlink() if text is None else path.write_text(text)
    assert cli.invoke(["report", "--kcidb", "bench", str(run.path)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert ("error: " if ended == 0 else "nothing to submit") in err


def test_results_of_cells_without_a_kernel_are_not_good(tmp_path: Path) -> None:
    run = prepared(tmp_path, {"api/wait": ""}, (cell(),))
    with Recorder(run.results) as recorder:
        for name in (NAME, "of-nobody"):
            recorder.write(CaseRecord(cell=name, program="api/x", case="a", status="pass"))
    run.end(0)
    tests = submission(run)["tests"]
    assert [(test["path"], test["status"]) for test in tests] == [
        ("uintr.api.x.a", "PASS"),
        ("uintr.run", "ERROR"),
    ]
    assert "1 results are of cells whose kernel is not known" in tests[1]["log_excerpt"]


def test_the_command(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.invoke(["report", "--kcidb", "bench", str(run.path)])
    out, err = capsys.readouterr()
    assert (code, err) == (4, "")
    assert json.loads(out) == submission(run)


def test_cases_for_other_cells_are_a_number_of_the_boot(tmp_path: Path) -> None:
    run = prepared(tmp_path, {"api/wait": ""}, cells=(cell(),))
    other = CaseRecord(cell=NAME, program="api/x", case="e", status="skip", lacks="cpu:uintr")
    with Recorder(run.results) as recorder:
        for record in (RECORDS[0], RECORDS[1], other):
            recorder.write(record)
    run.end(0)
    outcome = read_outcome(run).outcome
    boot, passed = json.loads("".join(render_kcidb(run, "me", outcome)))["tests"]
    assert boot["misc"] == {"not_for_cell": {"cpu:uintr": 1}}
    assert passed["status"] == "PASS"
