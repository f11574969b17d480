"""The snapshot of a guest: saved once, restored for each fresh guest.

QEMU writes the guest's state as a migration stream (docs/devel/migration), and a second QEMU with
the same command line reads it back. That takes a fraction of a second. A boot under emulation takes
seconds.

The harness writes and reads the file, and QEMU has a pipe: older ones know no other way to a file
than a shell, which they may not start (:mod:`harness.guest.confined`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.guest.spec import GuestSpec
from harness.guest.transport.keys import Keys
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.guest.verdict.deadlines import Deadline

#: Practically no limit: the state is only as large as the memory that the guest has written.
_BYTES_PER_S = 1 << 40
_POLL_S = 0.01
_SEED_BYTES = 32
#: Bytes that are copied at a time, and the name by which QEMU knows the pipe.
_CHUNK = 1 << 20
_PIPE = "state"
#: Seconds from the end of QEMU's part to the end of the copy.
_COPY_S = 30.0


@dataclass(frozen=True)
class Snapshot:
    """The state of a guest when its SSH server listened, before the first login."""

    #: The specification of the saved guest, and of each that is restored from it.
    spec: GuestSpec
    #: QEMU's migration stream.
    state: Path
    keys: Keys
    #: Phases of the boot, in seconds from QEMU's start.
    phases: Mapping[str, float]
    #: Seconds that saving took.
    seconds: float
    #: Whether the kernel stamps its messages.
    stamped: bool


def save(monitor: Monitor, state: Path, deadline: Deadline) -> None:
    """Write the state of a running guest into a file, and resume the guest.

    :raise MonitorError: QEMU cannot write it. The guest is resumed if QEMU still runs.
    """
    try:
        stop_and_save(monitor, state, deadline)
    except MonitorError:
        with contextlib.suppress(MonitorError):
            monitor.command("migrate_cancel")
        raise
    finally:
        with contextlib.suppress(MonitorError):
            monitor.command("cont")


def stop_and_save(monitor: Monitor, state: Path, deadline: Deadline) -> None:
    """Stop a guest, and write its state into a file.

    :raise MonitorError: QEMU cannot write it. There is no file then.
    """
    monitor.command("stop")
    try:
        monitor.command("migrate-set-parameters", {"max-bandwidth": _BYTES_PER_S})
        copy = _Copy(lambda pipe: _from_pipe(pipe, state))
        _begin(monitor, copy, "migrate")
        _finish(monitor, "save", deadline, copy)
    except MonitorError:
        with contextlib.suppress(OSError):
            state.unlink(missing_ok=True)
        raise


def load(monitor: Monitor, state: Path, deadline: Deadline) -> None:
    """Read a state into a QEMU that was started with ``-incoming defer``, and leave it stopped.

    :raise MonitorError: QEMU refuses the state, or has ended.
    """
    copy = _Copy(lambda pipe: _to_pipe(state, pipe), to_qemu=True)
    _begin(monitor, copy, "migrate-incoming")
    _finish(monitor, "restore", deadline, copy)


def restored_argv() -> list[str]:
    """Return the guest's command that sets the clock and reseeds the random numbers."""
    return ["restored", str(time.time_ns()), secrets.token_hex(_SEED_BYTES)]


class _Copy:
    """A copy between a file and QEMU's end of a pipe, in a thread.

    It ends when QEMU closes its end, which QEMU's own end does, too.
    """

    def __init__(self, work: Callable[[int], None], *, to_qemu: bool = False) -> None:
        reader, writer = os.pipe()
        self.theirs, self._ours = (reader, writer) if to_qemu else (writer, reader)
        self._work = work
        #: Why it failed, if it did.
        self.error = ""
        self._thread = threading.Thread(target=self._run, name="snapshot", daemon=True)

    def start(self) -> None:
        """Start to copy. QEMU has its end."""
        os.close(self.theirs)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work(self._ours)
        except BrokenPipeError:
            pass  # QEMU has what it needs, or says itself what is wrong
        except OSError as error:
            self.error = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        finally:
            os.close(self._ours)

    def cancel(self) -> None:
        """Close both ends, before it was started."""
        os.close(self.theirs)
        os.close(self._ours)

    def wait(self) -> bool:
        """Wait for its end. Return false if it does not come."""
        self._thread.join(_COPY_S)
        return not self._thread.is_alive()


def _from_pipe(pipe: int, state: Path) -> None:
    with state.open("wb") as file:
        while data := os.read(pipe, _CHUNK):
            file.write(data)


def _to_pipe(state: Path, pipe: int) -> None:
    with state.open("rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            while data:
                data = data[os.write(pipe, data) :]


def _begin(monitor: Monitor, copy: _Copy, command: str) -> None:
    """Give QEMU its end of the pipe, and start the migration through it."""
    try:
        monitor.give(copy.theirs, _PIPE)
    except MonitorError:
        copy.cancel()
        raise
    copy.start()
    try:
        monitor.command(command, {"uri": f"fd:{_PIPE}"})
    except MonitorError:
        with contextlib.suppress(MonitorError):
            monitor.command("closefd", {"fdname": _PIPE})
        raise


def _finish(monitor: Monitor, what: str, deadline: Deadline, copy: _Copy) -> None:
    """Wait until a migration is complete, and the copy with it."""
    while True:
        answer = monitor.command("query-migrate")
        status = answer.get("status")
        if status == "completed":
            break
        if status in {"failed", "cancelled"}:
            copy.wait()
            reason = copy.error or answer.get("error-desc", "no reason given")
            raise MonitorError(f"QEMU could not {what} the guest: {reason}", where="migrate")
        if deadline.expired:
            raise MonitorError(
                f"QEMU did not {what} the guest in time ({deadline})", where=f"status {status}"
            )
        time.sleep(_POLL_S)
    if not copy.wait() or copy.error:
        reason = copy.error or "its state was not copied in time"
        raise MonitorError(f"QEMU could not {what} the guest: {reason}", where="migrate")
