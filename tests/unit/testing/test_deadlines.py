"""Limits of commands: how far they are stretched, and what is said of it. Names in the display."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.guest import vm
from harness.guest.verdict.failure import Completed
from harness.run.cellguest import CellGuest
from harness.run.journal import Journal
from harness.run.live import _program
from tests.unit import fake_guest
from tests.unit.runs import NAME, prepared


@pytest.mark.parametrize(
    ("factor", "options", "seconds", "said"),
    [
        (6.0, {}, 240, " (60 s, stretched 4 times for this host)"),
        (2.5, {}, 150, " (60 s, stretched 2.5 times for this host)"),
        (6.0, {"most": 5}, 300, " (60 s, stretched 5 times for this host)"),
        (6.0, {"most": math.inf}, 360, " (60 s, stretched 6 times for this host)"),
        (6.0, {"exact": True}, 60, ""),
        (1.0, {}, 60, ""),
    ],
)
def test_a_limit_is_stretched_with_a_bound_and_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
    options: Mapping[str, float],
    seconds: float,
    said: str,
) -> None:
    given: list[float] = []

    def run(guest: object, argv: object, *, timeout_s: float, **more: object) -> Completed:
        given.append(timeout_s)
        return Completed(
            returncode=None, signal=None, stdout=b"", stderr=b"", seconds=timeout_s, timed_out=True
        )

    monkeypatch.setattr(vm, "start_guest", fake_guest.start_guest)
    monkeypatch.setattr(fake_guest.FakeGuest, "run", run)
    folder = prepared(tmp_path, {})
    (setup,) = folder.read_artefacts().cells
    cell = CellGuest(setup, folder, Journal(folder), ())
    cell.ready()
    cell._current_guest().factor = factor  # type: ignore[misc]  # of the fake
    done = cell.run(["true"], **options)  # type: ignore[arg-type]
    assert given[-1] == seconds
    assert done.cut_short == f"timed out after {seconds:.0f} s{said}"


def test_what_ended_in_time_has_no_limit_to_tell() -> None:
    done = Completed(returncode=0, signal=None, stdout=b"", stderr=b"", seconds=1)
    assert done.within(60, 4).limit == ""


@pytest.mark.parametrize(
    ("test", "shown"),
    [
        (f"test_program[{NAME}-api/create-fd]", "api/create-fd"),
        (f"test_program[{NAME}-api/create-fd-#3]", "api/create-fd #3"),
        (f"test_x[{NAME}]", "test_x"),
        (f"test_x[{NAME}-#2]", "test_x #2"),
        (f"test_x[{NAME}-stui]", "test_x[stui]"),
        (f"test_x[{NAME}-a-b-#12]", "test_x[a-b] #12"),
        (f"test_x[stui-{NAME}]", "test_x[stui]"),
    ],
)
def test_a_test_is_shown_with_its_function_and_parameters(test: str, shown: str) -> None:
    assert _program(f"tests/mine.py::{test}", NAME) == shown
