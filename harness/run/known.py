"""What a cell is known to have or to lack before a guest is asked."""

from __future__ import annotations

import re

from harness.lib.files import read_bounded
from harness.results.folder import CellSetup
from harness.results.needs import ABI_LATER, ABI_RFC, CPU_UINTR

_CALL = re.compile(rb"^#define __NR_uintr_(create|vector)_fd\b", re.MULTILINE)
_MOST_HEADER = 1 << 20


def known_of(setup: CellSetup) -> dict[str, bool]:
    """Return what is known of a cell without a guest: need → whether the cell has it."""
    known = {CPU_UINTR: setup.cell.cpu.exposes_uintr}
    try:
        text = read_bounded(setup.kernel.headers / "asm" / "unistd_64.h", _MOST_HEADER)
    except OSError:
        return known
    calls = set(_CALL.findall(text))
    if calls:
        # As in guest-tests/include/uintr.h.
        later = calls == {b"vector"}
        known |= {ABI_RFC: not later, ABI_LATER: later}
    return known
