"""Is a latency better, the same or worse? The method, and its floors.

A latency is *worse* when all of this holds, and *better* when the reverse does:

1. The 99 % interval of the ratio of medians (resampling of blocks) lies above the relative floor.
   Many latencies are judged at once, so 95 % would be wrong about one in twenty.
2. The medians differ by more than the absolute floor, which a cache line or a clock's step makes.
3. The medians of the blocks differ by the rank test of Mann and Whitney (1947, "On a test of
   whether one of two random variables is stochastically larger than the other"). Resampling of
   few blocks is too sure of itself; this test is not.
4. The fastest tenth moved too, by at least half the floor. What a kernel does in every round shows
   there as well; what the host does to some rounds does not.
5. No measurement was disturbed: see
   :func:`harness.results.hostload.disturbed`. On a host with more work than CPUs even
   measurements that are steady in themselves differ, by a quarter where the cache is shared, and a
   thousandfold where each round waits for the host's scheduler.

6. Under TCG there are three takes and more on both sides. Of nine runs of one kernel on a calm host
   there, one had six of 55 latencies up to four times as long as the others, evenly from beginning
   to end. The relative floor is higher there, too.

Where 1 and 2 hold and the rest does not, the verdict is *unsure*, with the reason. *Same* means
that no difference beyond the floors could be shown.

The floors stand for what one run cannot know of itself: how much the next one of the same kernel
differs, because memory was laid out and threads were placed in another way. They were measured, see
``docs/figures.md``. Several runs, or a repeated one, tell it from what they are: each is drawn as
a whole (:class:`harness.results.compare.resampling.Estimate`).

In unit ``insn`` the clock counts instructions, and any difference is one of the code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.results.blocks import SHORTEST, blocks_of
from harness.results.compare.resampling import FAST, MEDIAN, SLOW, Estimate, Interval
from harness.results.hostload import disturbed
from harness.results.records import HostLoad, SampleBlocks, Unit
from harness.values import Value

LatencyVerdict = Literal["better", "same", "worse", "unsure"]

CERTAINTY = 0.99
#: Largest probability that the rank test may give to chance.
CHANCE = 0.001
#: Takes of both sides with which QEMU's TCG is told from the kernel.
FEWEST_TAKES = 3
#: With fewer blocks on both sides the rank test cannot come below `CHANCE`.
FEWEST_BLOCKS = 8


class Floors(Value):
    """What is too little to be a difference."""

    relative: float = 0.15
    #: The same under TCG, where the others of those nine runs differed by up to 0.21.
    emulated: float = 0.30
    #: In ns.
    absolute: float = 100.0


class Judgement(Value):
    """What became of a latency. Ratios are new by base, with 99 % intervals."""

    verdict: LatencyVerdict
    #: Why, where it is not plain from the figures.
    reason: str = ""
    base: float
    new: float
    #: Of medians: value, low, high; None where it is by zero.
    ratio: tuple[float, float, float] | None
    #: Of the slow hundredths; shown and not judged, because the host makes most of a tail.
    tail: tuple[float, float, float] | None
    #: Probability that chance alone ranks the blocks like this; None in unit ``insn``.
    chance: float | None = None


def judge(
    base: Sequence[SampleBlocks],
    new: Sequence[SampleBlocks],
    unit: Unit,
    *,
    hosts: Iterable[HostLoad | None] = (),
    floors: Floors | None = None,
    emulated: bool = False,
) -> Judgement:
    """Compare two measurements of the same thing.

    :param base: the blocks of each time that it was measured.
    :param hosts: what the hosts did during all of them.
    :param emulated: whether they were measured under TCG.
    :raise ValueError: there are no blocks.
    """
    before, after = Estimate(base, salt=0), Estimate(new, salt=1)
    ratio = after.ratio(before, MEDIAN, CERTAINTY)
    said = Judgement(
        verdict="same",
        base=float(before.values[MEDIAN]),
        new=float(after.values[MEDIAN]),
        ratio=ratio,
        tail=after.ratio(before, SLOW, CERTAINTY),
    )
    if unit == "insn":
        return _exactly(said, base, new)
    chance = rank_test(before.medians, after.medians)
    said = said.model_copy(update={"chance": chance})
    chosen = floors or Floors()
    relative = chosen.emulated if emulated else chosen.relative
    direction = _direction(said, ratio, relative, chosen.absolute)
    if direction is None:
        return said
    doubt = (
        _chance(chance, before, after)
        or _doubt(direction, before, after, hosts, relative)
        or (_few(min(len(base), len(new))) if emulated else "")
    )
    update = {"verdict": "unsure", "reason": doubt} if doubt else {"verdict": direction}
    return said.model_copy(update=update)


def rank_test(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the two-sided probability of Mann and Whitney's test, by its normal approximation.

    With correction for ties and for continuity.
    """
    n, m = one.size, other.size
    wins = (other[:, None] > one[None, :]).sum() + 0.5 * (other[:, None] == one[None, :]).sum()
    ties = np.unique(np.concatenate([one, other]), return_counts=True)[1].astype(np.float64)
    size = n + m
    variance = n * m / 12 * (size + 1 - (ties**3 - ties).sum() / (size * (size - 1)))
    if variance <= 0:
        return 1.0
    distance = max(0.0, abs(float(wins) - n * m / 2) - 0.5) / math.sqrt(variance)
    return 2 * (1 - NormalDist().cdf(distance))


def _direction(
    said: Judgement, ratio: Interval | None, relative: float, absolute: float
) -> Literal["better", "worse"] | None:
    """Return where the medians went beyond the floors, if anywhere."""
    if ratio is None or abs(said.new - said.base) <= absolute:
        return None
    if ratio.low > 1 + relative:
        return "worse"
    return "better" if ratio.high < 1 / (1 + relative) else None


def _chance(chance: float, before: Estimate, after: Estimate) -> str:
    """Return why the rank test does not agree; nothing if it does."""
    if chance < CHANCE:
        return ""
    fewest = min(before.medians.size, after.medians.size)
    if fewest < FEWEST_BLOCKS:
        return f"too few samples: {fewest} blocks, of {SHORTEST} and more each"
    return f"the rank test gives it to chance (p = {chance:.2g})"


def _doubt(
    direction: Literal["better", "worse"],
    before: Estimate,
    after: Estimate,
    hosts: Iterable[HostLoad | None],
    relative: float,
) -> str:
    """Return why a difference of the medians need not be one of the kernels."""
    for host in hosts:
        reason = disturbed(host)
        if reason:
            return reason
    fast = after.ratio(before, FAST, CERTAINTY)
    half = 1 + relative / 2
    if fast is None or (fast.low <= half if direction == "worse" else fast.high >= 1 / half):
        return "the fastest tenth is as fast as before, so the host may have done it"
    return ""


def _few(takes: int) -> str:
    """Return why a difference need not be more than TCG's; nothing if there are enough takes."""
    if takes >= FEWEST_TAKES:
        return ""
    return (
        "under TCG one run can be four times as slow as the next: take "
        f"{FEWEST_TAKES} of both sides (--repeat {FEWEST_TAKES}), or --clock icount"
    )


def _exactly(
    said: Judgement, base: Sequence[SampleBlocks], new: Sequence[SampleBlocks]
) -> Judgement:
    """Judge by the sum of instructions, after the median: both are exact."""
    before, after = (sorted({(t.count, t.data) for t in takes}) for takes in (base, new))
    if before == after:
        return said
    if len(before) > 1 or len(after) > 1:
        return said.model_copy(
            update={"verdict": "unsure", "reason": "takes of one side differ: not deterministic"}
        )
    old, fresh = ((said.base, _mean(base[0])), (said.new, _mean(new[0])))
    if old == fresh:
        return said
    return said.model_copy(update={"verdict": "worse" if fresh > old else "better"})


def _mean(take: SampleBlocks) -> float:
    return float(np.mean(np.concatenate(blocks_of(take))))
