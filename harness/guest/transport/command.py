"""A command that runs in the guest: the words that start it, its output, and its end."""

from __future__ import annotations

import select
import shlex
import time
from collections.abc import Callable, Mapping, Sequence

import paramiko

from harness.guest.alarm import Alarm
from harness.guest.limits import Enough, as_size
from harness.guest.verdict.deadlines import Deadline
from harness.guest.verdict.failure import Completed
from harness.values import OUTPUT_LIMIT

#: Of a longer output this much of the start and of the end is kept.
KEEP_HEAD = 1 << 20
KEEP_TAIL = 3 << 20
#: Bytes that may lie in the connection's buffers beside a command's own limit.
UNREAD = 64 << 20
#: A program may leave a child behind that holds its output open; its end is not waited for.
LINGER_S = 1.0
#: How often a wait looks at things that have no descriptor.
POLL_S = 0.5
#: Bytes that are taken at a time, and how many times before deadlines are looked at again.
CHUNK, CHUNKS = 16 << 10, 32


class Interrupted(Exception):  # noqa: N818 - caught by the guest, never shown
    """The guest's alarm went while a command ran. ``partial`` is what the command had given."""

    def __init__(self, why: str, partial: Completed | None) -> None:
        super().__init__(why)
        self.partial = partial


class Bounded:
    """Bytes of which only the first and the last part are kept."""

    def __init__(self, head: int = KEEP_HEAD, tail: int = KEEP_TAIL) -> None:
        self._limits = (head, tail)
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Append."""
        head, tail = self._limits
        room = head - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * tail:
            self._dropped += len(self._tail) - tail
            del self._tail[:-tail]

    def value(self) -> bytes:
        """Return what was kept, with a line that says how much was not."""
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
    """Return what the server's shell gets: every word quoted, in a session of its own.

    The leader's process id goes to the file ``mark``, so that the whole session can be killed.
    The shell gives way to the program, so that the server sees which signal ended it.

    :param terminal: whether it gets one from the server, which then has begun the session already.
    :param reads: whether it is given input; else it finds its standard input at its end.
    """
    setting = [f"{name}={value}" for name, value in (env or {}).items()]
    session = [] if terminal else ["setsid"]
    words = [*session, *(["env", *setting] if setting else []), *argv]
    stdin = "" if reads else " </dev/null"
    return f"echo $$ >{shlex.quote(mark)}; exec {shlex.join(words)}{stdin}"


class Command:
    """One running command: its channel, and what it has given.

    :param on_stdout: takes standard output as it comes, and may raise
        :exc:`~harness.guest.limits.Enough`.
    :param limit: bytes that it may print, on both outputs together.
    :param overflow: says why the command must end for what it does elsewhere; empty while it
        need not.
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
        """Return what it gave, once it has ended, printed too much, or ``deadline`` has passed.

        :raise Interrupted: the connection broke, or ``alarm`` says that the guest has ended.
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
        """Everything was said: both ends of output and, however it comes, the status."""
        channel = self._channel
        said = bool(channel.exit_status_ready() and channel.eof_received)
        unread = channel.recv_ready() or channel.recv_stderr_ready()
        closed = bool(channel.closed and channel.get_transport().is_active())
        return (said or closed) and not unread

    def _drain(self) -> None:
        """Take what is there, but no more than can be done soon: more may come all the time."""
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
        """Return what of ``data`` is within the limit."""
        room = self._limit - self._taken
        self._taken += len(data)
        # A server that ignores the window of its channel fills this end's memory unread.
        unread = len(self._channel.in_buffer) + len(self._channel.in_stderr_buffer)
        if len(data) > room or unread > 2 * self._limit + UNREAD:
            self._overflow = self._overflow or f"more than {as_size(self._limit)}"
        return data[:room]

    def _take(self, data: bytes) -> None:
        self._stdout.add(data)
        if self._on_stdout is None or not data:
            return
        try:
            self._on_stdout(data)
        except Enough as error:
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
