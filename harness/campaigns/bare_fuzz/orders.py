"""Orders in which the CPUs of a sequence execute their instructions."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from oracle.others import Schedule

#: Orders that must not matter, because a machine runs in any of them.
USUAL = (
    Schedule(),
    Schedule(behind=True),
    Schedule(fine=True),
    Schedule(delay=0, fine=True),
    Schedule(fine=True, lazy=True),
)
#: Further ones if CPU 0 does something while another one acts, or is interrupted.
USUAL_BESIDE = (
    *(Schedule(delay) for delay in (0, 1, 2, 3, 6)),
    *(Schedule(fine=True, seed=seed) for seed in range(8)),
    *(Schedule(fine=True, seed=seed, burst=burst) for burst in (0.8, 0.97) for seed in range(6)),
    Schedule(timer_first=True),
)
#: Numbers of random orders: if one in a thousand leads to a result, all of them miss it once in
#: fifty times. They take some seconds; the few are for a case that is being shrunk.
MANY, FEW = 4000, 200


def random_orders(count: int) -> Iterator[Schedule]:
    """Yield orders that differ in all that may differ. They are the same each time."""
    chance = Random(1)  # noqa: S311 - no secret
    for seed in range(count):
        yield Schedule(
            fine=chance.random() < 0.9,
            seed=seed,
            share=chance.choice((0.03, 0.1, 0.3, 0.7, 1)),
            burst=chance.choice((0, 0.3, 0.8, 0.97)),
            timer_first=chance.random() < 0.3,
            behind=chance.random() < 0.3,
            arrivals=chance.choice((0.05, 0.2, 0.5, 1)),
        )
