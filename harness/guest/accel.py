"""The accelerator that runs guests on this host, found by running a small guest.

``/dev/kvm`` is no proof. It can exist, open and create a VM, and still not run it. With nested
virtualisation that lacks a model-specific register, QEMU ends with ``failed to set MSR 0x10a to
0x69``. A KVM without hardware support interprets the guest.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from harness.errors import GuestError, UserError
from harness.guest.argv import base_argv
from harness.guest.probe_guest import HALTED_AT, image
from harness.guest.query import monitored
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.values import Accel, Emulator, Value

KVM = Path("/dev/kvm")
#: Seconds that the probe guest may take. It needs a tenth of a second, and more on a busy host.
#: The limit for KVM is short because each run on a host without KVM waits for it.
PROBE_S: Mapping[Accel, float] = {"kvm": 2.0, "tcg": 30.0}
COST = (
    "TCG emulates every instruction: boots take about five times as long, "
    "and latencies say nothing about hardware"
)
_REGISTERS = re.compile(r"\b[RE]IP=([0-9a-f]+)(?s:.*?)\bHLT=([01])")


class AccelChoice(Value):
    """An accelerator that runs guests here."""

    accel: Accel
    #: Why this one, and what it costs. Shown to the user.
    reason: str


def probe_accel(
    emulator: Emulator, wanted: Literal["auto", "tcg", "kvm"], why: str = "TCG was asked for"
) -> AccelChoice:
    """Return the accelerator to use, after starting a small VM with it.

    :param why: the reason to give for ``tcg``.
    :raise UserError: ``kvm`` was asked for and does not run a guest here.
    :raise GuestError: TCG does not run a guest either.
    """
    if wanted != "tcg":
        trouble = _kvm_trouble(emulator)
        if trouble is None:
            return AccelChoice(accel="kvm", reason="KVM runs a guest here")
        if wanted == "kvm":
            raise UserError(
                "KVM was asked for, but does not run a guest here",
                where=KVM,
                detail=trouble,
                hint="omit --accel, or use --accel tcg, to emulate",
            )
        why = f"KVM does not run a guest here ({trouble})"
    trouble = run_probe(emulator, "tcg")
    if trouble is not None:
        raise GuestError(
            "QEMU does not run a guest with TCG either",
            where=emulator.binary,
            detail=trouble,
            hint="check that QEMU and its firmware belong together: `uintr-harness doctor`",
        )
    return AccelChoice(accel="tcg", reason=f"{why}. {COST}")


def _kvm_trouble(emulator: Emulator) -> str | None:
    if not KVM.exists():
        return f"there is no {KVM}"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"no permission to open {KVM}; the group kvm usually has it"
    return run_probe(emulator, "kvm")


def probe_argv(emulator: Emulator, accel: Accel, kernel: Path) -> list[str]:
    """Return the command line of a machine that runs only the probe guest."""
    return [
        *base_argv(emulator),
        *("-machine", "pc"),
        *("-accel", accel),
        *("-cpu", "max"),
        *("-m", "32M"),
        *("-kernel", str(kernel)),
    ]


def run_probe(emulator: Emulator, accel: Accel) -> str | None:
    """Run the guest of :mod:`harness.guest.probe_guest`.

    :return: why it did not run; None if it ran.
    """
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        kernel = Path(scratch) / "probe.elf"
        kernel.write_bytes(image())
        try:
            with monitored(probe_argv(emulator, accel, kernel)) as monitor:
                return _trouble(monitor, PROBE_S[accel])
        except MonitorError as error:
            return _reason(error.detail or error.what)


def _trouble(monitor: Monitor, limit_s: float) -> str | None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        state = monitor.command("query-status")
        if not state.get("running"):
            return f"the CPU stopped in a tiny guest ({state.get('status')})"
        found = _REGISTERS.search(monitor.human("info registers"))
        if found and int(found[1], 16) == HALTED_AT and found[2] == "1":
            return None
        time.sleep(0.01)
    return f"a guest that needs a tenth of a second did not finish within {limit_s:.0f} s"


def _reason(stderr: str) -> str:
    """Return the first line of QEMU's messages that is not a warning."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "warning:" not in line]
    line = next(iter([*telling, *lines]), "QEMU ended without a message")
    with contextlib.suppress(ValueError):
        line = line[line.index("error: ") + len("error: ") :]
    return line
