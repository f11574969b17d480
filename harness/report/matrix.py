"""The table of each program's result in each cell."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from harness.lib.text import clean_line
from harness.results.summary import Outcome


class Entry(NamedTuple):
    """The result of one program in one cell."""

    #: ``passed``, ``failed`` or ``skipped``, for the page's styles; empty without a result.
    verdict: str
    text: str


class Matrix(NamedTuple):
    """The table. Each row has a program and an entry for each cell."""

    cells: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]


def matrix(outcome: Outcome) -> Matrix:
    """Return the table, with failed programs first."""
    names = [cell.name for cell in outcome.summary.cells]
    counts: dict[str, dict[str, Counter[str]]] = {}
    for case in outcome.cases:
        own = counts.setdefault(case.program, {})
        status = "elsewhere" if case.lacks else case.status
        own.setdefault(case.cell, Counter())[status] += 1
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
        return Entry("failed", f"{count['fail']} of {count.total() - count['elsewhere']}")
    if count["pass"]:
        skipped = f", {count['skip']} skipped" if count["skip"] else ""
        return Entry("passed", f"{count['pass']}{skipped}")
    if not count["skip"]:
        return Entry("", "for other cells")
    return Entry("skipped", "skipped")
