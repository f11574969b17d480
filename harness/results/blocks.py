"""Samples in the order of time, cut into blocks: what intervals and comparisons are made of.

Samples of one measurement are not independent: a slow phase of the host slows hundreds in a row. A
bootstrap over single samples would take them for as many witnesses and be certain of noise. So
whole blocks are the unit that is drawn (Künsch 1989, "The jackknife and the bootstrap for general
stationary observations"). A block keeps all its samples, or evenly spaced ones of a long block, by
which the blocks stay small enough for a file that a pipeline keeps as its baseline.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.results.records import SampleBlocks

#: Blocks of a measurement; fewer where a block would get fewer than `SHORTEST` samples.
BLOCKS = 30
SHORTEST = 20
#: Samples that are kept of a block. 30 times 100 are all of the 1,980 that a program writes today.
KEPT = 100

Samples = NDArray[np.float64]
_WIRE = np.dtype("<u8")
#: What sums of shares may be off by; ranks are whole numbers.
_ROUNDING = 1e-6


def blocks_of(take: SampleBlocks) -> list[Samples]:
    """Return the kept samples, an array for each block."""
    values = _kept(take).astype(np.float64)
    return np.split(values, np.cumsum(take.kept)[:-1])


def percentiles(takes: Sequence[SampleBlocks], percents: Sequence[float]) -> list[int]:
    """Return percentiles of all takes together, by nearest rank: each is a sample.

    They are exact where all samples were kept. A kept sample of a longer block stands for
    its share of that block.

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
    """Return for how many samples each kept one stands."""
    kept = np.array(take.kept)
    each, longer = divmod(take.count, kept.size)
    sizes = each + (np.arange(kept.size) < longer)
    return np.repeat(sizes / kept, kept)


def cut_into_blocks(samples: Sequence[int]) -> SampleBlocks:
    """Cut samples, in the order of time, into blocks.

    :raise ValueError: there are none.
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
