"""The number of guests that this host can run at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from harness.guest.spec import GuestSpec
from harness.values import Cell, Value

#: Memory that QEMU needs besides the guest's, mostly for translated code.
OVERHEAD_MIB = 384
#: Memory left for the harness, its workers and other processes.
RESERVE_MIB = 1024
CGROUP = Path("/sys/fs/cgroup")
_MIB = 1 << 20


class Capacity(Value):
    """CPUs and memory that a host has available."""

    cpus: int
    memory_mib: int


def read_capacity(cgroup: Path = CGROUP) -> Capacity:
    """Return the CPUs and memory available to this process, within its container's limits.

    :param cgroup: folder of the cgroup v2 limits, as a container sees it.
    """
    cpus = float(len(os.sched_getaffinity(0)))
    memory = psutil.virtual_memory().available
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cpus = min(cpus, int(quota) / int(period))
    limit, used = _read(cgroup / "memory.max"), _read(cgroup / "memory.current")
    if limit.isdigit() and used.isdigit():
        memory = min(memory, max(0, int(limit) - int(used)))
    return Capacity(cpus=max(1, int(cpus)), memory_mib=memory // _MIB)


def jobs_for(cells: Sequence[Cell], capacity: Capacity) -> int:
    """Return how many of the cells' guests can run at a time with enough CPUs and memory.

    At least one, even on a host that is too small. Its guest is slow.
    """
    if not cells:
        return 1
    widest = max(cell.smp for cell in cells)
    memory_mib = int(GuestSpec.model_fields["memory_mib"].default) + OVERHEAD_MIB
    by_memory = (capacity.memory_mib - RESERVE_MIB) // memory_mib
    return max(1, min(len(cells), capacity.cpus // widest, by_memory))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
