"""Signs of life from a guest, and limits for waits of paramiko that have none."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from harness.guest.verdict.deadlines import Deadline

#: Seconds from a deadline until the connection is closed. Waits with their own limit end earlier.
GRACE_S = 1.0
#: Seconds without output after which the guest is probed, and between two probes; seconds that it
#: may take to answer; and number of missing answers in a row after which it hangs.
PERIOD_S, BEAT_S, MISSES = 10.0, 8.0, 2


class Closable(Protocol):
    """A connection whose ``close`` ends all waits on it."""

    def close(self) -> None:
        """Close it."""


@contextlib.contextmanager
def close_at(deadline: Deadline, connection: Closable) -> Iterator[None]:
    """Close ``connection`` if the block has not ended soon after the deadline.

    paramiko waits without a limit for the answer to a request on a channel, and for room in a
    full socket. Both waits end with an error when the transport is closed.
    """
    timer = threading.Timer(deadline.remaining + GRACE_S, connection.close)
    timer.name, timer.daemon = "ssh-cut", True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join(GRACE_S)


def kernel_answers(address: tuple[str, int], deadline: Deadline) -> bool:
    """Return true if the guest's kernel still answers on a port, even by refusing a connection.

    QEMU's user network accepts each connection itself. So only a server's greeting or the end of
    the connection counts. A guest that hangs sends neither.
    """
    return _first_bytes(address, deadline) is not None


def ssh_server_answers(address: tuple[str, int], deadline: Deadline) -> bool:
    """Return true if an SSH server answers on a port."""
    return _first_bytes(address, deadline) == b"SSH-"


def _first_bytes(address: tuple[str, int], deadline: Deadline) -> bytes | None:
    """Return the first four bytes from a port, ``b""`` if it is closed, None if it is silent."""
    try:
        with socket.create_connection(address, timeout=max(deadline.remaining, 0.1)) as connection:
            connection.settimeout(max(deadline.remaining, 0.1))
            return connection.recv(4)
    except TimeoutError:
        return None
    except OSError:
        return b""


class LivenessMonitor:
    """Probes a guest while a command runs without output, to find a hang before the deadline.

    It runs in its own thread. Its cost for the guest is one connection in ten seconds.

    :param scale: multiplies the time for an answer; above 1 for a slow guest.
    :param on_stop: called once, from the thread, when the guest no longer answers.
    """

    def __init__(self, address: tuple[str, int], scale: float, on_stop: Callable[[], None]) -> None:
        #: Reason why the guest was declared dead; None if it was not.
        self.stopped: str | None = None
        self._address = address
        self._scale = scale
        self._on_stop = on_stop
        self._listening = False
        self._last = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)
        self._thread.start()

    def heard(self) -> None:
        """Note a sign of life."""
        self._last = time.monotonic()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Probe the guest while the block runs."""
        self.heard()
        self._listening = True
        try:
            yield
        finally:
            self._listening = False

    def _run(self) -> None:
        misses = 0
        while not self._closed.wait(PERIOD_S / 10):
            if not self._listening or time.monotonic() - self._last < PERIOD_S:
                misses = 0
                continue
            if kernel_answers(self._address, Deadline("sign of life", BEAT_S * self._scale)):
                self.heard()
                continue
            misses += 1
            if misses >= MISSES and self._listening:
                silent_s = time.monotonic() - self._last
                self.stopped = f"no sign of life for {silent_s:.0f} s"
                self._on_stop()
                return

    def close(self) -> None:
        """Stop probing, without waiting for a pending answer."""
        self._closed.set()
