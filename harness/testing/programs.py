"""Running one program in the cell's guest, over SSH."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import IO

from harness.guest.limits import SAMPLES as SAMPLES_BUDGET
from harness.guest.limits import TooMuch
from harness.guest.verdict.failure import Completed
from harness.results.hostload import Watch
from harness.results.ktap.reader import CaseResult
from harness.results.records import HostLoad
from harness.run.journal import SAMPLES
from harness.testing.itemrun import ItemRun

#: Where a program that measures writes its raw samples in the guest.
REMOTE_SAMPLES = "/tmp/uintr-samples"  # noqa: S108  # the guest's own tmpfs


class ProgramRun(ItemRun):
    """A program that is run in the cell's guest, over SSH."""

    needs_guest = True
    #: Whether it gets a terminal.
    terminal = False
    #: What the host did meanwhile.
    _host: HostLoad | None = None

    def _command(self, path: str) -> list[str]:
        """Return what runs the program at a path in the guest."""
        return [path]

    def _execute(self, hear: Callable[[bytes], None]) -> tuple[Completed, str | None]:
        program, cell = self._program, self._cell
        # A case has a deadline of its own in the program, for a fast machine as well.
        env = {"KTAP_TIMEOUT_SCALE": str(math.ceil(cell.factor))}
        path = cell.push_program(program.name)
        if program.latency:
            env["UINTR_SAMPLES"] = REMOTE_SAMPLES
            cell.run(["rm", "-rf", REMOTE_SAMPLES])
            cell.run(["mkdir", "-p", REMOTE_SAMPLES])
        watch = Watch(cell.qemu_pid if program.latency else None)
        done = cell.run(
            self._command(path),
            timeout_s=program.timeout_s,
            env=env,
            on_stdout=hear,
            terminal=self.terminal,
            output_limit=program.output_limit,
        )
        self._host = watch.done()
        return done, None

    def _keep(self, output: IO[bytes], done: Completed) -> None:
        if done.overflow:
            # What lies between the two ends that are kept is of no use to anybody.
            output.seek(0)
            output.truncate()
            output.write(done.stdout)
        if done.stderr:
            output.write(b"--- stderr ---\n" + done.stderr)

    def _finish(self, done: Completed) -> None:
        """Bring the raw samples home, and their percentiles into the results."""
        if not self._program.latency:
            return
        try:
            self._cell.fetch(REMOTE_SAMPLES, self._samples, SAMPLES_BUDGET)
        except (TooMuch, FileNotFoundError) as error:
            what = error.what if isinstance(error, TooMuch) else "the folder of samples is gone"
            self._tell([CaseResult(name=SAMPLES, status="fail", message=what, synthetic=True)])
            return
        self._record_samples(done, self._host, restored=self._cell.restored)
