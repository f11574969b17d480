"""Intervals for percentiles and their ratios, by resampling of blocks.

The seed is fixed, so that a report does not change when it is rendered again.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.results.blocks import blocks_of
from harness.results.records import SampleBlocks

#: Percentiles with intervals: the fast tenth, the median, the slow hundredth.
LEVELS = (0.10, 0.50, 0.99)
FAST, MEDIAN, SLOW = range(3)
DRAWS = 1000
#: Confidence level in reports. A comparison uses a higher one
#: (:mod:`harness.results.compare.judge`).
SHOWN = 0.95
#: Percentiles at which draws are evaluated: every third of a percent, and denser in the tail.
_GRID = np.union1d(np.linspace(0, 1, 301), np.linspace(0.95, 1, 101))

Draws = NDArray[np.float64]


class Interval(NamedTuple):
    """A figure and the ends of its interval."""

    value: float
    low: float
    high: float


class Estimate:
    """The percentiles of a distribution: as measured, and in each draw.

    :param takes: one or several. Of several, takes are drawn first, and then blocks within them,
        so that differences between takes widen the interval.
    :param salt: part of the seed. It must differ for distributions that are compared.
    :raise ValueError: there is no take.
    """

    def __init__(self, takes: Sequence[SampleBlocks], salt: int = 0) -> None:
        if not takes:
            raise ValueError("no measurement")
        blocks = [blocks_of(take) for take in takes]
        #: Medians of the blocks of all takes.
        self.medians = np.array([np.median(block) for take in blocks for block in take])
        pool = np.concatenate([block for take in blocks for block in take])
        weight = np.array([take.count / len(take.kept) for take in takes for _ in take.kept])
        each = np.concatenate(
            [np.full(len(b), w / len(b)) for b, w in zip(_flat(blocks), weight, strict=True)]
        )
        grid = _grid(pool, each)
        below = np.array(
            [
                w * np.searchsorted(b, grid, "right") / len(b)
                for b, w in zip(_flat(blocks), weight, strict=True)
            ]
        )
        #: Percentiles as measured, in the order of `LEVELS`.
        self.values = _read(below.sum(axis=0, keepdims=True), weight.sum(keepdims=True), grid)[0]
        times = _times(tuple(len(take.kept) for take in takes), salt)
        # Not by `@`: the threads of a BLAS wait for each other, and take twice the CPU time here.
        drawn = np.einsum("db,bg->dg", times, below)
        #: A row for each draw, with a column for each of `LEVELS`.
        self.draws: Draws = _read(drawn, times.dot(weight), grid)

    def interval(self, level: int, certainty: float = SHOWN) -> Interval:
        """Return a percentile with its interval. ``level`` is `FAST`, `MEDIAN` or `SLOW`."""
        return _interval(float(self.values[level]), self.draws[:, level], certainty)

    def ratio(self, base: Estimate, level: int, certainty: float = SHOWN) -> Interval | None:
        """Return the ratio to ``base`` with its interval; None if ``base`` is or may be zero."""
        if base.values[level] <= 0 or base.draws[:, level].min() <= 0:
            return None
        draws = self.draws[:, level] / base.draws[:, level]
        return _interval(float(self.values[level] / base.values[level]), draws, certainty)


def _flat(blocks: list[list[NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
    return [block for take in blocks for block in take]


def _grid(pool: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values of the pool at the percentiles of `_GRID`."""
    order = np.argsort(pool, kind="stable")
    share = np.cumsum(weights[order])
    places = np.searchsorted(share, _GRID * share[-1] * (1 - 1e-12), "left")
    return np.unique(pool[order][np.minimum(places, pool.size - 1)])


def _read(
    below: NDArray[np.float64], total: NDArray[np.float64], grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return, for each row and level, the smallest grid value with that share at or below it."""
    share = below / total[:, None]
    return np.stack([grid[(share >= level - 1e-9).argmax(axis=1)] for level in LEVELS], axis=1)


@functools.lru_cache(maxsize=2)
def _times(sizes: tuple[int, ...], salt: int) -> NDArray[np.float64]:
    """Return how often each draw contains each block.

    The latest two are kept, for a comparison of many latencies. One takes up to 240 MB.

    :param sizes: number of blocks of each take.
    """
    random = np.random.default_rng([20210913, salt])
    takes = random.multinomial(len(sizes), [1 / len(sizes)] * len(sizes), size=DRAWS)
    return np.concatenate(
        [
            random.multinomial(takes[:, number] * size, [1 / size] * size)
            for number, size in enumerate(sizes)
        ],
        axis=1,
    ).astype(np.float64)


def _interval(value: float, draws: Draws, certainty: float) -> Interval:
    """Return the percentile interval, extended to include the value."""
    rest = (1 - certainty) / 2
    low, high = np.quantile(draws, [rest, 1 - rest])
    return Interval(value, min(value, float(low)), max(value, float(high)))
