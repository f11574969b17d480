"""A kernel tree on this machine: identified and copied, never written to.

The identity of a git checkout is the id of the tree that ``git add --all`` would record: HEAD,
changes and new files, without the files that .gitignore hides (build products). New objects are
written elsewhere, and a copy of the checkout's index is used, so the checkout is not written to.
Any other folder is identified by the name, size, mode and time of change of each file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from harness.artefacts.source.checkout import (
    ask,
    find_git_dir,
    git_dir_of,
    main_git_dir,
    reading,
)
from harness.artefacts.source.git import Repository, quoted_path
from harness.artefacts.source.tree_kind import KERNEL_TREE, TreeKind
from harness.errors import BuildError, UserError
from harness.lib.process import capture

#: Files that an in-tree build or an editor leaves. They are not part of a tree, and some make
#: ``make O=`` fail.
_BUILD_PRODUCTS = (
    ".config",
    ".config.old",
    ".version",
    ".git",
    "include/config",
    "include/generated",
    "arch/x86/include/generated",
    "*.o",
    "*.a",
    "*.ko",
    "*.cmd",
    "*.swp",
    "vmlinux",
    "System.map",
)


def identify(tree: Path, kind: TreeKind = KERNEL_TREE) -> dict[str, str]:
    """Return what identifies the content of a local tree.

    :raise UserError: it does not exist, or is of another kind.
    """
    _check(tree, kind)
    git_dir = find_git_dir(tree)
    if git_dir is None:
        return {"kind": "tree", "path": str(tree.resolve()), "listing": _listing(tree)}
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        return {"kind": "tree", "tree": _record(tree, git_dir, Path(scratch))}


def snapshot(tree: Path, identity: Mapping[str, str], repository: Repository) -> str:
    """Commit a local tree's content to a repository of the harness, and return the commit.

    :raise BuildError: the tree changed since it was identified.
    """
    git_dir = find_git_dir(tree)
    if git_dir is None:
        commit = _copy(tree, repository)
        changed = _listing(tree) != identity.get("listing")
    else:
        objects = repository.git_dir / "objects"
        found = _record(tree, git_dir, objects)
        changed = found != identity.get("tree")
        alternates = objects / "info" / "alternates"
        alternates.write_bytes(quoted_path(main_git_dir(git_dir) / "objects") + b"\n")
        commit = repository.commit(found, str(tree))
        repository.run("update-ref", "refs/heads/base", commit)
        # Copy all objects into one pack here, because the checkout may be removed.
        repository.run("repack", "-a", "-d", "-q", "--window=0")
        alternates.unlink()
    if changed:
        raise BuildError(
            "the tree was changed while it was being read",
            where=tree,
            hint="run again when nothing writes to it",
        )
    return commit


def identify_commit(tree: Path, commit: str, kind: TreeKind = KERNEL_TREE) -> dict[str, str]:
    """Return what identifies the content of a commit; equal to that of an unchanged checkout.

    :raise UserError: there is no such commit in the checkout, or it holds another kind of tree.
    """
    git_dir = git_dir_of(tree)
    found = ask(git_dir, "rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}")
    if found.returncode != 0:
        raise UserError("the git checkout has no such commit", where=f"{commit} in {tree}")
    top = ask(git_dir, "ls-tree", "--name-only", found.text).text.splitlines()
    lacking = [name for name in kind.top if name not in top]
    if lacking:
        raise UserError(
            f"this commit is no {kind.name}: it has no {' and no '.join(lacking)}",
            where=f"{commit} in {tree}",
        )
    return {"kind": "tree", "tree": found.text}


def _check(tree: Path, kind: TreeKind) -> None:
    if not all((tree / name).is_file() for name in kind.top):
        raise UserError(
            f"this is no {kind.name}: it has no {' or no '.join(kind.top)}"
            if tree.is_dir()
            else "there is no such folder",
            where=tree,
            hint=f"name the folder that holds the tree's top {kind.top[0]}",
        )


def _record(tree: Path, git_dir: Path, objects: Path) -> str:
    """Return the tree id of a checkout's content; new objects are written to ``objects``."""
    with reading(git_dir) as env:
        env |= {
            "GIT_WORK_TREE": str(tree),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(
                quoted_path(main_git_dir(git_dir) / "objects")
            ),
        }
        text = ""
        for args in (["add", "--all", "--", ".", *_other_checkouts(tree, env)], ["write-tree"]):
            result = capture(["git", *args], cwd=tree, env=env, timeout_s=3600)
            text = result.text
            if result.returncode != 0:
                raise BuildError(
                    f"git {args[0]} cannot read the tree", where=tree, detail=result.complaint
                )
        return text


def _other_checkouts(tree: Path, env: Mapping[str, str]) -> list[str]:
    """Return pathspecs that leave submodules as they are in the index.

    Their files are no part of the tree. To find out whether they have changed, git would run itself
    in each, with its configuration.
    """
    listed = capture(["git", "ls-files", "--stage", "-z"], cwd=tree, env=env)
    entries = os.fsdecode(listed.stdout).split("\0")
    return [
        f":(exclude,literal){entry.partition(chr(9))[2]}"
        for entry in entries
        if entry.startswith("160000 ")
    ]


def _files(tree: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each file below a folder with its status, in a fixed order."""
    for folder, names, files in os.walk(tree):
        names[:] = sorted(name for name in names if name != ".git")
        for name in sorted(files):
            path = Path(folder) / name
            yield str(path.relative_to(tree)), path.lstat()


def _listing(tree: Path) -> str:
    digest = sha256()
    for name, status in _files(tree):
        line = f"{name}\0{status.st_mode:o}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _copy(tree: Path, repository: Repository) -> str:
    """Commit a plain folder without the products of a build in it."""

    reader = Repository(repository.git_dir, tree)
    env = {"GIT_INDEX_FILE": str(repository.git_dir / "import.index")}
    reader.run("add", "--all", "--force", ".", env=env)
    patterns = [f":(glob)**/{item}" if "*" in item else item for item in _BUILD_PRODUCTS]
    reader.run(
        "rm", "-r", "-q", "--cached", "--force", "--ignore-unmatch", "--", *patterns, env=env
    )
    return repository.commit(reader.run("write-tree", env=env), str(tree))
