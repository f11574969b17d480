"""Running one program in a cell that counts instructions: in a guest of its own."""

from __future__ import annotations

import shutil

from harness.errors import HarnessError
from harness.guest.bootreport import BootReport
from harness.guest.counted import run_counted
from harness.guest.verdict.deadlines import CALIBRATION
from harness.guest.verdict.failure import Completed
from harness.results.folder import attempt_name
from harness.results.ktap.exit_status import EXIT_SKIP
from harness.results.ktap.reader import CaseResult
from harness.run.journal import SAMPLES
from harness.testing.itemrun import ItemRun


class CountedRun(ItemRun):
    """A program in a guest of its own that nothing outside disturbs."""

    def run(self) -> None:
        """Run it; each case is recorded and reported the moment its line is complete.

        :raise GuestFailure: the guest did not come to the program's end.
        :raise GuestError: QEMU did not start.
        """
        program, cell = self._program, self._cell
        spec = cell.setup.guest_spec()
        factor = CALIBRATION.factor(spec)
        self._output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._samples, ignore_errors=True)
        self._journal.start()
        with self._output.open("wb", buffering=0) as output:

            def on_stdout(data: bytes) -> None:
                output.write(data)
                self._hear(data)

            try:
                result = run_counted(
                    spec,
                    program.path,
                    cell.folder / attempt_name(program.name, self._attempt),
                    self._samples,
                    timeout_s=program.timeout_s * factor,
                    on_stdout=on_stdout,
                    limit=program.output_limit,
                )
            except HarnessError as error:
                self._tell(self._reader.close(None, reason=error.what))
                self._journal.failure(cell.name, program.name, error)
                raise
        done = result.done
        if result.boot_s is not None:
            report = BootReport(boot_s=result.boot_s, phases={"ready": result.boot_s})
            self._journal.boot(cell.setup, report, factor)
        cases = self._reader.close(done.returncode, reason=done.cut_short, stderr=done.stderr)
        self._tell(cases)
        self._journal.program(cell.name, program.name, done, self._reader, attempt=self._attempt)
        cell.record_splats(result.splats)
        self._record_samples(done)

    def _record_samples(self, done: Completed) -> None:
        wrong = self._journal.samples(
            self._cell.name, self._program.name, self._samples, attempt=self._attempt
        )
        if wrong and done.returncode != EXIT_SKIP and not self._reader.counts["fail"]:
            self._tell([CaseResult(name=SAMPLES, status="fail", message="; ".join(wrong))])
