"""``series.json``: what became of each patch of a series, one after the other."""

from __future__ import annotations

from pathlib import Path

from harness.artefacts.kernel.lint import Checkpatch
from harness.errors import ExitCode
from harness.results.document import Document
from harness.results.summary import Outcome, Verdict, write_atomically
from harness.values import Compiler, Value

SERIES_FILE = "series.json"


class StepCell(Value):
    """One cell with the kernel of one patch."""

    name: str
    #: Seconds until the guest could be worked with; None if it never could.
    boot_s: float | None
    verdict: Verdict
    passed: int
    fail: int
    skip: int
    splats: int
    failed: tuple[str, ...] = ()


class StepResult(Value):
    """One patch. What is None was not looked at: it was not asked for, or came too late."""

    #: From 1.
    number: int
    patch: str
    subject: str
    applies: bool = False
    builds: bool | None = None
    #: Seconds of the build; next to nothing if the kernel was in the store.
    build_s: float | None = None
    #: What ``W=1`` and sparse complain of since this patch, and did not before it.
    warnings: tuple[str, ...] | None = None
    sparse: tuple[str, ...] | None = None
    checkpatch: Checkpatch | None = None
    #: Whether the programs were run, and not just a kernel booted.
    tested: bool = False
    cells: tuple[StepCell, ...] | None = None
    #: What stopped this step, as it was told.
    error: str = ""

    @property
    def boots(self) -> bool | None:
        """Whether every guest came up."""
        return None if self.cells is None else all(cell.boot_s is not None for cell in self.cells)

    @property
    def exit_code(self) -> ExitCode:
        """What this patch alone would end the command with."""
        cells = self.cells or ()
        if any(cell.verdict in {"guest failed", "not run"} for cell in cells):
            return ExitCode.GUEST
        if not self.applies or self.builds is False or self.error:
            return ExitCode.BUILD
        style = self.checkpatch is not None and self.checkpatch.errors + self.checkpatch.warnings
        if style or self.warnings or self.sparse:
            return ExitCode.TESTS_FAILED
        if any(cell.verdict in {"failed", "splats"} for cell in cells):
            return ExitCode.TESTS_FAILED
        return ExitCode.PASSED


class SeriesResult(Document):
    """``series.json``: a series, patch by patch."""

    kernel: str
    toolchain: Compiler
    #: The tree that the series is for.
    base: str
    #: How many patches the series has; fewer in ``patches`` if one did not apply.
    length: int
    patches: tuple[StepResult, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The worst of the patches': a guest that failed, a build, then findings and tests."""
        order = (ExitCode.GUEST, ExitCode.BUILD, ExitCode.TESTS_FAILED)
        codes = {step.exit_code for step in self.patches}
        return next((code for code in order if code in codes), ExitCode.PASSED)

    def write(self, folder: Path) -> None:
        """Put ``series.json`` into a folder.

        :raise GuestError: the host cannot keep it.
        """
        write_atomically(folder / SERIES_FILE, self.to_json())


def step_cells(outcome: Outcome) -> tuple[StepCell, ...]:
    """Return what is said of each cell of a run."""
    return tuple(
        StepCell(
            name=cell.name,
            boot_s=cell.boot_s,
            verdict=outcome.verdicts[cell.name],
            passed=cell.passed,
            fail=cell.fail,
            skip=cell.skip,
            splats=cell.splats,
            failed=cell.failed,
        )
        for cell in outcome.summary.cells
    )
