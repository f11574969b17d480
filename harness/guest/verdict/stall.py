"""Detection of a stall during boot: a guest that makes no progress, as opposed to a slow one.

A booting guest prints regularly. If it is silent for long, compared with its boot so far, its
registers are read several times. They differ on a CPU that works, and are equal on one that spins
or is halted. A guest also stands still if the host gives QEMU no CPU time. Then no stall is
reported.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from harness.guest.alarm import Alarm
from harness.guest.machine import Machine
from harness.guest.verdict.deadlines import Deadline

#: Seconds of silence before the registers are read, and before a guest whose CPUs all wait for an
#: interrupt is declared stalled.
SPIN_S, WAIT_S = 5.0, 15.0
#: The silence must also be this many times the longest one before.
GAPS = 5
#: Number of samples of the registers, seconds between two of them, and the fraction of samples that
#: must be equal. Some samples are taken during an interrupt.
SAMPLES, BETWEEN_S, ALIKE = 6, 0.4, 0.5
#: Minimum fraction of a host CPU that QEMU must get for a spinning guest to count as stalled.
SERVED = 0.25

_GENERAL = re.compile(r"\bR(?:AX|BX|CX|DX|SI|DI|BP|SP|8 ?|9 ?|1[0-5])=[0-9a-f]+")
_HALTED = re.compile(r"\bHLT=1\b")
_FLAGS = re.compile(r"\bRFL=([0-9a-f]+)")
_INTERRUPTS = 1 << 9


class Cpu(NamedTuple):
    """The state of a CPU at one time."""

    #: The general registers. The instruction pointer is left out: it differs within a loop.
    state: tuple[str, ...]
    halted: bool
    #: Whether an interrupt would wake it.
    wakeable: bool


class CpuSample(NamedTuple):
    """All CPUs at a time (monotonic seconds), and the CPU time in seconds that QEMU has used."""

    time: float
    cpu_s: float
    cpus: tuple[Cpu, ...]


def read_cpus(text: str) -> tuple[Cpu, ...]:
    """Return the CPUs in the output of ``info registers -a`` (QEMU's ``cpu_x86_dump_state``)."""
    return tuple(map(_read_cpu, re.split(r"^CPU#\d+\s*$", text, flags=re.MULTILINE)[1:]))


def _read_cpu(part: str) -> Cpu:
    flags = _FLAGS.search(part)
    return Cpu(
        state=tuple(_GENERAL.findall(part)),
        halted=bool(_HALTED.search(part)),
        wakeable=bool(flags and int(flags[1], 16) & _INTERRUPTS),
    )


def wait_for(
    until: Callable[[], bool], deadline: Deadline, machine: Machine, alarm: Alarm, scale: float
) -> str:
    """Wait until ``until()`` is true, ``alarm`` is tripped, the guest stalls, or the deadline.

    :param scale: the guest's slowness relative to others with the same accelerator.
    :return: the stall or the deadline, as text; empty in the other cases.
    """
    stall = Stall(machine.sample_cpus, scale)
    console = machine.console

    def over() -> bool:
        return until() or alarm.tripped

    while not alarm.wait(over, Deadline("next sample", min(deadline.remaining, BETWEEN_S))):
        if deadline.expired:
            return str(deadline)
        stuck = stall.check(machine.clock() - console.last, console.longest_gap)
        if stuck is not None:
            return stuck
    return ""


class Stall:
    """Watches one guest for a stall.

    :param sample: returns the output of ``info registers -a`` and QEMU's CPU time in seconds, None
        if they are not available.
    :param scale: multiplies the tolerated silence; above 1 on a slow host.
    :param clock: returns seconds; only differences are used.
    """

    def __init__(
        self,
        sample: Callable[[], tuple[str, float] | None],
        scale: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sample = sample
        self._clock = clock
        self._scale = scale
        self._samples: deque[CpuSample] = deque(maxlen=SAMPLES)

    def check(self, quiet_s: float, longest_gap_s: float) -> str | None:
        """Return why the guest was declared stalled, None if it was not.

        Call it repeatedly. It reads the registers only when that is useful.

        :param quiet_s: seconds since the last console output.
        :param longest_gap_s: longest pause in console output before that, in seconds.
        """
        floor = GAPS * longest_gap_s
        if quiet_s < max(SPIN_S * self._scale, floor):
            self._samples.clear()
            return None
        now = self._clock()
        if self._samples and now - self._samples[-1].time < BETWEEN_S:
            return None
        found = self._sample()
        if found is None:
            self._samples.clear()
            return None
        self._samples.append(CpuSample(now, found[1], read_cpus(found[0])))
        if len(self._samples) < SAMPLES or not made_no_progress(self._samples):
            return None
        waits = all(cpu.halted and cpu.wakeable for cpu in self._samples[-1].cpus)
        if waits and quiet_s < max(WAIT_S * self._scale, floor):
            return None
        what = "all CPUs wait for an interrupt" if waits else "the CPUs make no progress"
        return f"nothing was printed for {quiet_s:.0f} s, and {what}"


def made_no_progress(samples: deque[CpuSample]) -> bool:
    """Return true if no CPU made progress between the samples, although QEMU had CPU time."""
    for states in zip(*(sample.cpus for sample in samples), strict=True):
        # The registers of an idle CPU are left over from its last tick.
        (_, count), *_ = Counter(None if cpu.halted else cpu.state for cpu in states).most_common(1)
        if count < ALIKE * len(states):
            return False
    first, last = samples[0], samples[-1]
    if not last.cpus or all(cpu.halted for cpu in last.cpus):
        return bool(last.cpus)
    return last.cpu_s - first.cpu_s >= SERVED * (last.time - first.time)
