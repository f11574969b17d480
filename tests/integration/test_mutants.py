"""Mutants of the emulator's series, really built and run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.campaigns.mutants import MUTANTS_FILE
from harness.campaigns.mutation.records import REPORT_FILE

pytestmark = pytest.mark.guest

#: A whole build of QEMU, if there is none to start from, and two small ones.
LIMIT_S = 3000


def mutants(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command on bare-metal programs, with results in ``out``."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "harness", "mutants", "--out", str(tmp_path / "out")),
            *("--accel", "tcg", "--smp", "1", *words),
        ],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def test_a_broken_rule_is_noticed_and_a_stated_reason_excuses(tmp_path: Path) -> None:
    names = ("lowest-vector-first", "vmstate-without-uif")
    done = mutants(tmp_path, "-k", "bare-metal/delivery", *names)
    out = tmp_path / "out"
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = json.loads((out / MUTANTS_FILE).read_text())["results"]
    assert (first["name"], first["status"]) == ("lowest-vector-first", "killed")
    assert first["by"].startswith("bare-metal/delivery::highest_vector_comes_first")
    assert (second["name"], second["status"]) == ("vmstate-without-uif", "excused")
    assert "test_bare_metal_guests.py" in second["message"]


def test_generated_mutants_are_built_compared_and_run(tmp_path: Path) -> None:
    words = ("--generate", "2", "uintr_helper.c-*-boolean-*", "--cpu", "exposed")
    done = mutants(tmp_path, *words, "-k", "bare-metal/flags", "--sequences", "250")
    out = tmp_path / "out"
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    report = json.loads((out / REPORT_FILE).read_text())
    different = [one for one in report["results"] if one["objects"]]
    assert len(different) == 2
    assert "killed" in {one["status"] for one in different}
    assert all((out / "patches" / f"{one['name']}.patch").exists() for one in different)
