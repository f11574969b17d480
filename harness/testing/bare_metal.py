"""Running one bare-metal program in a cell: no guest is booted, and none is disturbed."""

from __future__ import annotations

from harness.errors import HarnessError
from harness.guest.bare_metal import BareMetalSpec, run_bare_metal
from harness.guest.verdict.deadlines import CALIBRATION
from harness.results.folder import attempt_name, bare_metal_script
from harness.testing.itemrun import ItemRun


class BareMetalRun(ItemRun):
    """A program that QEMU runs instead of a kernel."""

    def run(self) -> None:
        """Run it; each case is recorded and reported the moment its line is complete.

        :raise GuestError: QEMU did not start.
        """
        program, setup = self._program, self._cell.setup
        self._output.parent.mkdir(parents=True, exist_ok=True)
        factor = CALIBRATION.factor(setup.guest_spec())
        spec = BareMetalSpec(
            emulator=setup.emulator,
            cpu=setup.cell.cpu,
            smp=setup.cell.smp,
            accel=setup.accel,
            program=program.path,
            factor=factor,
        )
        self._journal.start()
        with self._output.open("wb", buffering=0) as output:

            def on_stdout(data: bytes) -> None:
                output.write(data)
                self._tell(self._reader.feed(data))

            try:
                done, reason = run_bare_metal(
                    spec,
                    bare_metal_script(self._cell.folder, program.name).parent,
                    timeout_s=program.timeout_s * factor,
                    on_stdout=on_stdout,
                    said_as=attempt_name(program.path.name, self._attempt),
                )
            except HarnessError as error:
                self._tell(self._reader.close(None, reason=error.what))
                self._journal.failure(self._cell.name, program.name, error)
                raise
        if done.timed_out:
            reason = f"timed out after {done.seconds:.0f} s"
        self._tell(
            self._reader.close(
                done.returncode, signal=done.signal, reason=reason, stderr=done.stderr
            )
        )
        self._journal.program(
            self._cell.name, program.name, done, self._reader, attempt=self._attempt
        )
