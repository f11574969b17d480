"""Files of a run, and files of users, that are empty, cut, or of something else."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import cli, paths
from harness.artefacts.kernel.kconfig_wishes import load_needs
from harness.campaigns.bare_fuzz.campaign import read_finding
from harness.campaigns.bare_fuzz.compare import read_deviations
from harness.campaigns.fuzz.script import read_script
from harness.campaigns.mutation.records import read_explained
from harness.errors import HarnessError, UserError
from harness.guest.verdict.known_splats import load_known_splats
from harness.request.profiles import load_cpu, load_kernel
from harness.results.environment import observe
from harness.results.folder import RunFolder
from harness.results.outcome import load_baseline
from tools.prefixes import generate

#: Contents that are no document of this program.
DAMAGE = {
    "empty": b"",
    "blank": b" \n",
    "cut": b'{"schema": 1, "cells": [{"name": "a',
    "list": b"[]",
    "null": b"null",
    "foreign": b'{"name": "left-pad", "version": "1.3.0"}',
    "binary": bytes(range(256)),
    "deep": b"[" * 100_000,
    "number": b"9" * 5000,
}
#: How libraries word their own errors.
RAW = (
    "validation error",
    "pydantic",
    "Input should",
    "[Errno",
    "Traceback",
    "unexpected",
    "JSONDec",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    made = generate(tmp_path / "run", random.Random(4))
    observe({}).write(made.path / "environment.json")
    assert cli.invoke(["report", str(made.path)]) in {0, 1}
    return made


def spoil(path: Path, how: str) -> None:
    """Replace a file by another content, a folder or a pipe that nobody writes to."""
    path.unlink(missing_ok=True)
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(DAMAGE[how])


@pytest.mark.parametrize("how", [*DAMAGE, "folder", "pipe"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("plan.json", 2),
        ("environment.json", 2),
        ("comparison.json", 2),
        ("coverage.json", 2),
        ("run.json", 4),
    ],
)
def test_a_damaged_file_of_a_run_is_named(
    run: RunFolder, name: str, code: int, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(run.path / name, how)
    capsys.readouterr()
    assert cli.invoke(["report", str(run.path)]) == code
    told = "".join(capsys.readouterr())
    assert not [raw for raw in RAW if raw in told], told
    assert name in told
    assert "run again" in " ".join(told.split())
    if code == 2:
        assert f"  where: {run.path / name}" in told
    assert cli.invoke(["compare", str(run.path), str(run.path)]) in {code, 0, 1}
    told = "".join(capsys.readouterr())
    assert not [raw for raw in RAW if raw in told], told


@pytest.mark.parametrize("how", [*DAMAGE, "folder", "pipe"])
def test_a_damaged_summary_of_a_run_without_a_seal_is_named(
    run: RunFolder, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    info = run.read_info()
    assert info
    (run.path / "run.json").write_text(info.model_copy(update={"results": None}).model_dump_json())
    spoil(run.path / "summary.json", how)
    capsys.readouterr()
    assert cli.invoke(["report", str(run.path)]) == 4
    told = " ".join("".join(capsys.readouterr()).split())
    assert "summary.json is damaged" in told
    assert not [raw for raw in RAW if raw in told], told


@pytest.mark.parametrize("how", [*DAMAGE, "pipe"])
@pytest.mark.parametrize("command", [["report"], ["compare", "run"]])
def test_a_file_is_no_run(
    run: RunFolder,
    command: list[str],
    how: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(run.path.parent)
    spoil(Path("file"), how)
    for place in ("file", "/dev/null"):
        capsys.readouterr()
        assert cli.invoke([*command, place]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: this is not ")
        assert place in err
        assert "hint: give a " in err
        assert not [raw for raw in RAW if raw in err], err


READERS: dict[str, Callable[[Path], object]] = {
    "kernel": lambda path: load_kernel(str(path)),
    "cpu": lambda path: load_cpu(str(path)),
    "known splats": load_known_splats,
    "needs": load_needs,
    "deviations": read_deviations,
    "explained": read_explained,
    "finding": read_finding,
    "script": read_script,
    "baseline": load_baseline,
}
#: An empty file, or one without a table of these, is fine.
MAY_BE_EMPTY = {"known splats", "needs", "deviations", "explained"}


@pytest.mark.parametrize("how", [*DAMAGE, "pipe", "closed"])
@pytest.mark.parametrize("what", READERS)
def test_each_reader_says_what_is_wrong_where_and_what_to_do(
    what: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.toml"
    if how == "closed":
        path.touch()

        def closed(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", closed)
    else:
        spoil(path, how)
    if how in {"empty", "blank"} and what in MAY_BE_EMPTY:
        READERS[what](path)
        return
    with pytest.raises(HarnessError) as caught:
        READERS[what](path)
    assert isinstance(caught.value, UserError)
    assert caught.value.hint
    assert str(path) in str(caught.value.where)
    assert not [raw for raw in RAW if raw in str(caught.value)], str(caught.value)


def test_a_folder_without_permission(run: RunFolder) -> None:
    """In a process of its own, because root may look into every folder."""
    nobody = 65534
    folder = run.path.parent / "closed"
    shutil.move(run.path, folder)
    folder.chmod(0)
    script = (
        "import os, sys; from harness import cli\n"
        "cli.invoke([*sys.argv[1:-1], '/dev/null'])  # imports what it needs\n"
        f"os.getuid() or os.setuid({nobody})\n"
        "sys.exit(cli.invoke(sys.argv[1:]))"
    )
    try:
        for command in (["report"], ["compare", "/dev/null"]):
            done = subprocess.run(
                [sys.executable, "-c", script, *command, str(folder)],
                capture_output=True,
                text=True,
                cwd=paths.GUEST_TESTS.parent,
            )
            assert done.returncode == 2, done.stderr
            assert "hint: " in done.stderr
            assert not [raw for raw in RAW if raw in done.stderr], done.stderr
    finally:
        folder.chmod(0o755)
