"""Running one guest program: output read as it streams, cases told as they come."""

from __future__ import annotations

import math
import shutil

from harness.errors import HarnessError
from harness.guest.limits import SAMPLES as SAMPLES_BUDGET
from harness.guest.limits import TooMuch
from harness.results.hostload import Watch
from harness.results.ktap.exit_status import EXIT_SKIP
from harness.results.ktap.reader import CaseResult
from harness.run.journal import SAMPLES
from harness.testing.itemrun import ItemRun

#: Where a program that measures writes its raw samples in the guest.
REMOTE_SAMPLES = "/tmp/uintr-samples"  # noqa: S108  # the guest's own tmpfs


class ProgramRun(ItemRun):
    """A program that is run in the cell's guest, over SSH."""

    #: Whether it gets a terminal.
    terminal = False

    def _command(self, path: str) -> list[str]:
        """Return what runs the program at a path in the guest."""
        return [path]

    def run(self) -> None:
        """Run it; each case is recorded and reported the moment its line is complete.

        :raise GuestFailure: the guest died; the cases until then have been reported, and one
            more that says that the rest is lost.
        """
        program = self._program
        # A case has a deadline of its own in the program, for a fast machine as well.
        env = {"KTAP_TIMEOUT_SCALE": str(math.ceil(self._cell.factor))}
        if program.latency:
            env["UINTR_SAMPLES"] = REMOTE_SAMPLES
        self._output.parent.mkdir(parents=True, exist_ok=True)
        self._journal.start()
        with self._output.open("wb", buffering=0) as output:

            def on_stdout(data: bytes) -> None:
                output.write(data)
                self._hear(data)

            try:
                path = self._cell.push_program(program.name)
                if program.latency:
                    self._cell.run(["rm", "-rf", REMOTE_SAMPLES])
                    self._cell.run(["mkdir", "-p", REMOTE_SAMPLES])
                watch = Watch(self._cell.qemu_pid if program.latency else None)
                done = self._cell.run(
                    self._command(path),
                    timeout_s=program.timeout_s,
                    env=env,
                    on_stdout=on_stdout,
                    terminal=self.terminal,
                    output_limit=program.output_limit,
                )
                self._host = watch.done()
            except HarnessError as error:
                self._tell(self._reader.close(None, reason=error.what))
                raise
            if done.overflow:
                # What lies between the two ends that are kept is of no use to anybody.
                output.seek(0)
                output.truncate()
                output.write(done.stdout)
            if done.stderr:
                output.write(b"--- stderr ---\n" + done.stderr)
        cases = self._reader.close(
            done.returncode, signal=done.signal, reason=done.cut_short, stderr=done.stderr
        )
        self._tell(cases)
        self._journal.program(
            self._cell.name, program.name, done, self._reader, attempt=self._attempt
        )
        if program.latency:
            self._fetch_samples(skipped=done.returncode == EXIT_SKIP)

    def _fetch_samples(self, *, skipped: bool) -> None:
        """Bring the raw samples home, and their percentiles into the results."""
        shutil.rmtree(self._samples, ignore_errors=True)
        try:
            self._cell.fetch(REMOTE_SAMPLES, self._samples, SAMPLES_BUDGET)
        except (TooMuch, FileNotFoundError) as error:
            what = error.what if isinstance(error, TooMuch) else "the folder of samples is gone"
            self._tell([CaseResult(name=SAMPLES, status="fail", message=what, synthetic=True)])
            return
        wrong = self._journal.samples(
            self._cell.name,
            self._program.name,
            self._samples,
            attempt=self._attempt,
            host=self._host,
            restored=self._cell.restored,
        )
        if wrong and not skipped and not self._reader.counts["fail"]:
            self._tell([CaseResult(name=SAMPLES, status="fail", message="; ".join(wrong))])
