"""A command's end as paramiko hears it, with paramiko's own server at the other end."""

from __future__ import annotations

import socket
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib.metadata import version

import paramiko
import pytest
from packaging.requirements import Requirement
from paramiko.common import (
    AUTH_SUCCESSFUL,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_REQUEST,
)

from harness import paths
from harness.guest.alarm import Alarm
from harness.guest.transport.keys import Keys, generate
from harness.guest.transport.ssh import ConnectionLost, Ssh
from harness.guest.verdict.deadlines import Deadline


class _Server(paramiko.ServerInterface):
    """Takes any command; it ends by the signal, or with the status, that is its last word."""

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return int(AUTH_SUCCESSFUL)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        word = command.split()[-1].decode()
        threading.Thread(target=_end, args=(channel, word), daemon=True).start()
        return True


def _end(channel: paramiko.Channel, word: str) -> None:
    channel.recv(1)  # which comes after the answer to the request
    channel.sendall(b"said\n")
    if word.isdigit():
        channel.send_exit_status(int(word))
    else:
        # RFC 4254, 6.10: the name, whether there is a core file, a message and its language.
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exit-signal")
        message.add_boolean(False)
        message.add_string(word)
        message.add_boolean(False)
        message.add_string("")
        message.add_string("")
        channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]
    channel.close()


@pytest.fixture
def ssh() -> Iterator[Ssh]:
    keys = generate()
    with socket.create_server(("127.0.0.1", 0)) as listening, closing(Alarm()) as alarm:
        served = threading.Thread(target=_serve, args=(listening, keys), daemon=True)
        served.start()
        client = Ssh(listening.getsockname(), keys, alarm)
        client.connect(Deadline("login", 60))
        yield client
        client.close()


def _serve(listening: socket.socket, keys: Keys) -> None:
    connection, _ = listening.accept()
    there = paramiko.Transport(connection)
    there.add_server_key(keys.host)
    there.start_server(event=threading.Event(), server=_Server())


@pytest.mark.parametrize(
    ("word", "returncode", "signal"), [("SEGV", None, "SEGV"), ("0", 0, None), ("139", 139, None)]
)
def test_a_signal_is_told_from_a_status(
    ssh: Ssh, word: str, returncode: int | None, signal: str | None
) -> None:
    done = ssh.run(["program", word], Deadline("program", 60), stdin=b"x")
    assert (done.returncode, done.signal, done.stdout) == (returncode, signal, b"said\n")


def test_only_versions_whose_handlers_are_known_are_allowed() -> None:
    """:class:`harness.guest.transport.ssh._Transport` replaces a private member of paramiko."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = (text for text in project["dependencies"] if text.startswith("paramiko"))
    assert Requirement(wanted).specifier.contains(version("paramiko"))
    assert not Requirement(wanted).specifier.contains("6.0")


@pytest.mark.parametrize(
    ("greeting", "then", "said"),
    [
        (b"SSH-2.0-x\r\n", b"\x7f\xff\xff\xf4" + b"\0" * 32, "a packet of 2147483"),
        (b"", b"x" * 4096, "a greeting of more than 65536 bytes"),
    ],
    ids=["packet", "greeting"],
)
def test_a_server_cannot_fill_the_memory(greeting: bytes, then: bytes, said: str) -> None:
    """It announces a packet of 2 GiB, or never ends its first line."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(ValueError, OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.sendall(greeting)
                    for _ in range(100_000):
                        connection.sendall(then)

    threading.Thread(target=serve, daemon=True).start()
    alarm = Alarm()
    with closing(listener), closing(alarm):
        client = Ssh(listener.getsockname(), generate(), alarm)
        with pytest.raises(ConnectionLost, match=said):
            client.connect(Deadline("login", 1.0))
