"""Samples in time order, cut into blocks. Intervals and comparisons are computed from the blocks.

Samples of one measurement are not independent: a slow phase of the host slows hundreds in a row. A
bootstrap over single samples would treat them as independent, and report noise as certain. So
whole blocks are drawn (Künsch 1989, "The jackknife and the bootstrap for general stationary
observations"). A short block keeps all its samples, a long one evenly spaced ones. This keeps the
file small that a pipeline stores as its baseline.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.results.records import SampleBlocks

#: Blocks of a measurement; fewer if a block would have fewer than `SHORTEST` samples.
BLOCKS = 30
SHORTEST = 20
#: Limit for the samples kept of a block. A program writes 1,980 today, so that all are kept.
KEPT = 100

Samples = NDArray[np.float64]
_WIRE = np.dtype("<u8")
#: Tolerance for rounding errors in sums of shares. Ranks are whole numbers.
_ROUNDING = 1e-6


def blocks_of(take: SampleBlocks) -> list[Samples]:
    """Return the kept samples, an array for each block."""
    values = _kept(take).astype(np.float64)
    return np.split(values, np.cumsum(take.kept)[:-1])


def percentiles(takes: Sequence[SampleBlocks], percents: Sequence[float]) -> list[int]:
    """Return percentiles of all takes together, by nearest rank, so that each is a sample.

    They are exact if all samples were kept. Otherwise a kept sample represents its share of its
    block.

    :raise ValueError: there is no take.
    """
    values = np.concatenate([_kept(take) for take in takes])
    shares = np.concatenate([_shares(take) for take in takes])
    order = np.argsort(values, kind="stable")
    rank = np.cumsum(shares[order])
    wanted = np.ceil(rank[-1] * np.asarray(percents) / 100 - _ROUNDING)
    places = np.searchsorted(rank, wanted - _ROUNDING, "left")
    return [int(value) for value in values[order][np.minimum(places, values.size - 1)]]


def _kept(take: SampleBlocks) -> NDArray[np.uint64]:
    return np.frombuffer(take.raw(), dtype=_WIRE).astype(np.uint64)


def _shares(take: SampleBlocks) -> NDArray[np.float64]:
    """Return how many samples each kept one represents."""
    kept = np.array(take.kept)
    each, longer = divmod(take.count, kept.size)
    sizes = each + (np.arange(kept.size) < longer)
    return np.repeat(sizes / kept, kept)


def cut_into_blocks(samples: Sequence[int]) -> SampleBlocks:
    """Cut samples in time order into blocks.

    :raise ValueError: there are no samples.
    """
    values = np.asarray(samples, dtype=np.uint64)
    if not values.size:
        raise ValueError("no samples")
    number = max(1, min(BLOCKS, values.size // SHORTEST))
    kept = [_thin(np.sort(block)) for block in np.array_split(values, number)]
    raw = np.concatenate(kept).astype(_WIRE).tobytes()
    return SampleBlocks(
        count=int(values.size),
        kept=tuple(len(block) for block in kept),
        data=base64.b64encode(zlib.compress(raw)).decode("ascii"),
    )


def _thin(block: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Keep evenly spaced order statistics of a sorted block."""
    if block.size <= KEPT:
        return block
    ranks = ((np.arange(KEPT) + 0.5) * block.size / KEPT).astype(np.int64)
    return block[ranks]
