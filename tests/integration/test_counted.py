"""Guests that count instructions: two runs agree to the last sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.results.reading import read_records
from harness.results.records import LatencyRecord

pytestmark = pytest.mark.guest

CELL = "linux-6.12-hidden-smp1-gcc-icount"
#: A run on a slow machine; the first one builds the kernel.
LIMIT_S = 3000


def counted(out: Path) -> dict[str, bytes]:
    """Run two programs, and return their raw samples."""
    words = ["--clock", "icount", "--out", str(out), "-k", "latency/uintr or latency/shm"]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", *words],
        cwd=out.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    samples = out / "cells" / CELL / "samples"
    return {path.name: path.read_bytes() for path in samples.glob("*/*.u64")}


def test_two_runs_agree_in_every_sample(tmp_path: Path) -> None:
    first, second = counted(tmp_path / "a"), counted(tmp_path / "b")
    assert first == second
    assert "uintr.sender-self-kernel.insn.u64" in first
    found = read_records(tmp_path / "a" / "results.jsonl").records
    units = {record.unit for record in found if isinstance(record, LatencyRecord)}
    assert units == {"insn"}
