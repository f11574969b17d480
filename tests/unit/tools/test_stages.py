"""What ``tools.stages`` reads from a trace, and draws."""

from __future__ import annotations

import struct
from xml.etree import ElementTree as ET

import pytest

from harness.errors import GuestError
from tools.stages import STAGES, Event, Row, picture, read_events, table, ways

HEADER = struct.pack("=QQQ", 2**64 - 1, 0xF2B177CB0AA429B4, 4)
WHOLE = (
    Event("x86_uintr_send", 1000, 0),
    Event("x86_uintr_notify", 1010, 0),
    Event("x86_uintr_notification", 1400, 1),
    Event("x86_uintr_deliver", 1420, 1),
    Event("x86_uintr_uiret", 1450, 1),
    Event("x86_uintr_send", 1500, 1),
)


def mapping(number: int, name: bytes) -> bytes:
    return struct.pack("=QQL", 0, number, len(name)) + name


def event(number: int, ns: int, *arguments: int) -> bytes:
    length = 24 + 8 * len(arguments)
    return struct.pack(f"=QQQLL{len(arguments)}Q", 1, number, ns, length, 7, *arguments)


def test_events_have_names_times_and_cpus() -> None:
    data = HEADER + mapping(3, b"x86_uintr_send") + mapping(4, b"qemu_mutex_lock")
    data += event(3, 17, 1, 0, 0x1000, 5) + event(4, 18) + event(9, 19)
    assert list(read_events(data)) == [
        Event("x86_uintr_send", 17, 1),
        Event("qemu_mutex_lock", 18, None),
        Event("", 19, None),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 24,
        HEADER[:-8] + struct.pack("=Q", 3),
        HEADER + struct.pack("=Q", 2),
        HEADER + mapping(3, b"x86_uintr_send") + event(3, 17, 1)[:-16],
    ],
    ids=["empty", "no magic", "version", "record", "cut"],
)
def test_what_is_no_trace_is_said(data: bytes) -> None:
    with pytest.raises(GuestError):
        list(read_events(data))


def test_a_way_is_cut_into_its_stages() -> None:
    assert list(ways(WHOLE)) == [(10, 390, 20, 30, 50)]


def test_events_of_two_threads_come_out_of_order() -> None:
    assert list(ways(reversed(WHOLE))) == [(10, 390, 20, 30, 50)]


def test_a_way_that_another_event_came_between_is_left_out() -> None:
    other = Event("x86_uintr_send", 1405, 1)
    assert not list(ways((*WHOLE, other)))


def test_a_way_to_the_sender_itself_is_left_out() -> None:
    assert not list(ways(one._replace(cpu=0) for one in WHOLE))


def test_table_and_picture_show_each_emulator() -> None:
    rows = [
        Row("before <a>", (10.0, 390.0, 20.0, 30.0, 50.0), 9, 450.0),
        Row("after", (10.0, 120.0, 20.0, 30.0, 50.0), 8, 210.0),
    ]
    assert table(rows).splitlines()[2:] == [
        "| before <a> | 10 | 390 | 20 | 30 | 50 | 500 | 9 | 450 |",
        "| after | 10 | 120 | 20 | 30 | 50 | 230 | 8 | 210 |",
    ]
    root = ET.fromstring(picture(rows))
    said = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"before <a>", "after", "500 ns", "230 ns", *STAGES} <= set(said)
    bars = [
        float(element.attrib["width"])
        for element in root.iter("{http://www.w3.org/2000/svg}rect")
        if element.attrib["height"] == "26"
    ]
    assert sum(bars[5:]) / sum(bars[:5]) == pytest.approx(230 / 500, rel=0.01)
