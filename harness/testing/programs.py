"""Running one program in the cell's guest, over SSH."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import IO

from harness.guest.limits import SAMPLES as SAMPLES_BUDGET
from harness.guest.limits import CopyLimitError
from harness.guest.verdict.failure import Completed
from harness.results.hostload import Watch
from harness.results.ktap.reader import CaseResult
from harness.results.records import HostLoad
from harness.run.journal import SAMPLES
from harness.testing.itemrun import ItemRun

#: The guest's folder for the raw samples of a latency program.
REMOTE_SAMPLES = "/tmp/uintr-samples"  # noqa: S108  # the guest's own tmpfs


class ProgramRun(ItemRun):
    """A program that runs in the cell's guest, over SSH."""

    needs_guest = True
    #: Whether it gets a terminal.
    terminal = False
    #: The host's load while it ran.
    _host: HostLoad | None = None

    def _command(self, path: str) -> list[str]:
        """Return the command for the program at a path in the guest."""
        return [path]

    def _execute(self, hear: Callable[[bytes], None]) -> tuple[Completed, str | None]:
        program, cell = self._program, self._cell
        # Programs have time limits for cases, written for a fast machine.
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
            most=math.inf,
        )
        self._host = watch.done()
        return done, None

    def _keep(self, output: IO[bytes], done: Completed) -> None:
        if done.overflow:
            # Keep only the output's first and last part.
            output.seek(0)
            output.truncate()
            output.write(done.stdout)
        if done.stderr:
            output.write(b"--- stderr ---\n" + done.stderr)

    def _finish(self, done: Completed) -> None:
        """Fetch the raw samples, and record their percentiles."""
        if not self._program.latency:
            return
        try:
            self._cell.fetch(REMOTE_SAMPLES, self._samples, SAMPLES_BUDGET)
        except (CopyLimitError, FileNotFoundError) as error:
            what = (
                error.what
                if isinstance(error, CopyLimitError)
                else "the folder of samples is missing"
            )
            self._tell([CaseResult(name=SAMPLES, status="fail", message=what, synthetic=True)])
            return
        self._record_samples(done, self._host, restored=self._cell.restored)
