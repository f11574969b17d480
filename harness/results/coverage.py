"""``coverage.json``: the lines and branches of a series that its cells executed."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from harness.results.document import Document
from harness.values import Value

COVERAGE_FILE = "coverage.json"


class FileCoverage(Value):
    """A file that the series adds."""

    file: str
    #: Line with code → how often it ran.
    lines: dict[int, int]
    #: Line → how often each of its branches was taken.
    branches: dict[int, tuple[int, ...]] = Field(default_factory=dict)

    @property
    def reached(self) -> int:
        """Number of lines that ran."""
        return sum(count > 0 for count in self.lines.values())

    @property
    def branches_taken(self) -> tuple[int, int]:
        """Number of branches that were taken, and of all branches."""
        counts = [count for taken in self.branches.values() for count in taken]
        return sum(count > 0 for count in counts), len(counts)

    @property
    def missed(self) -> tuple[tuple[int, int], ...]:
        """First and last line of each range that did not run."""
        stretches: list[list[int]] = []
        before = 1
        for line, count in sorted(self.lines.items()):
            if not count and before:
                stretches.append([line, line])
            elif not count:
                stretches[-1][1] = line
            before = count
        return tuple((first, last) for first, last in stretches)


class Coverage(Document):
    """Coverage of each cell whose kernel was built with gcov."""

    cells: dict[str, tuple[FileCoverage, ...]]

    @property
    def union(self) -> tuple[FileCoverage, ...]:
        """Coverage of all cells together."""
        return merge(file for files in self.cells.values() for file in files)


def merge(files: Iterable[FileCoverage]) -> tuple[FileCoverage, ...]:
    """Add the counts of entries for the same file."""
    found: dict[str, FileCoverage] = {}
    for file in files:
        before = found.get(file.file)
        found[file.file] = _sum(before, file) if before else file
    return tuple(found[name] for name in sorted(found))


def _sum(one: FileCoverage, other: FileCoverage) -> FileCoverage:
    lines = {
        line: one.lines.get(line, 0) + other.lines.get(line, 0)
        for line in sorted({*one.lines, *other.lines})
    }
    branches = dict(one.branches)
    for line, taken in other.branches.items():
        before = branches.get(line, ())
        if len(before) == len(taken):
            branches[line] = tuple(map(sum, zip(before, taken, strict=True)))
        else:
            branches[line] = max(before, taken, key=len)
    return FileCoverage(file=one.file, lines=lines, branches=branches)
