"""The main job of a package that is installed from a wheel, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from harness import paths
from tests.integration.runs import LIMIT_S, cases

pytestmark = [pytest.mark.guest, pytest.mark.timeout(LIMIT_S, func_only=True)]


def test_the_main_job_from_a_wheel(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(paths.ROOT)).build(
        directory=str(tmp_path / "wheel"), versions=["standard"]
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    here = tmp_path / "empty"
    here.mkdir()
    words = ["-m", "harness", "run", "-k", "api/create-fd or bare-metal/enumeration"]
    done = subprocess.run(
        [sys.executable, *words, "--cpu", "exposed"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {record.program for record in cases(here / "runs" / "latest")}
    assert found == {"api/create-fd", "bare-metal/enumeration"}
