"""The host's load while a program measured, which may have changed its figures.

The load average lags by a minute, and includes load that does not disturb a guest. A guest is
disturbed if QEMU's threads have to wait for a CPU. Linux counts that in
``/proc/PID/task/TID/schedstat`` (Documentation/scheduler/sched-stats.rst: time on a CPU and time
waiting on a run queue, in ns). Steal is the same for the host's own virtual CPUs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from harness.results.environment import cpu_ticks
from harness.results.records import HostLoad

_PROC = Path("/proc")
#: Percentages of waiting and of steal above which a figure counts as disturbed.
WAITED, STOLEN = 10.0, 2.0


class Watch:
    """Measures the host's load from its creation to :meth:`done`. No method raises.

    :param pid: the process whose waiting time is measured; None for no process.
    """

    def __init__(self, pid: int | None, proc: Path = _PROC) -> None:
        self._proc = proc
        self._pid = pid
        self._since = time.monotonic()
        self._ticks = self._read_ticks()
        self._threads = self._read_threads()

    def done(self) -> HostLoad:
        """Return the host's load since this object was created."""
        ticks, stolen = (
            now - then for now, then in zip(self._read_ticks(), self._ticks, strict=True)
        )
        ran = waited = 0
        for thread, (run_ns, wait_ns) in self._read_threads().items():
            before = self._threads.get(thread, (0, 0))
            ran += run_ns - before[0]
            waited += wait_ns - before[1]
        return HostLoad(
            seconds=round(time.monotonic() - self._since, 3),
            load=round(os.getloadavg()[0], 2),
            steal_percent=_percent(stolen, ticks),
            waited_percent=_percent(waited, ran + waited),
        )

    def _read_ticks(self) -> tuple[int, int]:
        try:
            return cpu_ticks((self._proc / "stat").read_text(errors="replace"))
        except OSError:
            return 0, 0

    def _read_threads(self) -> dict[str, tuple[int, int]]:
        """Return thread → (time that it ran, time that it waited for a CPU), in ns."""
        times: dict[str, tuple[int, int]] = {}
        for path in self._proc.glob(f"{self._pid}/task/*/schedstat") if self._pid else ():
            try:
                run_ns, wait_ns = map(int, path.read_text().split()[:2])
            except (OSError, ValueError):  # the thread ended, or the kernel has no schedstat
                continue
            times[path.parent.name] = run_ns, wait_ns
        return times


def disturbed(host: HostLoad | None) -> str:
    """Return how the host disturbed a measurement; empty if it did not, or if it is unknown."""
    if host is None:
        return ""
    if (host.steal_percent or 0) > STOLEN:
        return f"{host.steal_percent:.0f} % of the host's CPU time was stolen"
    if (host.waited_percent or 0) > WAITED:
        return f"QEMU waited {host.waited_percent:.0f} % of its time for a CPU of the host"
    return ""


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole > 0 else None
