"""The contents of the store, and the removal of what was not used for the longest time.

Nothing that a run is using is removed: see :class:`harness.artefacts.store.Hold`. A removed
artefact is built again when it is needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.artefacts.store import Store
from harness.values import Value

#: The kind of the folders that are kept between builds.
WORK = "work"
#: Kinds that are never removed: the next fetch could bring another version, and the emulator would
#: change by itself.
PINNED = frozenset({"bochs", "debian-archive"})
_KEY_DIGITS = 64


class Kept(Value):
    """An artefact, or a folder that is kept between builds."""

    #: ``kernel``, ``emulator`` and so on, or ``work``.
    kind: str
    #: Name for display: a profile, a package, a version.
    name: str
    #: Hash of an artefact's inputs; name of a kept folder.
    key: str
    #: Bytes on the disk.
    size: int
    last_used: datetime
    path: Path


def contents(store: Store) -> list[Kept]:
    """Return what the store holds, most recently used first."""
    found = [_look(path) for path in _paths(store.root)]
    return sorted((one for one in found if one), key=lambda one: one.last_used, reverse=True)


def choose(
    kept: Sequence[Kept], now: datetime, older_than: timedelta | None, keep_bytes: int | None
) -> list[Kept]:
    """Return what is to be removed, least recently used first.

    :param older_than: choose everything that was not used for this time.
    :param keep_bytes: choose until at most this many bytes are left.
    """
    chosen = []
    left = sum(one.size for one in kept)
    for one in sorted(kept, key=lambda one: one.last_used):
        old = older_than is not None and now - one.last_used > older_than
        too_much = keep_bytes is not None and left > keep_bytes
        if one.kind not in PINNED and (old or too_much):
            chosen.append(one)
            left -= one.size
    return chosen


def prune(store: Store, chosen: Iterable[Kept]) -> Iterator[tuple[Kept, bool]]:
    """Remove artefacts; yield each, with whether it was removed. One in use is not.

    :raise UserError: the permission to remove one is missing.
    """
    for one in chosen:
        yield one, store.remove(one.kind, one.key)


def _paths(root: Path) -> Iterator[Path]:
    for folder in sorted(root.iterdir() if root.is_dir() else ()):
        for path in folder.iterdir() if folder.is_dir() else ():
            artefact = len(path.name) == _KEY_DIGITS and (path / "inputs.json").is_file()
            if artefact or (folder.name == WORK and not path.name.startswith(".")):
                yield path


def _look(path: Path) -> Kept | None:
    """Return what a folder holds; None if it is being removed."""
    try:
        used = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        name = path.name if path.parent.name == WORK else _name(path)
    except FileNotFoundError:
        return None
    return Kept(
        kind=path.parent.name,
        name=name,
        key=path.name,
        size=_size(path),
        last_used=used,
        path=path,
    )


def _size(folder: Path) -> int:
    """Return the bytes that a folder takes on the disk."""
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512  # noqa: PTH118
            except FileNotFoundError:
                continue
    return total


def _name(path: Path) -> str:
    """Return an artefact's name from its inputs; empty if they cannot be read."""
    try:
        if path.parent.name == "kernel":
            profile = json.loads((path / "profile.json").read_text())["name"]
            return f"{profile} {(path / 'release').read_text().strip()}"
        inputs = json.loads((path / "inputs.json").read_text())
    except (OSError, ValueError, KeyError):
        return ""
    source = inputs.get("source", inputs)
    words = [source.get(word) for word in ("package", "version", "tag", "message-id", "path")]
    compiler = inputs.get("compiler")
    while isinstance(compiler, list):
        compiler = compiler[0] if compiler else None
    if isinstance(compiler, dict):
        words.append(compiler.get("name"))
    return " ".join(word for word in words if isinstance(word, str))
