"""Baselines, history and the contract on the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from harness import cli
from harness.errors import ExitCode
from tests.unit.cli.calls import GOOD, MEASURE, Fake, run


def test_what_cases_check_reaches_the_contract(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = "echo '# checks: FRAME-1'"
    fake({"api/a": f"{GOOD.replace('echo 1..1', f'echo 1..1; {checks}')}", "api/b": GOOD})
    assert run("--smp", "1,2", "-k", "api/a") == 0
    capsys.readouterr()
    assert cli.invoke(["contract", "runs/latest", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    (frame, other) = (
        next(one for one in found["statements"] if one["statement"]["id"] == name)
        for name in ("FRAME-1", "FRAME-3")
    )
    assert set(frame["verdicts"]) == set(found["cells"])
    assert len(found["cells"]) == 2
    assert set(frame["verdicts"].values()) == {"pass"}
    assert set(other["verdicts"].values()) == {"not run"}
    for form in ((), ("--markdown",)):
        assert cli.invoke(["contract", *form, "runs/latest"]) == 0
        assert "FRAME" in capsys.readouterr().out


def test_the_contract_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["contract"]) == 0
    assert "delivery/frame::holds_vector_rip_rsp" in capsys.readouterr().out
    assert cli.invoke(["contract", "--holes", "--json"]) == 0
    holes = json.loads(capsys.readouterr().out)["statements"]
    assert all(one["hole"] and not one["cases"] for one in holes)
    assert cli.invoke(["contract", "no-run"]) == ExitCode.USAGE


def test_a_baseline_makes_a_slower_run_fail(
    fake: Fake, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake({"latency/a": MEASURE.format(1)})
    assert run("--out", "one") == 0
    assert (tmp_path / "one" / "baseline.json").stat().st_size
    run_again(fake, tmp_path, MEASURE.format(1))
    # The floor is far above what this machine's load does to made-up samples.
    assert run("--out", "two", "--baseline", "one/baseline.json") == 0
    assert "SAME OR BETTER" in capsys.readouterr().out
    run_again(fake, tmp_path, MEASURE.format(2))
    assert run("--out", "three", "--baseline", "one", "--baseline", "two") in {0, 1}
    found = json.loads((tmp_path / "three" / "comparison.json").read_text())
    (latency,) = found["latencies"]
    # A busy host under the tests makes it unsure, and never the same.
    assert latency["verdict"] in {"worse", "unsure"}
    assert latency["judgement"]["ratio"][0] == pytest.approx(2, rel=0.02)
    assert cli.invoke(["compare", "one", "three"]) == found["exit_code"]
    assert cli.invoke(["history", "uintr"]) == 0
    out = capsys.readouterr().out
    assert "uintr sender in linux-6.12-hidden-smp2-gcc" in out
    assert re.search(r"\b(9\.9\d|10\.\d) µs", out)


def run_again(fake: Fake, tmp_path: Path, script: str) -> None:
    """Let `run` find this script as its program."""
    shutil.rmtree(tmp_path / "run")
    fake({"latency/a": script})


def test_a_baseline_that_is_none_is_exit_2_before_anything_runs(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    assert run("--baseline", "nowhere") == 2
    assert "there is no such run" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_history_that_cannot_be_written_fails_no_run(
    fake: Fake, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.mkdir()
    (cache / "history.sqlite3").write_text("no database" * 100)
    fake({"latency/a": MEASURE.format(1)})
    assert run() == 0
    assert "not in the history" in capsys.readouterr().err


def test_a_baseline_of_more_is_a_finding_unless_allowed(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    assert run("--out", "all") == 0
    assert run("--out", "some", "-k", "api/a", "--baseline", "all") == 1
    assert "1 case gone (--allow-missing accepts that)" in capsys.readouterr().out
    assert run("--out", "meant", "-k", "api/a", "--baseline", "all", "--allow-missing") == 0
    capsys.readouterr()
    assert cli.invoke(["report", "some"]) == 1
    assert "PASSED" not in capsys.readouterr().out
    assert cli.invoke(["compare", "all", "some"]) == 1
    assert cli.invoke(["compare", "--allow-missing", "all", "some"]) == 0
