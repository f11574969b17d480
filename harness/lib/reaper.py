"""A small process that outlives a killed harness, and ends what that had started.

The death signal of a command reaches the command alone. When the harness is killed, ``make`` gets
it, and a compiler that make had started goes on. So each command has a session of its own, and this
process knows the sessions. It reads ``+PID`` and ``-PID`` from a pipe, whose other end only the
harness has. The kernel closes that end when the harness ends, however it ends.

It needs neither a right nor a control group, and works for root in a container and for any user. A
process that began a session of its own, as daemons do, is left alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator

#: Seconds from the harness's end in which commands end by their own death signal: make removes
#: what it had half written. A second signal would cut that short.
ORDERLY_S = 2.0
#: Seconds from SIGTERM for the rest to SIGKILL, and from there until it gives up.
GRACE_S = 3.0
KILL_S = 30.0
_POLL_S = 0.05


def members(sessions: Iterable[int]) -> Iterator[int]:
    """Yield the processes of sessions that have not ended."""
    wanted = {b"%d" % number for number in sessions}
    for name in os.listdir("/proc"):  # noqa: PTH208  # its start must not import pathlib
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # proc(5): PID (COMM) STATE PPID PGRP SESSION …; COMM may have any bytes.
                state, _, _, session, *_ = file.read().rpartition(b")")[2].split()
                if session in wanted and state not in {b"Z", b"X"}:
                    yield int(name)


def end(sessions: Iterable[int]) -> None:
    """End the processes of sessions: first by themselves, then by SIGTERM, then by SIGKILL."""
    wanted = set(sessions)
    if not wanted or _ended(wanted, ORDERLY_S):
        return
    _signal(wanted, signal.SIGTERM)
    if _ended(wanted, GRACE_S):
        return
    until = time.monotonic() + KILL_S
    while time.monotonic() < until:  # again, as long as one starts others
        _signal(wanted, signal.SIGKILL)
        if _ended(wanted, _POLL_S):
            return


def _ended(sessions: set[int], seconds: float) -> bool:
    """Wait until no process of the sessions is left. Return whether that was in time."""
    until = time.monotonic() + seconds
    while any(True for _ in members(sessions)):
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL_S)
    return True


def _signal(sessions: set[int], number: int) -> None:
    for pid in list(members(sessions)):
        with contextlib.suppress(OSError):
            # Ask once more, and by another way: a mistake here would end somebody else's work.
            if os.getsid(pid) in sessions:
                os.kill(pid, number)


def main() -> None:
    """Read the sessions until the harness has ended, then end those that are left."""
    sessions: set[int] = set()
    for line in sys.stdin.buffer:
        with contextlib.suppress(ValueError):
            (sessions.add if line[:1] == b"+" else sessions.discard)(int(line[1:]))
    end(sessions)


if __name__ == "__main__":
    main()
