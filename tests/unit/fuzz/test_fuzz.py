"""Scripts, their shrinking, and the search with cells that are not there."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness import paths
from harness.campaigns.fuzz.campaign import (
    BATCH,
    FUZZ_FILE,
    FuzzReport,
    ScriptCampaign,
    ScriptFinding,
)
from harness.campaigns.fuzz.generate import generate
from harness.campaigns.fuzz.script import (
    Play,
    Script,
    batch_text,
    difference,
    parse_script,
    read_plays,
    read_script,
)
from harness.campaigns.fuzz.shrink import shrink
from harness.cli import invoke
from harness.errors import ExitCode, UserError
from harness.progress import Silent


def script(*steps: str) -> Script:
    return Script(ways=("blocked", "blocked"), steps=steps)


class FakeCell:
    """Says of each step that it is fine, but of some scripts something else."""

    def __init__(self, name: str, ending: Callable[[Script], str] = lambda _: "") -> None:
        self.name = name
        self.played = 0
        self.renewed = 0
        self.pending: list[str] = []
        self._ending = ending

    def play(self, scripts: Sequence[Script]) -> list[Play]:
        self.played += len(scripts)
        return [self._one(one) for one in scripts]

    def _one(self, one: Script) -> Play:
        lines = tuple(f"{at}: {step}: 0 | 0:0 1:0" for at, step in enumerate(one.steps, 1))
        if not (said := self._ending(one)):
            return Play(lines=lines)
        if said.startswith("splat"):
            self.pending.append(said)
            return Play(lines=lines)
        if said.startswith("line"):
            return Play(lines=(*lines, f"9: {said}"))
        return Play(lines=lines, ending=said)

    def complaints(self) -> list[str]:
        said, self.pending = self.pending, []
        return said

    def renew(self) -> None:
        self.renewed += 1


def campaign(
    folder: Path, *cells: FakeCell
) -> tuple[ScriptCampaign, list[tuple[ScriptFinding, str]]]:
    told: list[tuple[ScriptFinding, str]] = []
    ticks = itertools.count()
    search = ScriptCampaign(
        cells,
        folder,
        Silent(),
        lambda finding, text: told.append((finding, text)),
        clock=lambda: next(ticks) * 0.001,
    )
    return search, told


def has(*needles: str) -> Callable[[Script], bool]:
    """Tell whether a script has such steps, in this order."""

    def tell(one: Script) -> bool:
        steps = iter(one.steps)
        return all(any(needle in step for step in steps) for needle in needles)

    return tell


# --- the command -----------------------------------------------------------------------------


def test_one_cell_has_nothing_to_be_compared_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["fuzz", "--cpu", "hidden"]) == ExitCode.USAGE
    assert "linux-6.12-hidden-smp2-gcc" in capsys.readouterr().err


def test_a_replay_of_nothing_ends_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["fuzz", "--replay", str(tmp_path / "finding-1.fuzz")]) == ExitCode.USAGE
    assert "cannot be read" in capsys.readouterr().err


# --- scripts ---------------------------------------------------------------------------------


def test_a_script_is_read_back_with_comments_left_out() -> None:
    one = script("0 register log 0", "1 senduipi 0xffffffffffffffff")
    assert parse_script("# why\n\n" + one.text() + "# end\n", "x") == one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0 stui\n",
        "threads\n0 stui\n",
        "threads asleep\n",
        "threads blocked\n1 stui\n",
        "threads blocked\nstui\n",
    ],
)
def test_what_is_no_script_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(UserError, match="this is not a s") as caught:
        parse_script(text, "kept.fuzz")
    assert caught.value.where == "kept.fuzz"


def test_a_file_that_is_not_there_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_script(tmp_path / "finding-1.fuzz")


def test_a_seed_gives_the_same_scripts_again_and_another_seed_others() -> None:
    first = [generate(5, number) for number in range(20)]
    assert [generate(5, number) for number in range(20)] == first
    assert [generate(6, number) for number in range(20)] != first
    assert len({one.text() for one in first}) == 20


def test_every_script_made_is_one_that_can_be_read_back() -> None:
    for number in range(100):
        one = generate(1, number)
        assert parse_script(one.text(), "x") == one


def operations() -> dict[str, int]:
    """Return the interpreter's operations with the number of their arguments."""
    source = (paths.GUEST_TESTS / "fuzz" / "ops.h").read_text()
    table = re.findall(r'^\t\{ "(\w+)", \w+, (-?\d+), (?:true|false) \}', source, re.MULTILINE)
    return {name: int(count) for name, count in table}


def each_operation(one: Script) -> Iterator[list[str]]:
    for step in one.steps:
        words = step.split(" ")[1:]
        if words[0] != "child":
            yield words
            continue
        for child in " ".join(words[1:]).split(" ; "):
            yield child.split(" ")


def test_every_operation_is_one_of_the_interpreter_and_all_of_them_are_used() -> None:
    known = operations()
    used = set()
    for number in range(150):
        for name, *words in each_operation(generate(2, number)):
            assert len(words) == known[name], (name, words)
            used.add(name)
    assert used | {"child"} == set(known)


def test_a_child_posts_no_more_than_once() -> None:
    steps = [step for number in range(150) for step in generate(4, number).steps]
    children = [step.split(" ; ") for step in steps if " child " in step]
    assert any(len(child) > 1 for child in children)
    for child in children:
        posts = [part for part in child if re.search(r"\b(senduipi|insn|write|attach) ", part)]
        assert len(posts) <= 1, child


def test_a_script_fits_into_the_interpreter() -> None:
    source = (paths.GUEST_TESTS / "fuzz" / "interpreter.c").read_text()
    longest = int(re.findall(r"#define LINE_SIZE\s+(\d+)", source)[0])
    for number in range(150):
        assert max(map(len, generate(3, number).steps)) < longest


# --- plays -----------------------------------------------------------------------------------


def test_plays_are_read_with_their_ends() -> None:
    output = (
        "script 0\n1: 0 stui: 0 | 0:1\nend 0: exited 0\n"
        "script 1\n# 12 (x) S\nhangs\nend 1: killed 9\n"
        "script 2\n1: 0 clui: 0 | 0:0\nend 2: killed 11\n"
        "script 3\n1: 0 clui"
    )
    plays = list(read_plays(output))
    assert [play.ending for play in plays] == ["exited 0", "hangs", "killed 11", "unfinished"]
    assert plays[0].lines == ("1: 0 stui: 0 | 0:1",)
    assert [play.completed for play in plays] == [True, False, False, False]


def test_a_batch_names_its_scripts() -> None:
    text = batch_text([script("0 stui"), script("1 clui")])
    assert text.splitlines() == [
        *("script 0", "threads blocked blocked", "0 stui", "end"),
        *("script 1", "threads blocked blocked", "1 clui", "end"),
    ]


def test_plays_differ_where_a_line_is_another_or_missing_or_the_end_is() -> None:
    whole = Play(lines=("a", "b"))
    assert difference([whole, whole]) is None
    assert difference([whole, Play(lines=("a", "c"))]) == 1
    assert difference([whole, Play(lines=("a",))]) == 1
    assert difference([whole, Play(lines=("a", "b"), ending="killed 11")]) == 2


# --- shrinking -------------------------------------------------------------------------------


def test_what_a_failure_does_not_need_is_taken_out() -> None:
    needed = has("register", "senduipi 7", "close")
    steps = [f"0 eventfd {at} f0" for at in range(40)]
    steps[3], steps[17], steps[38] = "1 register nest 0x3000", "0 senduipi 7", "1 close f3"
    small = shrink(
        Script(ways=("spin", "blocked", "far"), steps=tuple(steps)),
        lambda these: [needed(one) for one in these],
        lambda: True,
    )
    assert small.steps == ("1 register log 0", "0 senduipi 7", "1 close f3")
    assert small.ways == ("blocked", "blocked")


def test_a_childs_operations_are_taken_out_too() -> None:
    small = shrink(
        script("0 child stui ; senduipi 3 ; clui"),
        lambda these: [has("senduipi")(one) for one in these],
        lambda: True,
    )
    assert small.steps == ("0 senduipi 0",)


def test_shrinking_ends_when_there_is_no_time() -> None:
    one = script("0 stui", "0 clui")
    assert shrink(one, lambda these: [True] * len(these), lambda: False) == one


# --- the search ------------------------------------------------------------------------------


def test_cells_that_agree_give_no_finding(tmp_path: Path) -> None:
    one, other = FakeCell("exposed"), FakeCell("hidden")
    search, told = campaign(tmp_path, one, other)
    report = search.search(3, 1000, limit=BATCH + 5)
    assert (report.findings, told, report.exit_code) == ((), [], ExitCode.PASSED)
    assert one.played == other.played == report.scripts == BATCH + 5
    assert report.steps == sum(len(generate(3, number).steps) for number in range(BATCH + 5))
    assert FuzzReport.model_validate_json((tmp_path / FUZZ_FILE).read_bytes()) == report


def test_a_planted_disagreement_is_found_shrunk_and_kept(tmp_path: Path) -> None:
    planted = has("unregister", "stui")
    wrong = FakeCell("hidden", lambda one: "line" if planted(one) else "")
    search, told = campaign(tmp_path, FakeCell("exposed"), wrong)
    report = search.search(3, 1000, limit=200)
    assert report.exit_code == ExitCode.TESTS_FAILED
    (finding,) = report.findings
    assert finding.kind == "disagreement"
    assert finding.number is not None
    assert planted(generate(3, finding.number))
    text = (tmp_path / finding.file).read_text()
    kept = parse_script(text, finding.file)
    assert planted(kept)
    assert finding.steps == len(kept.steps) == 2
    assert finding.steps_before == len(generate(3, finding.number).steps) > 2
    assert "of seed 3" in text
    assert "# exposed:" in text
    assert told == [(finding, text)]
    assert FuzzReport.model_validate_json((tmp_path / FUZZ_FILE).read_bytes()).findings == (
        finding,
    )


def test_what_was_kept_fails_again_and_passes_once_it_is_mended(tmp_path: Path) -> None:
    kept = script("0 unregister 0", "1 stui")
    wrong = FakeCell("hidden", lambda one: "line" if has("unregister", "stui")(one) else "")
    search, _ = campaign(tmp_path, FakeCell("exposed"), wrong)
    report = search.replay([kept])
    assert [finding.kind for finding in report.findings] == ["disagreement"]
    assert report.findings[0].number is None
    search, _ = campaign(tmp_path, FakeCell("exposed"), FakeCell("hidden"))
    assert search.replay([kept]).exit_code == ExitCode.PASSED


def test_a_search_that_played_nothing_did_not_pass() -> None:
    assert FuzzReport(seed=1, cells=("a", "b")).exit_code == ExitCode.USAGE
    assert FuzzReport(seed=1, cells=("a", "b"), scripts=1).exit_code == ExitCode.PASSED


def test_a_cell_that_differs_from_itself_is_unsteady_and_not_shrunk(tmp_path: Path) -> None:
    turns = itertools.count()
    wrong = FakeCell("hidden", lambda _: "line" if next(turns) == 0 else "")
    search, _ = campaign(tmp_path, FakeCell("exposed"), wrong)
    (finding,) = search.replay([script("0 stui", "0 clui")]).findings
    assert (finding.kind, finding.steps) == ("unsteady", 2)


def test_a_hang_of_all_cells_is_a_finding(tmp_path: Path) -> None:
    cells = [
        FakeCell(name, lambda one: "hangs" if has("wait")(one) else "")
        for name in ("exposed", "hidden")
    ]
    search, _ = campaign(tmp_path, *cells)
    (finding,) = search.replay([script("0 stui", "1 wait 0")]).findings
    assert (finding.kind, finding.what, finding.steps) == ("crash", "hangs", 1)


def test_the_script_of_which_a_kernel_complains_is_found(tmp_path: Path) -> None:
    wrong = FakeCell("hidden", lambda one: "splat: WARN" if has("close")(one) else "")
    search, _ = campaign(tmp_path, FakeCell("exposed"), wrong)
    report = search.replay([script("0 stui"), script("0 clui", "0 close f0", "1 stui")])
    (finding,) = report.findings
    assert (finding.kind, finding.what, finding.steps) == ("splat", "hidden: splat: WARN", 1)
    assert wrong.renewed > 1
    assert "0 close f0" in (tmp_path / finding.file).read_text()


def test_a_complaint_that_no_script_brings_alone_is_kept_all_the_same(tmp_path: Path) -> None:
    turns = itertools.count()
    wrong = FakeCell("hidden", lambda _: "splat: WARN" if next(turns) == 0 else "")
    search, _ = campaign(tmp_path, FakeCell("exposed"), wrong)
    report = search.replay([script("0 stui"), script("0 clui")])
    assert [finding.kind for finding in report.findings] == ["splat"]


def test_the_same_disagreement_is_told_once(tmp_path: Path) -> None:
    wrong = FakeCell("hidden", lambda one: "killed 11" if has("close")(one) else "")
    search, told = campaign(tmp_path, FakeCell("exposed"), wrong)
    search.replay([script("0 close f0"), script("0 stui", "1 close f1")])
    assert len(told) == 1


def test_the_search_ends_with_its_time(tmp_path: Path) -> None:
    search, _ = campaign(tmp_path, FakeCell("exposed"), FakeCell("hidden"))
    report = search.search(1, 0.02)
    assert 0 < report.scripts < 20 * BATCH
