"""Results that only an unusual order of the CPUs leads to."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from oracle.others import Schedule

from harness.campaigns.bare_fuzz import model
from harness.campaigns.bare_fuzz.batch import Batch
from harness.campaigns.bare_fuzz.campaign import SequenceCampaign
from harness.campaigns.bare_fuzz.case import PLACE, Case, Storm, code_blocks
from harness.campaigns.bare_fuzz.compare import differences, is_in_some_order
from harness.campaigns.bare_fuzz.model import Expectation, Facts
from harness.campaigns.bare_fuzz.orders import USUAL, USUAL_BESIDE, random_orders
from harness.campaigns.bare_fuzz.play import Played
from harness.cli import fuzz_bare_metal
from harness.progress import Silent

from .test_cpus import NOP, ask, case, expected

#: An action that sends an interrupt; two NOPs and INT 80h after the wait for it.
AFTER = case(ask(), NOP, NOP)
WAIT_ENDS = code_blocks(AFTER)[0] + len(bytes.fromhex(ask().split(" ")[0]))


def changed(one: Case, **values: int) -> tuple[int, ...]:
    """Return the expected words of a case with some of them changed; ``_`` means a blank."""
    words = list(expected(one).words)
    for name, value in values.items():
        words[PLACE[name.replace("_", " ")]] = value
    return tuple(words)


def is_explained(one: Case, played: Played) -> bool:
    assert differences(expected(one), played, ()), "the usual orders lead to it"
    return is_in_some_order(one, Facts(), played, (), 1000)


def test_random_orders_are_the_same_each_time_and_differ_from_each_other() -> None:
    orders = list(random_orders(3000))
    assert orders == list(random_orders(3000))
    assert len(set(orders)) == len(orders) == 3000
    assert not set(orders) & {*USUAL, *USUAL_BESIDE}


@pytest.mark.parametrize("behind", [0, 1, 2, 3])
def test_an_interrupt_may_come_later_than_what_was_stored_after_it(behind: int) -> None:
    assert is_explained(AFTER, changed(AFTER, event_0_rip=WAIT_ENDS + behind))


def test_an_interrupt_may_come_after_the_end() -> None:
    words = list(changed(AFTER, events=0, **{"irr[1]": 1 << 0x41 - 64}))
    for name in ("vector", "rip", "rflags", "rsp", "dr6"):
        words[PLACE[f"event 0 {name}"]] = 0
    assert is_explained(AFTER, tuple(words))


def test_no_order_loses_or_repeats_an_interrupt_or_moves_it_to_the_front() -> None:
    one = AFTER
    events = ("vector", "rip", "rflags", "rsp", "dr6")
    lost = list(changed(one, events=0))
    twice = list(changed(one, events=2))
    for name in events:
        lost[PLACE[f"event 0 {name}"]] = 0
        twice[PLACE[f"event 1 {name}"]] = twice[PLACE[f"event 0 {name}"]]
    early = changed(one, event_0_rip=code_blocks(one)[0])
    beside = changed(one, event_0_rip=WAIT_ENDS + 4)
    pending = changed(one, **{"irr[1]": 1 << 0x41 - 64})
    for played in (tuple(lost), tuple(twice), early, beside, pending):
        assert not is_explained(one, played)


def test_an_order_explains_all_words_together() -> None:
    late = {"event_0_rip": WAIT_ENDS + 1}
    assert is_explained(AFTER, changed(AFTER, **late))
    assert not is_explained(AFTER, changed(AFTER, **late, rbx=0x77))


def test_an_end_a_storm_and_one_cpu_have_no_other_order() -> None:
    assert not is_in_some_order(AFTER, Facts(), "hangs", ())
    assert not is_in_some_order(AFTER, Facts(), None, ())
    alone = case(NOP, cpus=1, actions=())
    assert not is_explained(alone, changed(alone, rbx=0x77))
    storm = case(NOP, actions=(), cpus=3, storm=Storm(rounds=10, stride=3, longest=50))
    assert not is_explained(storm, changed(storm, late=1))


def test_without_another_order_nothing_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    late = changed(AFTER, event_0_rip=WAIT_ENDS + 1)
    for orders in ((), (Schedule(),)):
        monkeypatch.setattr(
            "harness.campaigns.bare_fuzz.model.random_orders", lambda _, orders=orders: iter(orders)
        )
        assert not is_explained(AFTER, late)


def test_a_result_of_an_order_that_the_model_does_not_cover_is_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third order is not covered."""
    lost = changed(AFTER, events=0)
    assert not is_explained(AFTER, lost)
    right = model._expect_in_order
    seen = []

    def refused(*given: Any, **more: Any) -> tuple[Expectation | None, bool]:
        seen.append(given)
        return (None, False) if len(seen) == 3 else right(*given, **more)

    monkeypatch.setattr(model, "_expect_in_order", refused)
    assert is_in_some_order(AFTER, Facts(), lost, (), 1000)
    assert len(seen) == 3


class Player:
    """A player that returns given words in one of its ways."""

    ways = ("one", "other")
    facts = Facts()
    restored = 0

    def __init__(self, played: Played) -> None:
        self._played = played

    def play(self, way: str, cases: Sequence[Case]) -> list[Played]:
        return [self._played if way == "other" else expected(one).words for one in cases]


@pytest.mark.parametrize(("rbx", "unusual", "failed"), [(None, 1, 0), (0x77, 0, 1)])
def test_a_search_counts_them_apart(
    rbx: int | None,
    unusual: int,
    failed: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = {"event_0_rip": WAIT_ENDS + 1} | ({} if rbx is None else {"rbx": rbx})
    ticks = itertools.count()
    campaign = SequenceCampaign(
        Player(changed(AFTER, **values)), (), tmp_path, Silent(), lambda _: None,
        clock=lambda: next(ticks) * 10.0,
    )  # fmt: skip
    campaign._try(Batch((3,), (AFTER,), (expected(AFTER),)))
    assert (campaign._report.in_another_order, campaign._report.failed) == (unusual, failed)
    assert len(campaign._report.findings) == failed
    fuzz_bare_metal._show_totals(campaign._report, tmp_path)
    said = "1 ended as in another order of the CPUs than the usual ones"
    assert (said in capsys.readouterr().out) == bool(unusual)
