"""Running one bare-metal program in a cell, in its own QEMU."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from harness.errors import UserError
from harness.guest.bare_metal import BareMetalSpec, run_bare_metal
from harness.guest.verdict.deadlines import CALIBRATION
from harness.guest.verdict.failure import Completed
from harness.results.folder import attempt_name, bare_metal_script
from harness.testing.itemrun import ItemRun

#: Rounds of programs that repeat their checks, for a long run. By default, a small number.
ROUNDS_ENV = "UINTR_HARNESS_ROUNDS"
#: Number of rounds that extend a program's time-out by its length.
_ROUNDS_PER_TIMEOUT = 2000


def wanted_rounds() -> int:
    """Return ``$UINTR_HARNESS_ROUNDS``, 0 if it is not set.

    :raise UserError: it is not a number.
    """
    text = os.environ.get(ROUNDS_ENV) or "0"
    if not text.isdecimal():
        raise UserError(f"this is not a number of rounds: {text!r}", where=f"${ROUNDS_ENV}")
    return int(text)


class BareMetalRun(ItemRun):
    """A program that QEMU runs instead of a kernel."""

    @override
    def _console(self) -> Path:
        return self._folder / f"{self._log_name}.log"

    @property
    def _folder(self) -> Path:
        return bare_metal_script(self._cell.folder, self._program.name).parent

    @property
    def _log_name(self) -> str:
        return attempt_name(self._program.path.name, self._attempt)

    def _execute(self, hear: Callable[[bytes], None]) -> tuple[Completed, str | None]:
        program, setup = self._program, self._cell.setup
        factor = CALIBRATION.factor(setup.guest_spec())
        rounds = wanted_rounds()
        spec = BareMetalSpec(
            emulator=setup.emulator,
            cpu=setup.cell.cpu,
            smp=setup.cell.smp,
            accel=setup.accel,
            program=program.path,
            factor=factor,
            rounds=rounds,
        )
        limit_s = program.timeout_s * (1 + rounds / _ROUNDS_PER_TIMEOUT)
        done, why = run_bare_metal(
            spec,
            self._folder,
            timeout_s=limit_s * factor,
            on_stdout=hear,
            limit=program.output_limit,
            log_name=self._log_name,
        )
        return done.within(limit_s, factor), why
