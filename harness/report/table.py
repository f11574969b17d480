"""The report on a terminal or in a CI log, and the table of running cells."""

from __future__ import annotations

import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.lib.text import clean_line
from harness.report import coverage, rows
from harness.report.coverage import read_coverage
from harness.report.figures import seconds
from harness.report.published import published, round_trips
from harness.results.hostload import disturbed
from harness.results.summary import Outcome

#: How much of the latencies is shown.
LatencyDetail = Literal["full", "summary", "none"]
#: Limit for the lines of a table of latencies in a summary. It is left out if it is longer.
FEW = 10
#: Limit for the remarks on these that are printed one by one.
FEW_NOTES = 3

#: Limit for the failures that are printed.
MAX_TROUBLES = 40
#: Minimum width of a column of words.
NARROWEST = 10

_STYLES = {
    "passed": "green",
    "FAIL": "bold red",
    "FLAKY": "bold red",
    "SPLAT": "bold red",
    "GUEST": "bold magenta",
    "skipped": "yellow",
    "not run": "bold magenta",
    "incomplete": "bold magenta",
    "no case": "magenta",
    "better": "green",
    "mended": "green",
    "worse": "bold red",
    "broken": "bold red",
    "unsure": "yellow",
    "refused": "yellow",
}

#: Of the line of a program. One without a case for the cell is ``none``.
_PROGRAM_STYLES = {"FAIL": "bold red", "pass": "green", "skip": "yellow", "none": "dim"}


def print_report(
    console: Console,
    outcome: Outcome,
    run: Path,
    latency: LatencyDetail = "summary",
    *,
    verbose: bool = False,
) -> None:
    """Print a run's outcome: failures, latencies, cells, verdict, and the run's folder.

    The verdict is in the last lines, which are seen first.

    :param verbose: list the cases that do not apply to their cells.
    """
    if verbose and (lines := rows.elsewhere_cases(outcome)):
        console.print(Text("\n".join(["cases that do not apply to their cells:", *lines, ""])))
    troubles = rows.troubles(outcome, run)
    for trouble in troubles[:MAX_TROUBLES]:
        console.print(_trouble(trouble), soft_wrap=True)
    if len(troubles) > MAX_TROUBLES:
        console.print(f"… and {len(troubles) - MAX_TROUBLES} more in the run's folder\n")
    if latency == "full":
        _print_latencies(console, outcome)
    elif latency == "summary" and outcome.latencies:
        _summarise_latencies(console, outcome, run)
    if outcome.summary.repeated:
        console.print(sheet_table(rows.repeated(outcome), console.width))
    covered = read_coverage(run)
    if covered:
        console.print(sheet_table(coverage.sheet(covered), console.width))
    for note in rows.boot_notes(outcome):
        console.print(_note(note), soft_wrap=True)
    console.print(sheet_table(rows.cells(outcome), console.width))
    for line in rows.elsewhere(outcome):
        console.print(Text(line), soft_wrap=True)
    good = outcome.verdict == "passed"
    verdict = Text(outcome.verdict.upper(), style="bold green" if good else "bold red")
    verdict.append(f": {clean_line(outcome.reason)}", style="not bold")
    console.print(verdict, soft_wrap=True)
    console.print(Text(f"results: {run}"), soft_wrap=True)


def _print_latencies(console: Console, outcome: Outcome) -> None:
    if not outcome.latencies:
        return
    for sheet in (*rows.latency(outcome), *published(outcome)):
        console.print(sheet_table(sheet, console.width))
    for note in rows.latency_notes(outcome):
        console.print(_note(note), soft_wrap=True)


def _summarise_latencies(console: Console, outcome: Outcome, run: Path) -> None:
    """Print few latencies, the table of round trips, and where all latencies are."""
    cells = rows.latency(outcome)
    modes = {row.mode for row in outcome.latencies}
    few = len(cells) == 1 and len(outcome.latencies) + len(modes) <= FEW
    if few:
        console.print(sheet_table(cells[0], console.width))
    sheet = round_trips(outcome)
    if sheet:
        console.print(sheet_table(sheet, console.width))
    notes = rows.latency_notes(outcome)
    if not few or len(notes) > FEW_NOTES:
        notes = list(_counted_notes(outcome))
    for note in notes:
        console.print(_note(note), soft_wrap=True)
    command = shlex.join(["uintr-harness", "report", "--latency", "full", str(run)])
    what = "more about them" if few else f"all {len(outcome.latencies)} latencies"
    console.print(Text(f"{what}: {command}\n"), soft_wrap=True)


def _counted_notes(outcome: Outcome) -> Iterator[str]:
    hit = sum(bool(disturbed(row.host)) for row in outcome.summary.latency)
    if hit:
        what = "other load on the host disturbed the measurement"
        yield f"{hit} of {len(outcome.latencies)} latencies: {what} (~)"
    odd = sum(bool(record.notes) for record in outcome.latencies)
    if odd:
        yield f"{odd} latencies have odd samples"


def _note(text: str) -> Text:
    return Text(f"note: {text}", style="yellow")


def sheet_table(sheet: rows.Sheet, width: int | None = None) -> RenderableType:
    """Return a table for a terminal.

    :param width: columns of the terminal. If there are too few, extra columns are left out.
    """
    shown: Sequence[int] = range(len(sheet.columns))
    widths = [
        max(len(text) for text in (column.title, *(row[at] for row in sheet.rows)))
        for at, column in enumerate(sheet.columns)
    ]
    if width and _total(widths, shown[sheet.grouped :]) > width:
        shown = [at for at in shown if not sheet.columns[at].extra]
    if sheet.grouped:
        words = [at for at in shown[1:] if not sheet.columns[at].figure]
        if width and words:
            longest = max(words, key=lambda at: widths[at])
            over = _total(widths, shown[1:]) - width
            widths[longest] = min(widths[longest], max(NARROWEST, widths[longest] - over))
        if width and _total(widths, shown[1:]) > width:
            return _listed(sheet, shown)
        return _grouped(sheet, shown, widths)
    narrow = [
        widths[at] if sheet.columns[at].figure else min(widths[at], NARROWEST) for at in shown
    ]
    if width and _total(narrow, range(len(narrow))) > width:
        return _listed(sheet, shown)
    table = Table(title=sheet.title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for at in shown:
        _add_column(table, sheet.columns[at])
    for row in sheet.rows:
        table.add_row(*(Text(row[at], style=_style(row[at])) for at in shown))
    return table


def _total(widths: Sequence[int], shown: Sequence[int]) -> int:
    """Return the total width of columns, with three blanks between each two."""
    return sum(widths[at] + 3 for at in shown) - 3


def _grouped(sheet: rows.Sheet, shown: Sequence[int], widths: Sequence[int]) -> Group:
    """Return a grouped table. The headings have their own lines, so that they may be long."""

    def part(own: Sequence[tuple[str, ...]], title: str | None = None) -> Table:
        table = Table(
            title=title,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_header=title is not None,
            show_edge=False,
            pad_edge=False,
        )
        for at in shown[1:]:
            _add_column(table, sheet.columns[at], widths[at])
        for row in own:
            table.add_row(*(Text(row[at], style=_style(row[at])) for at in shown[1:]))
        return table

    groups: dict[str, list[tuple[str, ...]]] = {}
    for row in sheet.rows:
        groups.setdefault(row[0], []).append(row)
    parts: list[RenderableType] = [part((), sheet.title)]
    for heading, own in groups.items():
        style = f"bold {_style(heading.partition(' ')[0])}"
        parts += [Text(heading, style=style, overflow="fold"), part(own)]
    return Group(*parts, Text())


def _listed(sheet: rows.Sheet, shown: Sequence[int]) -> Text:
    """Return a table as lines, for a terminal that is too narrow for its columns."""
    text, last = Text(f"{sheet.title}\n", overflow="fold"), None
    for row in sheet.rows:
        if row[0] != last:
            text.append(f"{row[0]}\n", style="bold")
            last = row[0]
        labelled = not sheet.columns[1].figure
        rest = shown[2 if labelled else 1 :]
        figures = ", ".join(f"{sheet.columns[at].title} {row[at]}" for at in rest)
        text.append(f"  {row[1]}: {figures}\n" if labelled else f"  {figures}\n")
    return text


def _add_column(table: Table, column: rows.Column, width: int | None = None) -> None:
    table.add_column(
        column.title,
        justify="right" if column.figure else "left",
        no_wrap=column.figure,
        overflow="fold",
        width=width,
    )


def _style(cell: str) -> str:
    if cell in {"failed", "splats"}:
        return "bold red"
    if cell.startswith("guest failed"):
        return "bold magenta"
    return _STYLES.get(cell, "")


def _trouble(trouble: rows.Trouble) -> Text:
    text = Text()
    text.append(f"{trouble.kind} ", style=_STYLES[trouble.kind])
    text.append(trouble.title, style="bold")
    text.append(f"  [{trouble.cell}]\n", style="dim")
    if trouble.message:
        text.append(f"     {trouble.message}\n")
    for line in trouble.lines:
        text.append(f"     | {line}\n", style="dim")
    for label, path in trouble.files:
        text.append(f"     {label}: {path}\n")
    return text


class ResultsTable:
    """The table of running cells and their results. Thread-safe.

    :param say: prints a permanent line for each program, if there is no live display.
    :param now: a clock in seconds.
    """

    def __init__(
        self,
        say: Callable[[Text], None] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._now = now
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._running: dict[str, str] = {}
        self._own: dict[str, Counter[str]] = {}
        self._program_started: dict[str, float] = {}

    def cell(self, cell: str) -> None:
        """Add a cell. Its time counts from now."""
        with self._lock:
            self._cell(cell)

    def program(self, cell: str, program: str) -> None:
        """Show that a program begins in a cell."""
        with self._lock:
            self._cell(cell)
            self._running[cell] = program
            self._own[cell] = Counter()
            self._program_started[cell] = self._now()

    def case(self, cell: str, status: str) -> None:
        """Count a case: ``pass``, ``fail``, ``skip``, or ``elsewhere`` if it does not apply."""
        with self._lock:
            self._cell(cell)
            self._counts[cell][status] += 1
            self._own.setdefault(cell, Counter())[status] += 1

    def program_done(self, cell: str) -> None:
        """Show that the cell's current program has ended. In a log, print its line."""
        with self._lock:
            program = self._running.pop(cell, None)
            took = self._now() - self._program_started.get(cell, self._now())
            own = self._own.pop(cell, Counter())
        if program is not None and self._say is not None:
            self._say(_program_line(cell, program, own, took))

    def cell_done(self, cell: str) -> None:
        """Show that a cell has ended, and stop its time."""
        with self._lock:
            self._running.pop(cell, None)
            self._ended[cell] = self._now()

    def __rich__(self) -> RenderableType:
        """Return the current table."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("cell", overflow="fold")
        for word in ("pass", "fail", "skip"):
            table.add_column(word, justify="right")
        table.add_column("now", overflow="ellipsis", no_wrap=True)
        table.add_column("elapsed", justify="right", no_wrap=True)
        with self._lock:
            for cell, started in self._started.items():
                counts = self._counts[cell]
                ended = self._ended.get(cell)
                table.add_row(
                    Text(clean_line(cell)),
                    Text(str(counts["pass"]), style="green"),
                    Text(str(counts["fail"]), style="bold red" if counts["fail"] else ""),
                    Text(str(counts["skip"]), style="yellow" if counts["skip"] else ""),
                    Text("done" if ended else clean_line(self._running.get(cell, "")), "dim"),
                    Text(seconds((ended or self._now()) - started)),
                )
        return table if table.row_count else Group()

    def _cell(self, cell: str) -> None:
        if cell not in self._started:
            self._started[cell] = self._now()
            self._counts[cell] = Counter()


def _program_line(cell: str, program: str, counts: Counter[str], took: float) -> Text:
    bad = bool(counts["fail"])
    word = next((one for one in ("pass", "skip") if counts[one]), "skip")
    word = "FAIL" if bad else "none" if set(counts) == {"elsewhere"} else word
    line = Text(f"{word} ", style=_PROGRAM_STYLES[word])
    words = {"pass": "pass", "fail": "fail", "skip": "skip", "elsewhere": "for other cells"}
    figures = ", ".join(f"{counts[key]} {text}" for key, text in words.items() if counts[key])
    said = f"{clean_line(cell)}  {clean_line(program)}  {figures or 'no cases'}  {seconds(took)}"
    line.append(said, style="default not bold")
    return line
