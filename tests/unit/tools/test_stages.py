"""What ``tools.stages`` reads from stamps, and draws."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tools.stages import STAGES, Row, Stamp, picture, read_stamps, stamps_in, table, ways

WHOLE = (
    Stamp(1000, 0, 0),
    Stamp(1010, 1, 0),
    Stamp(1030, 2, 0),
    Stamp(1400, 3, 1),
    Stamp(1420, 4, 1),
    Stamp(1450, 5, 1),
    Stamp(1500, 6, 1),
    Stamp(1570, 0, 1),
)
TIMES = (10, 20, 370, 20, 30, 50, 70)


def test_stamps_of_both_cpus_come_by_time() -> None:
    first = struct.pack("<3Q", 2, 100 << 8 | 1, 300 << 8 | 2).ljust(8 << 20, b"\0")
    second = struct.pack("<2Q", 1, 200 << 8 | 3).ljust(8 << 20, b"\0")
    assert read_stamps(first + second) == [Stamp(100, 1, 0), Stamp(200, 3, 1), Stamp(300, 2, 0)]


def test_a_log_that_went_round_is_read_whole() -> None:
    stamps = (1 << 20) - 1
    log = struct.pack("<Q", 3 * stamps) + struct.pack("<Q", 7 << 8) * stamps
    assert len(read_stamps(log + b"\0" * (8 << 20))) == stamps


def test_a_way_is_cut_into_its_stages() -> None:
    assert list(ways(WHOLE)) == [TIMES]


def test_the_answer_is_the_next_way() -> None:
    back = [one._replace(ns=one.ns + 570, cpu=1 - one.cpu) for one in WHOLE]
    assert list(ways([*WHOLE, *back[1:]])) == [TIMES, TIMES]


@pytest.mark.parametrize("place", range(1, len(WHOLE)))
def test_a_way_with_a_foreign_step_is_left_out(place: int) -> None:
    foreign = WHOLE[place]._replace(step=3, cpu=0)
    assert not list(ways([*WHOLE[:place], foreign, *WHOLE[place:]]))


def test_a_way_to_the_sender_itself_is_left_out() -> None:
    assert not list(ways(one._replace(cpu=0) for one in WHOLE))


def test_emulators_are_told_of_the_file(tmp_path: Path) -> None:
    with stamps_in(tmp_path / "stamps"):
        assert os.environ["UINTR_STAMPS"] == str(tmp_path / "stamps")
        assert (tmp_path / "stamps").stat().st_size == 16 << 20
    assert "UINTR_STAMPS" not in os.environ


def test_table_and_picture_show_each_emulator() -> None:
    rows = [
        Row("before <a>", (10.0, 20.0, 370.0, 20.0, 30.0, 50.0, 70.0), 9, 450.0),
        Row("after", (10.0, 20.0, 100.0, 20.0, 30.0, 50.0, 70.0), 8, 210.0),
    ]
    assert table(rows).splitlines()[2:] == [
        "| before <a> | 10 | 20 | 370 | 20 | 30 | 50 | 70 | 570 | 9 | 450 |",
        "| after | 10 | 20 | 100 | 20 | 30 | 50 | 70 | 300 | 8 | 210 |",
    ]
    root = ET.fromstring(picture(rows))
    said = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"before <a>", "after", "570 ns", "300 ns", *STAGES} <= set(said)
    bars = [
        float(element.attrib["width"])
        for element in root.iter("{http://www.w3.org/2000/svg}rect")
        if element.attrib["height"] == "26"
    ]
    assert sum(bars[7:]) / sum(bars[:7]) == pytest.approx(300 / 570, rel=0.01)
