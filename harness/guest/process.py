"""QEMU, or Bochs, as a child process that has few rights and does not outlive the harness."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from harness.errors import GuestError
from harness.guest.confined import confined_argv, environment
from harness.guest.limits import read_end
from harness.lib import sessions

#: Starts every QEMU. The signal of ``PR_SET_PDEATHSIG`` is sent when the *thread* that forked
#: ends, so this thread lives as long as the process.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qemu-spawner")
_KILL_WAIT_S = 10.0
#: Bytes that are read from the end of QEMU's log.
_LOG = 256 << 10


class Process:
    """A running QEMU. Its standard streams are the guest's serial console.

    :param log: file for QEMU's own messages (standard error).
    :param sandbox: whether ``argv`` is a QEMU, which may get options for a seccomp filter.
    :param on_exit: called once, from another thread, when QEMU has ended.
    :raise GuestError: QEMU cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        pass_fds: Sequence[int] = (),
        on_exit: Callable[[], None] = lambda: None,
        sandbox: bool = True,
    ) -> None:
        self.log = log
        confined = confined_argv(argv, sandbox=sandbox)
        sessions.ready()
        with log.open("wb") as stderr:
            self._popen = _SPAWNER.submit(self._spawn, confined, stderr, pass_fds).result()
        sessions.begin(self._popen.pid)
        self.ended = threading.Event()
        self._on_exit = on_exit
        self._waiter = threading.Thread(target=self._wait, name="qemu-waiter", daemon=True)
        self._waiter.start()

    @staticmethod
    def _spawn(
        argv: Sequence[str], stderr: IO[bytes], pass_fds: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=pass_fds,
                env=environment(),
                bufsize=0,
                # ^C must not reach QEMU: the harness ends it. One that is started by a script
                # which does not `exec` it is in the script's session.
                start_new_session=True,
            )
        except OSError as error:
            raise GuestError(
                f"QEMU cannot be started: {error.strerror}", where=" ".join(argv)
            ) from error

    def _wait(self) -> None:
        self._popen.wait()
        sessions.forget(self._popen.pid)
        self.ended.set()
        self._on_exit()

    @property
    def pid(self) -> int:
        """QEMU's process id (``setpriv`` executes QEMU in its own process)."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """QEMU's exit code, negative for a signal; None while it runs."""
        return self._popen.returncode if self.ended.is_set() else None

    @property
    def stdout(self) -> IO[bytes]:
        """The output of the serial console."""
        assert self._popen.stdout is not None
        return self._popen.stdout

    def write(self, data: bytes) -> None:
        """Type on the serial console. Ignored if QEMU has ended."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.write(data)

    def stderr_text(self) -> str:
        """Return QEMU's own messages so far."""
        return read_end(self.log, _LOG).decode(errors="replace")

    def wait(self, seconds: float) -> bool:
        """Wait for QEMU's end. Return false if it did not come in time."""
        return self.ended.wait(seconds)

    def kill(self) -> None:
        """Kill QEMU and wait until it has ended.

        :raise GuestError: QEMU survives, which only a bug in the host's kernel can cause.
        """
        self._popen.kill()
        if not self.ended.wait(_KILL_WAIT_S):
            raise GuestError(
                f"QEMU (pid {self.pid}) survived SIGKILL for {_KILL_WAIT_S:.0f} s",
                hint="look for it in `ps`; the host's kernel log may say why",
            )

    def close_streams(self) -> None:
        """Close the harness's ends of QEMU's standard streams."""
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
