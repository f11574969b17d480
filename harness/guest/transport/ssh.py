"""Commands and file copies over SSH, each with a deadline."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import socket
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import paramiko
from paramiko.common import MSG_CHANNEL_REQUEST
from paramiko.packet import Packetizer
from typing_extensions import override

from harness.errors import GuestError
from harness.guest.alarm import Alarm
from harness.guest.limits import COPY, Budget
from harness.guest.transport import fetch
from harness.guest.transport.command import LINGER_S, Command, Interrupted, remote_command
from harness.guest.transport.keys import Keys
from harness.guest.verdict.deadlines import Deadline
from harness.guest.verdict.failure import Completed
from harness.guest.verdict.liveness import close_at
from harness.values import OUTPUT_LIMIT

#: A channel's window, in bytes. Large, to avoid window adjustments: dropbear ends the connection
#: when one crosses the channel's end ("Unknown channel").
WINDOW = 64 << 20
#: Limits for one packet of the server, and for the lines before its first one, in bytes. Servers
#: send at most 32 KiB of data in a packet.
MOST_PACKET, MOST_GREETING = 1 << 20, 64 << 10
#: Characters of a signal's name.
MOST_SIGNAL = 32
#: Exceptions that paramiko raises when a connection breaks or does not answer.
_BROKEN = (OSError, EOFError, paramiko.SSHException)
_Handler = Callable[[paramiko.Channel, paramiko.Message], None]
# Errors are raised. Without a handler, paramiko's threads print tracebacks as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class ConnectionLost(Exception):  # noqa: N818 - caught by the guest, never shown
    """The connection broke. The guest's code finds out why."""


class Unresponsive(Exception):  # noqa: N818 - caught by the guest, never shown
    """A command is late, and the guest does not answer other requests either.

    :param partial: the command's output so far.
    """

    def __init__(self, partial: Completed) -> None:
        super().__init__("the guest does not answer")
        self.partial = partial


class _Packets(Packetizer):
    """Refuses what is too long for a server. paramiko reads packets and lines of any length."""

    _greeting = 0

    @override
    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        if n > MOST_PACKET:
            raise paramiko.SSHException(f"the server announces a packet of {n} bytes")
        return super().read_all(n, check_rekey)

    def _read_timeout(self, timeout: float) -> bytes:  # overrides a private method
        found: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
        self._greeting += len(found)
        if self._greeting > MOST_GREETING:
            raise paramiko.SSHException(f"a greeting of more than {MOST_GREETING} bytes")
        return found


class _Transport(paramiko.Transport):
    """A transport that notes which signal ended a command. paramiko ignores that message.

    There is no public interface for it. ``pyproject.toml`` only allows versions of paramiko with
    this table of handlers, and tests/unit/guest/test_ssh.py fails with others.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection, packetizer_class=_Packets)
        handlers: dict[int, _Handler] = dict(self._channel_handler_table)  # type: ignore[has-type]
        handlers[MSG_CHANNEL_REQUEST] = _noting_signals(handlers[MSG_CHANNEL_REQUEST])
        self._channel_handler_table = handlers


def _noting_signals(handle: _Handler) -> _Handler:
    """Return a handler that notes ``exit-signal`` (RFC 4254, 6.10), then calls ``handle``."""

    def note_and_handle(channel: paramiko.Channel, message: paramiko.Message) -> None:
        start = message.packet.tell()
        if message.get_text() == "exit-signal":
            message.get_boolean()
            channel.exit_signal = message.get_text()[:MOST_SIGNAL]  # type: ignore[attr-defined]
        message.packet.seek(start)
        handle(channel, message)

    return note_and_handle


def _no_result() -> Completed:
    """Return the result of a command that gave no answer."""
    return Completed(
        returncode=None, signal=None, stdout=b"", stderr=b"", seconds=0.0, timed_out=True
    )


@contextlib.contextmanager
def _closing(channel: paramiko.Channel) -> Iterator[paramiko.Channel]:
    """Close ``channel`` at the end. An error is ignored if the connection is gone."""
    try:
        yield channel
    finally:
        with contextlib.suppress(*_BROKEN):
            channel.close()


def _send_input(channel: paramiko.Channel, stdin: bytes) -> None:
    """Send a command its input. A command may end without reading all of it."""
    try:
        channel.sendall(stdin)
        channel.shutdown_write()
    except TimeoutError:
        raise
    except OSError:
        if not channel.closed or not channel.get_transport().is_active():
            raise


class Ssh:
    """A connection to a guest.

    :param address: host address that is forwarded to the guest's port 22.
    :param keys: the only accepted host key, and the client key.
    :param alarm: ends each wait when the guest has ended.
    """

    def __init__(self, address: tuple[str, int], keys: Keys, alarm: Alarm) -> None:
        self.address = address
        self._keys = keys
        self._alarm = alarm
        self._transport: paramiko.Transport | None = None
        self.reconnects = 0
        self._numbers = itertools.count(1)

    def connect(self, deadline: Deadline) -> None:
        """Log in, with retries until the deadline.

        :raise ConnectionLost: no login in time; the text is the last error.
        :raise Interrupted: the guest has ended.
        """
        reason = "it did not answer"
        while not deadline.expired:
            try:
                self._transport = self._login(deadline)
                return
            except _BROKEN as error:
                reason = str(error) or type(error).__name__
            if self._alarm.wait(lambda: self._alarm.tripped, Deadline("retry", 0.2)):
                raise Interrupted("the guest has ended", None)
        raise ConnectionLost(reason)

    def _login(self, deadline: Deadline) -> paramiko.Transport:
        wait_s = max(deadline.remaining, 0.1)
        connection = socket.create_connection(self.address, timeout=wait_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = _Transport(connection)
        try:
            options = transport.get_security_options()
            options.kex = tuple(
                name for name in options.kex if name.startswith("curve25519")
            ) or tuple(options.kex)
            options.key_types = ("ssh-ed25519",)
            transport.banner_timeout = wait_s
            transport.start_client(timeout=wait_s)
            if transport.get_remote_server_key() != self._keys.host:
                raise paramiko.SSHException("the server's host key is not this guest's")
            transport.auth_timeout = max(deadline.remaining, 0.1)
            transport.auth_publickey("root", self._keys.client)
            transport.set_keepalive(15)
        except BaseException:
            transport.close()
            raise
        return transport

    @property
    def alive(self) -> bool:
        """Whether the connection is up, as far as this end knows."""
        return self._transport is not None and self._transport.is_active()

    def _open(self, deadline: Deadline) -> paramiko.Channel:
        """Return a new channel.

        If the connection broke between two commands, nothing was lost, and one reconnection is
        tried. :attr:`reconnects` counts them.

        :raise Unresponsive: the connection is up, but the guest does not answer.
        :raise ConnectionLost: the connection is down, and reconnecting failed.
        """
        channel = self._try_open(deadline)
        if channel is None:
            self.close()
            self.connect(deadline)
            self.reconnects += 1
            channel = self._try_open(deadline)
        if channel is None:
            raise ConnectionLost("the connection is closed at once, each time")
        channel.settimeout(max(deadline.remaining, 0.1))
        return channel

    def _try_open(self, deadline: Deadline) -> paramiko.Channel | None:
        """Return a new channel, None if the connection is down."""
        if self._transport is None or not self.alive:
            return None
        try:
            return self._transport.open_session(
                window_size=WINDOW, timeout=max(deadline.remaining, 0.1)
            )
        except _BROKEN as error:
            if self.alive and not self._alarm.tripped and deadline.expired:
                raise Unresponsive(_no_result()) from error
            return None

    def run(
        self,
        argv: Sequence[str],
        deadline: Deadline,
        *,
        env: Mapping[str, str] | None = None,
        on_stdout: Callable[[bytes], None] | None = None,
        stdin: bytes | None = None,
        terminal: bool = False,
        probe_s: float = 10.0,
        output_limit: int = OUTPUT_LIMIT,
        overflow: Callable[[], str] = lambda: "",
    ) -> Completed:
        """Run a command and return its result, with ``timed_out`` set if it was late.

        :param stdin: the command's input; empty by default.
        :param terminal: whether the command gets a terminal. Its standard error is then part of
            standard output.
        :param probe_s: seconds that the guest may take to kill a command that is late.
        :param output_limit: bytes that the command may print before it is killed.
        :param overflow: as for :class:`~harness.guest.transport.command.Command`.
        :raise Unresponsive: the command was late, and the guest did not kill it in time.
        :raise ConnectionLost: the connection broke before output could be read.
        :raise Interrupted: the connection broke, or the guest ended, while the command ran.
        """
        mark = f"/run/harness.{next(self._numbers)}"
        patient = Deadline("answer to a new channel", max(deadline.remaining, probe_s))
        with _closing(self._open(patient)) as channel:
            try:
                with close_at(patient, channel.get_transport()):
                    if terminal:
                        channel.get_pty()
                    words = remote_command(
                        argv, env, mark, terminal=terminal, reads=stdin is not None
                    )
                    channel.exec_command(words)
                    if stdin is not None:
                        _send_input(channel, stdin)
                command = Command(channel, on_stdout, output_limit, overflow)
                done = command.follow(deadline, self._alarm)
            except _BROKEN as error:
                late = patient.expired or (isinstance(error, TimeoutError) and self.alive)
                if not late:
                    raise ConnectionLost(str(error) or type(error).__name__) from error
                done = _no_result()
        cut = done.timed_out or done.overflow
        if cut and not self._kill(mark, Deadline("answer to a probe", probe_s)):
            raise Unresponsive(done)
        return done

    def _kill(self, mark: str, deadline: Deadline) -> bool:
        """Kill a command's session. Return false if the guest did not answer."""
        script = f"kill -KILL -- -$(cat {mark}) 2>/dev/null || kill -KILL $(cat {mark})"
        with (
            contextlib.suppress(*_BROKEN, ConnectionLost, Unresponsive),
            _closing(self._open(deadline)) as channel,
            close_at(deadline, channel.get_transport()),
        ):
            channel.exec_command(script)
            return self._alarm.poll(channel.exit_status_ready, deadline)
        return False

    def push(self, local: Path, remote: str, deadline: Deadline) -> None:
        """Copy a file or a folder's contents to ``remote``, as one tar stream.

        ``remote`` is the place of a folder's contents. A file goes into ``remote`` if that is a
        folder or ends with a slash. Otherwise ``remote`` is its full path. Folders above it are
        created, and a link on this side is followed.

        :raise GuestError: the guest refused the files, or the copy took too long.
        :raise ConnectionLost: the connection broke.
        """
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
            folder = local.is_dir()
            name = "." if folder else local.name
            archive.add(local if folder else local.resolve(), arcname=name, filter=_as_root)
        argv = ["sh", "-c", _PUSH_FOLDER if folder else _PUSH_FILE, "sh", remote, name]
        done = self.run(argv, deadline, stdin=stream.getvalue())
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise GuestError(
                f"the files could not be copied to {remote} in the guest",
                where=local,
                detail=f"not within {deadline.seconds:.0f} s" if done.timed_out else said,
                hint="its file system is in memory: give the guest more, or copy less",
            )

    def fetch(self, remote: str, local: Path, deadline: Deadline, budget: Budget = COPY) -> None:
        """Copy a file, or a folder with its contents, by SFTP.

        :raise CopyLimitError: it is more than ``budget`` allows, or takes too long.
        :raise FileNotFoundError: there is no ``remote``.
        :raise ConnectionLost: the connection broke; the text is the reason.
        """
        with _closing(self._open(deadline)) as channel:
            try:
                with close_at(deadline, channel.get_transport()):
                    try:
                        fetch.copy(channel, remote, local, deadline, budget)
                    finally:
                        # If the server is still ending, dropbear confuses it with the next
                        # channel.
                        with contextlib.suppress(*_BROKEN):
                            channel.shutdown_write()
                        ended = Deadline("end of the SFTP server", LINGER_S)
                        self._alarm.poll(channel.exit_status_ready, ended)
            except FileNotFoundError:
                raise
            except _BROKEN as error:
                reason = str(error) or "the connection was closed"
                raise ConnectionLost(f"fetching {remote}: {reason}") from error

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


#: Shell scripts that unpack a tar stream in ``$1``.
_PUSH_FOLDER = 'mkdir -p "$1" && exec tar -x -f - -C "$1"'
#: ``$2`` is the name of the file in the stream. The file appears complete or not at all.
_PUSH_FILE = f"""case $1 in */) mkdir -p "$1" ;; esac
if [ -d "$1" ]; then {_PUSH_FOLDER}; fi
case $1 in */*) mkdir -p "${{1%/*}}/" ;; esac
part=$1.part.$$
mkdir "$part" && tar -x -f - -C "$part" && mv "$part/$2" "$1"
status=$?; rm -rf "$part"; exit $status"""


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
