"""A guest that does not get on any more, told from one that is slow.

A boot prints all the time. Where it falls silent for long, compared with how it went so far, the
CPUs are looked at several times: one that works has other values in its registers each time, one
that spins, or was halted, has not. A host that gives QEMU no time makes a guest stand still, too,
so that is asked as well, and then nothing is concluded.
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

#: Silence, in seconds, before a guest is looked at whose CPUs spin or are dead, and before one is
#: given up that only waits; also so many times the longest silence that there was before.
SPIN_S, WAIT_S = 5.0, 15.0
GAPS = 5
#: Looks at the registers, the seconds between two of them, and the part that must be alike: an
#: interrupt falls into some of them.
LOOKS, BETWEEN_S, ALIKE = 6, 0.4, 0.5
#: The part of the time that a spinning guest's QEMU has the host's CPU, at least.
SERVED = 0.25

_GENERAL = re.compile(r"\bR(?:AX|BX|CX|DX|SI|DI|BP|SP|8 ?|9 ?|1[0-5])=[0-9a-f]+")
_HALTED = re.compile(r"\bHLT=1\b")
_FLAGS = re.compile(r"\bRFL=([0-9a-f]+)")
_INTERRUPTS = 1 << 9


class Cpu(NamedTuple):
    """A CPU at one look."""

    #: The general registers, without the instruction pointer: a loop has several.
    state: tuple[str, ...]
    halted: bool
    #: Whether an interrupt would wake it.
    wakeable: bool


class Look(NamedTuple):
    """All CPUs at a time (monotonic seconds), and the seconds of CPU time that QEMU has had."""

    time: float
    cpu_s: float
    cpus: tuple[Cpu, ...]


def read_cpus(text: str) -> tuple[Cpu, ...]:
    """Return the CPUs in what QEMU's ``info registers -a`` prints (``cpu_x86_dump_state``)."""
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
    """Wait until ``until()`` holds or ``alarm`` goes; return why not, if neither will happen.

    :param scale: by how much the guest is slower than others with its accelerator.
    """
    stall = Stall(machine.look, scale)
    console = machine.console

    def over() -> bool:
        return until() or alarm.tripped

    while not alarm.wait(over, Deadline("next look", min(deadline.remaining, BETWEEN_S))):
        if deadline.expired:
            return str(deadline)
        stuck = stall.check(machine.clock() - console.last, console.longest_gap)
        if stuck is not None:
            return stuck
    return ""


class Stall:
    """Watches one guest while something is expected of it.

    :param look: returns what ``info registers -a`` prints and QEMU's CPU time; None if it cannot.
    :param scale: multiplies the silence that is borne; above 1 on a slow host.
    :param clock: seconds, of which only differences count.
    """

    def __init__(
        self,
        look: Callable[[], tuple[str, float] | None],
        scale: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._clock = clock
        self._scale = scale
        self._looks: deque[Look] = deque(maxlen=LOOKS)

    def check(self, quiet_s: float, longest_gap_s: float) -> str | None:
        """Return why the guest is held for stuck, None while it is not.

        To be called again and again; it looks at the guest itself, as often as that makes sense.

        :param quiet_s: seconds since the console printed something.
        :param longest_gap_s: the longest time before that in which it did not.
        """
        floor = GAPS * longest_gap_s
        if quiet_s < max(SPIN_S * self._scale, floor):
            self._looks.clear()
            return None
        now = self._clock()
        if self._looks and now - self._looks[-1].time < BETWEEN_S:
            return None
        found = self._look()
        if found is None:
            self._looks.clear()
            return None
        self._looks.append(Look(now, found[1], read_cpus(found[0])))
        if len(self._looks) < LOOKS or not stands_still(self._looks):
            return None
        waits = all(cpu.halted and cpu.wakeable for cpu in self._looks[-1].cpus)
        if waits and quiet_s < max(WAIT_S * self._scale, floor):
            return None
        what = "all CPUs wait for an interrupt" if waits else "the CPUs do not get on"
        return f"nothing was printed for {quiet_s:.0f} s, and {what}"


def stands_still(looks: deque[Look]) -> bool:
    """Whether no CPU did any work between the looks, although the host let it."""
    for states in zip(*(look.cpus for look in looks), strict=True):
        # What an idle CPU has in its registers is left over from its last tick.
        (_, count), *_ = Counter(None if cpu.halted else cpu.state for cpu in states).most_common(1)
        if count < ALIKE * len(states):
            return False
    first, last = looks[0], looks[-1]
    if not last.cpus or all(cpu.halted for cpu in last.cpus):
        return bool(last.cpus)
    return last.cpu_s - first.cpu_s >= SERVED * (last.time - first.time)
