"""The alarm of a guest: its threads report changes to it, and other threads wait for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from harness.guest.verdict.deadlines import Deadline

#: Seconds between two checks of a state whose changes are not reported.
POLL_S = 0.02


class Alarm:
    """A condition variable that can also be used with ``select``.

    Threads that watch the console and QEMU call :meth:`changed` after each change, and
    :meth:`trip` when the guest has ended. From then on :meth:`fileno` is readable.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.tripped = False

    def fileno(self) -> int:
        """Return a descriptor that is readable once the alarm is tripped."""
        return self._eventfd

    def changed(self) -> None:
        """Wake all waiters."""
        with self._condition:
            self._condition.notify_all()

    def trip(self) -> None:
        """Report that the guest has ended, and wake all waiters."""
        with self._condition:
            if not self.tripped and self._eventfd >= 0:
                self.tripped = True
                os.eventfd_write(self._eventfd, 1)
            self._condition.notify_all()

    def wait(self, until: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until ``until()`` is true. Return false if the deadline passes first."""
        with self._condition:
            while not until():
                if deadline.expired:
                    return False
                self._condition.wait(deadline.remaining)
            return True

    def poll(self, until: Callable[[], bool], deadline: Deadline) -> bool:
        """Poll until ``until()`` is true, for a state whose changes are not reported.

        Return false if the deadline passes or the alarm is tripped first.
        """
        while not until():
            if deadline.expired or self.tripped:
                return False
            with self._condition:
                self._condition.wait(min(deadline.remaining, POLL_S))
        return True

    def close(self) -> None:
        """Close the descriptor."""
        with self._condition:
            if self._eventfd >= 0:
                os.close(self._eventfd)
                self._eventfd = -1
