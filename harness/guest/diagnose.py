"""What a guest that hangs is asked before it is killed, gently first.

The order is that of how much a step disturbs: QEMU's own view, registers, task lists by sysrq,
and last an NMI, which the guest's kernel line (``unknown_nmi_panic``) turns into a panic with the
backtrace of a CPU that takes no interrupts any more. Each step has its own limit, and one that
fails says so in its file and does not keep the next from being tried.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from harness.guest.argv import SERIAL_ID
from harness.guest.console import TAIL_LINES, Console
from harness.guest.process import Process
from harness.guest.qmp import Monitor, MonitorError

#: Between the two looks at registers: same addresses twice mean a tight loop or a halt.
BETWEEN_LOOKS_S = 0.2
#: Console silence that ends the wait for a step's output, and the longest such wait.
QUIET_S = 0.5
OUTPUT_S = 10.0
#: Each question to the monitor.
STEP_S = 5.0
#: l: backtrace of all CPUs by NMI; w: blocked tasks; t: all tasks.
SYSRQ_KEYS = "lwt"


def diagnose(folder: Path, monitor: Monitor, process: Process, console: Console) -> list[Path]:
    """Ask everything, and return the files with the answers, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    console.mute()
    steps: list[tuple[str, Callable[[], str]]] = [
        ("1-status.json", lambda: _status(monitor)),
        ("2-registers.txt", lambda: monitor.human("info registers -a", timeout_s=STEP_S)),
        ("3-registers-again.txt", lambda: _later(monitor)),
    ]
    steps += [
        (f"4-sysrq-{key}.txt", lambda key=key: _sysrq(key, monitor, process, console))  # type: ignore[misc]
        for key in SYSRQ_KEYS
    ]
    steps += [
        ("5-nmi.txt", lambda: _nmi(monitor, console)),
        ("6-console.txt", lambda: console.tail(TAIL_LINES)),
    ]
    files = []
    for name, step in steps:
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


def _status(monitor: Monitor) -> str:
    status = {
        "status": monitor.command("query-status", timeout_s=STEP_S),
        "events": [e for _, e in monitor.events],
    }
    return json.dumps(status, indent=1, default=str) + "\n"


def _later(monitor: Monitor) -> str:
    time.sleep(BETWEEN_LOOKS_S)
    return monitor.human("info registers -a", timeout_s=STEP_S)


def _sysrq(key: str, monitor: Monitor, process: Process, console: Console) -> str:
    """Send BREAK and ``key`` over the serial line: the way in that needs no working user space."""
    before = console.lines
    monitor.command("chardev-send-break", {"id": SERIAL_ID}, timeout_s=STEP_S)
    process.write(key.encode())
    return _output_since(before, console)


def _nmi(monitor: Monitor, console: Console) -> str:
    before = console.lines
    monitor.command("inject-nmi", timeout_s=STEP_S)
    return _output_since(before, console)


def _output_since(before: int, console: Console) -> str:
    """Return what the console printed since line ``before``, once it is quiet."""
    end = time.monotonic() + OUTPUT_S
    seen = console.bytes
    quiet_since = time.monotonic()
    while time.monotonic() < end and time.monotonic() - quiet_since < QUIET_S:
        time.sleep(0.05)
        if console.bytes != seen:
            seen, quiet_since = console.bytes, time.monotonic()
    printed = console.lines - before
    return console.tail(printed) + "\n" if printed > 0 else "nothing was printed\n"
