"""Published latencies of user interrupts, compared with those of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from harness.lib.text import clean_line
from harness.report.figures import quantity, times
from harness.report.rows import Column, Sheet
from harness.results.hostload import disturbed
from harness.results.summary import LatencySummary, Outcome

TALK, FAIR, BLOCKED = "ping-pong-talk", "ping-pong-fair", "ping-pong-blocked"
#: Mechanism and mode → the distribution.
Measured = dict[tuple[str, str], LatencySummary]


class Claim(NamedTuple):
    """A published round-trip time, as a multiple of that of user interrupts."""

    mechanism: str
    #: Whether the receiver of user interrupts blocks. Otherwise it spins.
    blocked: bool
    multiple: float


#: Multiples from the cover letter of the RFC for Linux of September 2021: rounded averages of a
#: million round trips of one byte, on a pre-production CPU. By a mail in the same thread, the
#: multiple of user interrupts with a blocked receiver is 8.9.
_BLOCKED = 8.9
CLAIMS = (
    Claim("eventfd", False, 9.7),
    Claim("signal", False, 14.8),
    Claim("pipe", False, 16.3),
    Claim("unix", False, 17.3),
    Claim("eventfd", True, 9.7 / _BLOCKED),
    Claim("signal", True, 14.8 / _BLOCKED),
    Claim("pipe", True, 16.3 / _BLOCKED),
    Claim("unix", True, 17.3 / _BLOCKED),
)

COLUMNS = (
    Column("mechanism"),
    Column("uintr's receiver"),
    Column("published", figure=True),
    Column("the same form", figure=True),
    Column("of the published", figure=True),
    Column("fair form", figure=True),
    Column("of the published", figure=True),
)


def published(outcome: Outcome) -> list[Sheet]:
    """Return a table for each cell that measured these round trips as times.

    With a blocked receiver only the fair form is measured. In the published figures, receivers of
    the other mechanisms always block.
    """
    sheets = []
    for name in dict.fromkeys(row.cell for row in outcome.summary.latency):
        own: Measured = {
            (row.mechanism, row.mode): row
            for row in outcome.summary.latency
            if row.cell == name and row.unit == "ns"
        }
        rows = [row for claim in CLAIMS if (row := _row(claim, own))]
        if ("uintr", TALK) in own and rows:
            rows = [*(_own(own, blocked) for blocked in (False, True)), *rows]
            title = f"Round trips as multiples of user interrupts', in {clean_line(name)}"
            sheets.append(Sheet(title, COLUMNS, tuple(rows)))
    return sheets


def round_trips(outcome: Outcome) -> Sheet | None:
    """Return one table of the round trips in the published form, with a row for each cell.

    A figure that the host disturbed has one digit, after ``~``. None if no cell measured them as
    times.
    """
    claims = [claim for claim in CLAIMS if not claim.blocked]
    measured: dict[str, Measured] = {}
    for row in outcome.summary.latency:
        if row.mode == TALK and row.unit == "ns":
            measured.setdefault(row.cell, {})[row.mechanism, TALK] = row
    measured = {cell: own for cell, own in measured.items() if ("uintr", TALK) in own}
    if not measured:
        return None
    rows = [("published, on a processor", "1", *(times(claim.multiple) for claim in claims))]
    for cell, own in measured.items():
        base = own["uintr", TALK]
        figures = [_rounded(base, base.p50, lambda value: quantity(value, "ns"))]
        for claim in claims:
            found = own.get((claim.mechanism, TALK))
            figures.append(
                _rounded(found, found.to_uintr.ratio, times, base)
                if found and found.to_uintr
                else "-"
            )
        rows.append((clean_line(cell), *figures))
    columns = (Column("cell"), *(Column(name, figure=True) for name in ("uintr", *_names(claims))))
    return Sheet("Round trips, as multiples of user interrupts'", columns, tuple(rows))


def _names(claims: Iterable[Claim]) -> Iterator[str]:
    return (claim.mechanism for claim in claims)


def _rounded(
    row: LatencySummary, value: float, show: Callable[[float], str], *others: LatencySummary
) -> str:
    """Return a figure as text, with one digit if the host disturbed one of the rows."""
    if any(disturbed(one.host) for one in (row, *others)):
        digits = re.sub(r"\.0+(?=\D)", "", show(float(f"{value:.1g}")))
        return f"~{digits}"
    return show(value)


def _own(own: Measured, blocked: bool) -> tuple[str, ...]:
    """Return the row of user interrupts, with medians instead of multiples."""
    same, fair = (own.get(("uintr", mode)) for mode in (("", BLOCKED) if blocked else (TALK, FAIR)))
    medians = [quantity(row.p50, row.unit) if row else "-" for row in (same, fair)]
    of = times(_BLOCKED if blocked else 1)
    return ("uintr", "blocked" if blocked else "spins", of, medians[0], "-", medians[1], "-")


def _row(claim: Claim, own: Measured) -> tuple[str, ...] | None:
    same = None if claim.blocked else own.get((claim.mechanism, TALK))
    fair = own.get((claim.mechanism, BLOCKED if claim.blocked else FAIR))
    if same is None and fair is None:
        return None
    return (
        claim.mechanism,
        "blocked" if claim.blocked else "spins",
        times(claim.multiple),
        *_measured(claim, same),
        *_measured(claim, fair),
    )


def _measured(claim: Claim, row: LatencySummary | None) -> tuple[str, str]:
    """Return the ratio of medians with its interval, and its quotient by the published one."""
    if row is None or row.to_uintr is None:
        return ("-", "-")
    own = row.to_uintr
    return (
        f"{times(own.ratio)} ({times(own.low)}…{times(own.high)})",
        times(own.ratio / claim.multiple),
    )
