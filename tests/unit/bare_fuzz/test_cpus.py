"""Sequences in which several CPUs take part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from oracle import apic, others
from oracle.apic import Apic
from oracle.bochs import configure

from harness.campaigns.bare_fuzz import play
from harness.campaigns.bare_fuzz.batch import Batch, make_batch
from harness.campaigns.bare_fuzz.bochs import is_playable
from harness.campaigns.bare_fuzz.campaign import read_finding
from harness.campaigns.bare_fuzz.case import (
    ACTION_WORDS,
    GO,
    NAMES,
    PLACE,
    REQUEST,
    Action,
    Breakpoint,
    Case,
    Storm,
    action_code,
    code_blocks,
    needs_threads,
    wait_addresses,
)
from harness.campaigns.bare_fuzz.compare import Difference, differences
from harness.campaigns.bare_fuzz.encode import load
from harness.campaigns.bare_fuzz.generate import generate
from harness.campaigns.bare_fuzz.model import Expectation, Facts, expect
from harness.campaigns.bare_fuzz.play import ONE_THREAD, Modes, PlayerSetup, QemuPlayer, Start
from harness.campaigns.bare_fuzz.shrink import shrink
from harness.request.profiles import load_cpu
from harness.values import Emulator

from .cases import TESTUI, plain

SEND_41 = "b930080000b84100000031d20f30 ipi 0x41"
SEND_42 = "b930080000b84200000031d20f30 ipi 0x42"
RAISE = "b930080000b84100000031d20f300f0b ipi; ud2"
NOP = "90 nop"


def ask(number: int = 1, *, between: str = "", pause: bool = False) -> str:
    """Return a step that asks for an action and waits for its end."""
    wait = "f390" * pause + "ff2690"
    rest = f"{load(7, REQUEST)}{load(0, number | (len(wait) // 2 - 1) << 8)}8907{between}"
    lea = f"488d05{(3 + len(rest) // 2).to_bytes(4, 'little').hex()}488906"
    return f"{load(6, GO)}{lea}{rest}{wait} ask"


def case(*code: str, actions: Sequence[str] = (SEND_41,), **state: object) -> Case:
    made = tuple(Action(code=(code,)) for code in actions)
    usual = {"rflags": 0x202, "x2apic": True, "cpus": 2, "actions": made, "breakpoints": ()}
    return plain(*code, **{**usual, "page_end": False, "cr4_smap": False, **state})


def expected(one: Case) -> Expectation:
    found = expect(one, Facts())
    assert found is not None
    return found


# --- what is generated -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Return cases of several CPUs, in both modes of the local APIC."""
    numbers = [number for number in range(600, 3000) if generate(5, number).cpus > 1]
    return make_batch(5, numbers, Facts())


def test_some_sequences_have_several_cpus(batch: Batch) -> None:
    assert len(batch.cases) == 300
    assert {one.cpus for one in batch.cases} == {2, 3}
    assert {action.cpu for one in batch.cases for action in one.actions} == {1, 2}
    assert all(action.cpu < one.cpus for one in batch.cases for action in one.actions)
    storms = [one for one in batch.cases if one.storm]
    assert 3 < len(storms) < 50
    threads = [needs_threads(one) for one in batch.cases]
    assert 60 < sum(threads) < 200


def test_most_actions_are_asked_for_and_run(batch: Batch) -> None:
    acted = [
        of
        for one, of in zip(batch.cases, batch.expected, strict=True)
        if not one.storm and any(of.words[PLACE[f"action {n} count"]] for n in range(4))
    ]
    assert len(acted) > 120
    reached = frozenset[str]().union(*(of.reached for of in acted))
    assert {"NOTIFY-1", "NOTIFY-18", "SEND-1", "SEND-3", "SEND-4", "SEND-9", "NMI-1"} <= reached
    ends = {of.words[PLACE[f"action {n} vector"]] for of in acted for n in range(4)}
    assert {13, 14, 0x80} <= ends
    assert any(of.words[PLACE["cpu 1 irr[3]"]] for of in acted)


def test_an_action_has_limited_room() -> None:
    assert len(action_code(Action(code=(NOP,)))) == 8 * ACTION_WORDS
    with pytest.raises(ValueError, match="room"):
        action_code(Action(code=(NOP,) * 8 * ACTION_WORDS))


# --- what the model says -----------------------------------------------------------------------


def test_an_event_in_a_wait_is_one_behind_it() -> None:
    for pause in (False, True):
        one = case(NOP, ask(pause=pause))
        (wait,) = set(wait_addresses(one).values())
        assert wait == code_blocks(one)[0] + 1 + len(bytes.fromhex(ask().split(" ")[0])) - 3
        assert len(wait_addresses(one)) == 2 + pause
        of = expected(one)
        assert of.words[PLACE["event 0 vector"]] == 0x41
        assert of.words[PLACE["event 0 rip"]] == wait
        for address in wait_addresses(one):
            seen = list(of.words)
            seen[PLACE["event 0 rip"]] = address
            assert differences(of, tuple(seen), ()) == []
        seen[PLACE["event 0 rip"]] = wait - 1
        assert differences(of, tuple(seen), ()) == [Difference("event 0 rip", wait, wait - 1)]


def test_what_depends_on_the_order_is_left_out() -> None:
    alone = case(ask())
    assert expect(alone, Facts())
    # Where it interrupts what is beside the action is not known.
    assert expect(case(ask(between="9090")), Facts()) is None
    assert expect(case(ask(between="9090"), rflags=2), Facts())
    # The second one may arrive before the first one is taken.
    twice = (SEND_41.split(" ")[0] + SEND_42,)
    assert expect(case(ask(), actions=twice), Facts()) is None
    assert expect(case(ask(), actions=twice, rflags=2), Facts())
    watched = Breakpoint(address=next(iter(wait_addresses(alone).values())))
    assert expect(alone.model_copy(update={"breakpoints": (watched,)}), Facts()) is None


#: Findings of searches whose result depends on the order.
UNORDERED = sorted((Path(__file__).parent / "unordered").glob("*.json"))


@pytest.mark.parametrize("path", UNORDERED, ids=lambda path: path.stem)
def test_what_once_depended_on_the_order_is_left_out(path: Path) -> None:
    assert expect(read_finding(path), Facts()) is None


def test_the_8259_and_another_cpu_come_in_either_order() -> None:
    one = case("fb sti", ask(), level=0, rflags=2, pic=0x20)
    assert expect(one, Facts()) is not None
    assert expect(case(ask(), "fb sti", level=0, rflags=2, pic=0x20), Facts()) is None


def test_the_end_of_an_action_is_part_of_the_result() -> None:
    of = expected(case(ask(), ask(), actions=(RAISE,)))
    names = ("count", "vector", "error", "rax")
    assert [of.words[PLACE[f"action 0 {name}"]] for name in names] == [2, 6, 0, 0x41]


def test_of_a_storm_only_what_must_be_is_compared() -> None:
    storm = Storm(rounds=10, stride=3, longest=50)
    of = expected(case(TESTUI, actions=(), cpus=3, storm=storm))
    assert of.words[PLACE["arrived"]] == 10 * 2 * 8
    seen = [0x1234] * len(NAMES)
    for name in ("late", "arrived", "RR", "upid[0]", "upid[1]"):
        seen[PLACE[name]] = of.words[PLACE[name]]
    assert differences(of, tuple(seen), ()) == []
    for name in ("late", "arrived", "RR", "upid[0]", "upid[1]"):
        wrong = list(seen)
        wrong[PLACE[name]] += 1
        found = differences(of, tuple(wrong), ())
        assert found == [Difference(name, of.words[PLACE[name]], wrong[PLACE[name]])]
    endless = case("fa cli", "f4 hlt", actions=(), level=0, storm=storm)
    assert expect(endless, Facts()) is None


# --- a wrong model differs ---------------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def nobody_else_hears(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Apic, "_receivers", lambda self, destination: [self] * (destination == self.id))


def all_hear(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Apic, "_receivers", lambda self, destination: self.everybody or [self])


def no_nmi_leaves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(apic, "_NMI", 9)


def actions_end_otherwise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(others, "DONE", 0x81)


@pytest.mark.parametrize(
    "wrong", [nobody_else_hears, all_hear, no_nmi_leaves, actions_end_otherwise]
)
def test_some_cases_tell_a_wrong_model_apart(
    wrong: Patch, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch)
    some = [place for place, one in enumerate(batch.cases) if not one.storm][:120]
    found = [(expect(batch.cases[place], Facts()), batch.expected[place]) for place in some]
    assert any(one is None or one.words != right.words for one, right in found)


# --- players -----------------------------------------------------------------------------------


@pytest.fixture
def machine() -> PlayerSetup:
    return PlayerSetup(
        Emulator(binary=Path("/qemu"), version="1"), load_cpu("exposed"), Path("/player")
    )


def test_a_machine_has_the_cases_cpus(machine: PlayerSetup) -> None:
    argv = play.player_argv(machine, "multi", Path("/memory"), cpus=3)
    assert argv[argv.index("-smp") + 1] == "3"
    assert "smp=3 " in argv[argv.index("-append") + 1]


def test_one_thread_plays_no_wait_without_pause(
    machine: PlayerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Modes] = []

    def start(player: QemuPlayer, way: str, packed: Sequence[bytes], modes: Modes) -> Start:
        started.append(modes)
        return Start([(1,)] * len(packed), len(packed), la57=True, uiret_uif=False, ending="")

    monkeypatch.setattr(QemuPlayer, "_start", start)
    player = QemuPlayer(machine)
    storm = case(NOP, storm=Storm(rounds=1, stride=1, longest=1), cpus=3)
    cases = [case(ask()), case(ask(pause=True)), case(NOP), storm, case(NOP, cpus=1)]
    for way in player.ways:
        started.clear()
        all_of_them = [(1,)] * 5
        some = [None, (1,), (1,), None, (1,)]
        assert player.play(way, cases) == (some if way in ONE_THREAD else all_of_them)
        assert {modes.cpus for modes in started} == ({1, 2} if way in ONE_THREAD else {1, 2, 3})


def test_bochs_plays_code_breakpoints_on_one_cpu_only() -> None:
    watched = (Breakpoint(address=0x1000),)
    assert is_playable(case(ask()))
    assert is_playable(case(NOP, cpus=1, breakpoints=watched))
    assert not is_playable(case(ask(), breakpoints=watched))


def test_bochs_has_the_cases_processors(tmp_path: Path) -> None:
    config = configure(tmp_path, b"", display="term", cpus=3)
    assert "count=3," in config.read_text()


# --- shrinking ---------------------------------------------------------------------------------


def test_actions_shrink_too() -> None:
    big = case(NOP, ask(), actions=(SEND_41,))
    big = big.model_copy(update={"actions": (Action(code=(NOP, SEND_41, NOP)), Action())})

    def fails(these: Sequence[Case]) -> list[bool]:
        return [
            ask() in one.code and SEND_41 in one.actions[0].code and one.cpus == 2 for one in these
        ]

    small = shrink(big, fails, lambda: True)
    assert (small.code, small.actions[0].code) == ((ask(),), (SEND_41,))


def test_a_seed_makes_the_same_actions() -> None:
    assert generate(7, 3).actions == generate(7, 3).actions != generate(8, 3).actions
