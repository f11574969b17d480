"""Batches of cases with what must be left of them, made beside the machines that play them."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from harness.campaigns.bare_fuzz.case import Case
from harness.campaigns.bare_fuzz.generate import generate
from harness.campaigns.bare_fuzz.model import Expectation, Facts, expect

#: Cases that go to a machine at a time: in the beginning, and at most.
FIRST, BATCH = 250, 2000
#: Cases of a number that are tried before it is given up: those that the model knows are most.
_ATTEMPTS = 100


class Batch(NamedTuple):
    """Some cases."""

    #: Of a seed; None for those from files.
    numbers: tuple[int | None, ...]
    cases: tuple[Case, ...]
    expected: tuple[Expectation, ...]


#: Gives the batches of a seed, up to a number of cases.
Makes = Callable[[int, Facts, int | None], AbstractContextManager[Iterator[Batch]]]


def make_batch(seed: int, numbers: range, facts: Facts) -> Batch:
    """Make the cases of some numbers, each one that the model says something about."""
    made = [_case(seed, number, facts) for number in numbers]
    found = [(number, *one) for number, one in zip(numbers, made, strict=True) if one]
    return Batch(
        tuple(number for number, _, _ in found),
        tuple(case for _, case, _ in found),
        tuple(expected for _, _, expected in found),
    )


def _case(seed: int, number: int, facts: Facts) -> tuple[Case, Expectation] | None:
    for attempt in range(_ATTEMPTS):
        case = generate(seed, number, attempt)
        if expected := expect(case, facts):
            return case, expected
    return None


@contextmanager
def made_beside(seed: int, facts: Facts, limit: int | None = None) -> Iterator[Iterator[Batch]]:
    """Give batches, of which the next one is made in another process meanwhile."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_end_with_parent) as pool:
        yield _batches(seed, facts, limit, pool)
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Have this process end when the one that started it was killed.

    It would wait for work for ever: it has the writing end of its own queue open, too.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def _batches(
    seed: int, facts: Facts, limit: int | None, pool: ProcessPoolExecutor
) -> Iterator[Batch]:
    ahead, first, size, end = None, 0, FIRST, limit or sys.maxsize
    while first < end:
        numbers = range(first, min(first + size, end))
        current, ahead = ahead, pool.submit(make_batch, seed, numbers, facts)
        if current:
            yield current.result()
        first, size = numbers.stop, min(2 * size, BATCH)
    if ahead:
        yield ahead.result()
