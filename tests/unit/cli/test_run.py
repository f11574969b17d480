"""What `run` and `report` show and keep."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from harness import cli
from harness.errors import BuildError
from harness.results.folder import RunFolder
from tests.unit.cli.calls import GOOD, Fake, latest, run, summary

BAD = "echo 'KTAP version 1'; echo 1..2; echo 'ok 1 fine'; echo 'not ok 2 broken'; exit 1"


def test_a_good_run(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    assert run("--smp", "1,2") == 0
    assert summary()["totals"] == {"pass": 4, "fail": 0, "skip": 0}
    out, err = capsys.readouterr()
    assert "PASSED: 4 passed" in out
    assert "linux-6.12-hidden-smp2-gcc" in out
    assert "test session starts" not in out + err
    for name in ("report.html", "junit.xml", "plan.json", "run.json", "environment.json"):
        assert (latest().path / name).stat().st_size
    assert json.loads((latest().path / "run.json").read_text())["exit_code"] == 0


def test_repeat_runs_each_program_so_often(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD})
    assert run("--repeat", "3") == 0
    (repeated,) = json.loads(latest().summary.read_text())["repeated"]
    assert (repeated["runs"], repeated["pass"]) == (3, 3)
    assert "api/a #3" in capsys.readouterr().err


def test_a_failing_case_is_exit_1_with_a_reproducer(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": BAD, "api/b": GOOD})
    assert run() == 1
    assert "api/a::broken" in capsys.readouterr().out
    (script,) = latest().path.glob("cells/*/reproduce/*.sh")
    assert stat.S_IMODE(script.stat().st_mode) & 0o100
    assert "-k api/a" in script.read_text()


def test_a_report_says_the_same_again(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": BAD})
    assert run() == 1
    before = latest().summary.read_bytes()
    latest().summary.unlink()
    first = capsys.readouterr().out
    assert cli.invoke(["report", "runs/latest"]) == 1
    assert latest().summary.read_bytes() == before
    again = capsys.readouterr().out
    assert again.replace("runs/latest", f"runs/{latest().path.name}") == first


def test_a_report_in_markdown(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": BAD})
    assert run() == 1
    capsys.readouterr()
    assert cli.invoke(["report", "--markdown", "runs/latest"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("### ❌ failed: <code>1 failed</code>\n")
    assert "| linux-6.12-hidden-smp2-gcc |" in out
    assert "api/a::broken" in out


def test_words_for_the_kernel_reach_the_guest(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    assert run("--cmdline", "fail-boot") == 4
    assert "panic-before-init" in capsys.readouterr().out


@pytest.mark.parametrize("before", [True, False])
def test_quiet_leaves_notes_and_results(
    fake: Fake, capsys: pytest.CaptureFixture[str], before: bool
) -> None:
    fake({"api/a": BAD})
    options = ["run", "--out", "out"]
    assert cli.invoke(["-q", *options] if before else [*options, "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert "==>" not in err
    assert "api/a::broken" in out


def test_a_developers_own_file(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    (tmp_path / "test_mine.py").write_text(
        "def test_yes(guest):\n    assert guest.run(['true']).returncode == 0\n"
        "def test_no(guest):\n    assert guest.run(['true']).returncode == 1\n"
    )
    assert run("--tests", "test_mine.py") == 1
    assert summary()["totals"] == {"pass": 1, "fail": 1, "skip": 0}
    assert run("--tests", "test_none.py") == 2


def test_an_out_folder_that_holds_a_run_is_left_alone(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    assert run("--out", "mine") == 0
    assert run("--out", "mine") == 2
    assert "already holds a run" in capsys.readouterr().err


def test_a_refused_run_says_so_in_the_folder_that_was_made_for_it(fake: Fake) -> None:
    fake({"api/a": GOOD})
    assert run("--out", "nowhere", "--cpu", "no-such") == 2
    assert not Path("nowhere").exists()
    Path("mine").mkdir()
    assert run("--out", "mine", "--baseline", "no-such") == 2
    info = RunFolder(Path("mine")).read_info()
    assert info is not None
    assert (info.exit_code, [error.what for error in info.errors]) == (2, [info.reason])
    assert info.reason.startswith("there is no such run")
    # It has not begun, and another may begin there; what that one leaves stays.
    assert run("--out", "mine") == 0
    left = {path: path.read_bytes() for path in Path("mine").iterdir() if path.is_file()}
    assert run("--out", "mine", "--baseline", "no-such") == 2
    assert {path: path.read_bytes() for path in Path("mine").iterdir() if path.is_file()} == left


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        assert cli.invoke([name, "--help"]) == 0
        assert f"uintr-harness {name}" in capsys.readouterr().out


def test_an_error_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A subject of a mail, say: OSC, CSI, C1 and a change of direction are shown, not sent."""
    evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b8m\u202e"

    def fail(*_args: object, **_kwargs: object) -> None:
        raise BuildError(f"patch {evil} does not apply", where=evil, detail=f"a\n{evil}", hint=evil)

    monkeypatch.setattr("harness.cli.app.main", fail)
    assert cli.invoke(["plan"]) == 3
    err = capsys.readouterr().err
    assert not set(evil[:1] + "\x07\x9b\u202e") & set(err)
    assert err.count("\\x1b]52;c;") == 4


def test_a_build_that_failed_is_said_again(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD}, BuildError("the other kernel does not compile"))
    assert run() == 3
    capsys.readouterr()
    assert cli.invoke(["report", "runs/latest"]) == 3
    assert "the other kernel does not compile" in capsys.readouterr().out
    info = latest().read_info()
    assert info is not None
    assert [one.kind for one in info.errors] == ["BuildError"]


def test_a_run_that_left_cells_out_on_purpose_is_reported_the_same(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": BAD, "api/b": GOOD})
    assert run("--smp", "1,2", "-x") == 1
    assert cli.invoke(["report", "runs/latest"]) == 1
    assert "no result from" not in capsys.readouterr().out


def test_the_folder_of_a_typo_may_be_used(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD})
    assert run("--out", "mine", "-k", "nothing") == 2
    assert cli.invoke(["report", "mine"]) == 2
    assert "no program matches" in capsys.readouterr().out
    assert run("--out", "mine") == 0
    assert cli.invoke(["report", "mine"]) == 0
    # One that has results, or may still go on, is somebody's.
    assert run("--out", "mine") == 2
    (Path("mine") / "results.jsonl").unlink()
    RunFolder(Path("mine")).begin([])
    assert run("--out", "mine") == 2
