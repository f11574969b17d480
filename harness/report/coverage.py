"""The table of a run's coverage of a series."""

from __future__ import annotations

from pathlib import Path

from harness.lib.documents import read_optional
from harness.lib.text import clean_line
from harness.report.rows import Column, Sheet
from harness.results.coverage import COVERAGE_FILE, Coverage, FileCoverage

_FIGURES = ("lines", "reached", "of them", "branches", "taken", "of them")


def read_coverage(run: Path) -> Coverage | None:
    """Return a run's coverage. None if it does not exist.

    :raise UserError: it cannot be read.
    """
    return read_optional(run / COVERAGE_FILE, Coverage)


def sheet(found: Coverage) -> Sheet:
    """Return a table with a row for each file that the series adds, and one for all files.

    The figures are of all cells together. The last column has the lines that did not run.
    """
    columns = (
        Column("file"),
        *(Column(title, figure=True) for title in _FIGURES),
        *(Column(clean_line(cell), figure=True, extra=True) for cell in found.cells),
        Column("not reached", extra=True),
    )
    files = found.union
    rows = [
        (
            clean_line(file.file),
            *_figures([file]),
            *(_part(_of(found.cells[cell], file.file)) for cell in found.cells),
            ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in file.missed),
        )
        for file in files
    ]
    every = (
        "all",
        *_figures(files),
        *(_part(found.cells[cell]) for cell in found.cells),
        "",
    )
    return Sheet("Coverage of the files that the series adds", columns, (*rows, every))


def _of(files: tuple[FileCoverage, ...], name: str) -> tuple[FileCoverage, ...]:
    return tuple(file for file in files if file.file == name)


def _figures(files: tuple[FileCoverage, ...] | list[FileCoverage]) -> tuple[str, ...]:
    lines, reached = sum(len(f.lines) for f in files), sum(f.reached for f in files)
    taken = sum(f.branches_taken[0] for f in files)
    branches = sum(f.branches_taken[1] for f in files)
    return (
        *(str(lines), str(reached), _percent(reached, lines)),
        *(str(branches), str(taken), _percent(taken, branches)),
    )


def _part(files: tuple[FileCoverage, ...]) -> str:
    return _percent(sum(f.reached for f in files), sum(len(f.lines) for f in files))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
