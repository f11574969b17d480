"""The choice of how a program of a cell is run."""

from __future__ import annotations

from harness.results.folder import CellSetup
from harness.testing.bare_metal import BareMetalRun
from harness.testing.counted import CountedRun
from harness.testing.itemrun import ItemRun
from harness.testing.programs import ProgramRun
from harness.testing.selftests import MissingRun, SelftestRun
from harness.values import Program


def run_class(setup: CellSetup, program: Program) -> type[ItemRun]:
    """Return the class that runs a program in a cell."""
    if program.missing:
        return MissingRun
    if program.kind == "bare-metal":
        return BareMetalRun
    if program.kind == "kselftest":
        return SelftestRun
    return CountedRun if setup.cell.clock == "icount" else ProgramRun


def needs_guest(setup: CellSetup, program: Program | None) -> bool:
    """Return true if a test needs the guest of its cell.

    :param program: what the test runs; None for a developer's own test.
    """
    if program is None:
        return setup.cell.clock == "host"
    return run_class(setup, program).needs_guest
