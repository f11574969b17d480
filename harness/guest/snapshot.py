"""The snapshot of a guest: saved once, restored for each fresh guest.

QEMU writes the guest's state as a migration stream (docs/devel/migration), and a second QEMU with
the same command line reads it back. That takes a fraction of a second. A boot under emulation takes
seconds.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import time
from collections.abc import Mapping
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
        monitor.command("migrate", {"uri": f"exec:cat > {shlex.quote(str(state))}"})
        _finish(monitor, "save", deadline)
    except MonitorError:
        state.unlink(missing_ok=True)
        raise


def load(monitor: Monitor, state: Path, deadline: Deadline) -> None:
    """Read a state into a QEMU that was started with ``-incoming defer``, and leave it stopped.

    :raise MonitorError: QEMU refuses the state, or has ended.
    """
    monitor.command("migrate-incoming", {"uri": f"exec:cat {shlex.quote(str(state))}"})
    _finish(monitor, "restore", deadline)


def restored_argv() -> list[str]:
    """Return the guest's command that sets the clock and reseeds the random numbers."""
    return ["restored", str(time.time_ns()), secrets.token_hex(_SEED_BYTES)]


def _finish(monitor: Monitor, what: str, deadline: Deadline) -> None:
    """Wait until a migration is complete."""
    while True:
        answer = monitor.command("query-migrate")
        status = answer.get("status")
        if status == "completed":
            return
        if status in {"failed", "cancelled"}:
            reason = answer.get("error-desc", "no reason given")
            raise MonitorError(f"QEMU could not {what} the guest: {reason}", where="migrate")
        if deadline.expired:
            raise MonitorError(
                f"QEMU did not {what} the guest in time ({deadline})", where=f"status {status}"
            )
        time.sleep(_POLL_S)
