"""One place where a guest's threads say that something happened, and where others wait for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from harness.guest.verdict.deadlines import Deadline

#: How often a state is looked at that nobody announces.
POLL_S = 0.02


class Alarm:
    """A condition that can also be selected on.

    Threads that watch the console and QEMU call :meth:`changed` after each thing that a waiter
    might look for. :meth:`trip` is for what ends the guest; from then on :meth:`fileno` is
    readable.
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
        """Say that the guest is at its end, and wake all waiters."""
        with self._condition:
            if not self.tripped and self._eventfd >= 0:
                self.tripped = True
                os.eventfd_write(self._eventfd, 1)
            self._condition.notify_all()

    def wait(self, until: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until ``until()`` holds, and return whether it did before the deadline."""
        with self._condition:
            while not until():
                if deadline.expired:
                    return False
                self._condition.wait(deadline.remaining)
            return True

    def poll(self, until: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait as :meth:`wait` does for something that nobody tells this alarm of."""
        while not until():
            if deadline.expired or self.tripped:
                return False
            with self._condition:
                self._condition.wait(min(deadline.remaining, POLL_S))
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        with self._condition:
            if self._eventfd >= 0:
                os.close(self._eventfd)
                self._eventfd = -1
