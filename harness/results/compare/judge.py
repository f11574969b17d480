"""The verdict on a latency: better, same or worse. The method, and its floors.

A latency is *worse* if all of these hold, and *better* if the reverse of all holds:

1. The 99 % interval of the ratio of medians (resampling of blocks) is above the relative floor.
   Many latencies are judged at once, and with 95 % one in twenty would be wrong.
2. The medians differ by more than the absolute floor. A cache line or a clock's resolution makes
   smaller differences.
3. The medians of the blocks differ by the rank test of Mann and Whitney (1947, "On a test of
   whether one of two random variables is stochastically larger than the other"). Resampling of
   few blocks gives intervals that are too narrow. This test does not have that problem.
4. The fastest tenth moved too, by at least half the floor. A change in the kernel affects every
   round, and so the fastest ones. The host disturbs only some rounds.
5. No measurement was disturbed: see :func:`harness.results.hostload.disturbed`. On a host with
   more work than CPUs even steady measurements differ: by a quarter if the cache is shared, and by
   a factor of a thousand if each round waits for the host's scheduler.
6. Under TCG there are at least three takes on both sides. In one of nine runs of the same kernel
   on a calm host, six of 55 latencies were up to four times as long as in the others, evenly from
   beginning to end. The relative floor is higher under TCG, too.

If 1 and 2 hold and another one does not, the verdict is *unsure*, with the reason. *Same* means
that no difference beyond the floors could be shown.

The floors are for differences between runs of the same kernel that one run cannot show, because
memory layout and placement of threads change from run to run. They were measured, see
``docs/figures.md``. Several runs, or a repeated one, show these differences themselves: each take
is drawn as a whole (:class:`harness.results.compare.resampling.Estimate`).

In unit ``insn`` the clock counts instructions, and any difference comes from the code.
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
#: Significance level of the rank test.
CHANCE = 0.001
#: Takes that both sides need under TCG, whose latencies differ between runs.
FEWEST_TAKES = 3
#: With fewer blocks on both sides, the rank test cannot get below `CHANCE`.
FEWEST_BLOCKS = 8


class Floors(Value):
    """Limits below which a difference does not count."""

    relative: float = 0.15
    #: The relative floor under TCG, where eight of the nine runs differed by up to 0.21.
    emulated: float = 0.30
    #: In ns.
    absolute: float = 100.0


class Judgement(Value):
    """The verdict on a latency. Ratios are new divided by base, with 99 % intervals."""

    verdict: LatencyVerdict
    #: Why the verdict is ``unsure``; otherwise empty.
    reason: str = ""
    #: The medians.
    base: float
    new: float
    #: Ratio of medians: value, low, high; None if the base is or may be zero.
    ratio: tuple[float, float, float] | None
    #: Ratio of the slow hundredths. Shown and not judged, because most of a tail is the host's.
    tail: tuple[float, float, float] | None
    #: p-value of the rank test; None in unit ``insn``.
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

    :param base: the takes of the base.
    :param new: the takes of the new run.
    :param hosts: the host's load during all takes.
    :param emulated: whether they were measured under TCG.
    :raise ValueError: one side has no take.
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
        return _judge_counts(said, base, new)
    chance = rank_test(before.medians, after.medians)
    said = said.model_copy(update={"chance": chance})
    chosen = floors or Floors()
    relative = chosen.emulated if emulated else chosen.relative
    direction = _direction(said, ratio, relative, chosen.absolute)
    if direction is None:
        return said
    reason = (
        _chance_reason(chance, before, after)
        or _host_reason(direction, before, after, hosts, relative)
        or (_too_few_takes(min(len(base), len(new))) if emulated else "")
    )
    update = {"verdict": "unsure", "reason": reason} if reason else {"verdict": direction}
    return said.model_copy(update=update)


def rank_test(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of Mann and Whitney's test, by its normal approximation.

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
    """Return the direction in which the medians differ beyond the floors, None if they do not."""
    if ratio is None or abs(said.new - said.base) <= absolute:
        return None
    if ratio.low > 1 + relative:
        return "worse"
    return "better" if ratio.high < 1 / (1 + relative) else None


def _chance_reason(chance: float, before: Estimate, after: Estimate) -> str:
    """Return why the rank test shows no difference; empty if it shows one."""
    if chance < CHANCE:
        return ""
    fewest = min(before.medians.size, after.medians.size)
    if fewest < FEWEST_BLOCKS:
        return f"too few samples: {fewest} blocks, of {SHORTEST} and more each"
    return f"the rank test finds no difference (p = {chance:.2g})"


def _host_reason(
    direction: Literal["better", "worse"],
    before: Estimate,
    after: Estimate,
    hosts: Iterable[HostLoad | None],
    relative: float,
) -> str:
    """Return why a difference of the medians may come from the host; empty if it does not."""
    for host in hosts:
        reason = disturbed(host)
        if reason:
            return reason
    fast = after.ratio(before, FAST, CERTAINTY)
    half = 1 + relative / 2
    if fast is None or (fast.low <= half if direction == "worse" else fast.high >= 1 / half):
        return "the fastest tenth is as fast as before, so the host may be the cause"
    return ""


def _too_few_takes(takes: int) -> str:
    """Return why a difference may come from TCG; empty if there are enough takes."""
    if takes >= FEWEST_TAKES:
        return ""
    return (
        "under TCG one run can be four times as slow as the next: use "
        f"--repeat {FEWEST_TAKES} on both sides, or --clock icount"
    )


def _judge_counts(
    said: Judgement, base: Sequence[SampleBlocks], new: Sequence[SampleBlocks]
) -> Judgement:
    """Judge by the median of instructions, and by the mean if it is equal. Both are exact."""
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
