"""What was published, beside what was measured."""

from __future__ import annotations

from typing import Any

from harness.report.published import CLAIMS, published
from harness.results.summary import Outcome, RatioSummary, fold
from tests.unit.results import make

RATIO = RatioSummary(ratio=4.85, low=4.5, high=5.0)


def measured(*modes: tuple[str, str], unit: Any = "ns") -> Outcome:
    outcome = fold([make.latency(name, mode=mode, unit=unit) for name, mode in modes])
    rows = tuple(
        row.model_copy(update={"to_uintr": None if row.mechanism == "uintr" else RATIO})
        for row in outcome.summary.latency
    )
    return outcome.model_copy(
        update={"summary": outcome.summary.model_copy(update={"latency": rows})}
    )


def test_a_ratio_stands_beside_the_published_one_and_what_it_is_of_that() -> None:
    (sheet,) = published(
        measured(
            ("uintr", "ping-pong-talk"),
            ("eventfd", "ping-pong-talk"),
            ("eventfd", "ping-pong-fair"),
        )
    )
    row = next(row for row in sheet.rows if row[:2] == ("eventfd", "spins"))
    assert row[2:] == ("9.70x", *("4.85x (4.50x…5.00x)", "0.50x") * 2)


def test_blocked_receivers_are_compared_with_the_published_blocked_ones() -> None:
    (sheet,) = published(
        measured(
            ("uintr", "ping-pong-talk"),
            ("uintr", "ping-pong-blocked"),
            ("eventfd", "ping-pong-blocked"),
        )
    )
    assert [row[:3] for row in sheet.rows] == [
        ("uintr", "spins", "1.00x"),
        ("uintr", "blocked", "8.90x"),
        ("eventfd", "blocked", "1.09x"),
    ]
    assert sheet.rows[2][3:5] == ("-", "-")
    assert sheet.rows[2][5].startswith("4.85x")


def test_nothing_is_said_of_instructions_or_without_user_interrupts() -> None:
    both = (("uintr", "ping-pong-talk"), ("eventfd", "ping-pong-talk"))
    assert published(measured(*both))
    assert not published(measured(*both, unit="insn"))
    assert not published(measured(both[1]))


def test_the_blocked_claims_are_what_the_mail_made_of_them() -> None:
    """10 % better than eventfd and 40 % than signals, it says: 8.2 and 39.9 by its figures."""
    blocked = {claim.mechanism: claim.multiple for claim in CLAIMS if claim.blocked}
    assert round((1 - 1 / blocked["eventfd"]) * 100, 1) == 8.2
    assert round((1 - 1 / blocked["signal"]) * 100, 1) == 39.9
