"""Tables of the history: latencies, and programs that failed.

Columns for all mechanisms and modes would not fit a screen. So there is a heading for each cell,
mechanism and mode, and below it a line for each run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from harness.lib.text import clean_line
from harness.report.figures import quantity, span, times
from harness.report.rows import Column, Sheet
from harness.results.history import HistoryRow, ProgramRow

_COLUMNS = (
    Column("latency"),
    Column("run began"),
    Column("p50", figure=True),
    Column("95 % of p50", figure=True, extra=True),
    Column("p99", figure=True),
    Column("to before", figure=True),
    Column("waited", figure=True, extra=True),
    Column("kernel"),
    Column("series"),
    Column("emulator", extra=True),
    Column("run"),
)


def history_sheet(rows: Sequence[HistoryRow]) -> Sheet:
    """Return a table of latencies, grouped, the latest run last.

    Latencies of different accelerators, clocks or hosts have separate headings.
    """
    groups: dict[str, list[HistoryRow]] = {}
    for row in rows:
        groups.setdefault(_heading(row), []).append(row)
    found = []
    for heading in sorted(groups):
        before: int | None = None
        for row in groups[heading]:
            found.append(_row(heading, row, before))
            before = row.p50
    return Sheet("History", _COLUMNS, tuple(found), grouped=True)


def failures_sheet(rows: Sequence[ProgramRow]) -> Sheet:
    """Return a table of programs and cells, those that failed most often first."""
    groups: dict[tuple[str, str], list[ProgramRow]] = {}
    for row in rows:
        groups.setdefault((row.program, row.cell), []).append(row)
    found = [_failures(name, cell, own) for (name, cell), own in groups.items()]
    found.sort(key=lambda one: (-one.rate, one.texts))
    columns = (
        Column("program"),
        Column("cell"),
        *(Column(title, figure=True) for title in ("runs", "failed", "rate")),
        Column("failed last"),
        Column("cases"),
    )
    return Sheet("Programs that ran", columns, tuple(one.texts for one in found))


class _Failures(NamedTuple):
    rate: float
    texts: tuple[str, ...]


def _failures(program: str, cell: str, rows: Sequence[ProgramRow]) -> _Failures:
    runs, fail = sum(row.runs for row in rows), sum(row.fail for row in rows)
    last = max((row.time for row in rows if row.fail), default="")
    cases = Counter(case for row in rows for case in row.failed.splitlines())
    rate = fail / runs
    texts = (
        clean_line(program),
        clean_line(cell),
        str(runs),
        str(fail),
        f"{100 * rate:.3g} %" if fail else "-",
        clean_line(last.replace("T", " ").removesuffix("Z")) or "-",
        clean_line(", ".join(case for case, _ in cases.most_common())),
    )
    return _Failures(rate, texts)


def _heading(row: HistoryRow) -> str:
    where = f"{row.accel}{', icount' if row.clock == 'icount' else ''}, {row.host or 'unknown'}"
    return clean_line(f"{row.mechanism} {row.mode} in {row.cell} ({where})")


def _row(heading: str, row: HistoryRow, before: int | None) -> tuple[str, ...]:
    known = row.p50_low is not None and row.p50_high is not None
    return (
        heading,
        clean_line(row.time.replace("T", " ").removesuffix("Z")),
        quantity(row.p50, row.unit),
        span(row.p50_low or 0, row.p50_high or 0, row.unit) if known else "-",
        quantity(row.p99, row.unit),
        times(row.p50 / before) if before else "-",
        "-" if row.waited_percent is None else f"{row.waited_percent:.0f} %",
        clean_line(row.kernel[:8]),
        clean_line(row.series[:8]) or "-",
        clean_line(row.emulator[:12]),
        clean_line(row.verdict) or "-",
    )
