"""What tests with real guests share."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from harness.results.folder import RunFolder
from harness.results.reading import read_records
from harness.results.records import CaseRecord, GuestFailureRecord

#: A whole run on a slow machine; the first one builds the kernel.
LIMIT_S = 3000

Run = Callable[..., subprocess.CompletedProcess[str]]


def failures(folder: RunFolder) -> dict[str, str]:
    """Return, by the test's name, what happened to its guest."""
    return {
        (record.program or "boot").rpartition("::")[2].partition("[")[0]: record.verdict
        for record in read_records(folder.results).records
        if isinstance(record, GuestFailureRecord)
    }


def cases(folder: Path) -> list[CaseRecord]:
    found = read_records(RunFolder(folder).results).records
    return [record for record in found if isinstance(record, CaseRecord)]


def soon(holds: Callable[[], object]) -> None:
    """Wait for what comes at once on a machine that has nothing else to do."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
