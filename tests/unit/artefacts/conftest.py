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
from harness.artefacts.source.patch import Patch
from harness.artefacts.source.series import fetch_series
from harness.artefacts.store import Store
from harness.progress import Silent
from harness.values import KernelProfile, MboxSeries, TreeSource

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


# --- mailboxes -----------------------------------------------------------------------------

FROM = b"From 0 Mon Sep 17 00:00:00 2001\n"


class Notes(Silent):
    """A progress that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


Fetch = Callable[..., tuple[tuple[Patch, ...], list[str]]]


@pytest.fixture
def fetch(store: Store, tmp_path: Path) -> Fetch:
    """Write a mailbox, and return its patches and what is said of it."""

    def call(*mails: bytes) -> tuple[tuple[Patch, ...], list[str]]:
        (tmp_path / "mbox").write_bytes(b"".join(mails))
        progress = Notes()
        return fetch_series(MboxSeries(path=tmp_path / "mbox"), store, progress), progress.notes

    return call


def mail(
    subject: str, name: str = "", *, id_: str = "", answers: str = "", who: str = "dev"
) -> bytes:
    """Return a mail; with a name it adds that file."""
    head = f"From: D <{who}@example.org>\nDate: Mon, 1 Jan 2024 10:00:00 +0000\n"
    head += f"Subject: {subject}\n"
    head += f"Message-ID: <{id_}@example.org>\n" if id_ else ""
    head += f"In-Reply-To: <{answers}@example.org>\n" if answers else ""
    diff = f"diff --git a/{name} b/{name}\nnew file mode 100644\n" if name else ""
    diff += f"--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+{name}\n" if name else ""
    return FROM + f"{head}\nText.\n---\n{diff}-- \n2.39\n\n".encode()


def added(patches: tuple[Patch, ...]) -> list[str]:
    """Return the names that the mails' diffs add."""
    return [one.content.split(b"+++ b/")[1].split(b"\n")[0].decode() for one in patches]
