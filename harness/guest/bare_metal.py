"""A bare-metal program: QEMU runs it instead of a kernel, and ends with its exit code.

It prints on the debug console (port 0xe9), which is QEMU's standard output. It ends by a write to
isa-debug-exit (``hw/misc/debugexit.c``), which makes QEMU's exit status ``(value << 1) | 1``. So
an even status means that the program did not end itself.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from harness.guest.argv import base_argv, machine_argv, program_argv
from harness.guest.cpu import knows_property
from harness.guest.limits import MIB, OutputLimitError, as_size, read_end
from harness.guest.process import Process
from harness.guest.query import start
from harness.guest.transport.command import Bounded
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.guest.verdict.deadlines import Deadline
from harness.guest.verdict.failure import Completed
from harness.values import OUTPUT_LIMIT, Accel, CpuProfile, Emulator, Value

_START_S = 30.0
#: Seconds from the end of QEMU's output to the end of QEMU.
_END_S = 10.0
_MEMORY_MIB = 128
#: Begin of the line of a script that has the run's limit.
_LIMIT = "# The time limit of the run, in seconds: "


class BareMetalSpec(Value):
    """Parameters for starting a bare-metal program."""

    emulator: Emulator
    cpu: CpuProfile
    smp: int = Field(ge=1, le=16)
    accel: Accel
    program: Path
    #: Slowness relative to a fast machine. The program multiplies its own limits by it.
    factor: float = Field(gt=0)
    #: Rounds of programs that repeat their checks; 0 for a small default.
    rounds: int = Field(default=0, ge=0)


def bare_metal_argv(spec: BareMetalSpec, *, knows_uintr: bool) -> list[str]:
    """Return QEMU's command line, without a monitor.

    :param knows_uintr: whether this QEMU's CPU model has the property ``uintr``.
    """
    words = f"smp={spec.smp} scale={math.ceil(spec.factor)} modelled={int(knows_uintr)}"
    if spec.rounds:
        words += f" rounds={spec.rounds}"
    return [
        *base_argv(spec.emulator),
        *machine_argv(
            spec.cpu,
            spec.accel,
            knows_uintr=knows_uintr,
            smp=spec.smp,
            memory_mib=_MEMORY_MIB,
        ),
        *program_argv(spec.program, words),
    ]


def as_script(argv: list[str], limit_s: float) -> str:
    """Return a shell script that runs the program by hand, with QEMU's exit status.

    The script's arguments go to QEMU (``-s -S`` waits for a debugger).

    :param limit_s: the run's limit, which is in the script as a comment.
    """
    return f'#!/bin/sh\n{_LIMIT}{math.ceil(limit_s)}\nexec {shlex.join(argv)} "$@"\n'


def limit_of(script: str) -> int | None:
    """Return the limit that the run of a script had, in seconds; None if it does not say."""
    line = next((line for line in script.splitlines() if line.startswith(_LIMIT)), "")
    said = line.removeprefix(_LIMIT)
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else None


def decode_status(status: int) -> tuple[int | None, str | None, str | None]:
    """Return the exit code, the signal's name, and why there is neither, from QEMU's status."""
    if status < 0:
        return None, signal.Signals(-status).name.removeprefix("SIG"), None
    if status % 2:
        return status >> 1, None, None
    return None, None, "it reset or shut down the machine (triple fault?)"


def run_bare_metal(
    spec: BareMetalSpec,
    folder: Path,
    *,
    timeout_s: float,
    on_stdout: Callable[[bytes], None],
    log_name: str | None = None,
    limit: int = OUTPUT_LIMIT,
) -> tuple[Completed, str | None]:
    """Run a program until it ends or the deadline passes, and end QEMU.

    :param folder: gets ``NAME.sh``, ``NAME.log`` (QEMU's messages) and, after a time-out,
        ``NAME.registers.txt``.
    :param timeout_s: seconds.
    :param on_stdout: called with output as it arrives.
    :param log_name: another NAME for the last two, for repeated runs, which share the script.
    :param limit: bytes that the program may print.
    :return: the program's result, and the reason if it has neither an exit code nor a signal.
    :raise GuestError: QEMU does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = spec.program.name
    knows_uintr = knows_property(spec.emulator, spec.cpu.model, "uintr")
    argv = bare_metal_argv(spec, knows_uintr=knows_uintr)
    script = folder / f"{name}.sh"
    script.write_text(as_script(argv, timeout_s))
    script.chmod(0o755)
    began = time.monotonic()
    log = folder / f"{log_name or name}.log"
    with contextlib.ExitStack() as stack:
        # Start stopped: otherwise a program may end before the monitor's handshake.
        process, monitor = start([*argv, "-S"], log, timeout_s=_START_S, stack=stack)
        monitor.command("cont")
        output = _follow(process, Deadline(name, timeout_s), on_stdout, limit)
        timed_out = (
            not output.overflow
            and not process.ended.is_set()
            and not process.wait(_END_S if output.eof else 0)
        )
        if timed_out:
            (folder / f"{log_name or name}.registers.txt").write_text(_registers(monitor))
        cut = timed_out or output.overflow
        returncode, by, why = (None, None, None) if cut else decode_status(process.returncode or 0)
    done = Completed(
        returncode=returncode,
        signal=by,
        stdout=output.kept.value(),
        stderr=read_end(log, MIB),
        seconds=time.monotonic() - began,
        timed_out=timed_out,
        overflow=output.overflow,
    )
    return done, why


class _Output:
    """Output from the debug console."""

    def __init__(self) -> None:
        self.kept = Bounded()
        self.eof = False
        self.overflow = ""


def _follow(
    process: Process, deadline: Deadline, on_stdout: Callable[[bytes], None], limit: int
) -> _Output:
    """Read the program's output until its end, its limit, or the deadline."""
    output = _Output()
    taken = 0
    descriptor = process.stdout.fileno()
    while not deadline.expired:
        ready, _, _ = select.select([descriptor], [], [], deadline.remaining)
        if not ready:
            break
        data = os.read(descriptor, 1 << 16)
        if not data:
            output.eof = True
            break
        taken += len(data)
        if taken > limit:
            output.overflow = f"more than {as_size(limit)}"
            break
        output.kept.add(data)
        try:
            on_stdout(data)
        except OutputLimitError as error:
            output.overflow = str(error)
            break
    return output


def _registers(monitor: Monitor) -> str:
    """Return the registers of all CPUs, or why they are not available."""
    try:
        return monitor.human("info registers -a")
    except MonitorError as error:
        return f"not available: {error.what}\n"
