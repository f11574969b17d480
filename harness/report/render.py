"""The last stage of a run: reports and other files, made from its records."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import GuestError, UserError
from harness.guest.bare_metal import limit_of
from harness.guest.verdict.deadlines import ACCEL_FACTOR
from harness.lib.files import read_bounded, write_atomically
from harness.report.junit import render_junit
from harness.results.ending import ended_without_seal
from harness.results.folder import CellSetup, RunFolder, bare_metal_script
from harness.results.outcome import WithBaseline, read_outcome
from harness.results.reading import Reading
from harness.results.records import CaseRecord
from harness.results.reproducer import FrozenInput, Reproduction, freeze, write_script
from harness.results.summary import Outcome
from harness.values import Cell

if TYPE_CHECKING:
    from harness.report.table import LatencyDetail


def write_reports(folder: RunFolder, rendered: WithBaseline) -> None:
    """Write all files that are made from a run's records.

    :raise GuestError: the host cannot store the files.
    """
    from harness.results.compare.baseline import BASELINE_FILE

    outcome = rendered.outcome
    rendered.baseline.write(folder.path / BASELINE_FILE)
    if outcome.verdict != "incomplete" or not ended_without_seal(folder.path):
        outcome.summary.write(folder.summary)
    names = [cell.name for cell in outcome.summary.cells]
    records = Reading(folder.results)
    write_atomically(folder.junit, render_junit(records, names, outcome.unexplained))
    try:
        _write_reproducers(folder, outcome.failures)
    except OSError as error:
        raise GuestError(
            f"a reproducer cannot be written: {error.strerror}", where=error.filename
        ) from error
    # Last, because it links to the other files. jinja2 is imported only here.
    from harness.report.html import write_html

    write_html(outcome, folder.path, folder.read_environment())


def render_run(folder: RunFolder, cells: Sequence[Cell] | None = None) -> Outcome:
    """Read the outcome of a run and write its reports.

    :param cells: as for :func:`harness.results.outcome.read_outcome`.
    :raise UserError: this is not a run's folder.
    :raise GuestError: the host cannot store the files.
    """
    rendered = read_outcome(folder, cells)
    write_reports(folder, rendered)
    return rendered.outcome


def _write_reproducers(folder: RunFolder, failures: Sequence[CaseRecord]) -> None:
    """Write the scripts that run the programs of failing cases again.

    Without the list of the run's artefacts, no script is written.
    """
    try:
        artefacts = folder.read_artefacts() if failures else None
    except UserError:
        return
    setups = {setup.cell.name: setup for setup in artefacts.cells} if artefacts else {}
    frozen = cache(freeze)
    for case in failures:
        if case.cell in setups:
            made = reproduction(folder, setups[case.cell], case, frozen)
            write_script(folder.path, made)


def reproduction(
    folder: RunFolder,
    setup: CellSetup,
    case: CaseRecord,
    freeze: Callable[[str, Path], FrozenInput] = freeze,
) -> Reproduction:
    """Return the contents of this case's reproducer.

    :param freeze: replaces :func:`harness.results.reproducer.freeze`, with answers kept.
    """
    ran = next((one for one in setup.programs.programs if one.name == case.program), None)
    inputs = [("program", ran.path)] if ran else []
    bare_metal, limit_s = "", 0
    if ran and ran.kind == "bare-metal":
        inputs.append(("emulator", setup.emulator.binary))
        qemu = bare_metal_script(folder.cell(case.cell), case.program)
        bare_metal = str(qemu.relative_to(folder.cell(case.cell)))
        usual = math.ceil(ran.timeout_s * ACCEL_FACTOR[setup.accel])
        limit_s = limit_of(_text(qemu)) or usual
    else:
        inputs += [("kernel", setup.kernel.bzimage), ("image", setup.image.initramfs)]
        qemu = folder.cell(case.cell) / "qemu.sh"
    return Reproduction(
        cell=case.cell,
        program=case.program,
        case=case.case,
        # Programs print the reason in the lines before "not ok".
        message=case.message or case.diagnostics.strip().rpartition("\n")[2],
        inputs=tuple(freeze(label, path) for label, path in inputs if path.is_file()),
        argv=("uintr-harness", "run", *setup.options, *_selection(case.program)),
        qemu=_text(qemu),
        bare_metal=bare_metal,
        limit_s=limit_s,
    )


def _text(path: Path) -> str:
    return read_bounded(path).decode(errors="replace") if path.exists() else ""


def _selection(program: str) -> tuple[str, ...]:
    """Return the options that select one program, or one of a developer's own tests."""
    return ("--tests", program) if "::" in program else ("-k", program)


def show_run(
    folder: RunFolder,
    outcome: Outcome,
    latency: LatencyDetail = "summary",
    *,
    verbose: bool = False,
) -> None:
    """Print the outcome of a run on standard output."""
    from harness.report.console import make_console  # imports rich
    from harness.report.table import print_report

    print_report(make_console(), outcome, folder.path, latency, verbose=verbose)
