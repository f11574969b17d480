"""Running one bare-metal program in a cell: no guest is booted, and none is disturbed."""

from __future__ import annotations

from harness.errors import HarnessError
from harness.guest.bare_metal import BareMetalSpec, run_bare_metal
from harness.guest.deadlines import CALIBRATION
from harness.results.ktap import CaseResult, KtapReader
from harness.runfolder import attempt_name, bare_metal_script
from harness.testing.cellguest import CellGuest
from harness.testing.journal import Journal
from harness.testing.programs import Report
from harness.values import Program


class BareMetalRun:
    """One program in one cell, from its first byte to its last case."""

    def __init__(
        self,
        cell: CellGuest,
        program: Program,
        journal: Journal,
        report: Report,
        attempt: int = 1,
    ) -> None:
        self._attempt = attempt
        self._cell = cell
        self._program = program
        self._journal = journal
        self._report = report
        self._reader = KtapReader()

    def run(self) -> None:
        """Run it; each case is recorded and reported the moment its line is complete.

        :raise GuestError: QEMU did not start.
        """
        program, setup = self._program, self._cell.setup
        name = attempt_name(program.name.replace("/", "."), self._attempt)
        path = self._cell.folder / "output" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
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
        with path.open("wb", buffering=0) as output:

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

    def _tell(self, cases: list[CaseResult]) -> None:
        for case in cases:
            self._journal.case(self._cell.name, self._program.name, case, attempt=self._attempt)
            self._report(case)
