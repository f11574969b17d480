"""Batches of cases with their expected results, made while machines play earlier ones."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from harness.campaigns.bare_fuzz.case import Case
from harness.campaigns.bare_fuzz.generate import generate
from harness.campaigns.bare_fuzz.model import Expectation, Facts, expect

#: Cases in the first batch, and in the largest.
FIRST, BATCH = 250, 2000
#: Attempts to generate a case for a number that the model covers; it covers most.
_ATTEMPTS = 100


class Batch(NamedTuple):
    """Some cases with their expected results."""

    #: Numbers of the cases with a seed; None for cases from files.
    numbers: tuple[int | None, ...]
    cases: tuple[Case, ...]
    expected: tuple[Expectation, ...]


#: Function that yields the batches of a seed, up to a number of cases.
Makes = Callable[[int, Facts, int | None], AbstractContextManager[Iterator[Batch]]]


def make_batch(seed: int, numbers: Sequence[int], facts: Facts) -> Batch:
    """Return cases for some numbers; a number without a case that the model covers is left out."""
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
def batches_in_background(
    seed: int, facts: Facts, limit: int | None = None
) -> Iterator[Iterator[Batch]]:
    """Yield batches; another process makes the next one meanwhile."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_end_with_parent) as pool:
        yield _batches(seed, facts, limit, pool)
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when its parent dies.

    Otherwise it would wait for work forever, because it also holds the writing end of its queue.
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
