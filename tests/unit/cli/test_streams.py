"""Folders that cannot be written to, and a stdout or stderr that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import cli, paths
from harness.results.folder import RunFolder
from harness.results.records import Recorder
from tests.unit.results import make
from tests.unit.runs import NAME, finished, prepared

#: Runs a command in a mount namespace in which a folder is read-only, also for root.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "harness", *args]


def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(paths.ROOT),
        "UINTR_HARNESS_CACHE": str(tmp_path / "cache"),
    }


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["report", "RUN"], "PASSED"),
        (["report", "--markdown", "RUN"], "✅ passed"),
        (["report", "--kcidb", "bench", "RUN"], "start_time"),
        (["contract", "RUN"], "statements"),
        (["compare", "RUN", "RUN"], "SAME OR BETTER"),
        (["history", "--failures"], "api/open"),
    ],
)
def test_reading_needs_no_writing(args: list[str], said: str, tmp_path: Path) -> None:
    from harness.results.history import HISTORY_FILE, ProgramRow, add

    run = finished(tmp_path)
    (tmp_path / "cache").mkdir()
    about = dict.fromkeys(("kernel", "series", "emulator", "programs"), "x")
    row = ProgramRow(
        time="2026", run="r", cell="c", program="api/open", runs=1, fail=0, failed="", **about
    )
    add(tmp_path / "cache" / HISTORY_FILE, [], [row])
    before = sorted(tmp_path.rglob("*"))
    argv = command(*(str(run.path) if word == "RUN" else word for word in args))
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-ec", READ_ONLY, str(tmp_path), *argv],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no read-only mounts here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert "--out" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def failing(folder: Path) -> RunFolder:
    run = prepared(folder, {"api/open": "true"})
    run.begin([])
    with Recorder(run.results) as recorder:
        recorder.write(make.boot(cell=NAME))
        recorder.write(make.case("a", "fail", cell=NAME))
    run.end(1)
    return run


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("sort", ["pipe", "closed", "full"])
def test_a_stdout_that_is_gone_leaves_the_verdict(sort: str, code: int, tmp_path: Path) -> None:
    run = failing(tmp_path) if code else finished(tmp_path)
    argv = command("report", str(run.path))
    more: dict[str, Any] = {}
    if sort == "pipe":
        read, write = os.pipe()
        os.close(read)
        more = {"stdout": write}
    elif sort == "closed":
        argv = ["sh", "-c", 'exec "$0" "$@" >&-', *argv]
    else:
        more = {"stdout": os.open("/dev/full", os.O_WRONLY)}
    done = subprocess.run(
        argv, env=environment(tmp_path), stderr=subprocess.PIPE, text=True, **more
    )
    if "stdout" in more:
        os.close(more["stdout"])
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if sort == "full":
        assert done.returncode == 4
        assert "the output cannot be written: No space left" in done.stderr
        assert "CACHE" not in done.stderr
    else:
        assert (done.returncode, done.stderr) == (code, "")


def test_a_stderr_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    run = finished(tmp_path)
    for redirection in ("2>&-", "2>/dev/full", ">&- 2>&- <&-"):
        argv = ["sh", "-c", f'exec "$0" "$@" {redirection}', *command("report", str(run.path))]
        done = subprocess.run(argv, env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0, redirection


def test_a_broken_pipe_elsewhere_is_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    run = finished(tmp_path)
    monkeypatch.setattr(RunFolder, "read_plan", broken)
    assert cli.invoke(["report", str(run.path)]) == 4
    assert "Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("inside", "hint"), [(True, "UINTR_HARNESS_CACHE"), (False, "another one")]
)
def test_the_hint_for_a_full_disk_fits(
    inside: bool,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    name = str(tmp_path / ("cache/kernel" if inside else "elsewhere"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", name)

    monkeypatch.setattr(RunFolder, "read_plan", full)
    assert cli.invoke(["report", str(tmp_path)]) == 4
    err = capsys.readouterr().err
    assert name in err
    assert hint in err
