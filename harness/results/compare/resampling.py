"""Resampling of blocks: how far a percentile, or a ratio of two, could lie from what was measured.

The draws come from a fixed seed, so that a report that is made again says the same.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.results.blocks import blocks_of
from harness.results.records import SampleBlocks

#: Of which intervals are made: the fast tenth, the median, the slow hundredth.
LEVELS = (0.10, 0.50, 0.99)
FAST, MEDIAN, SLOW = range(3)
DRAWS = 1000
#: What the reports show; a comparison asks for more (:mod:`harness.results.compare.judge`).
SHOWN = 0.95
#: Percentiles at which draws are read: every third of a percent, and denser in the tail.
_GRID = np.union1d(np.linspace(0, 1, 301), np.linspace(0.95, 1, 101))

Draws = NDArray[np.float64]


class Interval(NamedTuple):
    """A figure and the ends of its interval."""

    value: float
    low: float
    high: float


class Estimate:
    """The percentiles of a distribution: as measured, and in each draw.

    :param takes: one measurement, or several of the same thing. Then takes are drawn first and
        blocks in them after, so that what differs from one take to the next widens the interval.
    :param salt: distributions that are compared must not be drawn alike.
    :raise ValueError: there is none.
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
        #: As measured, in the order of `LEVELS`.
        self.values = _read(below.sum(axis=0, keepdims=True), weight.sum(keepdims=True), grid)[0]
        times = _times(tuple(len(take.kept) for take in takes), salt)
        # Not by `@`: the threads of a BLAS that wait for each other take twice the CPU time here.
        drawn = np.einsum("db,bg->dg", times, below)
        #: One row a draw, in the order of `LEVELS`.
        self.draws: Draws = _read(drawn, times.dot(weight), grid)

    def interval(self, level: int, certainty: float = SHOWN) -> Interval:
        """Return a percentile with its interval; `level` is `FAST`, `MEDIAN` or `SLOW`."""
        return _interval(float(self.values[level]), self.draws[:, level], certainty)

    def ratio(self, base: Estimate, level: int, certainty: float = SHOWN) -> Interval | None:
        """Return this by `base`, with its interval; None where `base` is zero."""
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
    """Return per row the smallest value of the grid that has each level's share at or below it."""
    share = below / total[:, None]
    return np.stack([grid[(share >= level - 1e-9).argmax(axis=1)] for level in LEVELS], axis=1)


@functools.lru_cache(maxsize=64)
def _times(sizes: tuple[int, ...], salt: int) -> NDArray[np.float64]:
    """Return how often each draw has each block.

    :param sizes: the number of blocks of each take.
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
    """Return the percentile interval, which always holds the value itself."""
    rest = (1 - certainty) / 2
    low, high = np.quantile(draws, [rest, 1 - rest])
    return Interval(value, min(value, float(low)), max(value, float(high)))
