"""Measurements, made from latency records, and the intervals that reports show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from harness.results.compare.resampling import MEDIAN, SLOW, Estimate, Interval
from harness.results.records import HostLoad, LatencyRecord, SampleBlocks, Spin, Unit
from harness.results.summary import LatencySummary, RatioSummary, Summary
from harness.values import Value

#: The mechanism that the others of a cell are compared with.
BASE_MECHANISM = "uintr"


class Measurement(Value):
    """All takes of one mechanism and mode in one cell."""

    cell: str
    #: Any text: a later version may have new mechanisms.
    mechanism: str
    mode: str
    unit: Unit
    takes: tuple[SampleBlocks, ...]
    #: The host's load during each take.
    hosts: tuple[HostLoad | None, ...] = ()
    #: How each take busy-waited; see :class:`harness.results.records.LatencyRecord`.
    spins: tuple[Spin | None, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """Mechanism, mode and unit, which are comparable between cells."""
        return self.mechanism, self.mode, self.unit


def gather(records: Iterable[LatencyRecord]) -> tuple[Measurement, ...]:
    """Group records into measurements. A record without samples is left out."""
    groups: dict[tuple[str, str, str, Unit], list[LatencyRecord]] = defaultdict(list)
    for record in records:
        if record.takes:
            groups[record.cell, record.mechanism, record.mode, record.unit].append(record)
    return tuple(
        Measurement(
            cell=cell,
            mechanism=mechanism,
            mode=mode,
            unit=unit,
            takes=tuple(take for record in several for take in record.takes),
            hosts=tuple(record.host for record in several),
            spins=tuple(record.spin for record in several),
        )
        for (cell, mechanism, mode, unit), several in groups.items()
    )


def with_intervals(summary: Summary, measurements: Sequence[Measurement]) -> Summary:
    """Return the summary with intervals for medians, p99 and ratios to user interrupts.

    There is no ratio of two mechanisms that busy-waited in different ways.
    """
    estimates = {
        (one.cell, *one.key): Estimate(one.takes, salt)
        for salt, one in enumerate(measurements, start=1)
    }
    spins = {(one.cell, *one.key): set(one.spins) for one in measurements}
    rows = [_with_interval(row, estimates, spins) for row in summary.latency]
    return summary.model_copy(update={"latency": tuple(rows)})


def _with_interval(
    row: LatencySummary,
    estimates: Mapping[tuple[str, str, str, str], Estimate],
    spins: Mapping[tuple[str, str, str, str], set[Spin | None]],
) -> LatencySummary:
    key = (row.cell, row.mechanism, row.mode, row.unit)
    own = estimates.get(key)
    if own is None:
        return row
    base_key = (row.cell, BASE_MECHANISM, row.mode, row.unit)
    base = estimates.get(base_key)
    compares = base is not None and base is not own and spins[key] == spins[base_key]
    ratio = own.ratio(base, MEDIAN) if base is not None and compares else None
    return row.model_copy(
        update={
            "p50_interval": _ends(own.interval(MEDIAN), row.p50),
            "p99_interval": _ends(own.interval(SLOW), row.p99),
            "to_uintr": ratio and RatioSummary(ratio=ratio.value, low=ratio.low, high=ratio.high),
        }
    )


def _ends(interval: Interval, shown: int) -> tuple[float, float]:
    """Return an interval's ends, extended to include the shown percentile, which is rounded."""
    return min(interval.low, shown), max(interval.high, shown)
