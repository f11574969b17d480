"""Samples in the order of time, cut into blocks: what intervals and comparisons are made of.

Samples of one measurement are not independent: a slow phase of the host slows hundreds in a row. A
bootstrap over single samples would take them for as many witnesses and be certain of noise. So
whole blocks are the unit that is drawn (Künsch 1989, "The jackknife and the bootstrap for general
stationary observations"). A block keeps all its samples, or evenly spaced ones of a long block, by
which the blocks stay small enough for a file that a pipeline keeps as its baseline.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.values import Value

#: Blocks of a measurement; fewer where a block would get fewer than `SHORTEST` samples.
BLOCKS = 30
SHORTEST = 20
#: Samples that are kept of a block. 30 times 100 are all of the 1,980 that a program writes today.
KEPT = 100

Samples = NDArray[np.float64]
_WIRE = np.dtype("<u8")


class SampleBlocks(Value):
    """The samples of one measurement. The blocks are of the same length, but for a sample."""

    #: Samples that there were.
    count: int = Field(ge=1)
    #: How many samples of each block `data` holds.
    kept: tuple[int, ...] = Field(min_length=1)
    #: The blocks' samples, sorted in each, as little-endian u64: zlib, base64.
    data: str

    def blocks(self) -> list[Samples]:
        """Return the kept samples, an array for each block.

        :raise ValueError: the blocks were damaged.
        """
        try:
            raw = zlib.decompress(base64.b64decode(self.data, validate=True))
            values = np.frombuffer(raw, dtype=_WIRE).astype(np.float64)
        except (binascii.Error, zlib.error) as error:
            raise ValueError(f"no samples: {error}") from error
        if values.size != sum(self.kept):
            raise ValueError(f"{values.size} samples instead of {sum(self.kept)}")
        return np.split(values, np.cumsum(self.kept)[:-1])


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
