"""Latency records → measurements, and the intervals that reports show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from harness.results.compare.resampling import MEDIAN, SLOW, Estimate, Interval
from harness.results.records import HostLoad, LatencyRecord, SampleBlocks, Spin, Unit
from harness.results.summary import LatencySummary, RatioSummary, Summary
from harness.values import Value

#: What the others of a cell are compared with.
BASE_MECHANISM = "uintr"


class Measurement(Value):
    """One mechanism and mode in one cell, as often as it was measured."""

    cell: str
    #: A word of the README's, or one of a later version.
    mechanism: str
    mode: str
    unit: Unit
    takes: tuple[SampleBlocks, ...]
    #: What the host did during each take.
    hosts: tuple[HostLoad | None, ...] = ()
    #: How each take spun; see :class:`harness.results.records.LatencyRecord`.
    spins: tuple[Spin | None, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is a measurement of, in any cell."""
        return self.mechanism, self.mode, self.unit


def gather(records: Iterable[LatencyRecord]) -> tuple[Measurement, ...]:
    """Return the measurements of records, one for each take; a record without samples is left out.

    Never two accelerators in one: that is one cell, which has one.
    """
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
    """Return the summary with an interval beside each median, p99 and ratio to user interrupts.

    There is no ratio of two mechanisms that were measured with different spins.
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
    """Return an interval's ends; the percentile that is shown, which is rounded, is within."""
    return min(interval.low, shown), max(interval.high, shown)
