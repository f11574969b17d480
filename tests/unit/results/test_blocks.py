from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.results.blocks import BLOCKS, KEPT, blocks_of, cut_into_blocks, percentiles
from harness.results.compare.resampling import FAST, MEDIAN, SLOW, Estimate
from harness.results.records import SampleBlocks


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=700))
@settings(deadline=None)
def test_of_few_samples_all_are_kept(values: list[int]) -> None:
    found = SampleBlocks.model_validate_json(cut_into_blocks(values).model_dump_json())
    blocks = blocks_of(found)
    assert found.count == len(values)
    assert sorted(np.concatenate(blocks).tolist()) == sorted(map(float, values))
    place = 0
    for block in blocks:
        assert sorted(map(float, values[place : place + len(block)])) == block.tolist()
        place += len(block)


def test_of_many_samples_few_are_kept_with_their_percentiles() -> None:
    values = np.random.default_rng(3).lognormal(8, 0.4, 200_000).astype(np.uint64)
    blocks = cut_into_blocks(values.tolist())
    assert blocks.kept == (KEPT,) * BLOCKS
    estimate = Estimate([blocks])
    for level, percent, close in ((FAST, 10, 0.01), (MEDIAN, 50, 0.01), (SLOW, 99, 0.05)):
        exact = pytest.approx(np.percentile(values, percent), rel=close)
        assert estimate.values[level] == exact
        assert percentiles([blocks], [percent]) == [exact]


def test_takes_count_by_their_samples() -> None:
    one, other = cut_into_blocks([10] * 5000), cut_into_blocks([20] * 45_000)
    assert percentiles([one, other], [0, 9.99, 10, 10.01, 100]) == [10, 10, 10, 20, 20]


def test_nothing_and_damage_are_told() -> None:
    with pytest.raises(ValueError, match="no samples"):
        cut_into_blocks([])
    whole = cut_into_blocks([1, 2, 3]).model_dump()
    assert blocks_of(SampleBlocks(**whole))[0].tolist() == [1, 2, 3]
    data = whole["data"]
    damages: list[dict[str, object]] = [
        {"data": "%"},
        {"data": data[:-4]},
        {"data": "AAAA"},
        {"data": "eJwDAAAAAAE="},
        {"kept": (4,)},
        {"kept": (2,)},
        {"kept": (3, 0)},
        {"kept": (4, -1)},
        {"count": 2},
    ]
    bomb = base64.b64encode(zlib.compress(bytes(1 << 24))).decode()
    damages.append({"data": bomb, "kept": (1 << 21,), "count": 1 << 21})
    for damage in damages:
        with pytest.raises(ValidationError, match=r"samples|base64"):
            SampleBlocks(**{**whole, **damage})


def test_percentiles_are_those_of_the_samples() -> None:
    values = np.random.default_rng(1).permutation(np.arange(1, 2001))
    estimate = Estimate([cut_into_blocks(values.tolist())])
    # With a grid of a third of a percent: 2000 / 300.
    assert estimate.values.tolist() == pytest.approx([200, 1000, 1980], abs=7)


def test_an_interval_covers_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(100):
        values = np.random.default_rng(seed).exponential(10_000, 1500).astype(np.uint64)
        interval = Estimate([cut_into_blocks(values.tolist())]).interval(MEDIAN)
        covered += interval.low <= 10_000 * np.log(2) <= interval.high
    # With 30 blocks a percentile interval is a little too narrow.
    assert 87 <= covered <= 99


def test_slow_phases_widen_the_interval() -> None:
    random = np.random.default_rng(5)
    values = random.normal(10_000, 500, 3000)
    values[:1000] += 5000
    mixed = Estimate([cut_into_blocks(random.permutation(values).astype(np.uint64).tolist())])
    phases = Estimate([cut_into_blocks(values.astype(np.uint64).tolist())])
    wide, narrow = phases.interval(MEDIAN), mixed.interval(MEDIAN)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_takes_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(6)
    takes = [
        cut_into_blocks((random.normal(m, 50, 600)).astype(np.uint64).tolist())
        for m in (1000, 1200)
    ]
    interval = Estimate(takes).interval(MEDIAN)
    assert interval.low < 1010
    assert interval.high > 1190


def test_a_long_take_weighs_more() -> None:
    short, long = cut_into_blocks([10] * 400), cut_into_blocks([20] * 4000)
    assert Estimate([short, long]).values[MEDIAN] == 20


def test_draws_are_the_same_again_and_differ_by_salt() -> None:
    values = np.random.default_rng(2).integers(1, 10**6, 2000).tolist()
    one, again, other = (Estimate([cut_into_blocks(values)], salt) for salt in (0, 0, 1))
    assert (one.draws == again.draws).all()
    assert (one.draws != other.draws).any()


def test_a_ratio_by_zero_is_none() -> None:
    zero, one = Estimate([cut_into_blocks([0] * 50)]), Estimate([cut_into_blocks([7] * 50)], 1)
    assert one.ratio(zero, MEDIAN) is None
    assert zero.ratio(one, MEDIAN) == (0, 0, 0)
