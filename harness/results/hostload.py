"""What the host did while a program measured: the reason why a figure may not be the guest's own.

The load average lags by a minute and counts what disturbs nobody. What disturbs a guest is a CPU
that it wanted and did not get: the run delay of QEMU's threads, which Linux keeps in
``/proc/PID/task/TID/schedstat`` (Documentation/scheduler/sched-stats.rst: time on a CPU and time
waiting on a run queue, in ns), and steal, which is the same one level further out.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from harness.results.environment import cpu_ticks
from harness.results.records import HostLoad

_PROC = Path("/proc")
#: Shares of time, in percent, from which a figure counts as disturbed.
WAITED, STOLEN = 10.0, 2.0


class Watch:
    """Watches the host from its making to :meth:`done`; nothing in it raises.

    :param pid: the process whose waiting counts; None if there is none.
    """

    def __init__(self, pid: int | None, proc: Path = _PROC) -> None:
        self._proc = proc
        self._pid = pid
        self._since = time.monotonic()
        self._ticks = self._read_ticks()
        self._threads = self._read_threads()

    def done(self) -> HostLoad:
        """Return what the host did since then."""
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
        """Return by thread how long it ran and how long it waited to run, in ns."""
        times: dict[str, tuple[int, int]] = {}
        for path in self._proc.glob(f"{self._pid}/task/*/schedstat") if self._pid else ():
            try:
                run_ns, wait_ns = map(int, path.read_text().split()[:2])
            except (OSError, ValueError):  # it ended meanwhile, or the kernel keeps no such times
                continue
            times[path.parent.name] = run_ns, wait_ns
        return times


def disturbed(host: HostLoad | None) -> str:
    """Return how the host disturbed a measurement; nothing if it did not, or nobody watched."""
    if host is None:
        return ""
    if (host.steal_percent or 0) > STOLEN:
        return f"{host.steal_percent:.0f} % of the host's CPU time was stolen"
    if (host.waited_percent or 0) > WAITED:
        return f"QEMU waited {host.waited_percent:.0f} % of its time for a CPU of the host"
    return ""


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole > 0 else None
