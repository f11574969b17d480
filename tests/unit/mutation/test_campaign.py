"""A campaign on a toy: mutants of one C file, built by make, and judged by running it."""

from __future__ import annotations

import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import cli, paths
from harness.campaigns.mutants import find_mutants
from harness.campaigns.mutation import campaign as module
from harness.campaigns.mutation.campaign import GeneratedCampaign, Sample, _chosen
from harness.campaigns.mutation.candidates import Candidate
from harness.campaigns.mutation.records import (
    Basis,
    Explained,
    GeneratedReport,
    GeneratedResult,
    read_explained,
    read_report,
    unknown,
)
from harness.campaigns.mutation.suite import Kill, NotJudged, Unnoticed
from harness.campaigns.mutation.trees import Built
from harness.errors import ExitCode, GuestError, UserError
from harness.progress import Silent
from harness.values import Emulator
from tests.unit.mutation.test_trees import ToyTree, toy

BASIS = Basis(
    of="emulator",
    profile="toy",
    series=("1",),
    seed=1,
    cpus=("exposed",),
    smp=(1,),
    compilers=("gcc",),
    accel="tcg",
    select="",
)
#: Which arguments a "program" tries, and what has to come of them.
PROGRAMS = {"bare-metal/few": (1, 0), "bare-metal/many": (9, 1)}


class Runs:
    """Judges by running the toy; a program is a number of arguments and an exit code."""

    def __init__(self, tree: ToyTree, *programs: str) -> None:
        self.tree = tree
        self.programs = programs or tuple(PROGRAMS)
        self.judged: list[str] = []
        self.fails: BaseException | NotJudged | None = None

    def judge(
        self, name: str, built: Built, on_line: Callable[[str], None]
    ) -> Kill | NotJudged | Unnoticed:
        if isinstance(self.fails, BaseException):
            raise self.fails
        self.judged.append(name)
        if self.fails:
            return self.fails
        for program in self.programs:
            count, expected = PROGRAMS[program]
            try:
                done = subprocess.run([self.tree.out / "toy", *"x" * count], timeout=10)
            except subprocess.TimeoutExpired:
                return Kill("hang", f"{program}::ends", "cell", "timed out after 10 s", program)
            if done.returncode != expected:
                said = f"{done.returncode} is not {expected}"
                return Kill("case", f"{program}::code", "cell", said, program)
        return Unnoticed(("bare-metal/other::c",))


class Toy:
    """A folder with the toy, and campaigns on it."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self.out.mkdir()
        source = folder / "source"
        source.mkdir()
        self.tree = toy(source)
        self.tree.prepare(folder / "log")
        self.runs = Runs(self.tree)
        self.told: list[GeneratedResult] = []

    def run(
        self,
        count: int,
        known: GeneratedReport | None = None,
        explained: tuple[Explained, ...] = (),
    ) -> GeneratedReport:
        known = known or GeneratedReport(basis=BASIS, wanted=0, candidates=0)
        chosen, report = _chosen(self.tree, BASIS, Sample(count=count), known)
        return GeneratedCampaign(
            self.tree,
            chosen,
            report,
            self.out,
            {one.change: one for one in explained},
            self.runs,
            None,
            Silent(),
            lambda result, _: self.told.append(result),
        ).run()

    def read(self) -> GeneratedReport | None:
        return read_report(self.out / "generated.json", BASIS)


@pytest.fixture
def bench(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


def names(report: GeneratedReport) -> list[str]:
    return [one.name for one in report.results]


def test_every_kind_of_mutant_is_told_apart(bench: Toy) -> None:
    report = bench.run(1000)
    assert len(report.results) == report.candidates
    assert report.left_out == {}
    by_rule = {(one.rule, one.status) for one in report.results}
    # `argc > LIMIT` reversed is the same as negated: one of both counts.
    sides = ("comparison", "condition-negated")
    assert {status for rule, status in by_rule if rule in sides} == {"killed", "same"}
    # One more than a limit that no program tries, and than one that nothing uses.
    assert {("constant", "survived"), ("constant", "equivalent")} <= by_rule
    survived = [one for one in report.results if one.status == "survived"]
    assert {one.unsteady for one in survived} == {("bare-metal/other::c",)}
    killed = [one for one in report.results if one.status == "killed"]
    assert all(one.by and one.message and one.objects for one in killed)
    assert report.exit_code == ExitCode.TESTS_FAILED
    assert bench.told == list(report.results)
    assert bench.read() == report
    # What was never built was never run.
    assert len(bench.runs.judged) == report.different


def test_only_mutants_that_differ_count(bench: Toy) -> None:
    report = bench.run(3)
    assert report.different == 3
    assert len(bench.runs.judged) == 3
    assert names(bench.run(1000))[: len(report.results)] == names(report)


def test_what_was_judged_is_not_judged_again(bench: Toy) -> None:
    first = bench.run(2)
    bench.runs.judged.clear()
    more = bench.run(4, bench.read())
    assert names(more)[: len(first.results)] == names(first)
    assert len(bench.runs.judged) == 2
    bench.runs.judged.clear()
    assert bench.run(4, bench.read()) == more
    assert bench.runs.judged == []


def test_a_campaign_that_was_ended_goes_on(bench: Toy) -> None:
    whole = bench.run(4)
    other = bench.out / "generated.json"
    other.unlink()
    bench.run(2)
    bench.runs.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.run(4, bench.read())
    kept = bench.read()
    assert kept is not None
    assert kept.different == 2
    bench.runs.fails = None
    assert names(bench.run(4, kept)) == names(whole)


def test_what_was_not_judged_is_tried_again(bench: Toy) -> None:
    bench.runs.fails = NotJudged("the host")
    report = bench.run(2)
    assert report.exit_code == ExitCode.GUEST
    assert {one.message for one in report.results if one.status == "not-judged"} == {"the host"}
    bench.runs.fails = None
    again = bench.run(2, bench.read())
    assert "not-judged" not in {one.status for one in again.results}
    assert again.different == 2


def test_a_reason_explains_a_survivor_and_nothing_else(bench: Toy) -> None:
    before = bench.run(1000)
    survivors = [one for one in before.results if one.status == "survived"]
    killed = [one for one in before.results if one.status == "killed"]

    def because(one: GeneratedResult) -> Explained:
        return Explained(change=one.change, file=one.file, rule=one.rule, reason="nobody asks")

    explained = tuple(map(because, [*survivors, killed[0]]))
    # Known results take the reasons of now, and so do new ones.
    judged = len(bench.runs.judged)
    resumed = bench.run(1000, bench.read(), explained)
    assert len(bench.runs.judged) == judged
    anew = bench.run(1000, explained=explained)
    assert [one.status for one in anew.results] == [one.status for one in resumed.results]
    assert resumed.exit_code == ExitCode.PASSED
    found = {one.name: one for one in resumed.results}
    assert {found[one.name].status for one in survivors} == {"explained"}
    assert found[survivors[0].name].message == "nobody asks"
    assert found[killed[0].name].status == "killed"
    assert bench.run(1000, resumed).results == before.results


def test_each_mutant_is_kept_as_a_patch_that_is_read_like_any(bench: Toy) -> None:
    report = bench.run(2)
    patches = find_mutants(bench.out / "patches")
    assert sorted(one.name for one in patches) == sorted(names(report))


class Playing:
    """Sequences that notice everything, or fail."""

    def __init__(self, said: str | GuestError, *, at_first: bool) -> None:
        self.said = said
        self.at_first = at_first
        self.asked: list[bool] = []

    def judge(self, emulator: Emulator, *, first: bool = False) -> str:
        self.asked.append(first)
        if first != self.at_first:
            return ""
        if isinstance(self.said, GuestError):
            raise self.said
        return self.said


@pytest.mark.parametrize("at_first", [True, False])
@pytest.mark.parametrize(
    ("said", "statuses"),
    [
        ("sequence 4: rax", {"killed"}),
        ("", {"survived"}),
        (GuestError("no memory"), {"not-judged"}),
    ],
)
def test_sequences_are_played_to_what_no_program_notices(
    bench: Toy,
    monkeypatch: pytest.MonkeyPatch,
    said: str | GuestError,
    statuses: set[str],
    at_first: bool,
) -> None:
    judged = []
    playing = Playing(said, at_first=at_first)
    emulator = Emulator(binary=Path("/toy"), version="1")
    monkeypatch.setattr(bench.tree, "built", lambda _: {"emulator": emulator})

    def judge(*_: object) -> Unnoticed:
        judged.append(list(playing.asked))
        return Unnoticed()

    monkeypatch.setattr(bench.runs, "judge", judge)
    known = GeneratedReport(basis=BASIS, wanted=0, candidates=0)
    chosen, report = _chosen(bench.tree, BASIS, Sample(count=2), known)
    found = GeneratedCampaign(
        bench.tree, chosen, report, bench.out, {}, bench.runs, playing,  # type: ignore[arg-type]
        Silent(), lambda *_: None,
    ).run()  # fmt: skip
    different = [one for one in found.results if one.objects]
    assert {one.status for one in different} == statuses
    if said == "sequence 4: rax":
        assert {(one.way, one.message) for one in different} == {("sequence", said)}
    # The first few are played before the programs run, the others after them.
    assert bool(judged) != bool(said and at_first)
    assert all(asked[-1] for asked in judged)


def test_files_on_which_nothing_or_too_much_depends_are_left_out(
    bench: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OBJECTS", 0)
    known = GeneratedReport(basis=BASIS, wanted=0, candidates=0)
    with pytest.raises(UserError, match="no such mutant"):
        _chosen(bench.tree, BASIS, Sample(count=2), known)
    monkeypatch.undo()
    bench.tree._objects["toy.h"] = ()
    chosen, report = _chosen(bench.tree, BASIS, Sample(count=2), known)
    assert {one.file for one in chosen} == {"toy.c"}
    assert report.left_out.keys() == {"toy.h"}
    some = BASIS.model_copy(update={"names": ("*-condition-*",)})
    assert {one.rule for one in _chosen(bench.tree, some, Sample(count=2), known)[0]} == {
        *("condition-negated", "condition-always", "condition-never"),
    }


# --- files --------------------------------------------------------------------------------------


def test_results_of_other_mutants_are_no_basis(bench: Toy) -> None:
    bench.run(1)
    path = bench.out / "generated.json"
    with pytest.raises(UserError, match="other mutants"):
        read_report(path, BASIS.model_copy(update={"seed": 2}))
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_report(path, BASIS)
    assert read_report(bench.out / "none.json", BASIS) is None


def test_reasons_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "explained.toml"
    assert read_explained(path) == {}
    entry = '[[explained]]\nchange = "12ab"\nfile = "a.c"\nrule = "mask"\nreason = "why"\n'
    path.write_text(entry)
    found = read_explained(path)
    assert found["12ab"].reason == "why"
    known = Candidate("n", "a.c", 1, "mask", "12ab", b"", "")
    assert unknown(found.values(), [known]) == []
    assert unknown(found.values(), []) == [found["12ab"]]
    for wrong in (entry.replace("why", ""), "[[explained]]\n", "[", "[[other]]\nx = 1\n"):
        path.write_text(wrong)
        with pytest.raises(UserError):
            read_explained(path)


@pytest.mark.parametrize("profile", ["qemu-10.0", "linux-6.12"])
def test_bundled_reasons_are_each_of_one_change(profile: str) -> None:
    path = paths.PATCHES / "mutants" / profile / "explained.toml"
    listed = tomllib.loads(path.read_text())["explained"] if path.exists() else []
    assert len(read_explained(path)) == len(listed)


# --- the command --------------------------------------------------------------------------------


def result(rule: str, status: str, **more: object) -> GeneratedResult:
    values = {"name": f"toy.c-4-{rule}-{status}", "file": "toy.c", "line": 4, "rule": rule}
    return GeneratedResult.model_validate({**values, "status": status, **more})


def test_the_command_shows_a_table_and_the_survivors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    survivor = result("mask", "survived")
    report = GeneratedReport(
        basis=BASIS,
        wanted=4,
        candidates=90,
        left_out={"big.h": 7},
        results=(
            result("mask", "killed", way="case", by="bare-metal/a::b", cell="c"),
            result("boundary", "killed", way="hang", by="bare-metal/a::b", cell="c"),
            survivor,
            result("operator", "equivalent"),
        ),
    )
    asked: list[Sample] = []

    def generate(proof: object, sample: Sample, *_: object) -> GeneratedReport:
        asked.append(sample)
        (out / "patches").mkdir()
        patch = "Subject: x\n---\n@@ -1 +1 @@ f\n-old mask\n+new mask\n"
        (out / f"patches/{survivor.name}.patch").write_text(patch)
        return report

    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "generate", generate)
    argv = ["mutants", "--generate", "4", "--seed", "3", "--out", str(out)]
    assert cli.invoke(argv) == ExitCode.TESTS_FAILED
    assert asked == [Sample(count=4, seed=3, sequences=2000)]
    said = capsys.readouterr().out
    table = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    head = next(line for line in said.splitlines() if "rule, file" in line)
    assert " ".join(head.split()) == ("rule, file made equivalent killed by a case hang survived")
    assert table["mask"] == ["2", "1", "1", "1"]
    assert table["toy.c"] == ["4", "1", "2", "1", "1", "1"]
    assert "3 of 4 generated mutants of toy, seed 1, out of 90: 2 killed" in said
    assert "left out: 7 in big.h" in said
    assert f"survived: {survivor.name}\n  -old mask\n  +new mask\n" in said


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (["--generate", "1", "--from", "."], "read from a folder, or generated"),
        (["--generate", "0"], "--generate"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(
    argv: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.invoke(["mutants", *argv]) == ExitCode.USAGE
    assert what in capsys.readouterr().err


def test_the_rows_of_a_table_add_up() -> None:
    report = GeneratedReport(
        basis=BASIS,
        wanted=1,
        candidates=1,
        results=(result("mask", "killed", way="case"), result("mask", "same")),
    )
    assert report.rows("rule") == [("mask", Counter({"killed": 1, "killed-case": 1, "same": 1}))]
    assert report.rows("")[0][0] == "all"
