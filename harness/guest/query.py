"""A QEMU that is started only to be asked over its monitor."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.guest.argv import monitor_argv
from harness.guest.process import Process
from harness.guest.transport.qmp import Monitor, MonitorError


@contextlib.contextmanager
def monitored(argv: Sequence[str], *, timeout_s: float = 30.0) -> Iterator[Monitor]:
    """Start ``argv`` with a monitor, yield the monitor, and kill QEMU at the end.

    :raise MonitorError: QEMU ended before the handshake; the detail has its messages.
    """
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uintr-harness-")))
        process, monitor = start(argv, scratch / "qemu.log", timeout_s=timeout_s, stack=stack)
        del process
        yield monitor


def start(
    argv: Sequence[str], log: Path, *, timeout_s: float, stack: contextlib.ExitStack
) -> tuple[Process, Monitor]:
    """Start a QEMU whose console is not read. ``stack`` ends it.

    :raise MonitorError: as :func:`monitored`.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = Process(
            [*argv, *monitor_argv(theirs.fileno())], log=log, pass_fds=[theirs.fileno()]
        )
    stack.callback(process.close_streams)
    stack.callback(process.kill)
    monitor = Monitor()
    stack.callback(monitor.close)
    try:
        monitor.connect(ours, timeout_s, process.ended.is_set)
    except MonitorError as error:
        process.wait(1.0)
        raise MonitorError(
            "QEMU did not start",
            where=argv[0],
            detail=process.stderr_text()[-2000:] or error.what,
        ) from error
    return process, monitor
