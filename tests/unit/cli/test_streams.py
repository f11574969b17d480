"""Folders that cannot be written to, and a stdout or stderr that is gone."""

from __future__ import annotations

import json
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


#: OSC 52, CSI, C1, bidi, tags, and commands of GitHub Actions and GitLab.
EVIL = (
    "::add-mask::x \x1b]52;c;eA==\x07\x1b[2J\x9b8m\u202e\U000e0041\n"
    " ::stop-commands::t\n##[error]y\nsection_start:1:s\r\x1b[0Kz\n::warning::w"
)


@pytest.mark.parametrize(
    ("columns", "args"),
    [
        ("160", ["report", "RUN"]),
        ("30", ["report", "RUN"]),
        ("160", ["report", "--markdown", "RUN"]),
        ("160", ["report", "--kcidb", "bench", "RUN"]),
        ("160", ["compare", "BASE", "RUN"]),
        ("160", ["compare", "--json", "BASE", "RUN"]),
        ("160", ["compare", "--markdown", "BASE", "RUN"]),
        ("160", ["contract", "RUN"]),
        ("160", ["contract", "--json", "RUN"]),
        ("160", ["report", EVIL.replace("\r", "")]),
    ],
)
def test_no_guest_steers_a_terminal_or_a_pipeline(
    columns: str, args: list[str], tmp_path: Path
) -> None:
    run = finished(tmp_path, EVIL, f"x{EVIL}")
    with Recorder(run.results) as recorder:
        for name in ("c", EVIL):
            recorder.write(make.case(name, "fail", cell=NAME, message=EVIL, diagnostics=EVIL))
        recorder.write(make.splat(cell=NAME, title=EVIL, excerpt=EVIL))
        recorder.write(make.lost(cell=NAME, message=EVIL, hint=EVIL, console_tail=EVIL))
    run.end(4, reason=EVIL)
    places = {"RUN": str(run.path), "BASE": str(finished(tmp_path / "base").path)}
    done = subprocess.run(
        command(*(places.get(word, word) for word in args)),
        env={**environment(tmp_path), "GITHUB_ACTIONS": "true", "COLUMNS": columns},
        capture_output=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode in {1, 2, 4}
    text = (done.stdout + done.stderr).decode()
    assert not set("\x1b\x07\x9b\u202e\U000e0041\r") & set(text)
    for line in text.split("\n"):
        assert not line.lstrip().startswith("::")
        assert "##[" not in line
    if {"--json", "--kcidb"} & set(args):
        json.loads(done.stdout)


def test_a_command_in_pieces_is_none(tmp_path: Path) -> None:
    pieces = [" ", ":", ":add-mask::x\n", "a::b\n#", "#[", "error]\n::x", "\r::y\n", "", ": :z\n"]
    script = (
        "import sys\nfrom harness.lib.stdio import Output\noutput = Output()\n"
        f"for piece in {pieces!r}: sys.stdout.write(piece)\noutput.settle(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment(tmp_path), "GITHUB_ACTIONS": "true"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == (
        " :\\u003aadd-mask::x\na::b\n##\\u005berror]\n:\\u003ax\n:\\u003ay\n: :z\n"
    )


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
