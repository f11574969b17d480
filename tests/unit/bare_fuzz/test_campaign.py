"""The search itself, and its command."""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from harness.campaigns.bare_fuzz import play
from harness.campaigns.bare_fuzz.batch import Batch
from harness.campaigns.bare_fuzz.campaign import (
    FUZZ_FILE,
    MAX_FINDINGS,
    SequenceCampaign,
    SequenceFinding,
    SequencesReport,
    read_finding,
)
from harness.campaigns.bare_fuzz.case import (
    Case,
)
from harness.campaigns.bare_fuzz.model import Facts
from harness.campaigns.bare_fuzz.play import Played
from harness.campaigns.bare_fuzz.shrink import shrink
from harness.cli import fuzz_bare_metal, invoke
from harness.errors import ExitCode, GuestError, UserError
from harness.guest.transport.qmp import MonitorError
from harness.progress import Silent

from .cases import NOPS, TESTUI, changed, expected, plain


class FakePlayer:
    """A player that does what the model says, unless it is told otherwise."""

    ways: tuple[str, ...] = ("one", "other")
    facts = Facts()

    def __init__(self, wrong: Callable[[Case, str], Played | None] = lambda *_: None) -> None:
        self._wrong = wrong
        self.played = 0
        self.restored = 0

    def play(self, way: str, cases: Sequence[Case]) -> list[Played]:
        self.played += len(cases)
        return [self._wrong(case, way) or expected(case).words for case in cases]


def stays_lazy(case: Case, way: str) -> Played | None:
    """Leave a wrong RAX where there is TESTUI."""
    if TESTUI in case.code and way == "other":
        return changed(expected(case).words, rax=0x1234)
    return None


def search(
    folder: Path, player: FakePlayer, cases: Sequence[Case], seconds: float = 1000
) -> tuple[SequencesReport, list[SequenceFinding], SequenceCampaign]:
    told: list[SequenceFinding] = []
    ticks = itertools.count()
    campaign = SequenceCampaign(
        player, (), folder, Silent(), told.append, clock=lambda: next(ticks) * 0.001
    )

    @contextmanager
    def make(seed: int, facts: Facts, limit: int | None) -> Iterator[Iterator[Batch]]:
        del seed, limit
        numbers = tuple(range(len(cases)))
        yield iter([Batch(numbers, tuple(cases), tuple(expected(case) for case in cases))])

    return campaign.search(1, seconds, make=make), told, campaign


def test_nothing_is_found_where_nothing_differs(tmp_path: Path) -> None:
    cases = [plain(TESTUI), plain()]
    report, told, _ = search(tmp_path, FakePlayer(), cases)
    assert (report.cases, report.findings, told, report.exit_code) == (2, (), [], ExitCode.PASSED)
    assert report.failed == 0
    assert report.instructions == sum(expected(case).instructions for case in cases)
    assert report.reached["INSN-18"] == 1
    assert SequencesReport.model_validate_json((tmp_path / FUZZ_FILE).read_text()) == report


@pytest.mark.parametrize(
    ("ways", "restored", "told"),
    [
        (("multi", "saved"), 7, "saved and restored: 7 times"),
        (("multi", "saved"), 0, "saved and restored: never"),
        (("multi",), 0, None),
    ],
)
def test_machines_that_were_saved_and_restored_are_counted(
    tmp_path: Path,
    ways: tuple[str, ...],
    restored: int,
    told: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    player = FakePlayer()
    player.ways, player.restored = ways, restored
    report, _, _ = search(tmp_path, player, [plain()])
    assert report.restored == restored
    fuzz_bare_metal._show_totals(report, tmp_path)
    out = capsys.readouterr().out
    assert told in out if told else "restored" not in out


@pytest.mark.parametrize("begun", [[], [1], [1, 2, 3, 4]])
def test_only_a_machine_that_was_restored_counts(
    tmp_path: Path, begun: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that reaches only some of the cases after which it would be saved."""

    left = iter([*[True] * len(begun), False])
    monkeypatch.setattr(play, "start", lambda *_, **__: (Mock(), Mock()))
    monkeypatch.setattr(play, "load", lambda *_: None)
    monkeypatch.setattr(play, "stop_and_save", lambda *_: None)
    monkeypatch.setattr(play, "_wait_for_case", lambda *_: next(left))
    monkeypatch.setattr(play, "_ending", lambda *_: "")
    memory = tmp_path / "memory"
    memory.write_bytes(bytes(4096))
    assert play._run_saved([], memory, 10) == (len(begun), "")


def test_a_state_that_qemu_refuses_is_an_early_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU ends then with the exit code of a player that has finished."""

    def refuse(*_: object) -> None:
        raise MonitorError("QEMU closed the connection")

    monkeypatch.setattr(play, "start", lambda *_, **__: (Mock(returncode=1), Mock()))
    monkeypatch.setattr(play, "load", refuse)
    monkeypatch.setattr(play, "stop_and_save", lambda *_: None)
    monkeypatch.setattr(play, "_wait_for_case", lambda *_: True)
    memory = tmp_path / "memory"
    memory.write_bytes(bytes(4096))
    ending = "cannot be restored: QEMU closed the connection"
    assert play._run_saved([], memory, 10) == (0, ending)


@pytest.mark.parametrize(
    ("begun", "ended", "ending", "first", "starts"),
    [
        (3, 3, "", [0, 1, 2], [3]),
        # In the second case, and between the first and the second one.
        (2, 1, "hangs", [0, "hangs", 0], [3, 1]),
        (1, 1, "refused", [0, "refused", 0], [3, 1]),
        (1, 1, "", [0, "the player ended early", 0], [3, 1]),
        # After the last one.
        (3, 3, "hangs", [0, 1, "hangs"], [3]),
    ],
)
def test_an_early_end_is_the_result_of_a_case(
    begun: int, ended: int, ending: str, first: list[int | str], starts: list[int]
) -> None:
    seen: list[int] = []

    def start(packed: Sequence[bytes], _: play.Modes) -> play.Start:
        seen.append(len(packed))
        if len(seen) > 1:
            return play.Start([(0,)], 1, la57=True, uiret_uif=False, ending="")
        return play.Start(
            [(n,) for n in range(ended)], begun, la57=True, uiret_uif=False, ending=ending
        )

    played = play.play_in_starts([plain()] * 3, 100, start)
    assert played == [one if isinstance(one, str) else (one,) for one in first]
    assert seen == starts


def test_a_player_that_begins_nothing_is_no_result() -> None:
    with pytest.raises(GuestError, match="does not run"):
        play.play_in_starts(
            [plain()], 100, lambda *_: play.Start([], 0, la57=True, uiret_uif=False, ending="")
        )


def test_a_machine_hangs_that_begins_no_further_case(monkeypatch: pytest.MonkeyPatch) -> None:
    now, view = 100.0, bytearray(8)
    monkeypatch.setattr(play, "_OUT", 0)
    monkeypatch.setattr("harness.campaigns.bare_fuzz.play.time.monotonic", lambda: now)
    begun = play._Begun(view)
    assert begun.look() == 0
    for _ in range(3):
        now += play.QUIET_S - 1
        assert not begun.hangs
        view[0] += 1
        assert not begun.hangs
    now += play.QUIET_S + 1
    assert begun.hangs


def test_a_search_that_played_nothing_did_not_pass(tmp_path: Path) -> None:
    report, _, _ = search(tmp_path, FakePlayer(), [])
    assert (report.cases, report.exit_code) == (0, ExitCode.USAGE)


def test_what_differs_is_shrunk_and_can_be_played_again(tmp_path: Path) -> None:
    case = plain(*NOPS, TESTUI, *NOPS, level=0, page_end=True)
    report, (finding,), campaign = search(tmp_path, FakePlayer(stays_lazy), [plain(), case])
    assert report.exit_code == ExitCode.TESTS_FAILED
    assert (finding.kind, finding.number, finding.steps_before) == ("disagreement", 1, 7)
    assert finding.case.code == (TESTUI,)
    assert (finding.case.level, finding.case.page_end, finding.case.stack) == (3, False, ())
    assert finding.differences == {"other": ("rax is 0x1234, not 0x0",)}
    kept = read_finding(tmp_path / finding.file)
    assert kept == finding.case
    again = SequenceCampaign(FakePlayer(), (), tmp_path, Silent(), lambda _: None)
    assert again.replay([kept]).findings == ()
    del campaign


def test_the_same_failure_is_kept_once(tmp_path: Path) -> None:
    cases = [plain(*NOPS[:count], TESTUI) for count in range(4)]
    report, told, _ = search(tmp_path, FakePlayer(stays_lazy), cases)
    assert len(report.findings) == len(told) == 1
    assert report.failed == 4


def test_after_the_time_failures_are_counted_and_the_first_is_kept(tmp_path: Path) -> None:
    def each(case: Case, way: str) -> Played | None:
        return changed(expected(case).words, **{f"stack[{case.regs[0]}]": 77})

    cases = [plain("b001 mov", regs=(n, *(0,) * 15)) for n in range(5)]
    report, _, _ = search(tmp_path, FakePlayer(each), cases, seconds=0)
    assert (report.failed, len(report.findings), report.exit_code) == (5, 1, ExitCode.TESTS_FAILED)


def test_a_case_that_ends_the_machine_is_a_crash(tmp_path: Path) -> None:
    def dies(case: Case, way: str) -> Played | None:
        return "hangs" if TESTUI in case.code else None

    _, (finding,), _ = search(tmp_path, FakePlayer(dies), [plain(*NOPS, TESTUI)])
    assert finding.kind == "crash"
    assert finding.differences == {"one": ("hangs",), "other": ("hangs",)}
    assert finding.case.code == (TESTUI,)


def test_what_does_not_come_again_is_kept_as_it_is(tmp_path: Path) -> None:
    seen: list[str] = []

    def once(case: Case, way: str) -> Played | None:
        seen.append(way)
        return changed(expected(case).words, rbx=1) if len(seen) == 1 else None

    case = plain(*NOPS, TESTUI)
    _, (finding,), _ = search(tmp_path, FakePlayer(once), [case])
    assert finding.kind == "unsteady"
    assert finding.case == case
    assert list(finding.differences) == [seen[0]]


def test_the_search_ends_after_enough_findings(tmp_path: Path) -> None:
    def each(case: Case, way: str) -> Played | None:
        return (
            changed(expected(case).words, **{f"stack[{case.regs[0]}]": 77})
            if way == "one"
            else None
        )

    cases = [plain("b001 mov", regs=(n, *(0,) * 15)) for n in range(MAX_FINDINGS + 5)]
    report, _, _ = search(tmp_path, FakePlayer(each), cases)
    assert len(report.findings) <= MAX_FINDINGS


def test_a_case_of_which_nothing_is_known_is_not_replayed(tmp_path: Path) -> None:
    campaign = SequenceCampaign(FakePlayer(), (), tmp_path, Silent(), lambda _: None)
    with pytest.raises(UserError, match="does not cover"):
        campaign.replay([plain("ebfe jmp .")])


def test_shrinking_ends_with_the_time() -> None:
    case = plain(*NOPS, TESTUI)
    assert shrink(case, lambda these: [True] * len(these), lambda: False) == case


# --- the command -------------------------------------------------------------------------------


def test_a_cpu_without_the_feature_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["fuzz", "--bare-metal", "--cpu", "hidden"]) == ExitCode.USAGE
    assert "exactly one CPU with user interrupts" in capsys.readouterr().err


def test_what_is_no_finding_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "finding-1.json").write_text("{}")
    code = invoke(["fuzz", "--bare-metal", "--replay", str(tmp_path / "finding-1.json")])
    assert code == ExitCode.USAGE
    assert "cannot be read" in capsys.readouterr().err


def test_the_maker_of_cases_ends_with_a_search_that_is_killed() -> None:
    code = (
        "import multiprocessing, os, signal\n"
        "from harness.campaigns.bare_fuzz.batch import batches_in_background\n"
        "from harness.campaigns.bare_fuzz.model import Facts\n"
        "if __name__ == '__main__':\n"
        "    with batches_in_background(1, Facts(), 600) as batches:\n"
        "        next(batches)\n"
        "        print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # What still has the output open is waited for.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    maker = int(done.stdout)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(maker).wait(30)
