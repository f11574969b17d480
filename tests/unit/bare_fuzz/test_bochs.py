"""The player in Bochs, with a program in Bochs's place."""

from __future__ import annotations

import shutil
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from oracle.bochs import loaded, rom
from oracle.processor import CIRCUMSTANCES
from typing_extensions import override

from harness.artefacts import bochs as artefact
from harness.artefacts.bochs import Bochs
from harness.campaigns.bare_fuzz import bochs
from harness.campaigns.bare_fuzz.batch import Batch, make_batch
from harness.campaigns.bare_fuzz.bochs import BochsPlayer, is_playable, read_disk
from harness.campaigns.bare_fuzz.campaign import SequenceCampaign, SequencesReport
from harness.campaigns.bare_fuzz.case import CASE_SIZE, NAMES, PLACE, Case, pack
from harness.campaigns.bare_fuzz.compare import (
    BOCHS_DEVIATIONS,
    Deviation,
    Difference,
    differences,
    read_deviations,
)
from harness.campaigns.bare_fuzz.model import Expectation, Facts, expect
from harness.campaigns.bare_fuzz.play import Played, PlayerSetup
from harness.cli import fuzz_bare_metal as command
from harness.cli import invoke
from harness.errors import BuildError, ExitCode, GuestError, UserError
from harness.progress import Silent
from harness.request.profiles import load_cpu
from harness.results.contract import read_contract
from harness.values import Emulator

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")

#: Does as Bochs and the player in it do: a result's first word is the case's RFLAGS. It dies of a
#: case whose RFLAGS are 0x7777, and hangs with one whose RFLAGS are 0x8888.
FAKE = r"""
import re, struct, sys, time
from pathlib import Path
PAGE, CASE = 4096, {case}
folder = Path(sys.argv[sys.argv.index("-f") + 1]).parent
config = (folder / "bochsrc").read_text()
disk = Path(re.search("ata0-master:.* path=(.*?),", config)[1])
image = (folder / "rom").read_bytes()
at = image.index(struct.pack("<Q", 0x72657961))
magic, count, x2apic, la57 = struct.unpack_from("<4Q", image, at)
data, ended, begun, how = bytearray(disk.read_bytes()), 0, 0, "Shutdown port: shutdown requested"
for number in range(count):
    begun = number + 1
    case = image[at + PAGE + number * CASE :][:CASE]
    words = struct.unpack_from("<64Q", case)
    if 0x8888 in words:
        disk.write_bytes(struct.pack("<4Q", begun, ended, 1, 0) + data[32:])
        time.sleep(1000)
    if 0x7777 in words:
        how = "failed assertion"
        break
    struct.pack_into("<2Q", data, 512 + 2048 * number, words[{flags}], x2apic)
    ended = number + 1
struct.pack_into("<4Q", data, 0, begun, ended, "la57" not in config.partition("exclude")[2], 0)
disk.write_bytes(data)
(folder / "log").write_text("0i[CPU0] x\n0p[MEM0] >>PANIC<< " + how + "\n")
"""


@pytest.fixture
def fake(tmp_path: Path) -> Bochs:
    script = tmp_path / "bochs.py"
    flags = pack(plain(rflags=0x1234567)).index((0x1234567).to_bytes(8, "little")) // 8
    script.write_text(FAKE.format(case=CASE_SIZE, flags=flags))
    return Bochs(argv=(sys.executable, str(script)))


def elf(entry: int, *parts: tuple[int, bytes]) -> bytes:
    """Return a 64-bit program without sections."""
    offset = 64 + 56 * len(parts)
    headers, content = b"", b""
    for address, data in parts:
        place = offset + len(content)
        headers += struct.pack("<IIQQQQQQ", 1, 7, place, address, address, len(data), len(data), 1)
        content += data
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF", 2, 62, 1, entry, 64, 0, 0, 64, 56,
                       len(parts), 0, 0, 0)  # fmt: skip
    return head + headers + content


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "player"
    path.write_bytes(elf(0x100010, (0x100000, b"program!")))
    return path


def plain(**state: object) -> Case:
    case = make_batch(1, range(1), Facts()).cases[0]
    return case.model_copy(update={"la57": False, "x2apic": False, "cr4_uintr": True, **state})


# --- the ROM and the disk ----------------------------------------------------------------------


def test_the_rom_says_what_is_copied_where() -> None:
    page = bytes(2048) + b"code".ljust(2048, b"\x90")
    program = elf(0x100010, (0x100000, b"program"), (0x200000, b"data"))
    assert loaded(program) == (0x100010, [(0x100000, b"program"), (0x200000, b"data")])
    image = rom(page, program, "smp=1", [(0x4000000, b"cases" * 20_000)])
    base = (1 << 32) - len(image)
    assert len(image) % 65536 == 0
    assert image[-2048:] == page[2048:]
    last = image[-4096:]
    entry, count = struct.unpack_from("<2I", last)
    assert (entry, count) == (0x100010, 3)
    copied = {}
    for number in range(count):
        place, address, words = struct.unpack_from("<3I", last, 48 + 12 * number)
        copied[address] = image[place - base :][: 4 * words]
    assert copied == {0x100000: b"program\0", 0x200000: b"data", 0x4000000: b"cases" * 20_000}
    magic, version, _, _, _, line, _ = struct.unpack_from("<4IQQQ", last, 8)
    assert (magic, version) == (0x336EC578, 1)
    assert image[line - base :].startswith(b"smp=1\0")


def disk_with(begun: int, ended: int, la57: int = 1) -> bytes:
    head = struct.pack("<4Q", begun, ended, la57, 0).ljust(512, b"\0")
    return head + b"".join(struct.pack("<Q", 70 + n).ljust(2048, b"\0") for n in range(ended))


@pytest.mark.parametrize(
    ("begun", "ended", "log", "in_time", "ending"),
    [
        (2, 2, "0p[X] >>PANIC<< Shutdown port: shutdown requested", True, ""),
        (2, 1, "0p[X] >>PANIC<< a\n0p[X] >>PANIC<< assertion", True, "Bochs ended: assertion"),
        (1, 1, "0p[X] >>PANIC<< Shutdown port: shutdown requested", True,
         "Bochs ended: Shutdown port: shutdown requested"),
        (2, 1, "", True, "Bochs ended"),
        (2, 1, "", False, "hangs"),
    ],
)  # fmt: skip
def test_what_bochs_leaves_is_read(
    tmp_path: Path, begun: int, ended: int, log: str, in_time: bool, ending: str
) -> None:
    (tmp_path / "log").write_text(log)
    found = read_disk(disk_with(begun, ended), 2, tmp_path / "log", in_time=in_time)
    assert [words[0] for words in found.results] == [70, 71][:ended]
    assert (found.begun, found.la57, found.uiret_uif, found.ending) == (begun, True, False, ending)


# --- playing -----------------------------------------------------------------------------------


@needs_gcc
def test_cases_are_played_in_order_and_around_one_that_ends_bochs(
    fake: Bochs, program: Path
) -> None:
    player = BochsPlayer(fake, program, Facts())
    cases = [
        plain(rflags=2),
        plain(rflags=3, x2apic=True),
        plain(rflags=0x7777),
        plain(rflags=4, cr4_uintr=False, uif=True, msrs=(1, 0, 0, 0, 0, 0)),
        plain(rflags=6),
    ]
    first, second, third, fourth, fifth = player.play(cases)
    assert third == "Bochs ended: failed assertion"
    assert fourth is None
    told = [one[:2] for one in (first, second, fifth) if isinstance(one, tuple)]
    assert len(told) == 3
    assert [one[1] for one in told] == [0, 1, 0]


@needs_gcc
def test_a_bochs_that_writes_nothing_any_more_hangs(
    fake: Bochs, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = BochsPlayer(fake, program, Facts())
    monkeypatch.setattr(bochs, "QUIET_S", 2.0)
    played = player.play([plain(rflags=2), plain(rflags=0x8888), plain(rflags=3)])
    assert played[1] == "hangs"
    assert [one[0] for one in played if isinstance(one, tuple)] == [2, 3]


@needs_gcc
def test_the_processor_must_be_like_qemus(fake: Bochs, program: Path) -> None:
    BochsPlayer(fake, program, Facts(linear_bits=48))
    with pytest.raises(GuestError, match="another one"):
        BochsPlayer(fake, program, Facts(uiret_uif=True))


@needs_gcc
def test_a_bochs_that_does_nothing_is_told(program: Path) -> None:
    with pytest.raises(GuestError, match="does not run in Bochs"):
        BochsPlayer(Bochs(argv=("true",)), program, Facts())


@pytest.mark.parametrize(
    ("state", "playable"),
    [
        ({}, True),
        ({"cr4_uintr": False, "uif": True, "msrs": (1, 0, 0, 0, 0, 0)}, False),
        ({"cr4_uintr": False, "uif": True, "msrs": (0,) * 6}, True),
        ({"cr4_uintr": False, "uif": False, "msrs": (1, 0, 0, 0, 0, 0)}, True),
    ],
)
def test_what_bochs_asserts_is_not_played(state: dict[str, object], playable: bool) -> None:
    assert is_playable(plain(**state)) is playable


class FakePlayer:
    """A player that does what the model says, but in Bochs leaves the first of some cases out."""

    facts = Facts()
    restored = 3

    def __init__(self, *ways: str, wrong: bool = False) -> None:
        self.ways = ways
        self._wrong = wrong

    def play(self, way: str, cases: Sequence[Case]) -> list[Played | None]:
        if way != bochs.WAY:
            return [expected(case).words for case in cases]
        rax = {"rax": 0x1234} if self._wrong else {}
        played = [changed(expected(case), **rax) for case in cases]
        return [None, *played[1:]] if len(played) > 1 else list(played)


def expected(case: Case) -> Expectation:
    found = expect(case, Facts())
    assert found is not None
    return found


def changed(of: Expectation, **values: int) -> tuple[int, ...]:
    places = {PLACE[name]: value for name, value in values.items()}
    return tuple(places.get(place, word) for place, word in enumerate(of.words))


def try_all(folder: Path, player: FakePlayer, **known: Sequence[Deviation]) -> SequencesReport:
    """Search with three cases."""

    @contextmanager
    def make(seed: int, facts: Facts, limit: int | None) -> Iterator[Iterator[Batch]]:
        del limit
        yield iter([make_batch(seed, range(3), facts)])

    campaign = SequenceCampaign(player, (), folder, Silent(), lambda _: None, of_ways=known)
    return campaign.search(1, 1000, make=make)


def test_a_way_that_leaves_cases_out_is_counted(tmp_path: Path) -> None:
    report = try_all(tmp_path, FakePlayer("one", bochs.WAY))
    assert (report.cases, report.failed, report.not_played) == (3, 0, {bochs.WAY: 1})
    assert report.restored == 3


def test_each_way_has_its_own_deviations(tmp_path: Path) -> None:
    known = Deviation(name="n", manual="m", reason="r", places=("rax",))
    player = FakePlayer("one", bochs.WAY, wrong=True)
    assert try_all(tmp_path, player).failed == 2
    assert try_all(tmp_path, player, one=(known,)).failed == 2
    assert try_all(tmp_path, player, **{bochs.WAY: (known,)}).failed == 0


def test_a_deviation_is_for_sequences_in_which_something_applied() -> None:
    of = expected(plain())
    difference = Difference("rax", 1, 2)
    known = Deviation(name="n", manual="m", reason="r", places=("*",), only=("SEND-1", "x"))
    assert not known.excuses(difference, replace(of, reached=frozenset()))
    assert known.excuses(difference, replace(of, reached=frozenset({"SEND-1"})))
    assert known.excuses(difference, replace(of, circumstances=frozenset({"x"})))


def test_a_deviation_may_be_that_the_machine_ends() -> None:
    of = expected(plain())
    known = Deviation(name="n", manual="m", reason="r", ending="Bochs ended: x*", only=("y",))
    there = replace(of, circumstances=frozenset({"y"}))
    assert differences(there, "Bochs ended: x!", [known]) == []
    assert differences(there, "Bochs ended: !", [known]) == "Bochs ended: !"
    assert differences(of, "Bochs ended: x!", [known]) == "Bochs ended: x!"
    whole = Deviation(name="n", manual="m", reason="r", places=("*",))
    assert differences(of, "hangs", [whole]) == []
    some = whole.model_copy(update={"places": ("r*",)})
    assert differences(of, "hangs", [some]) == "hangs"


def test_bochs_deviations_name_the_manual_and_when_they_apply() -> None:
    statements = {one.id for one in read_contract()}
    for known in read_deviations(BOCHS_DEVIATIONS):
        assert known.manual.startswith("SDM ")
        assert known.reason
        assert known.only
        assert set(known.only) <= statements | set(CIRCUMSTANCES)
        places = (name for name in NAMES for one in known.places if fnmatchcase(name, one))
        assert known.ending or any(places)


def test_each_circumstance_has_a_deviation() -> None:
    both = (*read_deviations(), *read_deviations(BOCHS_DEVIATIONS))
    named = {name for known in both for name in known.only}
    assert set(CIRCUMSTANCES) <= named


# --- the choice --------------------------------------------------------------------------------


@pytest.fixture
def machine(program: Path, monkeypatch: pytest.MonkeyPatch) -> PlayerSetup:
    monkeypatch.setattr(
        "harness.campaigns.bare_fuzz.play.QemuPlayer", lambda _: FakePlayer("multi")
    )
    emulator = Emulator(binary=Path("qemu"), version="10.0")
    return PlayerSetup(emulator, load_cpu("exposed"), program)


class Notes(Silent):
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @override
    def note(self, text: str) -> None:
        self.notes.append(text)


@needs_gcc
def test_debians_bochs_is_the_last_way(
    machine: PlayerSetup, fake: Bochs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefact, "fetch_bochs", lambda *_: fake)
    notes = Notes()
    player = command._player(machine, None, notes)
    assert player.ways == ("multi", "bochs")
    assert notes.notes == []
    (played,) = player.play("bochs", [plain(rflags=5)])
    assert isinstance(played, tuple)
    assert played[0] == 5


def test_without_apt_the_search_says_why_it_is_without_bochs(
    machine: PlayerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Bochs:
        raise BuildError("apt-get is not installed", detail="a line\nthe last line")

    monkeypatch.setattr(artefact, "fetch_bochs", fails)
    notes = Notes()
    assert command._player(machine, None, notes).ways == ("multi",)
    assert notes.notes == ["without Bochs: apt-get is not installed: the last line"]


def test_no_bochs_is_wanted(machine: PlayerSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefact, "fetch_bochs", lambda *_: pytest.fail("fetched"))
    notes = Notes()
    assert command._player(machine, "none", notes).ways == ("multi",)
    assert notes.notes == []


@pytest.mark.parametrize("wrong", ["no-such-bochs", "'", "true"])
def test_a_command_that_starts_no_bochs_is_an_error(machine: PlayerSetup, wrong: str) -> None:
    with pytest.raises(UserError, match="starts Bochs"):
        command._player(machine, wrong, Notes())


@needs_gcc
def test_the_bochs_of_a_command_must_run(machine: PlayerSetup, tmp_path: Path) -> None:
    script = tmp_path / "bochs"
    script.write_text("#!/bin/sh\necho sapphire_rapids\n")
    script.chmod(0o755)
    with pytest.raises(GuestError, match="does not run in Bochs"):
        command._player(machine, str(script), Notes())


def test_bochs_is_for_bare_metal(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["fuzz", "--bochs", "x"]) == ExitCode.USAGE
    assert "add --bare-metal" in capsys.readouterr().err
