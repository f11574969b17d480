"""A cell's player, with a guest that says what it is told to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from harness.campaigns.fuzz.cell import CellPlayer
from harness.campaigns.fuzz.script import Script
from harness.guest.verdict.failure import Completed, FailureCause, GuestFailure
from harness.run.cellguest import CellGuest

WELL = "1: 0 stui: 0 | 0:1\nend {}: exited 0\n"


def script(step: str = "0 stui") -> Script:
    return Script(ways=("blocked",), steps=(step,))


class FakeCellGuest:
    """Plays scripts; the steps ``die``, ``hang`` and ``stop`` are what they say."""

    name = "cell"
    factor = 1.5

    def __init__(self, folder: Path, verdict: FailureCause = "panic") -> None:
        self.folder = folder
        self.batches: list[int] = []
        self.suspects = 0
        self.fresh: list[bool] = []
        self.env: Mapping[str, str] = {}
        self._verdict = verdict
        self._text = ""

    def ready(self, *, fresh: bool = False) -> None:
        self.fresh.append(fresh)

    def push_program(self, name: str) -> str:
        return f"/tests/{name}"

    def push(self, local: Path, remote: str) -> None:
        self._text = local.read_text()

    def mark_suspect(self) -> None:
        self.suspects += 1

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        env: Mapping[str, str],
        on_stdout: Callable[[bytes], None],
        most: float,
    ) -> Completed:
        assert argv[0] == "/tests/fuzz/interpreter"
        self.env = env
        scripts = re.findall(r"script (\d+)\n(.*?)end\n", self._text, re.DOTALL)
        self.batches.append(len(scripts))
        for number, text in scripts:
            on_stdout(f"script {number}\n".encode())
            if "die" in text:
                raise GuestFailure(self._verdict, f"{self._verdict}: oops", phase="ready")
            if "stop" in text:
                break
            if "hang" in text:
                on_stdout(f"hangs\nend {number}: killed 9\n".encode())
                continue
            on_stdout(WELL.format(number).encode())
        return Completed(returncode=0, signal=None, stdout=b"", stderr=b"", seconds=1)


def player(guest: FakeCellGuest) -> CellPlayer:
    return CellPlayer(cast("CellGuest", guest))


def test_what_follows_a_script_that_ends_the_guest_is_played_in_the_next(tmp_path: Path) -> None:
    guest = FakeCellGuest(tmp_path)
    plays = player(guest).play([script(), script("0 die"), script(), script()])
    assert [play.ending for play in plays] == ["exited 0", "panic: oops", "exited 0", "exited 0"]
    assert guest.batches == [4, 2]
    assert guest.env == {"KTAP_TIMEOUT_SCALE": "2"}


def test_a_failure_of_the_host_is_no_finding(tmp_path: Path) -> None:
    with pytest.raises(GuestFailure):
        player(FakeCellGuest(tmp_path, "qemu-died")).play([script("0 die")])


def test_after_a_hang_the_guest_is_doubted_and_the_rest_is_there(tmp_path: Path) -> None:
    guest = FakeCellGuest(tmp_path)
    plays = player(guest).play([script("0 hang"), script()])
    assert [play.ending for play in plays] == ["hangs", "exited 0"]
    assert guest.suspects == 1


def test_an_interpreter_that_stops_is_the_last_scripts_doing(tmp_path: Path) -> None:
    plays = player(FakeCellGuest(tmp_path)).play([script(), script("0 stop"), script()])
    assert [play.completed for play in plays] == [True, False, True]


def test_a_guest_of_its_own_is_asked_for_once(tmp_path: Path) -> None:
    guest = FakeCellGuest(tmp_path)
    cell = player(guest)
    cell.renew()
    cell.play([script()])
    cell.play([script()])
    assert guest.fresh == [True, False]
