"""The store, with real processes where it matters: two builders at once, and one that is killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.artefacts.store import Store, canonical
from harness.errors import BuildError, ExitCode, GuestError, UserError

REPOSITORY = Path(__file__).resolve().parents[3]

#: Builds one entry slowly, and counts how often it did.
BUILDER = """
import os, sys, time
from pathlib import Path
from harness.artefacts.store import Store

def build(folder):
    (folder / "half").write_text("half")
    with open(sys.argv[2], "a") as count:
        count.write("built\\n")
    time.sleep(float(sys.argv[3]))
    (folder / "whole").write_text("whole")

entry = Store(Path(sys.argv[1])).get("thing", {"a": 1}, build)
print(entry.path, entry.hit, sorted(os.listdir(entry.path)))
"""


def start(root: Path, count: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(root), str(count), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until_built(count: Path) -> None:
    deadline = time.monotonic() + 30
    while not count.exists() or not count.read_text():
        assert time.monotonic() < deadline, "the builder did not start"
        time.sleep(0.01)


@pytest.mark.real_flush
def test_an_artefact_is_built_once_and_says_what_went_into_it(store: Store) -> None:
    calls: list[Path] = []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "file").write_text("content")

    first = store.get("thing", {"a": 1, "b": [2, "ü"]}, build)
    again = store.get("thing", {"b": [2, "ü"], "a": 1}, build)
    assert (first.hit, again.hit) == (False, True)
    assert first.path == again.path
    assert first.path.name == first.key == again.key
    assert len(calls) == 1
    assert (again.path / "file").read_text() == "content"
    assert json.loads((again.path / "inputs.json").read_text()) == {"a": 1, "b": [2, "ü"]}


def test_other_inputs_and_other_kinds_are_other_artefacts(store: Store) -> None:
    keys = {
        Store.key(kind, inputs)
        for kind in ("one", "two")
        for inputs in ({"a": 1}, {"a": "1"}, {"a": [1]}, {})
    }
    assert len(keys) == 8


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())))
def test_a_key_does_not_depend_on_the_order_of_inputs(inputs: dict[str, object]) -> None:
    backwards = dict(reversed(inputs.items()))
    assert canonical(inputs) == canonical(backwards)
    assert json.loads(canonical(inputs)) == inputs


def test_a_build_that_fails_leaves_nothing(store: Store) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise BuildError("no")

    with pytest.raises(BuildError):
        store.get("thing", {}, build)
    assert list((store.root / "thing").iterdir()) == []
    assert store.find("thing", {}) is None


def test_two_processes_at_once_build_once(store: Store, tmp_path: Path) -> None:
    count = tmp_path / "count"
    both = [start(store.root, count, 0.3) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].split(maxsplit=2) for process in both]
    assert count.read_text() == "built\n"
    assert {words[0] for words in said} == {
        str(store.root / "thing" / Store.key("thing", {"a": 1}))
    }
    assert sorted(words[1] for words in said) == ["False", "True"]
    assert all("'whole'" in words[2] for words in said)


def test_a_killed_builder_leaves_only_what_the_next_one_removes(
    store: Store, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    process = start(store.root, count, 60)
    wait_until_built(count)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = (store.root / "thing").iterdir()
    assert left.name.startswith(".new-")
    assert store.find("thing", {"a": 1}) is None

    entry = store.get("thing", {"a": 1}, lambda folder: (folder / "ok").touch())
    assert not entry.hit
    assert [path.name for path in (store.root / "thing").iterdir()] == [entry.key]


def test_opening_the_store_removes_leftovers_but_not_a_living_builder(
    store: Store, tmp_path: Path
) -> None:
    dead = store.root / "thing" / f".new-{'0' * 64}-dead"
    dead.mkdir(parents=True)
    (dead / "file").touch()
    count = tmp_path / "count"
    process = start(store.root, count, 1.0)
    wait_until_built(count)
    Store.open()
    assert not dead.exists()
    assert process.communicate(timeout=60)[0].endswith("['half', 'inputs.json', 'whole']\n")


def test_a_full_disk_is_the_hosts_failure(store: Store) -> None:
    def build(folder: Path) -> None:
        (folder / "file").symlink_to("/dev/full")
        (folder / "file").write_bytes(b"x" * 100_000)

    with pytest.raises(GuestError, match="disk is full") as caught:
        store.get("thing", {}, build)
    assert caught.value.exit_code == ExitCode.GUEST
    assert caught.value.hint is not None
    assert "UINTR_HARNESS_CACHE" in caught.value.hint


def test_a_store_that_may_not_be_written_to_is_for_the_user_to_mend(store: Store) -> None:
    def build(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    with pytest.raises(UserError, match="permission") as caught:
        store.get("thing", {}, build)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    root.mkdir(mode=0o500)
    with pytest.raises(UserError):
        Store(root).get("thing", {}, lambda _: None)


def test_a_cache_folder_that_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="cannot be made"):
        Store.open()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_cache_folder_is_for_its_owner_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "home" / "uintr-harness"
    monkeypatch.setattr("harness.paths.platformdirs.user_cache_dir", lambda _: str(place))
    monkeypatch.delenv("UINTR_HARNESS_CACHE", raising=False)
    Store.open()
    assert mode(place) == 0o700
    place.chmod(0o755)  # as an older version made it
    Store.open()
    assert mode(place) == 0o700
    named = tmp_path / "named"
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(named))
    Store.open()
    assert mode(named) == 0o700


def test_a_folder_that_the_user_named_keeps_its_mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may be /tmp. One that others can write to is refused."""
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path))
    tmp_path.chmod(0o755)
    Store.open()
    assert mode(tmp_path) == 0o755
    for shared in (0o775, 0o757, 0o1777):
        tmp_path.chmod(shared)
        with pytest.raises(UserError, match="others can write") as caught:
            Store.open()
        assert "chmod go-w" in (caught.value.hint or "")
        assert mode(tmp_path) == shared & 0o777
    tmp_path.chmod(0o700)


def test_a_cache_folder_of_another_user_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path))
    monkeypatch.setattr("harness.paths.os.getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(UserError, match="belongs to another user") as caught:
        Store.open()
    assert "UINTR_HARNESS_CACHE" in (caught.value.hint or "")


def test_a_kept_folder_keeps_what_is_in_it(store: Store) -> None:
    with store.workspace("kernel-x") as folder:
        (folder / "object.o").touch()
    with store.workspace("kernel-x") as folder:
        assert (folder / "object.o").exists()


def test_waiting_for_another_builder_is_announced(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []

    class Notes:
        def step(self, title: str) -> None:
            raise AssertionError

        def note(self, text: str) -> None:
            notes.append(text)

    monkeypatch.setattr("harness.artefacts.store.ANNOUNCE_WAIT_S", 0.05)
    count = tmp_path / "count"
    process = start(store.root, count, 0.5)
    wait_until_built(count)
    entry = Store(store.root, Notes()).get("thing", {"a": 1}, lambda _: None)  # type: ignore[arg-type]
    assert entry.hit
    assert notes == ["waiting for another run that is building the same thing"]
    process.communicate(timeout=60)
