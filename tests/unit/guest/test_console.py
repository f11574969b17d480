"""The serial console."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest.alarm import Alarm
from harness.guest.spec import GuestSpec
from harness.guest.transport.console import MAX_LINE, Console
from harness.values import Emulator

MakeSpec = Callable[..., GuestSpec]
MakeQemu = Callable[..., Emulator]


def console(tmp_path: Path) -> Console:
    ticks = iter(range(1000))
    return Console(tmp_path / "console.log", Alarm(), lambda: float(next(ticks)))


def test_lines_are_stamped_and_bytes_are_kept(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.feed(b"caf\xe9\r\nhal")
    one.feed(b"f\nrest")
    one.close()
    lines = (tmp_path / "console.log").read_bytes().splitlines()
    assert [line.partition(b"] ")[2] for line in lines] == [b"caf\xe9", b"half", b"rest"]
    assert one.tail(2) == "half\nrest"


def test_marks_name_phases(tmp_path: Path) -> None:
    one = console(tmp_path)
    assert one.phase == "start"
    for text, phase in [
        (b"x\n", "firmware"),
        (b"Decompressing Linux...\n", "decompress"),
        (b"[    0.0] Linux version 6\n", "kernel"),
        (b"uintr-harness: init\n", "init"),
        (b"uintr-harness: sshd\n", "sshd"),
    ]:
        one.feed(text)
        assert one.phase == phase


def test_a_mark_in_two_pieces_is_a_mark(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.feed(b"uintr-harn")
    one.feed(b"ess: init\n")
    assert "init" in one.phases


def test_what_is_left_of_a_mark_is_none_of_a_restored_guest(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.phases["restored"] = 0.0
    one.feed(b"uintr-harness: sshd\n")
    assert list(one.phases) == ["restored"]


def test_a_panic_trips_the_alarm(tmp_path: Path) -> None:
    alarm = Alarm()
    one = Console(tmp_path / "console.log", alarm)
    one.feed(b"[    1.000000] Kernel panic - not syncing: x\n")
    assert alarm.tripped
    assert one.panic == "Kernel panic - not syncing: x"


BOOT = b"[    0.000000] Linux version 6.12.0\n[    0.500000] Run /init as init process\n"


@pytest.mark.parametrize("text", [b"Kernel panic - not syncing: x", b"reboot: Power down"])
def test_without_a_stamp_a_program_ends_nothing(tmp_path: Path, text: bytes) -> None:
    one = console(tmp_path)
    one.feed(BOOT + text + b"\n")
    assert (one.panic, one.shutdown_message) == (None, None)


@pytest.mark.parametrize("stamp", [b"", b"[    1.000000] "])
@pytest.mark.parametrize("text", [b"Kernel panic - not syncing: x", b"reboot: Power down"])
@pytest.mark.parametrize("quote", [b"# %s", b"ok 3 - %s", b'init: saw "%s"'])
def test_a_program_that_quotes_the_kernels_end_ends_nothing(
    tmp_path: Path, quote: bytes, text: bytes, stamp: bytes
) -> None:
    alarm = Alarm()
    one = Console(tmp_path / "console.log", alarm)
    one.feed(BOOT + stamp + quote % text + b"\n")
    assert (alarm.tripped, one.panic, one.shutdown_message) == (False, None, None)
    one.feed(b"[    2.000000] " + text + b"\n")
    assert text.decode() in {one.panic, one.shutdown_message}


def test_a_restored_guest_stamps_its_lines_as_the_saved_one_did(tmp_path: Path) -> None:
    for stamped, found in ((True, 0), (False, 1)):
        one = Console(tmp_path / f"{found}.log", Alarm())
        one.restored(stamped=stamped)
        one.feed(b"kernel BUG at foo.c:1!\n")
        assert len(one.splats()) == found
        assert "restored" in one.phases


def test_what_began_before_the_mute_is_a_splat(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.feed(b"[    1.000000] kernel BUG at foo.c:1!\n")
    one.mute()
    one.feed(b"[    2.000000] BUG: scheduling while atomic\n")
    assert [splat.kind for splat in one.splats()] == ["bug"]


def test_after_mute_nothing_is_a_splat(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.mute()
    one.feed(b"Kernel panic - not syncing: NMI\n")
    assert one.splats() == ()


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_long_line_is_split(tmp_path: Path, end: bytes) -> None:
    one = console(tmp_path)
    one.feed(b"x" * 100_000 + end)
    one.close()
    assert one.lines == -(-100_000 // MAX_LINE)
    assert max(map(len, one.tail(100).split("\n"))) == MAX_LINE


def test_a_full_disk_is_noticed(tmp_path: Path) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("no /dev/full")
    one = Console(Path("/dev/full"), Alarm())
    one.feed(b"line\n")
    assert one.error is not None


@given(st.lists(st.binary(max_size=60)))
def test_no_byte_is_lost(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    one = Console(tmp_path_factory.mktemp("c") / "log", Alarm())
    for piece in pieces:
        one.feed(piece)
    one.flush()
    assert one.bytes == sum(len(piece) for piece in pieces)
    one.close()
