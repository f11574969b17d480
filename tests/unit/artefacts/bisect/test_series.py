"""The first bad patch of a series."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.results.bisection import Point

from .searches import (
    CELL,
    Builds,
    Looks,
    make_series,
    search_series,
    written,
)

pytestmark = pytest.mark.usefixtures("store")


@pytest.mark.parametrize("planted", [1, 7, 12])
def test_a_planted_bad_patch_is_found(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    planted: int,
) -> None:
    texts = ["BUG" if number >= planted else "fine" for number in range(1, 13)]
    request = make_series(toy, tmp_path, texts)
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out) == 0
    found = written(out)
    assert found.status == "found"
    assert found.first_bad == Point(id=str(planted), subject=f"Patch {planted}")
    assert found.suspects == ()
    # All, none, and no more than it takes to tell twelve apart.
    assert [step.point.id for step in found.steps[:2]] == ["12", "0"]
    assert 5 <= len(found.steps) <= 6
    for step, text in zip(found.steps, looks.seen, strict=True):
        assert step.verdict == ("bad" if "BUG" in text else "good")
        assert (out / step.folder / "run" / "results.jsonl").exists()
        patches = list((out / step.folder).glob("series/*.patch"))
        assert len(patches) == int(step.point.id)
    # What only a later patch defines may be asked for, but not at the end.
    unknown = [profile.unknown_options for profile in looks.profiles]
    assert unknown == ["refuse"] + ["drop"] * (len(unknown) - 1)
    said = capsys.readouterr().out
    assert f"first bad patch: {planted} Patch {planted}" in said
    assert f"by api/a::first  in {CELL}" in said


def test_a_patch_is_found_by_building_each_step(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third does not compile, the fourth brings the bug: one of them is all that is known."""
    texts = ["int a;", "int b;", "int undeclared = x;", "int bug;", "int bug, c;"]
    request = make_series(toy, tmp_path, texts)
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, Builds(tmp_path), out) == ExitCode.BUILD
    found = written(out)
    assert (found.status, found.first_bad) == ("range", None)
    assert [point.id for point in found.suspects] == ["3", "4"]
    (skipped,) = (step for step in found.steps if step.verdict == "skip")
    assert (skipped.point.id, skipped.cause) == ("3", "build")
    assert "does not build" in skipped.message


def test_the_ends_can_be_given(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: Looks
) -> None:
    request = make_series(toy, tmp_path, ["BUG", "fine", "fine", "BUG", "fine"])
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out, "--good", "2", "--bad", "4") == 0
    found = written(out)
    assert found.first_bad is not None
    assert found.first_bad.id == "4"
    assert {step.point.id for step in found.steps} == {"2", "3", "4"}
