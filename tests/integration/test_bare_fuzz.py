"""Random sequences in real QEMUs: the model agrees, and a wrong model is told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from oracle import uintr
from oracle.apic import Apic
from oracle.processor import ZF, Processor

from harness.artefacts.bare_metal import PLAYER, build_bare_metal
from harness.artefacts.bochs import fetch_bochs
from harness.artefacts.emulator.choice import build_emulator
from harness.artefacts.store import Store
from harness.campaigns.bare_fuzz import play
from harness.campaigns.bare_fuzz.batch import Batch, make_batch
from harness.campaigns.bare_fuzz.bochs import BochsPlayer, WithBochs
from harness.campaigns.bare_fuzz.campaign import (
    SequenceCampaign,
    SequenceFinding,
    read_finding,
)
from harness.campaigns.bare_fuzz.case import STACK, Case
from harness.campaigns.bare_fuzz.compare import BOCHS_DEVIATIONS, differences, read_deviations
from harness.campaigns.bare_fuzz.model import Facts, expect
from harness.campaigns.bare_fuzz.play import (
    ONE_THREAD,
    SAVED,
    WAYS,
    Played,
    PlayerSetup,
    QemuPlayer,
)
from harness.errors import BuildError
from harness.guest.snapshot import load
from harness.guest.transport.qmp import Monitor
from harness.guest.verdict.deadlines import Deadline
from harness.progress import Silent
from harness.request.profiles import load_cpu

pytestmark = pytest.mark.guest

#: Of a search; it ends with its last sequence, long before.
LIMIT_S = 3000


@pytest.fixture(scope="module")
def machine() -> PlayerSetup:
    store = Store.open(Silent())
    emulator = build_emulator(store, Silent())
    player = build_bare_metal("gcc", store, Silent(), pattern=PLAYER)[0].path
    return PlayerSetup(emulator, load_cpu("exposed"), player)


@contextmanager
def in_this_process(seed: int, facts: Facts, limit: int | None) -> Iterator[Iterator[Batch]]:
    assert limit is not None
    yield iter([make_batch(seed, range(limit), facts)])


@pytest.fixture
def wrong_testui(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model's TESTUI leave ZF."""
    right = uintr.testui

    def wrong(cpu: Processor) -> None:
        zero = cpu.flag(ZF)
        right(cpu)
        cpu.set_flag(ZF, zero)

    monkeypatch.setattr(uintr, "testui", wrong)


def test_each_way_does_what_the_model_says(machine: PlayerSetup, tmp_path: Path) -> None:
    campaign = SequenceCampaign(
        QemuPlayer(machine), read_deviations(), tmp_path, Silent(), lambda _: None
    )
    report = campaign.search(1, LIMIT_S, 1500)
    assert (report.failed, report.findings) == (0, ())
    assert report.ways == tuple(WAYS)
    assert report.cases == 1500
    assert set(report.not_played) == ONE_THREAD
    common = {"INSN-18", "DELIVERY-14", "NOTIFY-1", "SEND-1", "UIRET-1", "XSAVE-8"}
    rare = {"HALT-2", "NOTIFY-18", "NOTIFY-19", "NOTIFY-25", "NOTIFY-26", "NMI-1", "NMI-2", "NMI-3"}
    assert common | rare <= set(report.reached)


def test_a_model_that_leaves_a_flag_is_told_apart(
    machine: PlayerSetup, tmp_path: Path, wrong_testui: None
) -> None:
    told: list[SequenceFinding] = []
    player = QemuPlayer(machine, ["single"])
    campaign = SequenceCampaign(player, read_deviations(), tmp_path, Silent(), told.append)
    campaign.search(1, LIMIT_S, 200, in_this_process)
    finding = told[0]
    assert finding.kind == "disagreement"
    assert any("testui" in step for step in finding.case.code)
    assert len(finding.case.code) <= 3
    assert any("rflags" in said for said in finding.differences["single"])


#: Findings of searches, each kept when its cause was fixed.
KEPT = sorted((Path(__file__).parent / "sequences").glob("*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_once_differed_no_longer_does(machine: PlayerSetup, path: Path) -> None:
    player = QemuPlayer(machine)
    case = read_finding(path)
    expected = expect(case, player.facts)
    assert expected is not None
    for way in player.ways:
        (played,) = player.play(way, [case])
        assert not differences(expected, played, read_deviations()), way


def test_an_interrupt_that_another_cpu_sends_in_vain_is_told_apart(
    machine: PlayerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the model nobody else hears it."""
    monkeypatch.setattr(
        Apic, "_receivers", lambda self, destination: [self] * (destination == self.id)
    )
    player = QemuPlayer(machine, ["multi"])
    batch = make_batch(1, range(200), player.facts)
    played = player.play("multi", batch.cases)
    known = read_deviations()
    told = {
        case.cpus
        for case, of, one in zip(batch.cases, batch.expected, played, strict=True)
        if differences(of, one, known)
    }
    assert {2, 3} <= told


class Nothing:
    """A player without a way to play."""

    ways: tuple[str, ...] = ()
    facts = Facts()
    restored = 0

    def play(self, way: str, cases: Sequence[Case]) -> list[Played]:
        raise AssertionError(way)


@pytest.fixture(scope="module")
def in_bochs(machine: PlayerSetup) -> WithBochs:
    """A player in Bochs only."""
    try:
        bochs = fetch_bochs(Store.open(Silent()), Silent())
    except BuildError as error:
        pytest.skip(f"no Bochs: {error.what}")
    return WithBochs(Nothing(), BochsPlayer(bochs, machine.player, Facts()))


def test_bochs_does_what_the_model_says(in_bochs: WithBochs, tmp_path: Path) -> None:
    known = read_deviations(BOCHS_DEVIATIONS)
    campaign = SequenceCampaign(in_bochs, known, tmp_path, Silent(), lambda _: None)
    report = campaign.search(1, LIMIT_S, 500)
    assert (report.failed, report.findings) == (0, ())
    assert report.ways == ("bochs",)
    assert report.cases == 500
    assert 0 < report.not_played["bochs"] < 60
    # It is no judge of a sequence to which a deviation applies as a whole.
    batch = make_batch(1, range(500), Facts())
    whole = {name for one in known if one.places == ("*",) for name in one.only}
    judged = sum(not (of.reached | of.circumstances) & whole for of in batch.expected)
    assert judged > 400


def test_in_bochs_a_wrong_model_is_told_apart(
    in_bochs: WithBochs, tmp_path: Path, wrong_testui: None
) -> None:
    told: list[SequenceFinding] = []
    known = read_deviations(BOCHS_DEVIATIONS)
    campaign = SequenceCampaign(in_bochs, known, tmp_path, Silent(), told.append)
    campaign.search(1, LIMIT_S, 200, in_this_process)
    finding = told[0]
    assert finding.kind == "disagreement"
    assert any("testui" in step for step in finding.case.code)
    assert len(finding.case.code) <= 3
    assert any("rflags" in said for said in finding.differences["bochs"])


def test_a_machine_that_is_restored_differently_is_told_apart(
    machine: PlayerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some saves come between the write of IA32_UINTR_HANDLER and the look at it."""
    changed = 0

    def wrong(monitor: Monitor, state: Path, deadline: Deadline) -> None:
        nonlocal changed
        stream = bytearray(state.read_bytes())
        head = b"\x09cpu/uintr\0\0\0\1"
        if head in stream:
            # Then come UIRR and UIHANDLER, big-endian.
            stream[stream.rindex(head) + len(head) + 15] ^= 4
            state.write_bytes(stream)
            changed += 1
        load(monitor, state, deadline)

    player = QemuPlayer(machine, [SAVED])
    batch = make_batch(1, range(1500), player.facts)
    known = read_deviations()

    def told() -> bool:
        played = player.play(SAVED, batch.cases)
        return any(map(partial(differences, deviations=known), batch.expected, played))

    assert not told()
    monkeypatch.setattr(play, "load", wrong)
    assert any(told() for _ in range(20))
    assert changed


def test_a_sequence_that_ends_the_machine_takes_no_other_with_it(machine: PlayerSetup) -> None:
    player = QemuPlayer(machine, ["single"])
    batch = make_batch(1, range(2), player.facts)
    # With an IDT of no bytes the next exception is a triple fault.
    dies = batch.cases[0].model_copy(
        update={
            "level": 0,
            "cr4_smap": False,
            "stack": (),
            "rights": (5, 5, 7, 7, 7, 7, 7),
            "code": (f"48b8{STACK.to_bytes(8, 'little').hex()} mov", "0f0118 lidt", "0f0b ud2"),
        }
    )
    first, second, third = player.play("single", [batch.cases[0], dies, batch.cases[1]])
    assert second == "QEMU ended with 0"
    known = read_deviations()
    assert differences(batch.expected[0], first, known) == []
    assert differences(batch.expected[1], third, known) == []
