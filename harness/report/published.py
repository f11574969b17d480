"""What was published of user interrupts' speed, beside what a run measured."""

from __future__ import annotations

from typing import NamedTuple

from harness.lib.text import clean_line
from harness.report.figures import quantity, times
from harness.report.rows import Column, Sheet
from harness.results.summary import LatencySummary, Outcome

TALK, FAIR, BLOCKED = "ping-pong-talk", "ping-pong-fair", "ping-pong-blocked"


#: Mechanism and mode → the distribution.
Measured = dict[tuple[str, str], LatencySummary]


class Claim(NamedTuple):
    """A published round trip, as a multiple of user interrupts'."""

    mechanism: str
    #: Whether the receiver of user interrupts sleeps, too; otherwise it spins.
    blocked: bool
    multiple: float


#: The cover letter of the RFC for Linux of September 2021: averages of a million round trips of
#: one byte, on a processor before its release, rounded; and a mail in its thread, by which a
#: blocked receiver of user interrupts takes 8.9 of the same unit.
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
    """Return a table for each cell that measured the published round trips in seconds.

    Of a blocked receiver only the fair form is measured; the published figures of the others are
    blocked ones in any case.
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


def _own(own: Measured, blocked: bool) -> tuple[str, ...]:
    """Return the row of user interrupts themselves, their medians in place of multiples."""
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
    """Return the ratio of medians with its interval, and how it differs from what was published."""
    if row is None or row.to_uintr is None:
        return ("-", "-")
    own = row.to_uintr
    return (
        f"{times(own.ratio)} ({times(own.low)}…{times(own.high)})",
        times(own.ratio / claim.multiple),
    )
