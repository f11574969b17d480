"""Contents of all reports as rows of plain text, to be formatted for terminal, Markdown and HTML.

Text from guests is cleaned here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.lib.text import clean_line, excerpt
from harness.report.figures import quantity, ratio, seconds, span, times
from harness.results.hostload import disturbed
from harness.results.needs import described
from harness.results.records import CONSOLE, CaseRecord, Record, SplatRecord
from harness.results.reproducer import script_path
from harness.results.summary import LatencySummary, Outcome, case_id, flaky_programs

#: Limits for the lines of a case's diagnostics, of a splat and of a console in a report.
DIAGNOSTICS, SPLAT, TAIL = 8, 12, 15


class Column(NamedTuple):
    """A column of a table."""

    title: str
    #: Whether it contains figures.
    figure: bool = False
    #: Whether it is left out on a narrow terminal.
    extra: bool = False


class Sheet(NamedTuple):
    """A table."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    #: Whether rows are grouped by their first cell, which is the heading of the group.
    grouped: bool = False


class Trouble(NamedTuple):
    """A failure, for a reader to examine."""

    #: ``FAIL``, ``FLAKY`` (the program passed in another of its runs), ``SPLAT`` or ``GUEST``.
    kind: str
    title: str
    cell: str
    message: str
    lines: tuple[str, ...]
    #: Label and path of related files in the run's folder.
    files: tuple[tuple[str, Path], ...]


def cells(outcome: Outcome) -> Sheet:
    """Return the table of cells."""
    columns = (
        Column("cell"),
        Column("boot", figure=True),
        *(Column(word, figure=True) for word in ("pass", "fail", "skip", "splats")),
        Column("verdict"),
    )
    rows = [
        (
            clean_line(cell.name),
            "-" if cell.boot_s is None else seconds(cell.boot_s),
            *(str(count) for count in (cell.passed, cell.fail, cell.skip, cell.splats)),
            _verdict(outcome, cell.name),
        )
        for cell in outcome.summary.cells
    ]
    return Sheet("Cells", columns, tuple(rows))


def elsewhere(outcome: Outcome) -> list[str]:
    """Return a line that says how many cases do not apply to their cells, and why, if any."""
    counts: Counter[str] = Counter()
    for cell in outcome.summary.cells:
        counts.update(cell.elsewhere)
    where = [cell.name for cell in outcome.summary.cells if cell.elsewhere]
    if not where:
        return []
    cells = where[0] if len(where) == 1 else f"{len(where)} cells"
    return [clean_line(f"not counted in {cells}: {described(counts)}")]


def elsewhere_cases(outcome: Outcome) -> list[str]:
    """Return a line for each case that does not apply to its cell."""
    return [
        clean_line(f"{case_id(case)}  [{case.cell}]  {case.message}")
        for case in outcome.cases
        if case.lacks
    ]


def repeated(outcome: Outcome) -> Sheet:
    """Return the table of programs that ran more than once in a cell."""
    columns = (
        Column("cell"),
        Column("program"),
        *(Column(word, figure=True) for word in ("runs", "pass", "fail", "skip")),
        Column("failed"),
    )
    rows = [
        (
            clean_line(one.cell),
            clean_line(one.program),
            *(str(count) for count in (one.runs, one.passed, one.fail, one.skip)),
            clean_line(", ".join(f"{case} ({times})" for case, times in one.failed.items())),
        )
        for one in outcome.summary.repeated
    ]
    return Sheet("Repeated programs", columns, tuple(rows))


LATENCY_COLUMNS = (
    Column("mode"),
    Column("mechanism"),
    Column("count", figure=True, extra=True),
    Column("min", figure=True, extra=True),
    Column("p50", figure=True),
    Column("95 % of p50", figure=True, extra=True),
    *(Column(title, figure=True) for title in ("p90", "p99", "max", "p50 / uintr")),
    Column("95 % of it", figure=True),
    Column("per s", figure=True, extra=True),
)


def latency(outcome: Outcome) -> list[Sheet]:
    """Return a table of latencies for each cell, with medians as multiples of uintr's.

    Both figures of a ratio are from the same cell, and so from the same accelerator. ``per s`` is
    the number of operations per second, such as round trips in a ping-pong.
    """
    sheets = []
    for name in dict.fromkeys(row.cell for row in outcome.summary.latency):
        own = [row for row in outcome.summary.latency if row.cell == name]
        base = {(row.mode, row.unit): row.p50 for row in own if row.mechanism == "uintr"}
        rows = tuple(
            (
                clean_line(row.mode),
                row.mechanism,
                str(row.count),
                quantity(row.min, row.unit),
                quantity(row.p50, row.unit),
                span(*row.p50_interval, row.unit) if row.p50_interval else "-",
                *(quantity(value, row.unit) for value in (row.p90, row.p99, row.max)),
                ratio(row.p50, base.get((row.mode, row.unit)) if _compares(row) else None),
                f"{times(row.to_uintr.low)}…{times(row.to_uintr.high)}" if row.to_uintr else "-",
                f"{1e9 / row.mean:,.0f}" if row.unit == "ns" and row.mean else "-",
            )
            for row in sorted(own, key=_latency_order)
        )
        sheets.append(Sheet(f"Latency in {clean_line(name)}", LATENCY_COLUMNS, rows, grouped=True))
    return sheets


def _compares(row: LatencySummary) -> bool:
    """Return false if a row busy-waited otherwise than user interrupts did."""
    without_samples = row.p50_interval is None
    return row.mechanism == "uintr" or row.to_uintr is not None or without_samples


def boot_notes(outcome: Outcome) -> list[str]:
    """Return remarks on the boots, such as one that QEMU did not survive."""
    return [clean_line(f"{boot.cell}: {boot.note}") for boot in outcome.boots if boot.note]


def latency_notes(outcome: Outcome) -> list[str]:
    """Return remarks on the latencies: restored guests, odd samples, a busy host."""
    busy: dict[tuple[str, str], list[str]] = {}
    for take in outcome.takes:
        reason = disturbed(take.host)
        if reason:
            busy.setdefault((take.cell, take.program), []).append(reason)
    restored = dict.fromkeys((take.cell, take.program) for take in outcome.takes if take.restored)
    return (
        [
            clean_line(f"{cell}, all of {program}: in a guest that was restored from a snapshot")
            for cell, program in restored
        ]
        + [
            clean_line(f"{r.cell}, {r.mechanism} {r.mode}: {note}")
            for r in outcome.latencies
            for note in r.notes
        ]
        + [
            clean_line(f"{cell}, all of {program}: {reasons[0]}")
            for (cell, program), reasons in busy.items()
        ]
    )


def troubles(outcome: Outcome, run: Path) -> list[Trouble]:
    """Return all failures: first those of guests, then splats, then cases."""
    found = [
        Trouble(
            "GUEST",
            clean_line(lost.verdict + (f" during {lost.program}" if lost.program else "")),
            clean_line(lost.cell),
            clean_line("; ".join(filter(None, [lost.message, _phase(lost.phase), lost.hint]))),
            tuple(_tail(lost.console_tail)),
            _files(run, lost),
        )
        for lost in outcome.guest_failures
    ]
    found += [
        Trouble(
            "SPLAT",
            clean_line(splat.title),
            clean_line(splat.cell),
            clean_line("; ".join(_circumstances(splat))),
            tuple(excerpt(splat.excerpt, SPLAT)),
            _files(run, splat, line=splat.first_line),
        )
        for splat in outcome.splats
    ]
    flaky = flaky_programs(outcome)
    return [
        *found,
        *(_failure(case, run, (case.cell, case.program) in flaky) for case in outcome.failures),
    ]


def _circumstances(splat: SplatRecord) -> Iterator[str]:
    if splat.program:
        yield f"during {splat.program}"
    if splat.corrupted:
        yield "the report is cut or mixed with another"


def _failure(case: CaseRecord, run: Path, flaky: bool) -> Trouble:
    script = run / script_path(case.cell, case.program, case.case)
    return Trouble(
        "FLAKY" if flaky else "FAIL",
        clean_line(case_id(case) + (f" (run {case.attempt})" if case.attempt > 1 else "")),
        clean_line(case.cell),
        clean_line(case.message),
        tuple(excerpt(case.diagnostics, DIAGNOSTICS)),
        (*_files(run, case), *([("reproduce", script)] if script.exists() else [])),
    )


def _files(run: Path, record: Record, *, line: int = 0) -> tuple[tuple[str, Path], ...]:
    log = run / "cells" / record.cell / record.console
    if not log.exists():
        return ()
    label = "console" if log.name == CONSOLE else "QEMU's messages"
    return ((f"{label}, line {line}" if line else label, log),)


def _tail(console: str) -> list[str]:
    lines = console.rstrip("\n").split("\n")
    return excerpt("\n".join(lines[-TAIL:]), TAIL)


def _phase(phase: str) -> str:
    return f"last phase: {phase}" if phase else ""


def _verdict(outcome: Outcome, cell: str) -> str:
    verdict = outcome.verdicts[cell]
    if verdict != "guest failed":
        return verdict
    lost = dict.fromkeys(r.verdict for r in outcome.guest_failures if r.cell == cell)
    return clean_line(f"guest failed: {', '.join(lost)}")


def _latency_order(row: LatencySummary) -> tuple[str, bool, str]:
    """Return a sort key: by mode, with uintr first."""
    return (row.mode, row.mechanism != "uintr", row.mechanism)
