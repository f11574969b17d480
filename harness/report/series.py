"""The table of a checked series: whether each patch applies, builds, boots, passes; its style."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.lib.text import clean_line
from harness.report.figures import seconds
from harness.report.rows import Column, Sheet
from harness.report.table import sheet_table
from harness.results.series import SeriesResult, StepResult

#: Limit for the findings on one patch that are printed. ``series.json`` has all.
MAX_FINDINGS = 12


def sheet(result: SeriesResult) -> Sheet:
    """Return the table, with a row for each patch. A dash means that something was not checked."""
    columns = (
        Column("patch"),
        *(Column(word) for word in ("applies", "builds")),
        *(Column(word, figure=True) for word in ("W=1", "sparse", "checkpatch")),
        *(Column(word) for word in ("boots", "passes")),
    )
    return Sheet(
        f"{result.kernel}, {result.toolchain}, on {result.base}",
        columns,
        tuple(_row(step) for step in result.patches),
        grouped=True,
    )


def print_series(console: Console, result: SeriesResult, folder: Path) -> None:
    """Print the findings on each patch, then the table and the verdict."""
    for step in result.patches:
        for line in findings(step):
            console.print(Text(f"{step.number}: {line}"), soft_wrap=True)
    console.print(sheet_table(sheet(result), console.width))
    if len(result.patches) < result.length:
        missing = result.length - len(result.patches)
        console.print(Text(f"{missing} more not checked: the last one above does not apply"))
    good = result.exit_code == 0
    console.print(
        Text("PASSED" if good else "FAILED", style="bold green" if good else "bold red"),
    )
    console.print(Text(f"results: {folder}"), soft_wrap=True)


def findings(step: StepResult) -> Iterator[str]:
    """Yield the findings on a patch, one a line."""
    found = [f"W=1: {line}" for line in step.warnings or ()]
    found += [f"sparse: {line}" for line in step.sparse or ()]
    found += [
        f"checkpatch: line {line}" for line in (step.checkpatch and step.checkpatch.lines) or ()
    ]
    found += [
        f"{cell.name}: {cell.verdict}" + (f": {' '.join(cell.failed)}" if cell.failed else "")
        for cell in step.cells or ()
        if cell.verdict not in {"passed", "skipped"}
    ]
    yield from (clean_line(line) for line in found[:MAX_FINDINGS])
    if len(found) > MAX_FINDINGS:
        yield f"… and {len(found) - MAX_FINDINGS} more in series.json"
    yield from step.error.splitlines()


def _row(step: StepResult) -> tuple[str, ...]:
    builds = _yes(step.builds)
    if step.builds and step.build_s is not None:
        builds += f" ({seconds(step.build_s)})"
    return (
        f"{step.number} {clean_line(step.subject)}",
        _yes(step.applies),
        builds,
        _count(step.warnings),
        _count(step.sparse),
        _style(step),
        _boots(step),
        _passes(step),
    )


def _yes(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "NO"


def _count(found: tuple[str, ...] | None) -> str:
    return "-" if found is None else str(len(found))


def _style(step: StepResult) -> str:
    """Return the numbers of checkpatch's errors, warnings and checks."""
    found = step.checkpatch
    return f"{found.errors}E {found.warnings}W {found.checks}C" if found else "-"


def _boots(step: StepResult) -> str:
    if not step.cells:
        return "-"
    up = [cell.boot_s for cell in step.cells if cell.boot_s is not None]
    if len(up) < len(step.cells):
        return f"NO ({len(step.cells) - len(up)} of {len(step.cells)})"
    return f"yes ({seconds(max(up))})"


def _passes(step: StepResult) -> str:
    if not step.cells or not step.tested:
        return "-"
    counts = [
        sum(getattr(cell, what) for cell in step.cells) for what in ("passed", "fail", "skip")
    ]
    words = [f"{n} {word}" for n, word in zip(counts, ("pass", "FAIL", "skip"), strict=True) if n]
    return ", ".join(words) or "nothing"
