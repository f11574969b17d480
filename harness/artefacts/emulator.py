"""Which QEMU starts the guests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.artefacts.command import capture
from harness.errors import BuildError, UserError
from harness.values import Emulator

EMULATOR_ENV = "UINTR_HARNESS_QEMU"
DEFAULT = "qemu-system-x86_64"

_HINT = f"install qemu-system-x86, or name a binary with {EMULATOR_ENV}"


def find_emulator(explicit: Path | None = None) -> Emulator:
    """Return the QEMU to use: the one given, ``$UINTR_HARNESS_QEMU``, or the one on the PATH.

    :raise UserError: there is none there, or it does not answer ``--version``.
    """
    named = str(explicit) if explicit else os.environ.get(EMULATOR_ENV) or DEFAULT
    found = shutil.which(named)
    if found is None:
        raise UserError("no such emulator (or it is not executable)", where=named, hint=_HINT)
    try:
        answer = capture([found, "--version"], timeout_s=30)
    except BuildError as error:
        raise UserError(
            f"the emulator does not answer: {error.what}", where=found, hint=_HINT
        ) from error
    first = answer.text.partition("\n")[0]
    prefix = "QEMU emulator version "
    if answer.returncode != 0 or not first.startswith(prefix):
        raise UserError(
            f"this is no QEMU: --version ended with {answer.returncode}",
            where=found,
            hint=_HINT,
            detail=answer.complaint or first,
        )
    return Emulator(binary=Path(found).absolute(), version=first.removeprefix(prefix))
