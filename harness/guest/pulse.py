"""Whether anybody is there: bounds for waits that have none, and a guest's sign of life."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Protocol

from harness.guest.deadlines import Deadline

#: How much later than its deadline a connection is cut, so that waits with a limit of their own
#: end by that first.
GRACE_S = 1.0


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


def has_pulse(address: tuple[str, int], deadline: Deadline) -> bool:
    """Whether the guest's kernel still answers on a port, be it by refusing the connection.

    QEMU's user network takes each connection itself, so only what comes through it counts: a
    server's greeting, or the end of the connection. Of a guest that hangs comes neither.
    """
    try:
        with socket.create_connection(address, timeout=max(deadline.remaining, 0.1)) as connection:
            connection.settimeout(max(deadline.remaining, 0.1))
            connection.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
