"""A guest's state in a file: saved once, and restored as often as a fresh guest is wanted.

QEMU writes the state as it would send it to another host (docs/devel/migration), and a second QEMU
of the same command line reads it back. A boot under emulation takes seconds; this, a fraction.
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

#: The state is as large as what the guest has written of its memory; nothing should slow it down.
_BYTES_PER_S = 1 << 40
_POLL_S = 0.01
_SEED_BYTES = 32


@dataclass(frozen=True)
class Snapshot:
    """A guest as it was when its SSH server listened, and nobody had logged in yet."""

    #: What it was started with, and each guest that is restored will be.
    spec: GuestSpec
    #: QEMU's migration stream.
    state: Path
    keys: Keys
    #: The phases of the boot before it, in seconds from QEMU's start.
    phases: Mapping[str, float]
    #: Seconds that saving took.
    seconds: float


def save(monitor: Monitor, state: Path, deadline: Deadline) -> None:
    """Write the state of a running guest into a file, and let it run on.

    :raise MonitorError: QEMU cannot, and says why; the guest runs on all the same, if it lives.
    """
    monitor.command("stop")
    try:
        monitor.command("migrate-set-parameters", {"max-bandwidth": _BYTES_PER_S})
        monitor.command("migrate", {"uri": f"exec:cat > {shlex.quote(str(state))}"})
        _finish(monitor, "save", deadline)
    except MonitorError:
        state.unlink(missing_ok=True)
        with contextlib.suppress(MonitorError):
            monitor.command("migrate_cancel")
        raise
    finally:
        with contextlib.suppress(MonitorError):
            monitor.command("cont")


def load(monitor: Monitor, state: Path, deadline: Deadline) -> None:
    """Read a state into a QEMU that was started with ``-incoming defer``; ``cont`` lets it run.

    :raise MonitorError: QEMU does not take it, or has ended.
    """
    monitor.command("migrate-incoming", {"uri": f"exec:cat {shlex.quote(str(state))}"})
    _finish(monitor, "restore", deadline)


def restored_argv() -> list[str]:
    """Return the guest's command that tells a restored guest the time and makes it draw anew."""
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
