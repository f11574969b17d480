"""What reports need of a run's records, collected from one record after another.

A case that ran a thousand times is kept once, with its worst result. What is kept has a limit, so
that a report's memory does not depend on the size of ``results.jsonl``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TypeVar, assert_never

from harness.errors import GuestError
from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    LatencyRecord,
    ProgramRecord,
    Record,
    SplatRecord,
)
from harness.values import Value

#: Limit for the memory of what is kept, in bytes: some 80,000 different cases.
MOST_KEPT = 128 << 20
#: Limit for the takes of one distribution in one cell. An interval's memory grows with them.
MOST_TAKES = 1000
#: Estimates of the memory of a kept record, of a cell, and of a run of a program.
_RECORD, _CELL, _RUN = 1536, 8192, 128
#: Memory of an item of a table within a record.
_ITEM = 64

_BIT = {"pass": 1, "fail": 2, "skip": 4}
_ORDER = {"fail": 0, "pass": 1, "skip": 2}


R = TypeVar("R", bound=Value)


class _Budget:
    """Counts the memory of what is kept."""

    def __init__(self) -> None:
        self._left = MOST_KEPT

    def take(self, size: int) -> None:
        """Count memory.

        :raise GuestError: it is more than the limit.
        """
        self._left -= size
        if self._left < 0:
            raise GuestError(
                "the run has more different results than a report can hold: their memory would be"
                f" more than {MOST_KEPT >> 20} MiB",
                hint="run fewer cells or programs at a time",
            )


class CellRecords:
    """What reports need of one cell's records."""

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget
        budget.take(_CELL)
        #: (program, case) → its worst result, so that a retry does not hide a failure.
        self.cases: dict[tuple[str, str], CaseRecord] = {}
        #: Splats that are not excused.
        self.splats: list[SplatRecord] = []
        self.guest_failures: list[GuestFailureRecord] = []
        self.takes: list[LatencyRecord] = []
        #: Boots, without those of restored guests.
        self.boots: list[BootRecord] = []
        #: The first guest that became ready, restored or not.
        self.first_boot: BootRecord | None = None
        #: Program → run → bits of the results of its cases.
        self._runs: dict[str, dict[int, int]] = defaultdict(dict)
        self._failed: dict[str, Counter[str]] = defaultdict(Counter)
        self._number_of_takes: Counter[tuple[str, str, str]] = Counter()

    def add(self, record: Record) -> None:
        """Add a record, or leave it out if reports need no more than those before."""
        match record:
            case CaseRecord():
                self._add_case(record)
            case SplatRecord():
                if record.excused is None:
                    self.splats.append(self._kept(record))
            case GuestFailureRecord():
                self.guest_failures.append(self._kept(record))
            case LatencyRecord():
                self._add_take(record)
            case BootRecord():
                if self.first_boot is None or not record.restored:
                    self._kept(record)
                self.first_boot = self.first_boot or record
                if not record.restored:
                    self.boots.append(record)
            case ProgramRecord():
                pass
            case _:
                assert_never(record)

    def tallies(self) -> Iterable[tuple[str, int, int, int, Counter[str]]]:
        """Yield each program, its runs, those that passed, those that failed, and what failed."""
        for program, runs in self._runs.items():
            failed = sum(bool(bits & _BIT["fail"]) for bits in runs.values())
            passed = sum(bits & 3 == _BIT["pass"] for bits in runs.values())
            yield program, len(runs), passed, failed, self._failed[program]

    def _add_case(self, record: CaseRecord) -> None:
        key = (record.program, record.case)
        known = self.cases.get(key)
        if known is None or _ORDER[record.status] < _ORDER[known.status]:
            self.cases[key] = self._kept(record)
        runs = self._runs[record.program]
        if record.attempt not in runs:
            self._budget.take(_RUN)
        runs[record.attempt] = runs.get(record.attempt, 0) | _BIT[record.status]
        if record.status == "fail":
            self._failed[record.program][record.case] += 1

    def _add_take(self, record: LatencyRecord) -> None:
        name = (record.mechanism, record.mode, record.unit)
        self._number_of_takes[name] += max(1, len(record.takes))
        if self._number_of_takes[name] > MOST_TAKES:
            raise GuestError(
                f"{record.mechanism} {record.mode} was measured more than {MOST_TAKES} times",
                where=record.cell,
                hint="repeat the run less often",
            )
        self.takes.append(self._kept(record))

    def _kept(self, record: R) -> R:
        self._budget.take(_RECORD + _size(record))
        return record


class Collected:
    """What reports need of a run's records, by cell.

    :param cells: names of cells that are there even without records.
    :raise GuestError: there is more than the limits allow.
    """

    def __init__(self, records: Iterable[Record], cells: Iterable[str] = ()) -> None:
        budget = _Budget()
        self.cells = {name: CellRecords(budget) for name in cells}
        for record in records:
            cell = self.cells.get(record.cell)
            if cell is None:
                cell = self.cells[record.cell] = CellRecords(budget)
            cell.add(record)


def _size(value: object) -> int:
    """Return the memory of the texts and tables in a record."""
    match value:
        case str():
            return len(value) if value.isascii() else 4 * len(value)
        case Value():
            return _size(value.__dict__)
        case tuple():
            return sum(_ITEM + _size(one) for one in value)
        case dict():
            return sum(_size(one) for one in value.values()) + sum(map(_size, value))
    return 0
