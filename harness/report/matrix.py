"""Programs by cells: what each program came to in each cell."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from harness.lib.text import clean_line
from harness.results.summary import Outcome


class Entry(NamedTuple):
    """One program in one cell; nothing where it has no result."""

    #: ``passed``, ``failed`` or ``skipped``, which the page has styles for; or empty.
    verdict: str
    text: str


class Matrix(NamedTuple):
    """The table; an entry per cell in each row."""

    cells: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]


def matrix(outcome: Outcome) -> Matrix:
    """Return what each program came to, those with failures first."""
    names = [cell.name for cell in outcome.summary.cells]
    counts: dict[str, dict[str, Counter[str]]] = {}
    for case in outcome.cases:
        own = counts.setdefault(case.program, {})
        own.setdefault(case.cell, Counter())[case.status] += 1
    order = sorted(
        counts, key=lambda program: (not any(c["fail"] for c in counts[program].values()), program)
    )
    return Matrix(
        tuple(map(clean_line, names)),
        tuple(
            (clean_line(program), tuple(_entry(counts[program].get(name)) for name in names))
            for program in order
        ),
    )


def _entry(count: Counter[str] | None) -> Entry:
    if not count:
        return Entry("", "-")
    if count["fail"]:
        return Entry("failed", f"{count['fail']} of {count.total()}")
    if count["pass"]:
        skipped = f", {count['skip']} skipped" if count["skip"] else ""
        return Entry("passed", f"{count['pass']}{skipped}")
    return Entry("skipped", "skipped")
