"""What the store holds and what is taken away from it, with real processes that use it."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness import cli
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.prune import Kept, choose, contents, prune
from harness.artefacts.store import Hold, Store, hold_all
from harness.errors import ExitCode
from harness.progress import Silent
from harness.values import KernelProfile

from .conftest import make_checkout

REPOSITORY = Path(__file__).resolve().parents[3]
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 25, tzinfo=UTC)

#: Uses an artefact or a kept folder until its input ends.
USER = """
import sys
from pathlib import Path
from harness.artefacts.store import Store

store = Store(Path(sys.argv[1]))
if sys.argv[2] == "work":
    with store.workspace("kernel-a"):
        print("ready", flush=True)
        sys.stdin.read()
else:
    entry = store.find("thing", {"a": 1}) if sys.argv[2] == "find" else store.get(
        "thing", {"a": 1}, lambda folder: (folder / "new").touch()
    )
    assert entry is not None
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def used(root: Path, how: str) -> Iterator[None]:
    """Let another process use the store."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(root), how],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.communicate()
    assert process.returncode == 0


def make(root: Path, number: int, days: float = 0, kind: str = "thing", size: int = 5000) -> Path:
    """Make an artefact by a store that is gone then; it was last used so many days ago."""

    def build(folder: Path) -> None:
        (folder / "file").write_bytes(b"x" * size)

    path = Store(root).get(kind, {"a": number}, build).path
    return age(path, days)


def age(path: Path, days: float) -> Path:
    when = path.stat().st_mtime - days * DAY.total_seconds()
    os.utime(path, (when, when))
    return path


def kept(name: str, days: float, size: int, kind: str = "thing") -> Kept:
    last = NOW - timedelta(days=days)
    return Kept(kind=kind, name=name, key=name, size=size, last_used=last, path=Path("/", name))


# --- what is there ----------------------------------------------------------------------------


def test_artefacts_and_kept_folders_are_listed_and_nothing_else(store: Store) -> None:
    make(store.root, 1, days=3)
    make(store.root, 2, days=1, kind="other", size=200_000)
    work = store.root / "work" / "kernel-a"
    for file in (
        work / "tree" / "file",
        store.root / "thing" / f".new-{'0' * 64}-x" / "file",
        store.root / "thing" / ".old-x" / "inputs.json",
        store.root / "environments" / "abc" / "ready",
        store.root / "pytest" / "cache" / "file",
        store.root / "logs" / "kernel-a.log",
        store.root / "history.sqlite3",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    age(work, 2)
    found = contents(store)
    assert [(one.kind, one.key[:8]) for one in found] == [
        ("other", Store.key("other", {"a": 2})[:8]),
        ("work", "kernel-a"),
        ("thing", Store.key("thing", {"a": 1})[:8]),
    ]
    assert 200_000 <= found[0].size < 300_000
    assert found[1].name == "kernel-a"
    assert timedelta() < datetime.now(UTC) - found[2].last_used - 3 * DAY < DAY


def test_a_kernel_is_named_by_its_profile(
    store: Store, profile: KernelProfile, fragments: Path
) -> None:
    build_kernel(profile, store, Silent())
    names = {one.kind: one.name for one in contents(store)}
    assert names["kernel"] == "toy 6.12.0-toy"
    assert names["work"] == "kernel-toy-gcc"


def test_whoever_asks_for_an_artefact_or_a_kept_folder_uses_it(store: Store) -> None:
    path = make(store.root, 1, days=9)
    with store.workspace("kernel-a") as work:
        age(work, 9)
    before = {one.kind: one.last_used for one in contents(store)}
    with used(store.root, "find"), used(store.root, "work"):
        pass
    after = {one.kind: one.last_used for one in contents(store)}
    assert after["thing"] - before["thing"] > 8 * DAY
    assert after["work"] - before["work"] > 8 * DAY
    assert json.loads((path / "inputs.json").read_text()) == {"a": 1}


# --- what is chosen ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older_than", "keep_bytes", "expected"),
    [
        (None, None, []),
        (30 * DAY, None, ["d"]),
        (2 * DAY, None, ["d", "c"]),
        (None, 1000, []),
        (None, 999, ["d"]),
        (None, 500, ["d", "c"]),
        (None, 0, ["d", "c", "b", "a"]),
        (30 * DAY, 500, ["d", "c"]),
        (9 * DAY, 700, ["d", "c"]),
    ],
)
def test_the_longest_unused_go_first(
    older_than: timedelta | None, keep_bytes: int | None, expected: list[str]
) -> None:
    there = [kept("b", 2, 200), kept("d", 40, 100), kept("a", 1, 100), kept("c", 10, 400)]
    there.append(kept("pinned", 99, 200, kind="debian-archive"))
    assert [one.name for one in choose(there, NOW, older_than, keep_bytes)] == expected


# --- what is taken away -----------------------------------------------------------------------


def test_what_is_taken_away_is_made_again(store: Store) -> None:
    path = make(store.root, 1)
    other = make(store.root, 2)
    chosen = [one for one in contents(store) if one.path == path]
    assert [gone for _, gone in prune(store, chosen)] == [True]
    assert [one.path for one in contents(store)] == [other]
    assert make(store.root, 1) == path


def test_what_another_process_found_stays(store: Store) -> None:
    path = make(store.root, 1)
    with used(store.root, "find"):
        assert not store.remove("thing", path.name)
        assert (path / "file").exists()
    assert store.remove("thing", path.name)
    assert not path.exists()


def test_what_another_process_built_stays(store: Store) -> None:
    key = Store.key("thing", {"a": 1})
    with used(store.root, "get"):
        assert not store.remove("thing", key)
        assert (store.root / "thing" / key / "new").exists()
    assert store.remove("thing", key)


def test_a_kept_folder_in_which_another_process_works_stays(store: Store) -> None:
    with used(store.root, "work"):
        assert not store.remove("work", "kernel-a")
        assert (store.root / "work" / "kernel-a").is_dir()
    assert store.remove("work", "kernel-a")


def test_what_is_taken_away_while_it_is_looked_up_is_not_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(store.root, 1)
    lock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_SH:
            path.rename(path.with_name(".old-x"))
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert store.find("thing", {"a": 1}) is None
    monkeypatch.undo()
    assert make(store.root, 1) == path


def test_a_folder_that_was_found_and_taken_away_by_force_is_built_again(store: Store) -> None:
    path = make(store.root, 1)
    assert store.find("thing", {"a": 1})
    path.rename(path.with_name(".old-x"))
    assert store.find("thing", {"a": 1}) is None


def test_the_artefacts_of_files_are_held(store: Store, tmp_path: Path) -> None:
    one, two = make(store.root, 1), make(store.root, 2)
    holds = hold_all([one / "file", two, tmp_path / "no/such", Path("/bin/true")])
    assert len(holds) == 2
    assert not store.remove("thing", one.name)
    assert not store.remove("thing", two.name)
    holds.clear()
    gc.collect()
    assert store.remove("thing", one.name)


def test_what_a_killed_removal_left_is_removed(store: Store) -> None:
    path = make(store.root, 1)
    gone = path.rename(path.with_name(f".old-{path.name}"))
    assert contents(store) == []
    store.sweep()
    assert not gone.exists()


def test_a_kernel_is_built_on_after_its_source_was_taken_away(
    store: Store, profile: KernelProfile, toy: Path, fragments: Path
) -> None:
    """The kept folder borrows the source's objects; without them it lays out anew."""
    make_checkout(toy)
    build_kernel(profile, Store(store.root), Silent())
    gc.collect()
    chosen = [one for one in contents(store) if one.kind in {"source", "kernel", "kernel-config"}]
    assert [gone for _, gone in prune(store, chosen)] == [True] * 3
    (toy / "kernel/fork.c").write_text("int fresh;\n")
    kernel = build_kernel(profile, store, Silent())
    assert " fresh" in (kernel.path / "System.map").read_text()


def test_a_hold_that_comes_too_late(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Hold(tmp_path / "gone")


# --- the command line -------------------------------------------------------------------------


def test_the_list(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(store.root, 1, size=200_000)
    assert cli.invoke(["cache", "list"]) == ExitCode.PASSED
    out = capsys.readouterr().out
    assert path.name[:12] in out
    assert "kB" in out
    assert f"1 in {store.root}: " in out
    assert cli.invoke(["cache", "list", "--json"]) == ExitCode.PASSED
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["root"]) == (1, str(store.root))
    (one,) = found["contents"]
    assert one["key"] == path.name
    assert one["size"] == found["total"]


def test_prune_says_what_it_removes(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = make(store.root, 1, days=31), make(store.root, 2, days=29)
    assert cli.invoke(["cache", "prune", "--older-than", "30d", "--dry-run"]) == 0
    assert f"would remove: thing {old.name[:12]}" in capsys.readouterr().out
    assert old.exists()
    assert cli.invoke(["cache", "prune", "--older-than", "30d"]) == 0
    said = capsys.readouterr().out
    assert f"removed: thing {old.name[:12]}" in said
    assert not old.exists()
    assert new.exists()
    assert cli.invoke(["cache", "prune", "--keep-bytes", "1G", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == []
    with used(store.root, "get"):
        assert cli.invoke(["cache", "prune", "--keep-bytes", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["key"] for one in found["removed"]] == [new.name]
    assert [one["key"] for one in found["in_use"]] == [old.name]
    assert found["left"] == found["in_use"][0]["size"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "say what to remove"),
        (["--older-than", "30"], "not an age such as"),
        (["--keep-bytes", "much"], "not a size such as"),
    ],
)
def test_prune_takes_nothing_for_granted(
    store: Store, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    path = make(store.root, 1, days=99)
    assert cli.invoke(["cache", "prune", *args]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
    assert path.exists()
