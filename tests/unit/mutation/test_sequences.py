"""Sequences for mutants, with machines that are not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.campaigns.bare_fuzz.batch import Batch, make_batch
from harness.campaigns.bare_fuzz.case import NAMES, Case
from harness.campaigns.bare_fuzz.model import Facts
from harness.campaigns.bare_fuzz.play import Modes, Played, PlayerSetup, QemuPlayer, Start
from harness.campaigns.mutation.sequences import WAY, EndedError, Sequences, StoppingPlayer
from harness.errors import GuestError
from harness.progress import Silent
from harness.values import CpuProfile, Emulator

BATCH = make_batch(3, range(4), Facts())


def machine(name: str = "good") -> PlayerSetup:
    cpu = CpuProfile(name="exposed", model="max", exposes_uintr=True)
    return PlayerSetup(Emulator(binary=Path(f"/{name}"), version="1"), cpu, Path("/player"))


class Player:
    """Does what the model says, unless the emulator's name says otherwise."""

    ways = (WAY,)
    facts = Facts()
    restored = 0

    def __init__(self, machine: PlayerSetup) -> None:
        self.name = machine.emulator.binary.name
        if self.name == "ended":
            raise EndedError("QEMU in a sequence: hangs")

    def play(self, way: str, cases: Sequence[Case]) -> list[Played]:
        assert way == WAY
        words = [one.words for one in BATCH.expected]
        if self.name == "bad":
            place = next(
                place
                for place, name in enumerate(NAMES)
                if name == "rsp" and place not in BATCH.expected[2].open_places
            )
            changed = list(words[2])
            changed[place] ^= 1 << 40
            words[2] = tuple(changed)
        return list(words)


@contextmanager
def make(seed: int, facts: Facts, limit: int | None) -> Iterator[Iterator[Batch]]:
    assert (seed, limit) == (3, 4)
    yield iter([BATCH])


def sequences(of: str = "good") -> Sequences:
    return Sequences(machine(of), 3, 4, make, Player)


def test_a_difference_from_the_model_is_told() -> None:
    made = sequences()
    made.prepare(Silent())
    assert made.judge(machine().emulator, first=True) == ""
    said = made.judge(machine("bad").emulator, first=True)
    assert said.startswith(f"sequence {BATCH.numbers[2]}: rsp is ")
    assert made.judge(machine("ended").emulator, first=True) == "QEMU in a sequence: hangs"


def test_the_first_batch_is_played_apart_from_the_others() -> None:
    made = sequences()
    made.prepare(Silent())
    bad = machine("bad").emulator
    assert made.judge(bad) == ""
    made._batches.insert(0, BATCH._replace(numbers=(), cases=(), expected=()))
    assert made.judge(bad).startswith("sequence")


def test_what_does_not_differ_again_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sequences()
    made.prepare(Silent())
    said = ["sequence 1: rax", ""]
    monkeypatch.setattr(made, "_played", lambda *_: said.pop(0))
    assert made.judge(machine().emulator, first=True) == ""
    assert said == []


def test_a_result_of_another_order_of_the_cpus_is_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def is_in_some_order(case: Case, *_: object) -> bool:
        asked.append(case)
        return True

    made = sequences()
    made.prepare(Silent())
    monkeypatch.setattr("harness.campaigns.mutation.sequences.is_in_some_order", is_in_some_order)
    assert made.judge(machine("bad").emulator, first=True) == ""
    assert asked == [BATCH.cases[2]]


def test_an_unchanged_emulator_that_differs_is_no_basis() -> None:
    with pytest.raises(GuestError, match="does not agree with the unchanged emulator"):
        sequences("bad").prepare(Silent())


def test_nothing_is_played_behind_a_sequence_that_ends_qemu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts = []

    def start(self: QemuPlayer, way: str, packed: Sequence[bytes], modes: Modes) -> Start:
        starts.append(len(packed))
        return Start([], min(1, len(packed)), False, False, "hangs" if packed else "")

    monkeypatch.setattr(QemuPlayer, "_start", start)
    player = StoppingPlayer(machine(), ("multi",))
    with pytest.raises(EndedError, match="hangs"):
        player.play("multi", list(BATCH.cases))
    assert len(starts) == 2
