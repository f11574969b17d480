"""Verdicts on measurements that are made up, so that the truth is known."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from harness.results.blocks import cut_into_blocks
from harness.results.compare.judge import Floors, judge, rank_test
from harness.results.hostload import disturbed
from harness.results.records import HostLoad, SampleBlocks

CALM = HostLoad(seconds=1, load=0.3, steal_percent=0.0, waited_percent=0.5)
BUSY = HostLoad(seconds=1, load=9, steal_percent=0.0, waited_percent=40)

Make = Callable[[np.random.Generator, float], SampleBlocks]


def plain(rng: np.random.Generator, factor: float) -> SampleBlocks:
    """Samples that know nothing of each other, with a tail."""
    values = rng.lognormal(np.log(4000), 0.15, 2000)
    values[rng.random(2000) < 0.01] *= 50
    return cut_into_blocks((values * factor).astype(np.uint64).tolist())


def drifting(rng: np.random.Generator, factor: float) -> SampleBlocks:
    """Samples that follow each other: noise of the host that lasts for hundreds of rounds."""
    steps = rng.normal(0, 1, 2000)
    level = np.zeros(2000)
    for at in range(1, 2000):
        level[at] = 0.99 * level[at - 1] + 0.14 * steps[at]
    values = 9000 * np.exp(0.05 * level + rng.normal(0, 0.05, 2000))
    return cut_into_blocks((values * factor).astype(np.uint64).tolist())


def phased(rng: np.random.Generator, factor: float) -> SampleBlocks:
    """A host that slows some stretches to twice, about half of all."""
    slow = np.repeat(rng.random(25) < rng.uniform(0.3, 0.7), 80)
    values = rng.normal(9000, 400, 2000) * np.where(slow, 2.0, 1.0)
    return cut_into_blocks((values * factor).astype(np.uint64).tolist())


def coarse(rng: np.random.Generator, factor: float) -> SampleBlocks:
    """A clock of 100 ns steps, so that most samples are equal."""
    values = rng.normal(1500, 60, 2000) * factor
    return cut_into_blocks((100 * np.round(values / 100)).astype(np.uint64).tolist())


KINDS = (plain, drifting, phased, coarse)


def pair(make: Make, seed: int, factor: float) -> tuple[SampleBlocks, SampleBlocks]:
    """Two runs; each also differs by a few percent because it is another run."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(1, 0.02, 2)
    return make(rng, first), make(rng, second * factor)


@pytest.mark.parametrize("make", KINDS)
def test_the_same_kernel_raises_no_false_alarm(make: Make) -> None:
    wrong = []
    for seed in range(60):
        base, new = pair(make, seed, 1.0)
        verdict = judge([base], [new], "ns", hosts=[CALM, CALM]).verdict
        if verdict in {"worse", "better"}:
            wrong.append((seed, verdict))
    assert wrong == []


@pytest.mark.parametrize("make", [plain, drifting, coarse])
@pytest.mark.parametrize(("factor", "verdict"), [(1.4, "worse"), (1 / 1.4, "better")])
def test_a_real_change_is_seen(make: Make, factor: float, verdict: str) -> None:
    seen: list[str] = [
        judge([base], [new], "ns", hosts=[CALM, CALM]).verdict
        for base, new in (pair(make, seed, factor) for seed in range(25))
    ]
    assert seen.count(verdict) >= 24
    assert not {"better", "worse"} - {verdict} & set(seen)


def test_a_change_is_seen_through_phases_or_called_unsure() -> None:
    """Where half of the rounds are slowed by the host, doubt is right and denial is not."""
    seen = [judge([b], [n], "ns").verdict for b, n in (pair(phased, s, 3.0) for s in range(25))]
    assert "same" not in seen
    assert "better" not in seen
    assert seen.count("worse") >= 19


def test_a_host_that_spoils_some_rounds_is_no_slower_kernel() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(5000, 100, 2000)
    spoilt = np.where(rng.random(2000) < 0.7, 4_000_000.0, base)
    said = judge(
        [cut_into_blocks(base.astype(np.uint64).tolist())],
        [cut_into_blocks(spoilt.astype(np.uint64).tolist())],
        "ns",
    )
    assert said.verdict == "unsure"
    assert "fastest tenth" in said.reason
    assert said.ratio is not None
    assert said.ratio[1] > 100


def test_a_disturbed_measurement_is_not_judged() -> None:
    rng = np.random.default_rng(1)
    base, new = drifting(rng, 1), phased(rng, 3)
    assert judge([base], [new], "ns", hosts=[CALM, CALM]).verdict == "worse"
    said = judge([base], [new], "ns", hosts=[CALM, BUSY])
    assert said.verdict == "unsure"
    assert "waited 40 %" in said.reason
    base, new = pair(plain, 1, 1.0)
    assert judge([base], [new], "ns", hosts=[BUSY, BUSY]).verdict == "same"


def test_a_disturbance_has_a_name() -> None:
    assert disturbed(None) == disturbed(CALM) == ""
    stolen = CALM.model_copy(update={"steal_percent": 12.3})
    assert disturbed(stolen) == "12 % of the host's CPU time was stolen"


def test_both_floors_hold() -> None:
    base, new = cut_into_blocks([1000] * 1000), cut_into_blocks([1300] * 1000)
    assert judge([base], [new], "ns").verdict == "worse"
    assert judge([base], [new], "ns", floors=Floors(absolute=300)).verdict == "same"
    assert judge([base], [new], "ns", floors=Floors(relative=0.3)).verdict == "same"
    assert judge([new], [base], "ns", floors=Floors(relative=0.3)).verdict == "same"
    assert judge([new], [base], "ns").verdict == "better"


def test_few_samples_prove_nothing() -> None:
    said = judge([cut_into_blocks([1000] * 60)], [cut_into_blocks([9000] * 60)], "ns")
    assert said.verdict == "unsure"
    assert "too few samples" in said.reason
    assert judge([cut_into_blocks([0] * 900)], [cut_into_blocks([9000] * 900)], "ns").ratio is None


def test_several_base_runs_tell_their_spread() -> None:
    rng = np.random.default_rng(4)
    spread = [plain(rng, factor) for factor in (1.0, 1.5, 0.9, 1.4)]
    assert judge(spread[:1], [plain(rng, 1.4)], "ns").verdict == "worse"
    assert judge(spread, [plain(rng, 1.4)], "ns").verdict == "same"
    assert judge(spread, [plain(rng, 4)], "ns").verdict == "worse"


def test_instructions_are_exact() -> None:
    values = [random.Random(1).choice([310, 311, 700]) for _ in range(1000)]
    base = cut_into_blocks(values)
    assert judge([base], [cut_into_blocks(values)], "insn").verdict == "same"
    slower = cut_into_blocks([*values[:-1], values[-1] + 1])
    assert judge([base], [slower], "insn").verdict == "worse"
    assert judge([slower], [base], "insn").verdict == "better"
    said = judge([base, slower], [base], "insn")
    assert said.verdict == "unsure"
    assert "not deterministic" in said.reason


@pytest.mark.parametrize(
    ("one", "other", "chance"),
    [
        # U = 0 of 64: z = 31.5 / sqrt(64 * 17 / 12).
        (range(8), range(8, 16), 0.000939),
        # U = 12.5 of 25: nothing at all.
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], 1.0),
        ([5] * 9, [5] * 9, 1.0),
        # With ties, by hand: U = 1 + 3 + 3 + 4 of 16, variance 16 / 12 * (9 - 84 / 56) = 10,
        # z = 2.5 / sqrt(10).
        ([1, 1, 2, 2], [1, 2, 2, 3], 0.4292),
    ],
)
def test_the_rank_test(one: list[int], other: list[int], chance: float) -> None:
    arrays = (np.array(list(values), dtype=np.float64) for values in (one, other))
    assert rank_test(*arrays) == pytest.approx(chance, rel=0.01)
