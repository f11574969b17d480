"""What goes over SSH: output within bounds, commands, keys, the port."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest.spec import GuestSpec
from harness.guest.transport import keys
from harness.guest.transport.command import Bounded, remote_command
from harness.guest.transport.portmap import forwarded_port
from harness.guest.transport.qmp import MonitorError
from harness.values import Emulator

MakeSpec = Callable[..., GuestSpec]
MakeQemu = Callable[..., Emulator]


def test_bounded_keeps_both_ends() -> None:
    kept = Bounded(head=4, tail=6)
    for number in range(100):
        kept.add(b"%02d" % number)
    assert kept.value() == b"0001\n[ 190 bytes left out ]\n979899"


@given(st.lists(st.binary(max_size=9)), st.integers(0, 8), st.integers(1, 8))
def test_bounded_is_exact_when_it_fits(pieces: list[bytes], head: int, tail: int) -> None:
    kept, all_of_it = Bounded(head, tail), b"".join(pieces)
    for piece in pieces:
        kept.add(piece)
    if len(all_of_it) <= head + tail:
        assert kept.value() == all_of_it
    else:
        assert kept.value().startswith(all_of_it[:head])
        assert kept.value().endswith(all_of_it[-tail:])


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_words_survive_a_shell(words: list[str]) -> None:
    command = remote_command(["printf", "%s\\0", "x", *words], None, "/dev/null")
    local = command.replace("exec setsid ", "exec ", 1)
    done = subprocess.run(["sh", "-c", local], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == ["x", *words]


def test_with_a_terminal_the_server_has_begun_the_session() -> None:
    assert remote_command(["a b"], None, "/m") == "echo $$ >/m; exec setsid 'a b' </dev/null"
    words = remote_command(["a b"], {"K": "v"}, "/m")
    assert words == "echo $$ >/m; exec setsid env K=v 'a b' </dev/null"
    assert remote_command(["a b"], None, "/m", terminal=True, reads=True).endswith("exec 'a b'")


def test_keys_are_fresh_and_in_dropbears_format() -> None:
    one, two = keys.generate(), keys.generate()
    assert one.host != two.host
    assert one.host_private[:15] == b"\0\0\0\x0bssh-ed25519"
    assert len(one.host_private) == 15 + 4 + 64
    assert one.host_private[-32:] == one.host.asbytes()[-32:]
    assert b"authorized_keys" in one.archive()


def test_port_is_what_qemu_says() -> None:
    text = "  TCP[HOST_FORWARD]  12       127.0.0.1 45249       10.0.2.15    22     0     0\r\n"
    assert forwarded_port(text, "net0") == 45249
    with pytest.raises(MonitorError):
        forwarded_port("nothing", "net0")
