"""QEMU's monitor: a synchronous interface to qemu.qmp, whose event loop runs in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, ClassVar, TypeVar

from qemu.qmp import QMPClient
from qemu.qmp.error import QMPError

from harness.errors import GuestError
from harness.guest.verdict.failure import QEMU_FAILED

T = TypeVar("T")
#: Limit for a command, in seconds. It does not depend on the guest's speed.
COMMAND_S = 10.0
POLL_S = 0.25


class MonitorError(GuestError):
    """QEMU's monitor refused a command, did not answer in time, or is gone."""

    #: The verdict in a record.
    verdict: ClassVar[str] = QEMU_FAILED


class SilentMonitorError(MonitorError):
    """QEMU's monitor did not answer in time: QEMU itself may be stopped."""


class Monitor:
    """A QMP session."""

    def __init__(self) -> None:
        #: Events with the time of their arrival (monotonic seconds).
        self.events: list[tuple[float, Mapping[str, Any]]] = []
        self._client = QMPClient("uintr-harness")
        self._client.logger.setLevel(100)  # errors are raised, not logged
        self._loop = asyncio.new_event_loop()
        self._listener: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="qmp", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _await(
        self,
        work: Coroutine[Any, Any, T],
        what: str,
        timeout_s: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        end = time.monotonic() + timeout_s
        try:
            while not cancelled() and time.monotonic() + POLL_S < end:
                with contextlib.suppress(FutureTimeoutError):
                    return future.result(POLL_S)
            return future.result(max(0.0, min(end - time.monotonic(), POLL_S)))
        except FutureTimeoutError as error:
            future.cancel()
            raise SilentMonitorError(
                f"QEMU's monitor did not answer within {timeout_s:g} s", where=what
            ) from error
        except (QMPError, OSError, EOFError) as error:
            raise MonitorError(f"QEMU's monitor: {error}", where=what) from error

    def connect(
        self,
        connection: socket.socket,
        timeout_s: float = COMMAND_S,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Do the handshake on a connected socket, which the monitor owns from now on.

        :param cancelled: returns true if QEMU has ended. A handshake that is broken off does not
            end by itself.
        :raise MonitorError: QEMU has ended, or did not answer in time.
        """
        self._await(self._connect(connection), "handshake", timeout_s, cancelled)

    async def _connect(self, connection: socket.socket) -> None:
        await self._client.connect(connection)
        self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self._client.events:
            self.events.append((time.monotonic(), dict(event)))

    def command(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = COMMAND_S
    ) -> Any:
        """Execute a QMP command and return its result.

        :raise MonitorError: QEMU refused it, did not answer in time, or has ended.
        """
        work = self._client.execute(name, dict(arguments) if arguments else None)
        return self._await(work, name, timeout_s)

    def give(self, descriptor: int, name: str) -> None:
        """Give QEMU a copy of an open file, which its commands then know by a name.

        :raise MonitorError: as :meth:`command`.
        """
        self._await(self._give(descriptor, name), f"getfd {name}", COMMAND_S)

    async def _give(self, descriptor: int, name: str) -> None:
        self._client.send_fd_scm(descriptor)
        await self._client.execute("getfd", {"fdname": name})

    def human(self, line: str, *, timeout_s: float = COMMAND_S) -> str:
        """Execute a command of the human monitor and return its output.

        :raise MonitorError: as :meth:`command`.
        """
        return str(
            self.command("human-monitor-command", {"command-line": line}, timeout_s=timeout_s)
        )

    def event(self, name: str) -> Mapping[str, Any] | None:
        """Return the first event of this name, None if there was none."""
        return next((event for _, event in self.events if event.get("event") == name), None)

    def close(self) -> None:
        """End the session and its thread. QEMU may have ended before."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(MonitorError):
            self._await(self._disconnect(), "disconnect", COMMAND_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(COMMAND_S)

    async def _disconnect(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self._client.disconnect()
