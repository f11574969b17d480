"""Searches whose ends are not what they were said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.artefacts.source.commits import Commits
from harness.errors import UserError
from tests.unit.artefacts.conftest import git

from .searches import (
    Looks,
    make_series,
    search,
    search_series,
    written,
)

pytestmark = pytest.mark.usefixtures("store")


@pytest.mark.parametrize(
    ("texts", "args", "code", "said"),
    [
        (["fine", "fine"], [], 2, "--bad has to be bad, but it passes"),
        (["BUG", "BUG"], ["--good", "1"], 2, "--good has to be good, but it fails"),
        (["fine", "NO BUILD"], [], 3, "--bad has to be bad, but it cannot be judged (build)"),
        (["NO BOOT", "BUG"], ["--good", "1"], 4, "--good has to be good, but it cannot be judged"),
    ],
)
def test_ends_are_run_and_refused(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    texts: list[str],
    args: list[str],
    code: int,
    said: str,
) -> None:
    request = make_series(toy, tmp_path, texts)
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out, *args) == code
    assert said in capsys.readouterr().err
    assert written(out).status == "refused"
    assert written(out).steps[-1].verdict != ("bad" if "--bad" in said else "good")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--series", "none"], "no series to search"),
        (["--good", "13"], "there is no patch 13"),
        (["--bad", "v6.12"], "there is no patch v6.12"),
        (["--good", "2", "--bad", "2"], "does not come before"),
        (["--first-parent"], "--first-parent is for the commits"),
        (["--cpu", "hidden", "--kernel", "linux-6.12,plain-6.12"], "one kernel"),
    ],
)
def test_a_search_in_a_series_that_makes_no_sense(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    args: list[str],
    said: str,
) -> None:
    request = make_series(toy, tmp_path, ["fine", "BUG"])
    assert search_series(request, monkeypatch, looks, tmp_path / "out", *args) == 2
    assert said in capsys.readouterr().err
    assert looks.seen == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "--good is missing"),
        (["--good", "nowhere"], "there is no commit 'nowhere'"),
        (["--good", "main", "--bad", "main~1"], "has the bad one in its history"),
        (["--good", "other"], "no history in common"),
    ],
)
def test_a_search_in_a_history_that_makes_no_sense(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    history: dict[str, str],
    args: list[str],
    said: str,
) -> None:
    git(toy, "checkout", "--quiet", "--orphan", "other")
    git(toy, "commit", "--quiet", "-m", "other")
    git(toy, "checkout", "--quiet", "main")
    assert search(toy, monkeypatch, looks, tmp_path / "out", *args) == 2
    assert said in capsys.readouterr().err
    assert looks.seen == []


def test_a_tree_without_a_history(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: Looks
) -> None:
    with pytest.raises(UserError, match="no git checkout"):
        Commits(toy)
    assert search(toy, monkeypatch, looks, tmp_path / "out", "--good", "main") == 2
