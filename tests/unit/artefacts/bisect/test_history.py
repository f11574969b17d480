"""The first bad commit of a history."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.artefacts.source.commits import Commits
from harness.campaigns.bisect import BisectOptions, bisect
from harness.campaigns.bisect_range import CommitRange
from harness.errors import ExitCode
from harness.progress import Silent
from harness.request.profiles import KernelOverrides, load_kernel
from harness.request.request import Request
from harness.results.bisection import BISECT_FILE, Bisection, BisectionStep, Point
from harness.values import KernelProfile
from tests.unit.artefacts.conftest import git, snapshot
from tests.unit.runs import ended

from .searches import (
    FILE,
    Builds,
    Looks,
    commit,
    failing,
    make_series,
    search,
    search_series,
    written,
)

pytestmark = pytest.mark.usefixtures("store")


def test_a_planted_bad_commit_is_found_behind_a_merge(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    history: dict[str, str],
) -> None:
    # Somebody works in the checkout: neither does it matter, nor is it touched.
    (toy / FILE).write_text("BUG\n")
    git(toy, "add", "--force", FILE)
    (toy / "lib/string.c").write_text("BUG\n")
    before = snapshot(toy)
    out = tmp_path / "out"
    assert search(toy, monkeypatch, looks, out, "--good", history["base"]) == 0
    assert snapshot(toy) == before
    found = written(out)
    assert found.bad == Point(id=history["four"], subject="four")
    assert found.first_bad == Point(id=history["bug"], subject="Add a BUG")
    assert f"first bad commit: {history['bug']} Add a BUG" in capsys.readouterr().out
    assert [step.number for step in found.steps] == list(range(1, len(found.steps) + 1))


def test_the_merge_is_found_by_first_parents(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: Looks,
    history: dict[str, str],
) -> None:
    out = tmp_path / "out"
    args = ("--good", history["base"], "--bad", "main", "--first-parent")
    assert search(toy, monkeypatch, looks, out, *args) == 0
    found = written(out)
    assert found.first_bad == Point(id=history["merge"], subject="Merge it")
    assert not {step.point.id for step in found.steps} & {history["bug"], history["left"]}


def test_a_commit_is_found_by_building_each_step(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: dict[str, str]
) -> None:
    linked = tmp_path / "linked"
    git(toy, "worktree", "add", "--quiet", "--detach", str(linked), "main")
    out = tmp_path / "out"
    looks = Builds(tmp_path)
    assert search(linked, monkeypatch, looks, out, "--good", history["base"]) == 0
    found = written(out)
    assert found.first_bad is not None
    assert found.first_bad.id == history["bug"]
    # A commit is used where it is: nothing was copied.
    assert not list((tmp_path / "cache").glob("source/*"))


def test_what_is_good_on_another_branch_is_judged_where_both_began(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: Looks,
    history: dict[str, str],
) -> None:
    git(toy, "checkout", "--quiet", "-b", "stable", history["two"])
    commit(toy, "stable", file="lib/string.c")
    out = tmp_path / "out"
    args = ("--good", "stable", "--bad", "main")
    assert search(toy, monkeypatch, looks, out, *args) == 0
    found = written(out)
    assert found.steps[2].point.id == history["two"]
    assert found.first_bad is not None
    assert found.first_bad.id == history["bug"]
    # The bug is older than where they went apart, and only the other branch is mended.
    git(toy, "checkout", "--quiet", "-b", "mended", history["three"])
    commit(toy, "Mend it", "int fine;\n")
    args = ("--good", "mended", "--bad", "main")
    assert search(toy, monkeypatch, looks, tmp_path / "other", *args) == ExitCode.USAGE
    assert written(tmp_path / "other").status == "refused"


# --- steps without a verdict ---------------------------------------------------------------------


def test_a_skipped_step_that_hides_nothing_does_not_matter(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
) -> None:
    texts = ["fine", "NO BUILD", "NO BOOT", "fine", "fine", "BUG", "BUG"]
    request = make_series(toy, tmp_path, texts)
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out, "--good", "1", "--bad", "6") == 0
    found = written(out)
    assert found.first_bad is not None
    assert found.first_bad.id == "6"
    skipped = [(step.point.id, step.cause) for step in found.steps if step.verdict == "skip"]
    assert skipped == [("3", "boot")]
    assert "skip  3 Patch 3  by (panic-before-init)" in capsys.readouterr().out


@pytest.mark.parametrize(("what", "code"), [("NO BUILD", 3), ("NO BOOT", 4)])
def test_skips_next_to_the_first_bad_one_leave_a_range(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    what: str,
    code: int,
) -> None:
    request = make_series(toy, tmp_path, ["fine", "fine", what, what, "BUG", "BUG"])
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out) == code
    found = written(out)
    assert (found.status, found.first_bad) == ("range", None)
    assert [point.id for point in found.suspects] == ["3", "4", "5"]
    said = capsys.readouterr().out
    assert "hide the first bad one, which is one of these" in said
    assert "  4 Patch 4" in said


def test_a_kernel_that_does_not_boot_can_be_what_is_looked_for(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: Looks
) -> None:
    request = make_series(toy, tmp_path, ["fine", "fine", "NO BUILD", "NO BOOT", "NO BOOT"])
    out = tmp_path / "out"
    args = ("--boot-failure", "bad", "--good", "2")
    assert search_series(request, monkeypatch, looks, out, *args) == ExitCode.BUILD
    assert [point.id for point in written(out).suspects] == ["3", "4"]
    out = tmp_path / "other"
    assert search_series(request, monkeypatch, looks, out) == ExitCode.GUEST
    assert written(out).status == "refused"


class Many:
    """A long line in memory, of which many neighbours do not build."""

    of = "commits"
    tree = "memory"

    def __init__(self, count: int) -> None:
        self.count = count

    def subject(self, id_: str) -> str:
        return f"commit {id_}"

    def suspects(self, goods: Sequence[str], bad: str) -> list[str]:
        return [str(one) for one in range(max(map(int, goods)) + 1, int(bad) + 1)]

    def next_best(self, goods: Sequence[str], bad: str) -> list[str]:
        middle = (max(map(int, goods)) + int(bad)) / 2
        return sorted(self.suspects(goods, bad)[:-1], key=lambda one: abs(int(one) - middle))

    def also_good(self, good: str, bad: str) -> list[str]:
        return []

    def profile(self, id_: str, folder: Path) -> KernelProfile:
        return load_kernel("linux-6.12")

    def place(self, id_: str) -> str:
        return id_


def test_a_long_stretch_that_does_not_build_is_left_soon(tmp_path: Path) -> None:
    """Of 1000 commits 200 in the middle do not build; the bug is at 900."""

    def start(argv: Sequence[str], log: Path, on_line: Callable[[str], None]) -> int:
        number = int(log.parent.name.partition("-")[2])
        code = ExitCode.TESTS_FAILED if number >= 900 else ExitCode.PASSED
        code = ExitCode.BUILD if 400 <= number < 600 else code
        ended(log.parent / "run", code, *([failing()] if number >= 900 else []))
        return code

    span: Any = Many(1000)
    found, _ = bisect(
        Request(),
        BisectOptions(out=tmp_path / "out"),
        span,
        ("0", "1000"),
        Silent(),
        lambda _: None,
        start,
    )
    assert found.first_bad is not None
    assert found.first_bad.id == "900"
    assert sum(step.verdict == "skip" for step in found.steps) <= 4


def test_each_step_is_kept_as_soon_as_it_is_known(
    toy: Path, tmp_path: Path, looks: Looks, history: dict[str, str]
) -> None:
    out = tmp_path / "out"
    span = CommitRange(
        KernelProfile(name="toy", source={"kind": "tree", "path": toy}), Commits(toy)
    )
    seen: list[tuple[BisectionStep, Bisection]] = []

    def on_step(step: BisectionStep) -> None:
        seen.append((step, written(out)))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bisect(
            Request(overrides=KernelOverrides(tree=toy)),
            BisectOptions(out=out),
            span,
            (history["base"], history["four"]),
            Silent(),
            on_step,
            looks,
        )
    assert [found.steps[-1] for _, found in seen] == [step for step, _ in seen]
    last = written(out)
    assert last.status == "searching"
    # Before the third step: all but the good end.
    assert {point.id for point in last.suspects} == set(history.values()) - {history["base"]}
    assert last.suspects[-1].id == history["four"]
    assert json.loads((out / BISECT_FILE).read_text())["schema"] == 1


def test_two_searches_never_share_a_folder(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: Looks,
    history: dict[str, str],
) -> None:
    out = tmp_path / "out"
    assert search(toy, monkeypatch, looks, out, "--good", history["base"]) == 0
    assert search(toy, monkeypatch, looks, out, "--good", history["base"]) == 2
