"""Golden logs: ``ktap/NAME.ktap`` is what a program printed, ``NAME.json`` what it means.

To take the reader's present answer as the expected one, after reading it:
``UPDATE_GOLDEN=1 pytest tests/unit/results/test_ktap_golden.py`` and look at the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.results.ktap.reader import KtapReader

LOGS = sorted((Path(__file__).parent / "ktap").glob("*.ktap"))


def read(data: bytes, returncode: int | None, size: int) -> dict[str, object]:
    reader = KtapReader()
    cases = []
    for start in range(0, len(data), size):
        cases += reader.feed(data[start : start + size])
    cases += reader.close(returncode)
    return {
        "returncode": returncode,
        "cases": [case.model_dump(exclude_defaults=True) for case in cases],
        "stray": reader.stray.split("\n"),
        "problems": list(reader.problems),
    }


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_golden(log: Path, size: int) -> None:
    golden = log.with_suffix(".json")
    expected = json.loads(golden.read_text())
    found = read(log.read_bytes(), expected["returncode"], size)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    else:
        assert found == expected


def test_there_are_golden_logs() -> None:
    assert len(LOGS) > 30
