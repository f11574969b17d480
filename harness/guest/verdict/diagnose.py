"""Diagnosis of a guest that hangs, before it is killed.

The steps begin with those that disturb the guest least: the host's view of QEMU, QEMU's status,
registers, task lists by sysrq, and an NMI. The kernel parameter ``unknown_nmi_panic`` turns the NMI
into a panic with the backtrace of a CPU that no longer takes interrupts. Each step has a time
limit, and so have all of them together. A step that fails says so in its file, and the next one
follows. Once the monitor has not answered (QEMU is stopped or deadlocked), later steps wait for it
only briefly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from harness.guest.argv import SERIAL_ID
from harness.guest.process import Process
from harness.guest.transport.console import TAIL_LINES, Console
from harness.guest.transport.qmp import Monitor, MonitorError, SilentMonitorError
from harness.guest.verdict.deadlines import Deadline

#: Seconds between the two reads of the registers. Equal addresses mean a tight loop or a halt.
BETWEEN_READS_S = 0.2
#: Seconds of console silence that end the wait for a step's output, and the limit for this wait.
QUIET_S = 0.5
OUTPUT_S = 10.0
#: Limit for each question to the monitor, and for all steps together, in seconds.
STEP_S = 4.0
TOTAL_S = 15.0
#: Limit for a step after the total was used up, or the monitor did not answer before.
LAST_S = 0.5
#: l: backtrace of all CPUs by NMI; w: blocked tasks; t: all tasks.
SYSRQ_KEYS = "lwt"


def diagnose(folder: Path, monitor: Monitor, process: Process, console: Console) -> list[Path]:
    """Do all steps, and return the files with their output, in ``folder``.

    It takes at most about :data:`TOTAL_S` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    console.mute()
    files = []
    for name, step in _Steps(monitor, process, console).steps():
        try:
            text = step()
        except MonitorError as error:
            text = f"not available: {error.what}\n"
        path = folder / name
        try:
            path.write_text(text, errors="replace")
        except OSError:
            continue  # a full disk must not hide the hang that is being reported
        files.append(path)
    return files


class _Steps:
    """The steps, and the time that is left for them."""

    def __init__(self, monitor: Monitor, process: Process, console: Console) -> None:
        self._monitor = monitor
        self._process = process
        self._console = console
        self._deadline = Deadline("diagnosis", TOTAL_S)
        self._silent = False

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """Return each step's file name, and the function that returns its contents."""
        return [
            ("0-qemu.txt", lambda: _threads(self._process.pid)),
            ("1-status.json", self._status),
            ("2-registers.txt", self._registers),
            ("3-registers-again.txt", self._registers_later),
            *((f"4-sysrq-{key}.txt", partial(self._sysrq, key)) for key in SYSRQ_KEYS),
            ("5-nmi.txt", self._nmi),
            ("6-console.txt", lambda: self._console.tail(TAIL_LINES)),
        ]

    def _limit(self, most_s: float) -> float:
        return min(most_s, max(self._deadline.remaining, LAST_S))

    def _ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Execute a command of the monitor. If it did not answer before, wait only briefly."""
        timeout_s = self._limit(LAST_S if self._silent else STEP_S)
        try:
            return self._monitor.command(command, arguments, timeout_s=timeout_s)
        except SilentMonitorError:
            self._silent = True
            raise

    def _status(self) -> str:
        status = {
            "status": self._ask("query-status"),
            "events": [e for _, e in self._monitor.events],
        }
        return json.dumps(status, indent=1, default=str) + "\n"

    def _registers(self) -> str:
        return str(self._ask("human-monitor-command", {"command-line": "info registers -a"}))

    def _registers_later(self) -> str:
        time.sleep(BETWEEN_READS_S)
        return self._registers()

    def _sysrq(self, key: str) -> str:
        """Send BREAK and ``key`` over the serial line, which works without user space."""
        before = self._console.lines
        self._ask("chardev-send-break", {"id": SERIAL_ID})
        self._process.write(key.encode())
        return self._output_since(before)

    def _nmi(self) -> str:
        before = self._console.lines
        self._ask("inject-nmi")
        return self._output_since(before)

    def _output_since(self, before: int) -> str:
        """Wait until the console is silent, and return its output since line ``before``."""
        console = self._console
        end = time.monotonic() + self._limit(OUTPUT_S)
        seen = console.bytes
        quiet_since = time.monotonic()
        while time.monotonic() < end and time.monotonic() - quiet_since < QUIET_S:
            time.sleep(0.05)
            if console.bytes != seen:
                seen, quiet_since = console.bytes, time.monotonic()
        printed = console.lines - before
        return console.tail(printed) + "\n" if printed > 0 else "nothing was printed\n"


def _threads(pid: int) -> str:
    """Return the status and CPU time of QEMU's process and threads, as the host sees them."""
    try:
        qemu = psutil.Process(pid)
        lines = [f"process {pid}: {qemu.status()}"]
        for thread in qemu.threads():
            used = f"{thread.user_time:.2f} s user, {thread.system_time:.2f} s system"
            lines.append(f"thread {thread.id}: {used}")
    except psutil.Error as error:
        lines = [f"not available: {error}"]
    return "\n".join(lines) + "\n"
