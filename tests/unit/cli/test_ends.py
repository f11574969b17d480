"""Runs that are interrupted, killed, or end before their tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from harness import cli
from harness.errors import BuildError
from harness.results.ending import RUN_FILE, seal
from harness.results.folder import RunFolder
from harness.results.records import Record, Recorder
from harness.run import engine, suite
from tests.unit import fake_guest
from tests.unit.cli.calls import GOOD, MEASURE, Fake, latest, run, summary


def edited(folder: RunFolder, target: Path, line: bytes = b"", **info: object) -> Path:
    """Copy a run with another ``run.json`` and a further record; the seal fits."""
    shutil.copytree(folder.path.resolve(), target)
    copy = RunFolder(target)
    with copy.results.open("ab") as results:
        results.write(line)
    run_file = target / RUN_FILE
    known = json.loads(run_file.read_bytes())
    known |= {"results": json.loads(seal(copy.results).model_dump_json()), **info}
    run_file.write_text(json.dumps(known))
    return target


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (4, b""),
        (3, b""),
        (0, b'{"kind": "case", "cell": "c", "status": "fa\n'),
        (0, b'{"kind": "case", "schema": 99, "status": "fail"}\n'),
    ],
    ids=["guest", "build", "cut line", "later version"],
)
def test_a_run_that_lacks_results_is_nowhere_green(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, line: bytes
) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    assert run() == 0
    good = edited(latest(), tmp_path / "good")
    assert cli.invoke(["contract", str(good)]) == 0
    less = edited(latest(), tmp_path / "less", line, exit_code=code, reason="something failed")
    assert cli.invoke(["report", str(less)]) == (code or 4)
    for argv in (
        ["contract", str(less)],
        ["contract", "--json", str(less)],
        ["compare", str(good), str(less)],
        ["compare", "--allow-missing", "--markdown", str(good), str(less)],
    ):
        assert cli.invoke(argv) == 4
    out, err = capsys.readouterr()
    assert "something failed" in out + err or "damaged" in out + err


@pytest.mark.parametrize(
    "sent", [signal.SIGTERM, signal.SIGHUP], ids=["cancelled job", "closed terminal"]
)
def test_an_interrupt_is_exit_130_and_the_rest_is_kept(
    fake: Fake,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sent: signal.Signals,
) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    real = fake_guest.FakeGuest.run

    def interrupted(self: fake_guest.FakeGuest, argv: list[str], **kwargs: object) -> object:
        if argv[0].endswith("/b"):
            os.kill(os.getpid(), sent)
        return real(self, argv, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fake_guest.FakeGuest, "run", interrupted)
    assert run() == 130
    out = capsys.readouterr().out
    assert "interrupted, until then: 1 passed" in out
    assert "PASSED" not in out
    assert cli.invoke(["report", "runs/latest"]) == 130
    assert "interrupted, until then: 1 passed" in capsys.readouterr().out
    assert summary()["totals"] == {"pass": 1, "fail": 0, "skip": 0}
    assert (latest().cell("linux-6.12-hidden-smp2-gcc") / "closed").exists()
    assert json.loads((latest().path / "run.json").read_text())["exit_code"] == 130


FUZZ = ["fuzz", "--series", "none", "--cpu", "hidden,hidden-amd", "--scripts", "1"]


def test_a_search_leaves_a_run_that_ended(fake: Fake) -> None:
    # This program plays no script, so that the first of them is a finding.
    fake({"fuzz/interpreter": "exit 3"})
    assert cli.invoke([*FUZZ, "--out", "mine"]) == 1
    run = RunFolder(Path("mine"))
    info, environment = run.read_info(), run.read_environment()
    assert info is not None
    assert (info.exit_code, info.reason) == (1, "findings: 1")
    assert environment is not None
    assert environment.end is not None
    assert len(run.read_plan().cells) == len(run.read_artefacts().cells) == 2
    assert run.read_ending().state == "ended"


def test_a_search_whose_guests_do_not_boot_has_its_error_as_data(fake: Fake) -> None:
    fake({"fuzz/interpreter": "exit 3"}, cmdline="fail-boot")
    assert cli.invoke([*FUZZ, "--out", "other"]) == 4
    info = RunFolder(Path("other")).read_info()
    assert info is not None
    assert (info.exit_code, [error.kind for error in info.errors]) == (4, ["GuestError"])


def test_an_interrupt_before_the_first_test_says_so(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "run_pytest", stopped)
    assert run("-k", "api") == 130
    for again in (False, True):
        if again:
            assert cli.invoke(["report", "runs/latest"]) == 130
        out = capsys.readouterr().out
        assert "INTERRUPTED: interrupted, until then: no result" in out
        assert "matches" not in out


def test_nohup_keeps_a_run_going(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake({"api/a": GOOD})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    real = fake_guest.FakeGuest.run

    def hung_up(self: fake_guest.FakeGuest, argv: list[str], **kwargs: object) -> object:
        os.kill(os.getpid(), signal.SIGHUP)
        return real(self, argv, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fake_guest.FakeGuest, "run", hung_up)
    try:
        assert run() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_killed_run_is_green_at_no_point(
    fake: Fake,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a kill would leave after each write of the run is kept and read."""
    fake({"api/a": GOOD, "latency/b": MEASURE.format(1)})
    kept = tmp_path / "kept"

    def keep() -> None:
        (folder,) = [path for path in Path("runs").iterdir() if not path.is_symlink()]
        shutil.copytree(folder, kept / str(len(list(kept.iterdir())) if kept.exists() else 0))

    real_write, real_replace = Recorder.write, Path.replace

    def write(self: Recorder, record: Record) -> None:
        real_write(self, record)
        keep()

    def replace(self: Path, target: Path) -> Path:
        found = real_replace(self, target)
        if target.name != "latest" and target.parent.parent.name == "runs":
            keep()
        return found

    monkeypatch.setattr(Recorder, "write", write)
    monkeypatch.setattr(Path, "replace", replace)
    assert run() == 0
    monkeypatch.undo()
    capsys.readouterr()
    folders = sorted(kept.iterdir(), key=lambda path: int(path.name))
    assert len(folders) > 10
    codes = []
    for folder in folders:
        ended = (
            json.loads((folder / "run.json").read_text())["finished"]
            if (folder / "run.json").exists()
            else None
        )
        if not ended:
            assert not (folder / "report.html").exists()
            assert not (folder / "junit.xml").exists()
        codes.append(cli.invoke(["report", str(folder)]))
        out = capsys.readouterr().out
        assert ("PASSED" in out) == (codes[-1] == 0) == bool(ended)
        assert codes[-1] in {0, 4}
    assert codes == sorted(codes, reverse=True)


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (BuildError("gcc says no", where="x.c"), 3, "BuildError"),
        (KeyboardInterrupt(), 130, "KeyboardInterrupt"),
        (RuntimeError("a bug"), 4, "RuntimeError"),
    ],
)
def test_what_ends_a_run_before_its_tests_is_kept(
    error: BaseException,
    code: int,
    kind: str,
    fake: Fake,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake({"api/a": GOOD})

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine, "prepare", fail)
    assert run("--out", "mine", "-k", "api") == code
    info = RunFolder(Path("mine")).read_info()
    assert info is not None
    assert ([one.kind for one in info.errors], info.exit_code) == ([kind], code)
    assert cli.invoke(["report", "mine"]) == code
    assert "no program matches" not in capsys.readouterr().out
    assert cli.invoke(["report", "--kcidb", "bench", "mine"]) == code
