"""How many guests at a time this host has room for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from harness.guest.spec import GuestSpec
from harness.values import Cell, Value

#: What QEMU takes beside the guest's memory: its own, and the code that it translates.
OVERHEAD_MIB = 384
#: Left for the harness, its workers and everybody else.
RESERVE_MIB = 1024
CGROUP = Path("/sys/fs/cgroup")
_MIB = 1 << 20


class Room(Value):
    """What a host can give."""

    cpus: int
    memory_mib: int


def look_around(cgroup: Path = CGROUP) -> Room:
    """Return what this process may use: by the scheduler, by memory, and by its container.

    :param cgroup: where the limits of cgroup v2 are, as a container sees its own.
    """
    cpus = float(len(os.sched_getaffinity(0)))
    memory = psutil.virtual_memory().available
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cpus = min(cpus, int(quota) / int(period))
    limit, used = _read(cgroup / "memory.max"), _read(cgroup / "memory.current")
    if limit.isdigit() and used.isdigit():
        memory = min(memory, max(0, int(limit) - int(used)))
    return Room(cpus=max(1, int(cpus)), memory_mib=memory // _MIB)


def jobs_for(cells: Sequence[Cell], room: Room) -> int:
    """Return how many of the cells' guests run at a time without waiting for each other's CPUs.

    At least one: a host that is too small for that is slow, and says so in its results.
    """
    if not cells:
        return 1
    widest = max(cell.smp for cell in cells)
    memory_mib = int(GuestSpec.model_fields["memory_mib"].default) + OVERHEAD_MIB
    by_memory = (room.memory_mib - RESERVE_MIB) // memory_mib
    return max(1, min(len(cells), room.cpus // widest, by_memory))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
