"""Tables of the contract: the verdict on each statement in each cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from harness.lib.text import clean_line
from harness.report.rows import Column, Sheet
from harness.results.contract import Checked, CheckedContract

#: Texts for verdicts, in the order of the totals.
Mark = Literal["passed", "FAIL", "skipped", "not run", "no case", "-"]
_MARKS: dict[str, Mark] = {
    "pass": "passed",
    "fail": "FAIL",
    "skip": "skipped",
    "not run": "not run",
}


def mark(one: Checked, cell: str) -> Mark:
    """Return the text for a verdict: ``no case`` for a hole, ``-`` if no case can check it."""
    verdict = one.verdicts[cell]
    if verdict == "not run" and not one.cases:
        return "-" if one.statement.reason else "no case"
    return _MARKS[verdict]


def matrix(covered: CheckedContract) -> Sheet:
    """Return a table of statements, grouped by headings, with a column for each cell."""
    names = short_names(covered.cells)
    columns = (
        Column("of"),
        Column("id", figure=True),
        Column("statement"),
        *(Column(clean_line(name), figure=True) for name in names),
    )
    rows = tuple(
        (*_what(one), *(mark(one, cell) for cell in covered.cells)) for one in covered.statements
    )
    return Sheet("Statements by cells", columns, rows, grouped=True)


def by_cases(covered: CheckedContract) -> Sheet:
    """Return a table of the cases that check each statement."""
    rows = tuple(
        (f"{one.statement.id}: {clean_line(one.statement.text)}", case)
        for one in covered.statements
        for case in one.cases or (_why_not(one),)
    )
    columns = (Column("statement"), Column("checked by"))
    return Sheet("Statements by cases", columns, rows, grouped=True)


def totals(covered: CheckedContract) -> Sheet:
    """Return a table with the number of statements for each cell and verdict."""
    marks: tuple[Mark, ...] = ("passed", "FAIL", "skipped", "not run", "no case", "-")
    titles = ("pass", "fail", "skip", "not run", "no case", "not testable")
    rows = []
    for cell in covered.cells:
        count = Counter(mark(one, cell) for one in covered.statements)
        rows.append((clean_line(cell), *(str(count[one]) for one in marks)))
    columns = (Column("cell"), *(Column(title, figure=True) for title in titles))
    return Sheet("Statements", columns, tuple(rows))


def sentence(covered: CheckedContract) -> str:
    """Return, as text, how many statements there are, how many are checked, and the holes."""
    every = covered.statements
    reasons = sum(bool(one.statement.reason) for one in every)
    holes = covered.holes
    groups = Counter(one.statement.group for one in holes)
    where = ", ".join(f"{count} of {group!r}" for group, count in groups.most_common())
    text = (
        f"{len(every)} statements: {len(every) - reasons - len(holes)} checked, "
        f"{reasons} not testable, {len(holes)} without a case"
    )
    if holes:
        text += f" ({where})"
    if covered.unknown:
        text += f"; not in the contract: {clean_line(', '.join(covered.unknown))}"
    return text


def short_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Return cells' names without the words at begin and end that all have in common."""
    if len(cells) < 2:
        return tuple(cells)
    split = [cell.split("-") for cell in cells]
    shortest = min(map(len, split))
    head = _common(split, shortest - 1)
    tail = _common([words[::-1] for words in split], shortest - 1 - head)
    return tuple("-".join(words[head : len(words) - tail]) for words in split)


def _common(names: Sequence[Sequence[str]], limit: int) -> int:
    """Return the number of leading words that all names have in common, up to ``limit``."""
    for at in range(limit):
        if len({words[at] for words in names}) > 1:
            return at
    return limit


def _what(one: Checked) -> tuple[str, str, str]:
    said = one.statement
    why = f" ({_why_not(one)})" if said.reason else ""
    return clean_line(said.group), said.id, clean_line(said.text) + why


def _why_not(one: Checked) -> str:
    reason = one.statement.reason
    return f"not testable: {clean_line(reason)}" if reason else "no case"
