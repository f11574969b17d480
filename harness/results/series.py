"""``series.json``: the results of checking a series patch by patch."""

from __future__ import annotations

from harness.artefacts.kernel.lint import Checkpatch
from harness.errors import ExitCode
from harness.results.document import Document
from harness.results.summary import CellVerdict, Outcome
from harness.values import Compiler, Value

SERIES_FILE = "series.json"


class StepCell(Value):
    """One cell with the kernel of one patch."""

    name: str
    #: Seconds until the guest was ready; None if it never was.
    boot_s: float | None
    verdict: CellVerdict
    passed: int
    fail: int
    skip: int
    splats: int
    failed: tuple[str, ...] = ()


class StepResult(Value):
    """One patch. A check that was not requested, or not reached, is None."""

    #: From 1.
    number: int
    patch: str
    subject: str
    applies: bool = False
    builds: bool | None = None
    #: Seconds of the build; almost 0 if the kernel was in the store.
    build_s: float | None = None
    #: New warnings of ``W=1`` and sparse since the previous patch.
    warnings: tuple[str, ...] | None = None
    sparse: tuple[str, ...] | None = None
    checkpatch: Checkpatch | None = None
    #: Whether the programs were run. Otherwise the kernel was only booted.
    tested: bool = False
    cells: tuple[StepCell, ...] | None = None
    #: The error that stopped this step.
    error: str = ""

    @property
    def boots(self) -> bool | None:
        """Whether every guest became ready."""
        return None if self.cells is None else all(cell.boot_s is not None for cell in self.cells)

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code if this were the only patch."""
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
    """``series.json``."""

    kernel: str
    toolchain: Compiler
    #: The tree to which the series applies.
    base: str
    #: Number of patches in the series. ``patches`` has fewer if one did not apply.
    length: int
    patches: tuple[StepResult, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The worst exit code of the patches: a failed guest, a failed build, failed checks."""
        order = (ExitCode.GUEST, ExitCode.BUILD, ExitCode.TESTS_FAILED)
        codes = {step.exit_code for step in self.patches}
        return next((code for code in order if code in codes), ExitCode.PASSED)


def step_cells(outcome: Outcome) -> tuple[StepCell, ...]:
    """Return the result of each cell of a run."""
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
