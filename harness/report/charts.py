"""Coordinates of the charts in ``report.html``: bars of ratios, curves of percentiles, boot phases.

They are in percent, so that a chart scales with the page, while its text has a fixed size and
stays readable on a phone. The template draws them as SVG, and escapes all text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, get_args

from harness.lib.text import clean_line
from harness.report.figures import quantity, seconds, times
from harness.results.blocks import percentiles
from harness.results.records import BootRecord, LatencyRecord, Mechanism
from harness.results.summary import LatencySummary, Outcome

#: Number of styles for series: colours, with dashes for colour-blind readers.
STYLES = 8
#: Largest ratio that a bar shows. Otherwise a ratio of a thousand would make others invisible.
WIDEST = 20.0
#: Points of a curve.
_POINTS = 60


class Bar(NamedTuple):
    """The ratio of one mechanism to user interrupts."""

    mechanism: str
    style: int
    #: Positions of 1, of the ratio, and of the ends of its interval.
    one: float
    at: float
    low: float
    high: float
    #: Ratio and interval as text.
    text: str


class Bars(NamedTuple):
    """One mode's ratios. All modes of a cell have the same scale."""

    mode: str
    base: str
    bars: tuple[Bar, ...]


class Mark(NamedTuple):
    """A line of a scale. The name may be empty."""

    at: float
    name: str


class Curve(NamedTuple):
    """One distribution, with its points in SVG's format."""

    mechanism: str
    style: int
    points: str


class Curves(NamedTuple):
    """One mode's distributions."""

    mode: str
    rows: tuple[Mark, ...]
    columns: tuple[Mark, ...]
    curves: tuple[Curve, ...]


class Phase(NamedTuple):
    """A part of a boot."""

    name: str
    style: int
    begin: float
    width: float
    time: str


class Boot(NamedTuple):
    """The phases and duration of a guest's boot."""

    cell: str
    total: str
    phases: tuple[Phase, ...]
    #: The accelerator, and why it was chosen.
    reason: str


class CellCharts(NamedTuple):
    """All charts of a cell's latencies."""

    cell: str
    bars: tuple[Bars, ...]
    curves: tuple[Curves, ...]


def latency_charts(outcome: Outcome) -> list[CellCharts]:
    """Return the charts of each cell with latencies."""
    return [
        CellCharts(
            clean_line(name),
            tuple(_bars([row for row in outcome.summary.latency if row.cell == name])),
            tuple(_curves([r for r in outcome.latencies if r.cell == name and r.takes])),
        )
        for name in dict.fromkeys(record.cell for record in outcome.latencies)
    ]


def boot_charts(boots: Sequence[BootRecord]) -> list[Boot]:
    """Return a bar for each boot, all on the same scale."""
    longest = max((boot.boot_s for boot in boots), default=0) or 1
    return [_boot(boot, longest) for boot in boots]


def style_of(mechanism: str) -> int:
    """Return the style of a mechanism, the same in each chart."""
    known = get_args(Mechanism)
    place = known.index(mechanism) if mechanism in known else sum(mechanism.encode())
    return place % STYLES


# --- ratios --------------------------------------------------------------------------------


def _bars(rows: Sequence[LatencySummary]) -> Iterable[Bars]:
    compared = [row for row in rows if row.to_uintr]
    ends = [
        end for row in compared if row.to_uintr for end in (row.to_uintr.low, row.to_uintr.high)
    ]
    if not compared:
        return
    scale = _Log(max(1 / WIDEST, min([*ends, 0.5])), min(WIDEST, max([*ends, 2.0])))
    for mode in dict.fromkeys(row.mode for row in sorted(compared, key=lambda row: row.mode)):
        own = [row for row in compared if row.mode == mode]
        base = next((r for r in rows if (r.mode, r.mechanism) == (mode, "uintr")), None)
        yield Bars(
            clean_line(mode),
            quantity(base.p50, base.unit) if base else "",
            tuple(_bar(row, scale) for row in sorted(own, key=lambda row: row.mechanism)),
        )


def _bar(row: LatencySummary, scale: _Log) -> Bar:
    ratio = row.to_uintr
    assert ratio is not None
    one, at, low, high = map(scale.percent, (1, ratio.ratio, ratio.low, ratio.high))
    text = f"{times(ratio.ratio)} ({times(ratio.low)}…{times(ratio.high)})"
    return Bar(row.mechanism, style_of(row.mechanism), one, at, low, high, text)


class _Log:
    """A logarithmic scale in percent, with a margin at both ends."""

    def __init__(self, low: float, high: float) -> None:
        self._low = math.log(max(low, 1e-6)) - 0.05
        self._high = math.log(max(high, 1e-6)) + 0.05

    def percent(self, value: float) -> float:
        """Return a value's position, from 0 to 100."""
        place = (math.log(max(value, 1e-6)) - self._low) / (self._high - self._low)
        return 100 * min(1.0, max(0.0, place))


# --- percentiles ---------------------------------------------------------------------------


def _curves(records: Sequence[LatencyRecord]) -> Iterable[Curves]:
    for mode, unit in sorted({(record.mode, record.unit) for record in records}):
        own = sorted(
            (r for r in records if (r.mode, r.unit) == (mode, unit)), key=lambda r: r.mechanism
        )
        decades = min(5, max(2, math.ceil(math.log10(max(r.count for r in own)))))
        lines = [(record.mechanism, _points(record, decades)) for record in own]
        values = [value for _, points in lines for _, value in points]
        low = 10 ** math.floor(math.log10(max(1, min(values))))
        high = max(low * 10, 10 ** math.ceil(math.log10(max(1, *values))))
        yield Curves(
            clean_line(mode),
            _rows(low, high, unit),
            _columns(decades),
            tuple(
                Curve(
                    name,
                    style_of(name),
                    " ".join(f"{100 * x:.2f},{_y_position(y, low, high):.2f}" for x, y in points),
                )
                for name, points in lines
            ),
        )


def _points(record: LatencyRecord, decades: int) -> list[tuple[float, float]]:
    """Return (x, percentile): x is 0 for the fastest and 1 for the last of 10**decades samples."""
    last = min(1.0, math.log10(max(10, record.count)) / decades)
    places = [last * step / _POINTS for step in range(_POINTS + 1)]
    values = percentiles(record.takes, [100 * (1 - 10 ** (-x * decades)) for x in places])
    values[0] = record.min  # a block of many samples does not keep it
    return [(x, float(max(1, value))) for x, value in zip(places, values, strict=True)]


def _y_position(value: float, low: float, high: float) -> float:
    """Return a value's position, from 96 at the bottom to 6 at the top."""
    return 96 - 90 * math.log(value / low) / math.log(high / low)


def _rows(low: float, high: float, unit: str) -> tuple[Mark, ...]:
    """Return a line for each power of ten. If there are many, every second one has a name."""
    steps = round(math.log10(high / low))
    marks = []
    for step in range(steps + 1):
        value = low * 10**step
        name = quantity(value, unit).replace(".00", "").replace(".0", "")
        marks.append(
            Mark(_y_position(value, low, high), name if steps <= 4 or step % 2 == 0 else "")
        )
    return tuple(marks)


def _columns(decades: int) -> tuple[Mark, ...]:
    names = ("50 %", "90 %", "99 %", "99.9 %", "99.99 %")
    places = [100 * (nines or math.log10(2)) / decades for nines in range(len(names))]
    return tuple(Mark(at, name) for at, name in zip(places, names, strict=True) if at < 100)


# --- boots ---------------------------------------------------------------------------------


def _boot(boot: BootRecord, longest: float) -> Boot:
    """Return a boot's chart, divided into its phases."""
    starts = sorted(boot.phases.items(), key=lambda item: item[1])
    ends = [start for _, start in [*starts, ("", boot.boot_s)][1:]]
    cuts = [("start", 0.0, starts[0][1])] if starts else []
    cuts += [(name, begin, end) for (name, begin), end in zip(starts, ends, strict=True)]
    shown = [(name, begin, end) for name, begin, end in cuts if end - begin >= 0.0005]
    return Boot(
        clean_line(boot.cell),
        seconds(boot.boot_s),
        tuple(
            Phase(
                clean_line(name),
                number % STYLES,
                100 * begin / longest,
                100 * (end - begin) / longest,
                seconds(end - begin),
            )
            for number, (name, begin, end) in enumerate(shown)
        ),
        clean_line(f"{boot.accel}: {boot.accel_reason}" if boot.accel_reason else boot.accel),
    )
