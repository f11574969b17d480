"""Coverage of a series: real notes and counters of GCC, for a file that a kernel would have."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.artefacts.kernel import gcov
from harness.errors import BuildError
from harness.guest.counters import KEPT
from harness.report.coverage import read_coverage, sheet
from harness.results.coverage import Coverage, FileCoverage
from harness.run.coverage import read, write_coverage
from tests.unit.runs import prepared

SOURCE = """\
#include <stdlib.h>

int main(int argc, char **argv)
{
	if (argc > 1)
		return atoi(argv[1]);

	return 0;
}
"""
FILE = "arch/x86/kernel/new/odd.c"


def build(folder: Path, *calls: tuple[str, ...]) -> tuple[Path, list[Path]]:
    """Return a kernel's folder, and one of counters for each call of its program."""
    tree, kernel = folder / "tree", folder / "kernel"
    (tree / FILE).parent.mkdir(parents=True)
    (tree / FILE).write_text(SOURCE)
    subprocess.run(
        ["gcc", "--coverage", "-c", FILE, "-o", FILE.replace(".c", ".o")], cwd=tree, check=True
    )
    subprocess.run(
        ["gcc", "--coverage", FILE.replace(".c", ".o"), "-o", folder / "program"],
        cwd=tree,
        check=True,
    )
    gcov.collect(tree, tree, [FILE, "arch/x86/kernel/old.c"], [FILE], kernel)
    counters = []
    for number, args in enumerate(calls):
        subprocess.run([folder / "program", *args], check=False)
        counter = (tree / FILE).with_suffix(".gcda")
        place = folder / f"counters-{number}" / "root/build" / Path(FILE).with_suffix(".gcda")
        place.parent.mkdir(parents=True)
        counter.rename(place)
        counters.append(folder / f"counters-{number}")
    return kernel, counters


def reached(file: FileCoverage) -> set[int]:
    return {line for line, count in file.lines.items() if count}


def test_lines_and_branches_of_guests_are_added(tmp_path: Path) -> None:
    kernel, counters = build(tmp_path, (), ("3",))
    (one,) = read(kernel, counters[:1])
    assert one.file == FILE
    assert 8 in reached(one)
    assert 6 not in reached(one)
    assert one.missed == ((6, 6),)
    assert one.branches_taken == (1, 2)
    (both,) = read(kernel, counters)
    assert {6, 8} <= reached(both)
    assert both.branches_taken == (2, 2)
    assert both.missed == ()


def test_what_never_ran_counts_as_not_reached(tmp_path: Path) -> None:
    kernel, _ = build(tmp_path)
    (file,) = read(kernel, [])
    assert file.reached == 0
    assert len(file.lines) >= 4


def test_notes_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    kernel, _ = build(tmp_path)
    next((kernel / gcov.FOLDER).rglob("*.gcno")).write_bytes(b"nothing")
    with pytest.raises(BuildError, match="gcov cannot read"):
        read(kernel, [])


def test_a_series_without_an_instrumented_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no file of the series is instrumented"):
        gcov.collect(tmp_path, tmp_path, ["Documentation/x.rst"], [], tmp_path)


def test_only_the_files_that_are_named_are_instrumented() -> None:
    assert gcov.objects(["a/b.c", "a/c.h", "a/b.c", "Makefile"]) == ("a/b.o",)
    (variable,) = gcov.make_variables(["a/b.o"])
    assert variable.count("=") == 1, "tuxmake takes no more than one"
    assert gcov.asked_for("CONFIG_GCOV_KERNEL=y\n")
    assert not gcov.asked_for("# CONFIG_GCOV_KERNEL is not set\n")


def test_a_run_has_a_table_of_all_its_cells(tmp_path: Path) -> None:
    run = prepared(tmp_path, {"api/a": "true"})
    (setup,) = run.read_artefacts().cells
    assert write_coverage(run) is None
    assert read_coverage(run.path) is None
    kernel, counters = build(tmp_path / "built", ())
    (kernel / gcov.FOLDER).rename(setup.kernel.path / gcov.FOLDER)
    kept = run.cell(setup.cell.name) / KEPT
    kept.mkdir(parents=True)
    counters[0].rename(kept / "1")
    write_coverage(run)
    found = read_coverage(run.path)
    assert found is not None
    shown = sheet(found)
    lines = len(found.union[0].lines)
    file, every = shown.rows
    assert file[0] == FILE
    assert file[1:4] == (str(lines), str(lines - 1), f"{100 * (lines - 1) / lines:.1f} %")
    assert file[-1] == "6"
    assert every[0] == "all"
    assert json.loads((run.path / "coverage.json").read_text())["schema"] == 1


def test_cells_are_added_and_stretches_are_shortened() -> None:
    one = FileCoverage(file="a.c", lines={1: 1, 2: 0, 3: 0, 5: 0, 7: 2}, branches={1: (1, 0)})
    other = FileCoverage(file="a.c", lines={1: 0, 2: 4, 3: 0, 5: 0, 7: 0}, branches={1: (0, 1)})
    assert one.missed == ((2, 5),)
    (union,) = Coverage(cells={"x": (one,), "y": (other,)}).union
    assert union.lines == {1: 1, 2: 4, 3: 0, 5: 0, 7: 2}
    assert union.branches == {1: (1, 1)}
    assert union.missed == ((3, 5),)
