"""Sessions of commands that must not outlive the harness, see :mod:`harness.lib.reaper`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading

from harness.lib import reaper


class _Reaper:
    """The process of :mod:`harness.lib.reaper`, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ready(self) -> None:
        """Start it, if it does not run."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = _start()

    def tell(self, sign: str, pid: int) -> None:
        """Tell it that a session began (``+``) or ended (``-``)."""
        message = b"%b%d\n" % (sign.encode(), pid)
        with self._lock:
            self._write(message)

    def _write(self, message: bytes) -> None:
        """Write to its pipe, which takes short messages whole. Without effect if it was killed."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                os.write(self._process.stdin.fileno(), message)

    def forked(self) -> None:
        """Leave the pipe to the parent, in a process that has just been forked."""
        self._lock = threading.Lock()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


_REAPER = _Reaper()
os.register_at_fork(after_in_child=_REAPER.forked)


def _start() -> subprocess.Popen[bytes] | None:
    """Start the process; None if this Python cannot be started."""
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env={},
            start_new_session=True,
        )
    except OSError:
        return None


def ready() -> None:
    """Start what :func:`begin` needs, so that a command is unprotected as shortly as possible."""
    _REAPER.ready()


def begin(pid: int) -> None:
    """Have the session of process ``pid`` ended, should the harness end before :func:`forget`."""
    _REAPER.tell("+", pid)


def forget(pid: int) -> None:
    """Leave a session alone, because its command has ended."""
    _REAPER.tell("-", pid)
