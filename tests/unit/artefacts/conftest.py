"""What these tests share: a toy kernel, stores, and scripts that stand in for programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.artefacts import toolchain
from harness.artefacts.source.git import own_environment
from harness.artefacts.store import Store
from harness.values import KernelProfile, TreeSource

TOY = Path(__file__).resolve().parents[2] / "toykernel"

MakeStub = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def flushed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the store's flush to the disk, which waits for everybody else's data too."""
    if "real_flush" not in request.keywords:
        monkeypatch.setattr("harness.artefacts.store._flush", lambda _: None)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, which is also the one that ``Store.open`` finds."""
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    return Store.open()


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A toy kernel tree, with the ``.gitignore`` that Debian's source packages ship."""
    tree = tmp_path / "toy"
    shutil.copytree(TOY, tree)
    (tree / ".gitignore").write_text("*.o\n/*\n")
    return tree


@pytest.fixture
def fragments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of fragments that takes the place of the repository's."""
    folder = tmp_path / "fragments"
    folder.mkdir()
    monkeypatch.setattr("harness.paths.FRAGMENTS", folder)
    (folder / "base.config").write_text(
        "# Why.\nCONFIG_64BIT=y\nCONFIG_SMP=y\nCONFIG_NR_CPUS=16\n# CONFIG_UNWANTED is not set\n"
    )
    return folder


@pytest.fixture
def profile(toy: Path) -> KernelProfile:
    """A profile of the toy kernel without a series."""
    return KernelProfile(name="toy", source=TreeSource(path=toy))


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeStub:
    """Put a shell script on the PATH in front of everything."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    toolchain.identify.cache_clear()
    toolchain.knows_uintr.cache_clear()

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


def git(folder: Path, *args: str) -> str:
    """Run git in a folder, with fixed names and nobody's configuration."""
    done = subprocess.run(
        ["git", "-C", str(folder), *args],
        env=own_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def make_checkout(tree: Path) -> Path:
    """Make a git checkout of a folder, everything committed."""
    git(tree, "init", "--quiet", "--initial-branch=main")
    git(tree, "add", "--all", "--force", ".")
    git(tree, "commit", "--quiet", "--message", "Linux of toys")
    return tree


def make_patch(tree: Path, subject: str, **changes: str) -> str:
    """Return a patch mail for a checkout; ``changes`` are path=content with ``__`` for ``/``."""
    for name, content in changes.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    git(tree, "add", "--all", "--force", ".")
    git(tree, "commit", "--quiet", "--message", f"{subject}\n\nWhy it is needed.")
    mail = git(tree, "format-patch", "-1", "--stdout", "HEAD")
    git(tree, "reset", "--quiet", "--hard", "HEAD~1")
    return mail + "\n"


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time of change and content of everything below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, content)
    return found
