"""A command that runs in the guest: its shell command line, its output, and its end."""

from __future__ import annotations

import select
import shlex
import time
from collections.abc import Callable, Mapping, Sequence

import paramiko

from harness.guest.alarm import Alarm
from harness.guest.limits import OutputLimitError, as_size
from harness.guest.verdict.deadlines import Deadline
from harness.guest.verdict.failure import Completed
from harness.values import OUTPUT_LIMIT

#: Bytes that are kept from the start and the end of a long output.
KEEP_HEAD = 1 << 20
KEEP_TAIL = 3 << 20
#: Bytes that the connection's buffers may hold beyond a command's own limit.
UNREAD = 64 << 20
#: Seconds to wait for the end of output after a program's exit: a child may hold it open.
LINGER_S = 1.0
#: Seconds between two checks of conditions that have no descriptor.
POLL_S = 0.5
#: Bytes that are read at a time, and the number of reads between two checks of the deadline.
CHUNK, CHUNKS = 16 << 10, 32


class Interrupted(Exception):  # noqa: N818 - caught by the guest, never shown
    """The guest ended, or the connection broke, while a command ran.

    :param partial: the command's output so far.
    """

    def __init__(self, why: str, partial: Completed | None) -> None:
        super().__init__(why)
        self.partial = partial


class Bounded:
    """Output of which only the first and the last part are kept."""

    def __init__(self, head: int = KEEP_HEAD, tail: int = KEEP_TAIL) -> None:
        self._limits = (head, tail)
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Append bytes."""
        head, tail = self._limits
        room = head - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * tail:
            self._dropped += len(self._tail) - tail
            del self._tail[:-tail]

    def value(self) -> bytes:
        """Return the kept bytes, with a line that says how many were left out."""
        _, tail = self._limits
        dropped = self._dropped + max(0, len(self._tail) - tail)
        gap = b"\n[ %d bytes left out ]\n" % dropped if dropped else b""
        return bytes(self._head) + gap + bytes(self._tail[-tail:])


def remote_command(
    argv: Sequence[str],
    env: Mapping[str, str] | None,
    mark: str,
    *,
    terminal: bool = False,
    reads: bool = False,
) -> str:
    """Return the line for the server's shell: a quoted command in its own session.

    The process id of the session's leader goes to the file ``mark``, so that the whole session
    can be killed. The shell executes the program in its own process, so that the server sees which
    signal ended it.

    :param terminal: whether the server provides a terminal, and with it the session.
    :param reads: whether the command gets input; otherwise its standard input is empty.
    """
    setting = [f"{name}={value}" for name, value in (env or {}).items()]
    session = [] if terminal else ["setsid"]
    words = [*session, *(["env", *setting] if setting else []), *argv]
    stdin = "" if reads else " </dev/null"
    return f"echo $$ >{shlex.quote(mark)}; exec {shlex.join(words)}{stdin}"


class Command:
    """One running command: its channel, and its output so far.

    :param on_stdout: called with standard output as it arrives; may raise
        :exc:`~harness.guest.limits.OutputLimitError`.
    :param limit: bytes that the command may print on both outputs together.
    :param overflow: returns why the command must end because of output elsewhere, for example on
        the console; empty if it need not end.
    """

    def __init__(
        self,
        channel: paramiko.Channel,
        on_stdout: Callable[[bytes], None] | None,
        limit: int = OUTPUT_LIMIT,
        overflow: Callable[[], str] = lambda: "",
    ) -> None:
        self._channel = channel
        self._on_stdout = on_stdout
        self._limit = limit
        self._elsewhere = overflow
        self._taken = 0
        self._overflow = ""
        self._stdout, self._stderr = Bounded(), Bounded()
        self._started = time.monotonic()

    def follow(self, deadline: Deadline, alarm: Alarm) -> Completed:
        """Wait until the command ends, prints too much, or is late, and return its result.

        :raise Interrupted: the connection broke, or ``alarm`` is tripped.
        """
        channel = self._channel
        exited_at: float | None = None
        while True:
            select.select(
                [channel.fileno(), alarm.fileno()], [], [], min(deadline.remaining, POLL_S)
            )
            self._drain()
            self._overflow = self._overflow or self._elsewhere()
            if self._overflow:
                return self._completed()
            if self._finished():
                return self._completed()
            if channel.exit_status_ready() and exited_at is None:
                exited_at = time.monotonic()
            if exited_at is not None and time.monotonic() - exited_at > LINGER_S:
                return self._completed()
            if alarm.tripped:
                raise Interrupted("the guest has ended", self._completed())
            if not channel.get_transport().is_active():
                raise Interrupted("the connection was lost", self._completed())
            if deadline.expired:
                return self._completed(timed_out=True)

    def _finished(self) -> bool:
        """Return true if all output was read, and the status came or the channel is closed."""
        channel = self._channel
        said = bool(channel.exit_status_ready() and channel.eof_received)
        unread = channel.recv_ready() or channel.recv_stderr_ready()
        closed = bool(channel.closed and channel.get_transport().is_active())
        return (said or closed) and not unread

    def _drain(self) -> None:
        """Read available output, up to a limit, so that the deadline is checked regularly."""
        channel = self._channel
        for _ in range(CHUNKS):
            if channel.recv_stderr_ready():
                self._stderr.add(self._counted(channel.recv_stderr(CHUNK)))
            elif not channel.recv_ready():
                break
            if channel.recv_ready():
                self._take(self._counted(channel.recv(CHUNK)))
            if self._overflow:
                break

    def _counted(self, data: bytes) -> bytes:
        """Return the part of ``data`` that is within the limit."""
        room = self._limit - self._taken
        self._taken += len(data)
        # A server that ignores the channel's window fills this process's memory.
        unread = len(self._channel.in_buffer) + len(self._channel.in_stderr_buffer)
        if len(data) > room or unread > 2 * self._limit + UNREAD:
            self._overflow = self._overflow or f"more than {as_size(self._limit)}"
        return data[: max(0, room)]

    def _take(self, data: bytes) -> None:
        self._stdout.add(data)
        if self._on_stdout is None or not data:
            return
        try:
            self._on_stdout(data)
        except OutputLimitError as error:
            self._overflow = str(error)

    def _completed(self, *, timed_out: bool = False) -> Completed:
        signal = getattr(self._channel, "exit_signal", None)
        status = self._channel.exit_status
        cut = timed_out or self._overflow
        known = self._channel.exit_status_ready() and status >= 0 and not signal and not cut
        return Completed(
            returncode=status if known else None,
            signal=signal,
            stdout=self._stdout.value(),
            stderr=self._stderr.value(),
            seconds=time.monotonic() - self._started,
            timed_out=timed_out,
            overflow=self._overflow,
        )
