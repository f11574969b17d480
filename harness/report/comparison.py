"""A comparison of two runs on a terminal, and as Markdown for a merge request."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from harness.lib.text import clean_line
from harness.report.figures import quantity, times
from harness.report.markdown import code, sheet_markdown
from harness.report.rows import Column, Sheet
from harness.report.table import sheet_table
from harness.results.compare.comparison import CaseChange, Comparison, LatencyChange

#: Verdicts in the order in which a reader should act on them.
_ORDER = ("worse", "gone", "unsure", "refused", "better", "new", "same")
_COLUMNS = (
    Column("verdict in cell"),
    Column("mechanism"),
    Column("mode"),
    Column("base", figure=True),
    Column("new", figure=True),
    Column("ratio", figure=True),
    Column("99 % of it", figure=True),
    Column("p99 ratio", figure=True, extra=True),
)


def latency_sheet(found: Comparison) -> Sheet | None:
    """Return a table of the latencies of both runs, those to act on first; None without any."""
    changes = sorted(
        found.latencies, key=lambda c: (c.cell, _ORDER.index(c.verdict), c.mode, c.mechanism)
    )
    rows = tuple(_row(change) for change in changes)
    return Sheet("Latency, new by base", _COLUMNS, rows, grouped=True) if rows else None


def case_sheet(found: Comparison) -> Sheet | None:
    """Return a table of cases, splats and guest failures that changed; None without any."""
    order = ("broken", "gone", "mended", "changed", "new")
    changes = sorted(found.cases, key=lambda c: (c.cell, order.index(c.verdict), c.kind))
    columns = (Column("cell"), Column("what"), Column("before"), Column("now"), Column("verdict"))
    rows = tuple(_case_row(change) for change in changes)
    return Sheet("Results", columns, rows, grouped=True) if rows else None


def notes(found: Comparison) -> list[str]:
    """Return remarks on the comparison: different artefacts, reasons, missing cells."""
    said = dict.fromkeys(
        f"{one.what} differs: {one.base or 'unknown'} → {one.new or 'unknown'}"
        for one in found.differences
    )
    reasons: dict[tuple[str, str, str], int] = {}
    for change in found.latencies:
        if change.reason:
            key = change.cell, change.verdict, change.reason
            reasons[key] = reasons.get(key, 0) + 1
    return [
        clean_line(line)
        for line in (
            *said,
            *(f"{cell}: {n} {verdict}: {why}" for (cell, verdict, why), n in reasons.items()),
            *(f"only one of the runs has {cell}" for cell in found.unmatched),
            *found.incomplete,
        )
    ]


def print_comparison(console: Console, found: Comparison) -> None:
    """Print what changed. The verdict comes last, where it is seen first."""
    for sheet in (case_sheet(found), latency_sheet(found)):
        if sheet:
            console.print(sheet_table(sheet, console.width))
    for note in notes(found):
        console.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)
    good = found.exit_code == 0
    verdict = Text(found.verdict.upper(), "bold green" if good else "bold red")
    verdict.append(f": {found.reason}", style="not bold")
    console.print(verdict, soft_wrap=True)
    console.print(Text(f"compared: {clean_line(found.new)} with {_bases(found)}"), soft_wrap=True)


def comparison_markdown(found: Comparison) -> str:
    """Return the comparison as Markdown, with text from guests escaped."""
    good = found.exit_code == 0
    parts = [
        f"### {'✅' if good else '❌'} {found.verdict}: {code(found.reason)}",
        f"{code(clean_line(found.new))} compared with {code(_bases(found))}",
    ]
    for sheet in (case_sheet(found), latency_sheet(found)):
        if sheet:
            parts += [f"#### {sheet.title}", sheet_markdown(sheet)]
    parts += [f"- {code(note)}" for note in notes(found)]
    return "\n\n".join(parts) + "\n"


def _bases(found: Comparison) -> str:
    return clean_line(", ".join(found.base))


def _row(change: LatencyChange) -> tuple[str, ...]:
    said = change.judgement
    where = f"{change.verdict} in {clean_line(change.cell)}"
    named = where, clean_line(change.mechanism), clean_line(change.mode)
    if said is None:
        return (*named, "-", "-", "-", "-", "-")
    return (
        *named,
        quantity(said.base, change.unit),
        quantity(said.new, change.unit),
        times(said.ratio[0]) if said.ratio else "-",
        f"{times(said.ratio[1])}…{times(said.ratio[2])}" if said.ratio else "-",
        times(said.tail[0]) if said.tail else "-",
    )


def _case_row(change: CaseChange) -> tuple[str, ...]:
    name = clean_line(change.name)
    return (
        clean_line(change.cell),
        name if change.kind == "case" else f"{change.kind}: {name}",
        change.before or "-",
        change.after or "-",
        change.verdict,
    )
