"""The contents of the artefact cache, and what was removed from it, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from harness.artefacts.prune import WORK, Kept
from harness.lib.text import clean_line
from harness.report.rows import Column, Sheet
from harness.report.table import sheet_table

_COLUMNS = (
    Column("kind"),
    Column("name"),
    Column("hash"),
    Column("size", figure=True),
    Column("last used"),
)
_HASH_DIGITS = 12


def contents_sheet(kept: Sequence[Kept]) -> Sheet:
    """Return a table with a row for each artefact and kept folder."""
    return Sheet("Cache", _COLUMNS, tuple(map(_row, kept)))


def print_contents(console: Console, kept: Sequence[Kept], root: Path) -> None:
    """Print the contents of the cache and their total size."""
    console.print(sheet_table(contents_sheet(kept), console.width))
    total = decimal(sum(one.size for one in kept))
    console.print(Text(f"{len(kept)} in {root}: {total}"), soft_wrap=True)


def print_pruned(
    console: Console, removed: Sequence[Kept], used: Sequence[Kept], left: int, *, dry_run: bool
) -> None:
    """Print what was removed or, with ``dry_run``, would be removed."""
    for one in used:
        console.print(Text(f"in use, kept: {_words(one)}"), soft_wrap=True)
    verb = "would remove" if dry_run else "removed"
    for one in removed:
        console.print(Text(f"{verb}: {_words(one)}, {decimal(one.size)}"), soft_wrap=True)
    freed = decimal(sum(one.size for one in removed))
    console.print(Text(f"{verb} {len(removed)}, {freed}; {decimal(left)} left"), soft_wrap=True)


def _words(one: Kept) -> str:
    return clean_line(" ".join(filter(None, (one.kind, one.name, _hash(one)))))


def _row(one: Kept) -> tuple[str, ...]:
    when = f"{one.last_used:%Y-%m-%d %H:%M}"
    return clean_line(one.kind), clean_line(one.name) or "-", _hash(one), decimal(one.size), when


def _hash(one: Kept) -> str:
    return "" if one.kind == WORK else one.key[:_HASH_DIGITS]
