"""A git checkout on this machine, read without its configuration.

A checkout may be somebody else's. Git runs programs that the configuration and the hooks name:
filters, a monitor of the file system, a transport that fetches missing objects, a check of
signatures. So git gets a folder of the harness's, with an empty configuration and links to the
checkout's refs, as ``contrib/workdir/git-new-workdir`` in git's source makes them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.artefacts.source.git import clean_environment, own_environment
from harness.errors import UserError
from harness.lib.process import Captured, capture

#: What the harness's folder has links to, and what it has copies of.
_LINKED = ("refs", "packed-refs", "logs", "info", "shallow")
_COPIED = ("HEAD", "index")
#: Limit for a copied file, in bytes. The index of Linux has 10 MiB; git can do without.
_MOST = 256 << 20


def find_git_dir(tree: Path) -> Path | None:
    """Return the git folder of a checkout whose top is ``tree``; None for any other folder."""
    if shutil.which("git") is None or not (tree / ".git").exists():
        return None
    # The user's own configuration names the folders of other users that may be read.
    result = capture(
        ["git", "-C", str(tree), "rev-parse", "--absolute-git-dir"], env=clean_environment()
    )
    return Path(os.fsdecode(result.stdout).rstrip("\n")) if result.returncode == 0 else None


def git_dir_of(tree: Path) -> Path:
    """Return the git folder of a checkout; for a linked work tree, its own.

    :raise UserError: this is no git checkout.
    """
    git_dir = find_git_dir(tree)
    if git_dir is None:
        raise UserError("this is no git checkout", where=tree, hint="name the top of one")
    return git_dir


def main_git_dir(git_dir: Path) -> Path:
    """Return the git folder with the objects and refs; a linked work tree uses the main one's."""
    common = git_dir / "commondir"
    return (git_dir / common.read_text().strip()).resolve() if common.is_file() else git_dir


@contextmanager
def reading(git_dir: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which git reads a checkout and runs nothing of it.

    ``GIT_INDEX_FILE`` is a copy of its index, which lets git skip unchanged files.
    """
    main = main_git_dir(git_dir)
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        own = Path(scratch)
        for name in _LINKED:
            if (main / name).exists():
                (own / name).symlink_to(main / name)
        for name in _COPIED:
            if (git_dir / name).is_file() and (git_dir / name).stat().st_size <= _MOST:
                shutil.copyfile(git_dir / name, own / name)
        for shared in git_dir.glob("sharedindex.*"):  # the larger part of a split index
            (own / shared.name).symlink_to(shared)
        yield {
            **own_environment(),
            "GIT_DIR": scratch,
            "GIT_INDEX_FILE": str(own / "index"),
            "GIT_OBJECT_DIRECTORY": str(main / "objects"),
            "GIT_OPTIONAL_LOCKS": "0",
        }


def ask(git_dir: Path, *args: str) -> Captured:
    """Run a git command that only reads a checkout's history; no exit code is an error."""
    with reading(git_dir) as env:
        return capture(["git", *args], env=env)
