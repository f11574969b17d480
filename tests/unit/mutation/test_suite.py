"""Programs that judge mutants: which are run first, with what, and what counts as noticed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.campaigns.mutants import MutantTarget
from harness.campaigns.mutation import suite as module
from harness.campaigns.mutation.suite import Kill, NotJudged, Suite, Unnoticed
from harness.errors import ExitCode, GuestError, UserError
from harness.progress import Silent
from harness.request.request import Request
from harness.results.folder import RunFolder
from harness.results.records import (
    CaseRecord,
    GuestFailureRecord,
    ProgramRecord,
    Record,
    Recorder,
    SplatRecord,
)
from harness.run.engine import Run
from harness.values import Emulator
from tests.unit.runs import cell, prepared

CELL = cell().name
OTHER = {"emulator": Emulator(binary=Path("/other"), version="1")}


def failing(program: str = "bare-metal/a", message: str = "1 is not 2") -> CaseRecord:
    return CaseRecord(cell=CELL, program=program, case="c", status="fail", message=message)


def took(program: str, seconds: float) -> ProgramRecord:
    return ProgramRecord(cell=CELL, program=program, returncode=0, seconds=seconds)


class Pytest:
    """Stands for pytest: ends with the next code, and leaves the next records."""

    def __init__(self, *plays: tuple[int, Sequence[Record]]) -> None:
        self.plays = list(plays)
        self.selected: list[str] = []
        self.binaries: list[Path] = []
        self.firsts: list[bool] = []

    def __call__(self, argv: Sequence[str], log: Path, on_line: Callable[[str], None]) -> int:
        code, records = self.plays.pop(0)
        run = RunFolder(Path(argv[argv.index("--uintr-run") + 1]))
        self.selected.append(argv[argv.index("-k") + 1] if "-k" in argv else "")
        self.firsts.append("-x" in argv)
        self.binaries += [one.emulator.binary for one in run.read_artefacts().cells]
        log.write_text("")
        on_line("a line")
        with Recorder(run.results) as recorder:
            for record in records:
                recorder.write(record)
        return code


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have runs prepared without building anything."""
    made = prepared(tmp_path, {"bare-metal/a": "", "bare-metal/b": "", "latency/c": ""})

    def begin_run(
        request: object, progress: object, folder: Callable[[], RunFolder], _: object
    ) -> Run:
        run = folder()
        run.write_plan(made.read_plan())
        run.begin([])
        run.write_artefacts(made.read_artefacts())
        return Run(run, made.read_artefacts().cells, ())

    monkeypatch.setattr(module, "begin_run", begin_run)


def suite(
    tmp_path: Path,
    pytest_: Pytest,
    killers: Sequence[str] = (),
    select: str = "bare-metal",
    of: MutantTarget = "emulator",
) -> Suite:
    made = Suite(of, Request(select=select), tmp_path / "out", 1, pytest_, killers)
    made.prepare("unchanged", Silent())
    return made


PASSED: tuple[int, Sequence[Record]] = (0, [took("bare-metal/a", 2.0), took("bare-metal/b", 9.0)])


@pytest.mark.usefixtures("begun")
def test_programs_that_have_killed_are_run_first_and_none_twice(tmp_path: Path) -> None:
    killers = [*3 * ["bare-metal/b"], *2 * ["x/y"], *4 * ["bare-metal/a"], "x/z"]
    plays = Pytest(PASSED, (0, []), (0, []))
    made = suite(tmp_path, plays, killers)
    assert made.judge("runs/m", OTHER, lambda _: None) == Unnoticed()
    first = "bare-metal/a or bare-metal/b or x/y"
    assert plays.selected == [
        "bare-metal",
        f"(bare-metal) and ({first})",
        f"(bare-metal) and (not ({first}))",
    ]
    assert plays.firsts == [False, True, True]
    assert plays.binaries == [Path("/qemu"), Path("/other"), Path("/other")]


@pytest.mark.usefixtures("begun")
def test_the_order_follows_what_kills(tmp_path: Path) -> None:
    plays = Pytest(PASSED, *4 * [(1, [failing("bare-metal/b")])])
    made = suite(tmp_path, plays, select="")
    kill = made.judge("runs/one", OTHER, lambda _: None)
    assert kill == Kill("case", "bare-metal/b::c", CELL, "1 is not 2", "bare-metal/b")
    made.judge("runs/two", OTHER, lambda _: None)
    # Each failure is seen twice.
    assert plays.selected == ["", "", *3 * ["(bare-metal/b)"]]


GUEST = GuestFailureRecord(cell=CELL, verdict="panic", message="Oops")
LATE = ProgramRecord(cell=CELL, program="bare-metal/a", returncode=None, timed_out=True)


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize(
    ("of", "code", "records", "verdict"),
    [
        ("emulator", 1, [failing(), LATE], "hang"),
        ("emulator", 1, [failing("api/a"), LATE], "case"),
        ("emulator", 1, [failing(message="timed out after 30 s")], "case"),
        ("kernel", 1, [GUEST], "guest"),
        ("kernel", 1, [GUEST.model_copy(update={"verdict": "hang-in-init"})], "hang"),
        (
            "kernel",
            1,
            [
                SplatRecord(
                    cell=CELL, kind="oops", title="BUG", fingerprint="x", first_line=1,
                    excerpt="", program="api/a",
                )
            ],
            "splat",
        ),
        (
            "emulator",
            1,
            [GuestFailureRecord(cell=CELL, verdict="qemu-failed", message="QEMU did not start")],
            "guest",
        ),
        (
            "kernel",
            1,
            [GuestFailureRecord(cell=CELL, verdict="qemu-failed", message="QEMU did not start")],
            "not judged",
        ),
        (
            "emulator",
            1,
            [GuestFailureRecord(cell=CELL, verdict="host-failed", message="the disk is full")],
            "not judged",
        ),
        ("emulator", 1, [], "not judged"),
        ("emulator", 3, [failing()], "not judged"),
        ("emulator", 4, [], "not judged"),
    ],
)  # fmt: skip
def test_what_counts_as_noticed(
    tmp_path: Path, of: MutantTarget, code: int, records: Sequence[Record], verdict: str
) -> None:
    made = suite(tmp_path, Pytest(PASSED, (code, records), (code, records)), of=of)
    found = made.judge("runs/m", OTHER, lambda _: None)
    assert (found.way if isinstance(found, Kill) else "not judged") == verdict
    assert not isinstance(found, Unnoticed)


@pytest.mark.usefixtures("begun")
def test_what_fails_once_and_not_again_is_no_kill(tmp_path: Path) -> None:
    b, c = failing("bare-metal/b"), failing("bare-metal/c", "really")
    plays = Pytest(PASSED, (1, [b]), (0, []), (0, []), (1, [c]), (1, [c]))
    made = suite(tmp_path, plays, ["bare-metal/b"], select="")
    found = made.judge("runs/m", OTHER, lambda _: None)
    assert isinstance(found, Kill)
    assert found.by == "bare-metal/c::c"
    assert plays.selected[1:] == [
        "(bare-metal/b)",  # fails
        "(bare-metal/b)",  # and passes
        "(bare-metal/b) and (not bare-metal/b)",
        "(not (bare-metal/b)) and (not bare-metal/b)",
        "(bare-metal/c) and (not bare-metal/b)",
    ]


@pytest.mark.usefixtures("begun")
def test_what_is_unsteady_throughout_is_not_judged(tmp_path: Path) -> None:
    names = ("bare-metal/a", "bare-metal/b", "bare-metal/c")
    plays = [play for name in names for play in ((1, [failing(name)]), (0, []))]
    once = suite(tmp_path, Pytest(PASSED, *plays[:2], (0, [])), select="")
    assert once.judge("runs/m", OTHER, lambda _: None) == Unnoticed(("bare-metal/a::c",))
    again = suite(tmp_path, Pytest(*plays), select="")
    assert isinstance(again.judge("runs/m", OTHER, lambda _: None), NotJudged)


@pytest.mark.usefixtures("begun")
def test_a_program_hangs_by_what_it_took_unchanged(tmp_path: Path) -> None:
    made = suite(tmp_path, Pytest((0, [took("bare-metal/a", 2.0), took("bare-metal/b", 9.0)])))
    (setup,) = made.cells
    limits = {one.name: one.timeout_s for one in setup.programs.programs}
    # TCG's factor is 6: at least 30 s, ten times what it took, and no more than the program's own.
    assert limits == {"bare-metal/a": 5.0, "bare-metal/b": 15.0, "latency/c": 30.0}


@pytest.mark.usefixtures("begun")
def test_without_programs_that_pass_nothing_is_judged(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="without a mutant") as caught:
        suite(tmp_path, Pytest((1, [failing()])))
    assert "bare-metal/a::c" in (caught.value.detail or "")
    with pytest.raises(UserError, match="no program matches"):
        suite(tmp_path, Pytest((5, [])))


@pytest.mark.usefixtures("begun")
def test_the_unchanged_programs_are_run_once(tmp_path: Path) -> None:
    suite(tmp_path, Pytest(PASSED))
    again = suite(tmp_path, Pytest())
    assert again.cells[0].programs.programs[0].timeout_s == 5.0
    assert RunFolder(tmp_path / "out/unchanged").read_info().exit_code == ExitCode.PASSED  # type: ignore[union-attr]


@pytest.mark.usefixtures("begun")
def test_what_an_ended_campaign_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "out/runs/m/rest").mkdir(parents=True)
    made = suite(tmp_path, Pytest(PASSED, (0, [])))
    assert made.judge("runs/m", OTHER, lambda _: None) == Unnoticed()
