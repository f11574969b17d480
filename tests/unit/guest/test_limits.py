"""What a guest can make its readers take: a hostile SFTP server, storms, output without end."""

from __future__ import annotations

import socket
import stat
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.sftp import SFTP_NO_SUCH_FILE
from paramiko.sftp_attr import SFTPAttributes

from harness.guest.alarm import Alarm
from harness.guest.limits import Budget, CopyLimitError
from harness.guest.transport import fetch
from harness.guest.transport.console import Console
from harness.guest.verdict.deadlines import Deadline
from harness.guest.verdict.liveness import close_at
from harness.guest.verdict.storm import MAX_EXCUSED, MAX_SPLATS, STORM

_FOLDER, _FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644


def _attributes(name: str, mode: int, size: int) -> SFTPAttributes:
    found = SFTPAttributes()
    found.filename, found.st_mode, found.st_size = name, mode, size
    found.st_uid = found.st_gid = found.st_mtime = found.st_atime = 0
    return found


class _Endless(paramiko.SFTPHandle):
    def stat(self) -> SFTPAttributes:
        return _attributes("f", _FILE, 3)

    def read(self, offset: int, length: int) -> bytes:
        return b"\0" * length


class _Server(paramiko.SFTPServerInterface):
    """Has a folder ``/x`` with names that the test chose."""

    names: tuple[str, ...] = ()
    size = 3
    folders = False

    def lstat(self, path: str) -> SFTPAttributes | int:
        if path == "/none":
            return int(SFTP_NO_SUCH_FILE)
        is_folder = path == "/x" or self.folders
        return _attributes("x", _FOLDER if is_folder else _FILE, self.size)

    stat = lstat

    def list_folder(self, path: str) -> list[SFTPAttributes]:
        mode = _FOLDER if self.folders else _FILE
        return [_attributes(name, mode, self.size) for name in self.names]

    def open(self, path: str, flags: int, attr: SFTPAttributes) -> paramiko.SFTPHandle:
        return _Endless(flags)


class _Login(paramiko.ServerInterface):
    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(OPEN_SUCCEEDED)

    def check_auth_none(self, username: str) -> int:
        return int(AUTH_SUCCESSFUL)

    def get_allowed_auths(self, username: str) -> str:
        return "none"


@pytest.fixture
def server() -> type[_Server]:
    return type("Server", (_Server,), {})


@pytest.fixture
def channel(server: type[_Server]) -> Iterator[paramiko.Channel]:
    """A channel to a hostile server, both ends here."""
    with connected(paramiko.SFTPServer, server) as channel:
        yield channel


@contextmanager
def connected(*subsystem: Any) -> Iterator[paramiko.Channel]:
    ours, theirs = socket.socketpair()
    there, here = paramiko.Transport(theirs), paramiko.Transport(ours)
    there.add_server_key(paramiko.ECDSAKey.generate())
    there.set_subsystem_handler("sftp", *subsystem)
    there.start_server(event=threading.Event(), server=_Login())
    here.start_client(timeout=30)
    here.auth_none("root")
    try:
        yield here.open_session()
    finally:
        here.close()
        there.close()


def _copy(channel: paramiko.Channel, out: Path, seconds: float = 60.0) -> None:
    budget = Budget(1 << 20, files=100, depth=8)
    fetch.copy(channel, "/x", out, Deadline("copy", seconds), budget)


@pytest.mark.parametrize(
    ("names", "size", "folders", "said"),
    [
        (("big",), 1 << 40, False, "1099511627776 bytes"),
        (("endless",), 3, False, "more than 1 MiB"),
        (("d",), 0, True, "folders more than 8 deep"),
        (("a\0b",), 3, False, "not a file name"),
        (("",), 3, False, "not a file name"),
        (("../up",), 3, False, "not a file name"),
        (("a" * 400,), 3, False, "a name of 400 bytes"),
        (tuple(f"d{number}" for number in range(200)), 3, True, "more than 100 files"),
    ],
    ids=["claim", "endless", "deep", "nul", "empty", "up", "long", "many"],
)
def test_a_hostile_server_is_bounded(
    server: type[_Server],
    channel: paramiko.Channel,
    tmp_path: Path,
    names: tuple[str, ...],
    size: int,
    folders: bool,
    said: str,
) -> None:
    server.names, server.size, server.folders = names, size, folders
    tracemalloc.start()
    try:
        with pytest.raises(CopyLimitError, match=said):
            _copy(channel, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 2 << 20


def test_a_copy_ends_at_its_deadline(
    server: type[_Server], channel: paramiko.Channel, tmp_path: Path
) -> None:
    server.names = ("endless",)
    with pytest.raises(CopyLimitError, match="not complete after"):
        _copy(channel, tmp_path / "out", 0.0)


def test_what_is_not_there_is_no_excess(channel: paramiko.Channel, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fetch.copy(channel, "/none", tmp_path / "out", Deadline("copy", 60), Budget(1))


class _Says(paramiko.SubsystemHandler):
    """Says these bytes as its first answer, and again to each request."""

    def __init__(self, channel: paramiko.Channel, name: str, server: Any, said: bytes) -> None:
        super().__init__(channel, name, server)
        self._said = said

    def start_subsystem(
        self, name: str, transport: paramiko.Transport, channel: paramiko.Channel
    ) -> None:
        with suppress(OSError):
            while channel.recv(4096):
                channel.sendall(self._said)


#: SSH_FXP_VERSION, as the start of answers that are wrong later.
_VERSION = b"\0\0\0\5\2\0\0\0\3"


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * 64,
        b"\0\0\0\0",
        b"\0\0\0\1\xff",
        _VERSION,
        _VERSION + b"\0\0\0\5\x65\0\0\0\1",  # a status without a code
        # A million extended attributes, of which none follows.
        _VERSION + b"\0\0\0\x0d\x69\0\0\0\1\x80\0\0\0\0\x10\0\0",
    ],
)
def test_a_server_that_talks_nonsense_is_the_guests_fault(said: bytes, tmp_path: Path) -> None:
    with connected(_Says, said) as channel:
        deadline = Deadline("copy", 0.5)
        with (
            pytest.raises((CopyLimitError, paramiko.SSHException, EOFError, OSError)),
            close_at(deadline, channel.get_transport()),
        ):
            fetch.copy(channel, "/x", tmp_path / "out", deadline, Budget(1))


def _warn(number: int) -> bytes:
    return (
        b"------------[ cut here ]------------\n"
        b"WARNING: CPU: 0 PID: 1 at a.c:1 known%d+0x1/0x2\n"
        b"---[ end trace 0000 ]---\n" % number
    )


_KASAN = b"BUG: KASAN: slab-use-after-free in real+0x1/0x2\n" + b"=" * 67 + b"\n"


def test_excused_reports_leave_room_for_others(tmp_path: Path) -> None:
    console = Console(tmp_path / "log", Alarm())
    console.excuse(lambda splat: "known" in splat.line)
    for number in range(2 * MAX_SPLATS):
        console.feed(_warn(number))
    console.feed(_KASAN)
    kinds = [splat.kind for splat in console.splats()]
    assert kinds == ["warn"] * MAX_EXCUSED + ["kasan"]


def test_a_storm_is_told(tmp_path: Path) -> None:
    console = Console(tmp_path / "log", Alarm())
    for number in range(2 * MAX_SPLATS):
        console.feed(_warn(number))
    console.feed(_KASAN[:40])
    kinds = [splat.kind for splat in console.splats()]
    assert kinds == ["warn"] * MAX_SPLATS + [STORM]
