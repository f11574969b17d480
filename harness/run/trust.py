"""The check of a run's QEMU, before it is started for a folder that may be somebody else's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness import paths
from harness.errors import UserError
from harness.names import EMULATOR_ENV, SYSTEM_BINARY
from harness.results.folder import CellSetup


def check_emulators(setups: Iterable[CellSetup], named: str | None) -> None:
    """Check that the user has chosen the QEMU that the folder of a run names.

    It is one that the harness built, that of the PATH or of ``$UINTR_HARNESS_QEMU``, or ``named``.

    :raise UserError: it is another one.
    """
    built = Path(os.path.realpath(paths.cache_place() / "emulator"))
    words = filter(None, (named, os.environ.get(EMULATOR_ENV), SYSTEM_BINARY))
    chosen = {Path(os.path.realpath(shutil.which(word) or word)) for word in words}
    for binary in {setup.emulator.binary for setup in setups}:
        real = Path(os.path.realpath(binary))  # /bin may be a link to /usr/bin
        if real not in chosen and not real.is_relative_to(built):
            raise UserError(
                "this run's QEMU is not one that you have chosen",
                where=binary,
                hint="if you trust it, name it with --uintr-qemu",
            )
