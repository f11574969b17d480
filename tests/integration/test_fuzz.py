"""The fuzzer with real guests: a planted disagreement is found, shrunk, and found again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.campaigns.fuzz.campaign import FUZZ_FILE
from harness.campaigns.fuzz.script import parse_script

pytestmark = pytest.mark.guest

#: The first one builds kernel and emulator.
LIMIT_S = 3000

#: Everything fails with EOPNOTSUPP there.
OFF = """\
description = "a kernel that has user interrupts turned off"
model = "max"
exposes_uintr = false
cmdline = "uintr=off"
"""


def fuzz(folder: Path, *args: str) -> tuple[int, dict[str, object]]:
    """Run the command with results in a folder, and return its exit code and its report."""
    done = subprocess.run(
        [*(sys.executable, "-m", "harness", "fuzz", "--out", str(folder)), *args],
        cwd=folder.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    print(done.stdout, done.stderr)
    report: dict[str, object] = json.loads((folder / FUZZ_FILE).read_text())
    return done.returncode, report


def test_both_kinds_of_cpu_agree(tmp_path: Path) -> None:
    code, report = fuzz(tmp_path / "out", "--seed", "1", "--scripts", "20", "--minutes", "30")
    assert code == 0
    assert (report["scripts"], report["findings"]) == (20, [])


def test_a_kernel_without_the_feature_is_told_apart_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "off.toml").write_text(OFF)
    cpus = ("--cpu", "hidden,./off.toml")
    code, report = fuzz(tmp_path / "out", *cpus, "--seed", "1", "--scripts", "1")
    assert code == 1
    findings = report["findings"]
    assert isinstance(findings, list)
    assert findings[0]["kind"] == "disagreement"
    kept = tmp_path / "out" / findings[0]["file"]
    assert len(parse_script(kept.read_text(), "kept").steps) <= 1
    code, report = fuzz(tmp_path / "again", *cpus, "--replay", str(kept))
    assert code == 1
    code, report = fuzz(tmp_path / "mended", "--cpu", "hidden,hidden-no-pku", "--replay", str(kept))
    assert (code, report["findings"]) == (0, [])
