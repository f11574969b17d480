"""Running one program in a cell that counts instructions, in its own guest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from harness.guest.bootreport import BootReport
from harness.guest.counted import CONSOLE, run_counted
from harness.guest.verdict.deadlines import CALIBRATION
from harness.guest.verdict.failure import Completed
from harness.guest.verdict.splat_report import Splat
from harness.results.folder import attempt_name
from harness.testing.itemrun import ItemRun


class CountedRun(ItemRun):
    """A program that runs in its own guest, see :mod:`harness.guest.counted`."""

    _splats: tuple[Splat, ...] = ()

    @override
    def _console(self) -> Path:
        return self._folder / CONSOLE

    @property
    def _folder(self) -> Path:
        return self._cell.folder / attempt_name(self._program.name, self._attempt)

    def _execute(self, hear: Callable[[bytes], None]) -> tuple[Completed, str | None]:
        program, cell = self._program, self._cell
        spec = cell.setup.guest_spec()
        factor = CALIBRATION.factor(spec)
        result = run_counted(
            spec,
            program.path,
            self._folder,
            self._samples,
            timeout_s=program.timeout_s * factor,
            on_stdout=hear,
            limit=program.output_limit,
            known=cell.is_known,
        )
        self._splats = result.splats
        if result.boot_s is not None:
            report = BootReport(boot_s=result.boot_s, phases={"ready": result.boot_s})
            self._journal.boot(cell.setup, report, factor)
        return result.done, None

    def _finish(self, done: Completed) -> None:
        self._cell.record_splats(self._splats)
        self._record_samples(done)
