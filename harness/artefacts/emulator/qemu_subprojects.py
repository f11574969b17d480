"""Subprojects of QEMU, added to a tree that has only wrap files for them.

A release's tarball contains them. A git repository or checkout has a wrap file for each instead
(Meson's manual, "Wrap dependency system manual"), with which meson would download them into the
tree. Here they are git sources like any other: fetched once, and found by their revision.
"""

from __future__ import annotations

import configparser
from pathlib import Path

from pydantic import ValidationError

from harness.artefacts.source.git import Repository
from harness.artefacts.source.trees import fetch_source
from harness.artefacts.store import Store
from harness.errors import BuildError
from harness.progress import Progress
from harness.values import GitSource

#: Subprojects that every build needs: key names, and the floating-point tests, which are configured
#: but not built.
NEEDED = ("keycodemapdb", "berkeley-softfloat-3", "berkeley-testfloat-3")

_FOLDER = "subprojects"


def add_subprojects(
    repository: Repository, commit: str, index: Path, store: Store, progress: Progress
) -> str:
    """Return a commit with the needed subprojects added; ``commit`` itself if it has them all.

    One without a wrap file is left to the build, which reports it if it is needed.

    :param index: a path for git's index; no file is there yet.
    :raise BuildError: a wrap file does not name a git revision, or the revision cannot be fetched.
    """
    for name in NEEDED:
        place = f"{_FOLDER}/{name}"
        wrap = f"{place}.wrap"
        if _has(repository, f"{commit}:{place}") or not _has(repository, f"{commit}:{wrap}"):
            continue
        source, patch = parse_wrap(repository.run("cat-file", "-p", f"{commit}:{wrap}"), wrap)
        base = fetch_source(source, store, progress)
        repository.borrow(base.repository)
        index.unlink(missing_ok=True)
        env = {"GIT_INDEX_FILE": str(index)}
        repository.run("read-tree", commit, env=env)
        entries = _entries(repository, base.commit, place)
        if patch is not None:
            entries += _entries(repository, f"{commit}:{_FOLDER}/packagefiles/{patch}", place)
        repository.run("update-index", "-z", "--index-info", env=env, stdin=entries)
        tree = repository.run("write-tree", env=env)
        commit = repository.commit(tree, f"Add {name}", parent=commit)
    return commit


def parse_wrap(text: str, where: str) -> tuple[GitSource, str | None]:
    """Return a wrap file's source, and the name of the folder with files to add to it, if any.

    :raise BuildError: it does not name a git revision.
    """
    wrap = configparser.ConfigParser(interpolation=None)
    try:
        wrap.read_string(text)
        section = wrap["wrap-git"]
        source = GitSource(url=section["url"], revision=section["revision"])
    except (configparser.Error, KeyError, ValidationError) as error:
        raise BuildError(
            "the wrap file does not name a git revision",
            where=where,
            detail=text,
            hint="a release's tarball holds its subprojects, and so does one that QEMU's "
            "scripts/archive-source.sh makes of a checkout",
        ) from error
    return source, section.get("patch_directory")


def _has(repository: Repository, name: str) -> bool:
    return repository.try_("cat-file", "-e", name).returncode == 0


def _entries(repository: Repository, tree: str, place: str) -> bytes:
    """Return a tree's files, moved below a folder, for ``git update-index --index-info``."""
    lines = repository.run("ls-tree", "-r", "-z", tree).split("\0")
    return "".join(line.replace("\t", f"\t{place}/", 1) + "\0" for line in lines if line).encode()
