"""Whether anybody is there: bounds for waits that have none, and a guest's sign of life."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from harness.guest.verdict.deadlines import Deadline

#: How much later than its deadline a connection is cut, so that waits with a limit of their own
#: end by that first.
GRACE_S = 1.0
#: While a command gives nothing for so long, the guest is asked for a sign of life, and again after
#: as long. Seconds that it may take for one, and how many in a row it may owe.
PERIOD_S, BEAT_S, MISSES = 10.0, 8.0, 2


class Closable(Protocol):
    """Something whose ``close`` ends all waits for it."""

    def close(self) -> None:
        """Close it."""


@contextlib.contextmanager
def cut_at(deadline: Deadline, connection: Closable) -> Iterator[None]:
    """Close ``connection`` if the block has not ended soon after the deadline.

    Paramiko waits without a limit for the answer to a request on a channel, and for room in a
    full socket. Both end when their transport is closed, as errors.
    """
    timer = threading.Timer(deadline.remaining + GRACE_S, connection.close)
    timer.name, timer.daemon = "ssh-cut", True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join(GRACE_S)


def still_answers(address: tuple[str, int], deadline: Deadline) -> bool:
    """Whether the guest's kernel still answers on a port, be it by refusing the connection.

    QEMU's user network takes each connection itself, so only what comes through it counts: a
    server's greeting, or the end of the connection. Of a guest that hangs comes neither.
    """
    return _first_bytes(address, deadline) is not None


def greets(address: tuple[str, int], deadline: Deadline) -> bool:
    """Whether an SSH server answers on a port."""
    return _first_bytes(address, deadline) == b"SSH-"


def _first_bytes(address: tuple[str, int], deadline: Deadline) -> bytes | None:
    """Return the first four bytes from a port, none if it is closed, or None for silence."""
    try:
        with socket.create_connection(address, timeout=max(deadline.remaining, 0.1)) as connection:
            connection.settimeout(max(deadline.remaining, 0.1))
            return connection.recv(4)
    except TimeoutError:
        return None
    except OSError:
        return b""


class LivenessMonitor:
    """Listens for a guest's sign of life while a command runs and gives nothing.

    A program's deadline is far away; a guest that hangs is to be known before. What listens is a
    thread of its own, and what it does in the guest is one connection in ten seconds.

    :param scale: multiplies the time for an answer; above 1 for a guest that is slow.
    :param on_stop: called once, from that thread, when there is none any more.
    """

    def __init__(self, address: tuple[str, int], scale: float, on_stop: Callable[[], None]) -> None:
        #: Reason why the guest was declared dead; None while it is not.
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
        """Listen while the block runs."""
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
            if still_answers(self._address, Deadline("sign of life", BEAT_S * self._scale)):
                self.heard()
                continue
            misses += 1
            if misses >= MISSES and self._listening:
                silent_s = time.monotonic() - self._last
                self.stopped = f"no sign of life for {silent_s:.0f} s"
                self._on_stop()
                return

    def close(self) -> None:
        """Stop listening; an answer that is waited for is not."""
        self._closed.set()
