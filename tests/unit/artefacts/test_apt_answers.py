"""Answers of apt that are remembered."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.artefacts import apt_answers
from harness.artefacts.apt_answers import offered_packages
from harness.artefacts.debian_packages import Package
from harness.artefacts.store import Store
from harness.errors import BuildError

LISTS = "var/lib/apt/lists"


class Apt:
    """A root with apt's files, and a count of the questions."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = folder / "root"
        for name in ("etc/apt/sources.list", f"{LISTS}/main", f"{LISTS}/lock", f"{LISTS}/partial/x",
                     "var/lib/dpkg/status", "var/lib/dpkg/arch"):  # fmt: skip
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("a\n")
        self.binary = folder / "bin" / "apt-cache"
        self.binary.parent.mkdir()
        self.binary.write_text("#!/bin/sh\n")
        self.binary.chmod(0o755)
        self.store = Store(folder / "store")
        self.asked: list[list[str]] = []
        monkeypatch.setenv("PATH", str(self.binary.parent))
        monkeypatch.delenv(apt_answers.ELSEWHERE, raising=False)
        monkeypatch.setattr(apt_answers, "resolve_packages", self.resolve)

    def resolve(self, names: list[str]) -> tuple[Package, ...]:
        self.asked.append(names)
        if "none" in names:
            raise BuildError("apt does not offer none")
        return (Package(name=names[0], version=str(len(self.asked)), sha256="0", depends=("b",)),)

    def versions(self, *names: str) -> list[str]:
        found = offered_packages(names or ("a",), self.store, self.root)
        return [package.version for package in found]


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    return Apt(tmp_path, monkeypatch)


def test_the_same_question_is_asked_once(apt: Apt) -> None:
    assert apt.versions("b", "a") == apt.versions("a", "b") == ["1"]
    assert apt.asked == [["a", "b"]]
    assert apt.versions("c") == ["2"]


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replaced(path: Path) -> None:
    before = path.stat()
    new = path.with_name("new")
    new.write_bytes(path.read_bytes())
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


def longer(path: Path) -> None:
    before = path.stat()
    path.write_text("more\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def one_more(path: Path) -> None:
    path.with_name("one-more").touch()


@pytest.mark.parametrize("name", ["etc/apt/sources.list", f"{LISTS}/main", "var/lib/dpkg/status"])
@pytest.mark.parametrize("change", [touched, replaced, longer, Path.unlink, one_more])
def test_it_is_asked_again_if_a_file_changes(
    apt: Apt, name: str, change: Callable[[Path], None]
) -> None:
    if change is one_more and name.endswith("status"):
        pytest.skip("apt reads that file alone")
    apt.versions()
    change(apt.root / name)
    assert apt.versions() == ["2"]
    assert apt.versions() == ["2"]


def test_another_apt_is_asked_again(apt: Apt) -> None:
    apt.versions()
    touched(apt.binary)
    assert apt.versions() == ["2"]


@pytest.mark.parametrize("name", [f"{LISTS}/lock", f"{LISTS}/partial/x"])
def test_what_apt_does_not_read_changes_nothing(apt: Apt, name: str) -> None:
    apt.versions()
    touched(apt.root / name)
    assert apt.versions() == ["1"]


def test_nothing_is_remembered_of_an_apt_with_other_files(
    apt: Apt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(apt_answers.ELSEWHERE, "/mine")
    assert [apt.versions(), apt.versions()] == [["1"], ["2"]]
    monkeypatch.delenv(apt_answers.ELSEWHERE)
    monkeypatch.setenv("PATH", "/nowhere")
    assert [apt.versions(), apt.versions()] == [["3"], ["4"]]


def test_an_error_is_not_remembered(apt: Apt) -> None:
    for _ in range(2):
        with pytest.raises(BuildError):
            apt.versions("none")
    assert len(apt.asked) == 2
