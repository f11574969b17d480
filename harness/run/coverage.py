"""A run's coverage: the counters of its guests' kernels, read by gcov."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.artefacts.kernel import gcov
from harness.errors import BuildError
from harness.guest.counters import KEPT
from harness.lib.process import capture, require
from harness.results.coverage import COVERAGE_FILE, Coverage, FileCoverage
from harness.results.folder import RunFolder

_READ_S = 60.0


def write_coverage(folder: RunFolder) -> Coverage | None:
    """Read the coverage counters of a run's cells, and write ``coverage.json``.

    :return: None if no kernel of the run was built with gcov.
    :raise BuildError: gcov is missing, or cannot read the counters.
    """
    cells: dict[str, tuple[FileCoverage, ...]] = {}
    for setup in folder.read_artefacts().cells:
        counted = folder.cell(setup.cell.name) / KEPT
        if gcov.is_in(setup.kernel.path) and counted.is_dir():
            cells[setup.cell.name] = read(setup.kernel.path, sorted(counted.iterdir()))
    if not cells:
        return None
    found = Coverage(cells=cells)
    found.write(folder.path / COVERAGE_FILE)
    return found


def read(kernel: Path, counters: Sequence[Path]) -> tuple[FileCoverage, ...]:
    """Return how often each line of the files that the series adds ran.

    :param kernel: the artefact's folder.
    :param counters: a folder of ``*.gcda`` files for each guest. A file's path ends with its
        path in the kernel tree.
    :raise BuildError: gcov is missing, or cannot read GCC's notes.
    """
    require("gcov", needed_for="the coverage of a series")
    kept = kernel / gcov.FOLDER
    added = set(json.loads((kept / gcov.ADDED).read_text()))
    lines: dict[str, Counter[int]] = {}
    branches: dict[str, dict[int, tuple[int, ...]]] = {}
    for note in sorted(kept.rglob("*.gcno")):
        wanted = note.relative_to(kept).with_suffix(".gcda")
        if str(wanted.with_suffix(".c")) not in added:
            continue
        found: list[Path | None] = [
            path
            for folder in counters
            for path in folder.rglob(wanted.name)
            if str(path).endswith(f"/{wanted}")
        ]
        # Without counters, gcov reports each line as never run.
        for counter in found or [None]:
            for file in _read_one(note, counter):
                name = next((one for one in added if file["file"].endswith(one)), None)
                if name is not None:
                    _add(file, lines.setdefault(name, Counter()), branches.setdefault(name, {}))
    return tuple(
        FileCoverage(file=name, lines=dict(sorted(lines[name].items())), branches=branches[name])
        for name in sorted(lines)
    )


def _read_one(note: Path, counter: Path | None) -> Iterator[dict[str, Any]]:
    """Yield gcov's report for each source file of an object."""
    with tempfile.TemporaryDirectory(prefix="uintr-harness-gcov-") as scratch:
        shutil.copy(note, scratch)
        if counter is not None:
            shutil.copy(counter, scratch)
        done = capture(
            ["gcov", "--json-format", "--stdout", "--branch-probabilities", note.name],
            cwd=Path(scratch),
            timeout_s=_READ_S,
        )
    if done.returncode:
        raise BuildError("gcov cannot read a kernel's notes", where=note, detail=done.complaint)
    for text in done.text.splitlines():
        yield from json.loads(text)["files"] if text.startswith("{") else ()


def _add(file: dict[str, Any], lines: Counter[int], branches: dict[int, tuple[int, ...]]) -> None:
    """Add a file's counts. A line that was inlined is listed several times."""
    for line in file["lines"]:
        number = line["line_number"]
        lines[number] += line["count"]
        taken = tuple(branch["count"] for branch in line["branches"])
        before = branches.get(number, ())
        if len(before) == len(taken):
            taken = tuple(map(sum, zip(before, taken, strict=True)))
        elif len(before) > len(taken):
            taken = before
        if taken:
            branches[number] = taken
