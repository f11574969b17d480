"""Mutants: how they are read, laid out, run and judged; the runs are a fake's."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness import cli, paths
from harness.artefacts.source.series import fetch_series
from harness.artefacts.store import Store
from harness.campaigns import mutants
from harness.campaigns.child_runs import run_child, write_profile
from harness.campaigns.mutants import (
    MUTANTS_FILE,
    MutantResult,
    Proof,
    ShownBy,
    exit_code,
    find_mutants,
    judge,
    prove,
    read_mutant,
    run_argv,
)
from harness.errors import BuildError, ExitCode, GuestError, HarnessError, UserError
from harness.progress import Silent
from harness.request.profiles import load_emulator, load_kernel
from harness.results.records import CaseRecord, GuestFailureRecord, Record, SplatRecord
from harness.values import KernelProfile, TreeSource
from tests.unit.runs import ended

CELL = "linux-6.12-exposed-smp1-gcc"
PATCH = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A Tester <tester@example.org>
Date: Tue, 24 Nov 2026 12:00:00 +0000
Subject: [PATCH] forget {what}

The rule is that {what} is remembered.
{trailer}
---
 a.c | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

diff --git a/a.c b/a.c
--- a/a.c
+++ b/a.c
@@ -1 +1 @@
-int {what} = 1;
+int {what} = 0;
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three mutants, one of which may survive."""
    where = tmp_path / "mutants"
    where.mkdir()
    for what in ("alpha", "beta"):
        (where / f"no-{what}.patch").write_text(PATCH.format(what=what, trailer=""))
    trailer = "\nSurvives: nothing\n shows it.\n"
    (where / "quiet.patch").write_text(PATCH.format(what="gamma", trailer=trailer))
    return where


def failing(case: str = "first", **more: object) -> CaseRecord:
    values = {"cell": CELL, "program": "bare-metal/a", "case": case, "status": "fail"}
    return CaseRecord.model_validate({**values, "message": "1 is not 2", **more})


# --- mutants as files ---------------------------------------------------------------------------


def test_a_mutant_says_what_it_breaks_and_why_it_may_survive(folder: Path) -> None:
    found = find_mutants(folder)
    assert [(one.name, one.subject, one.reason) for one in found] == [
        ("no-alpha", "forget alpha", None),
        ("no-beta", "forget beta", None),
        ("quiet", "forget gamma", "nothing shows it."),
    ]
    assert [one.name for one in find_mutants(folder, ["no-*"])] == ["no-alpha", "no-beta"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bare.patch", "--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-int a;\n+int b;\n"),
        ("silent.patch", PATCH.format(what="x", trailer="").replace("The rule", "\n---\nThe rule")),
        ("unchanged.patch", PATCH.format(what="x", trailer="")),
    ],
)
def test_a_mutant_without_a_rule_or_a_name_of_its_own_is_refused(
    tmp_path: Path, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match="a name of its own"):
        read_mutant(path)


@pytest.mark.parametrize(
    ("trailer", "shown_by"),
    [
        ("delivery/wait", ShownBy(select="delivery/wait")),
        ("api or kernel on hidden", ShownBy(select="api or kernel", cpu="hidden")),
        ("stress with 4 CPUs", ShownBy(select="stress", smp=4)),
        ("a/b on my-cpu with 1 CPU", ShownBy(select="a/b", cpu="my-cpu", smp=1)),
    ],
)
def test_a_mutant_says_where_to_look_first(tmp_path: Path, trailer: str, shown_by: ShownBy) -> None:
    path = tmp_path / "m.patch"
    path.write_text(PATCH.format(what="x", trailer=f"\nShown-by: {trailer}"))
    assert read_mutant(path).shown_by == shown_by
    path.write_text(PATCH.format(what="x", trailer="\nShown-by: "))
    with pytest.raises(UserError, match="names no program"):
        read_mutant(path)


def test_what_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'no-such'"):
        find_mutants(folder, ["no-such"])
    with pytest.raises(UserError, match="no mutants"):
        find_mutants(tmp_path / "elsewhere")


@pytest.mark.parametrize(("of", "at_least"), [("emulator", 20), ("kernel", 40)])
def test_the_bundled_mutants_are_described(of: mutants.MutantTarget, at_least: int) -> None:
    found = find_mutants(paths.PATCHES / "mutants" / mutants.KINDS[of].profile)
    assert len(found) >= at_least
    subjects = [one.subject for one in found]
    assert len(set(subjects)) == len(subjects)
    changes = [fetch_text(one.path) for one in found]
    assert len(set(changes)) == len(changes), "two mutants are the same change"


@pytest.mark.parametrize("of", ["emulator", "kernel"])
def test_the_bundled_mutants_change_what_the_series_does(
    of: mutants.MutantTarget, tmp_path: Path
) -> None:
    name = mutants.KINDS[of].profile
    profile = load_emulator(name) if of == "emulator" else load_kernel(name)
    patches = fetch_series(profile.series, Store(tmp_path / "store"), Silent())
    ours = {path for patch in patches for path in changed_files(patch.content.decode())}
    for one in find_mutants(paths.PATCHES / "mutants" / name):
        assert changed_files(one.path.read_text()) <= ours, one.name


def fetch_text(path: Path) -> str:
    """Return a patch's diff."""
    return path.read_text().partition("\ndiff --git ")[2]


def changed_files(patch: str) -> set[str]:
    """Return the files that a patch leaves behind changed or new."""
    return set(re.findall(r"^\+\+\+ b/(\S+)$", patch, re.MULTILINE))


# --- profiles and commands ------------------------------------------------------------------------


def test_a_profile_is_written_so_that_it_reads_back_equal(tmp_path: Path) -> None:
    ours = load_emulator("qemu-10.0")
    assert load_emulator(str(write_profile(ours, tmp_path))) == ours
    kernel = load_kernel("linux-6.12")
    assert load_kernel(str(write_profile(kernel, tmp_path))) == kernel
    (tmp_path / "Kbuild").touch()
    bare = kernel.model_copy(update={"source": TreeSource(path=tmp_path), "series": None})
    assert load_kernel(str(write_profile(bare, tmp_path))) == bare


class Deeper(KernelProfile):
    tables: dict[str, dict[str, dict[str, int]]]
    rows: tuple[dict[str, int], ...]


def test_strings_and_tables_of_any_kind_survive_in_a_profile(tmp_path: Path) -> None:
    profile = Deeper(
        **load_kernel("linux-6.12").model_dump(exclude={"name", "description"}),
        name="mine",
        description='quo"te\\ \n\t\x7f é \U0001f600',
        tables={"a": {"b.c": {"d": 1}, "e": {}}},
        rows=({"x": 1}, {}),
    )
    read = tomllib.loads(write_profile(profile, tmp_path).read_text(encoding="utf-8"))
    assert read["description"] == profile.description
    assert (read["tables"], read["rows"]) == (profile.tables, [{"x": 1}, {}])


def test_the_command_of_each_kind() -> None:
    argv = run_argv(Proof(), Path("/m/qemu-10.0.toml"), Path("/o"), exit_first=True)
    assert argv[1:] == [
        *("-m", "harness", "run", "--qemu", "/m/qemu-10.0.toml"),
        *("--cpu", "exposed", "--smp", "1,2,4", "--accel", "auto", "--jobs", "1"),
        *("-k", "bare-metal", "-x", "--out", "/o"),
    ]
    proof = Proof(of="kernel", smp=(4,), compilers=("clang",), select="api", accel="tcg", jobs=2)
    argv = run_argv(proof, Path("/m/linux-6.12.toml"), Path("/o"), exit_first=False)
    assert argv[1:] == [
        *("-m", "harness", "run", "--kernel", "/m/linux-6.12.toml"),
        *("--cpu", "exposed,hidden", "--smp", "4", "--cc", "clang", "--accel", "tcg"),
        *("--jobs", "2", "-k", "api", "--out", "/o"),
    ]
    argv = run_argv(proof, Path("/m/linux-6.12.toml"), Path("/o"), exit_first=True)
    assert argv[-5:] == ["-x", "--cmdline", "oops=panic", "--out", "/o"]


# --- verdicts -----------------------------------------------------------------------------------


def judged(patch: Path, run: Path, code: int, *records: Record) -> MutantResult:
    """Return what a run says of a mutant that ended so."""

    def start(_argv: Sequence[str], _log: Path, on_line: Callable[[str], None]) -> int:
        on_line("error: this line is nobody's")
        ended(run, code, *records, errors=(GuestError("it went wrong"),) if code > 1 else ())
        return code

    ran = run_child([], run, run.with_suffix(".log"), lambda _: None, start)
    return judge(read_mutant(patch), ran, run, 1.0)


@pytest.mark.parametrize(
    ("code", "records", "expected"),
    [
        (0, [], ("survived", "", "")),
        (1, [failing()], ("killed", "bare-metal/a::first", "1 is not 2")),
        (
            1,
            [failing(status="pass"), failing("x", message="", diagnostics="got 3\nmore")],
            ("killed", "bare-metal/a::x", "got 3"),
        ),
        (
            1,
            [SplatRecord(cell=CELL, kind="warn", title="WARNING: x")],
            ("killed", "(kernel log)", "WARNING: x"),
        ),
        (
            4,
            [GuestFailureRecord(cell=CELL, verdict="panic", message="dead", program="api/a")],
            ("killed", "api/a::(panic)", "dead"),
        ),
        # Nothing that was tested has failed: this is no verdict on the mutant.
        (4, [], ("not-judged", "", "it went wrong")),
        (1, [], ("not-judged", "", "the run ended with 1")),
        (2, [failing()], ("not-judged", "", "it went wrong")),
        (3, [], ("does-not-build", "", "it went wrong")),
    ],
)
def test_what_a_run_says_of_a_mutant(
    folder: Path,
    tmp_path: Path,
    code: int,
    records: list[Record],
    expected: tuple[str, str, str],
) -> None:
    result = judged(folder / "no-alpha.patch", tmp_path / "run", code, *records)
    assert (result.status, result.by) == expected[:2]
    assert result.message.startswith(expected[2])


def test_a_reason_excuses_a_survivor_only(folder: Path, tmp_path: Path) -> None:
    quiet = folder / "quiet.patch"
    assert judged(quiet, tmp_path / "one", 0).status == "excused"
    assert judged(quiet, tmp_path / "two", 1, failing()).status == "killed"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], 0),
        (["killed", "excused"], 0),
        (["killed", "survived"], 1),
        (["does-not-build", "survived"], 3),
        (["not-judged", "does-not-build"], 4),
    ],
)
def test_the_exit_code_tells_the_worst(statuses: list[str], expected: int) -> None:
    results = [
        MutantResult.model_validate({"name": "m", "subject": "s", "status": s}) for s in statuses
    ]
    assert exit_code(results) == expected


# --- proofs -------------------------------------------------------------------------------------


class Runs:
    """Takes the place of ``uintr-harness run``: an exit code and records by the mutant's name."""

    def __init__(self, **codes: int) -> None:
        self.codes = {
            name.replace("__", " ").replace("_", "-"): code for name, code in codes.items()
        }
        self.seen: list[str] = []
        self.commands: list[Sequence[str]] = []
        self.profiles: dict[str, Path] = {}

    def __call__(self, argv: Sequence[str], log: Path, on_line: Callable[[str], None]) -> int:
        out = Path(argv[argv.index("--out") + 1])
        name = out.parent.name
        assert log.parent == out.parent
        self.seen.append(name)
        self.commands.append(argv)
        self.profiles[name] = Path(argv[argv.index("--qemu") + 1])
        assert ("-x" in argv) == (name != "unchanged")
        code = self.codes.get(f"{name} {out.name}", self.codes.get(name, name != "unchanged"))
        on_line("error: this line is nobody's")
        ended(out, code, *([failing(f"sees_{name}")] if code == 1 else []))
        return code


def run_proof(
    folder: Path, out: Path, runs: Runs, on_result: Callable[[MutantResult], None] = lambda _: None
) -> mutants.MutantsReport:
    store = Store(out.parent / "store")
    return prove(Proof(folder=folder), out, store, Silent(), on_result, start=runs)


def statuses(out: Path) -> dict[str, str]:
    found = json.loads((out / MUTANTS_FILE).read_text())
    assert found["schema"] == 1
    return {result["name"]: result["status"] for result in found["results"]}


def test_each_mutant_is_run_on_top_of_the_series_after_the_series_itself(
    folder: Path, tmp_path: Path
) -> None:
    runs = Runs(quiet=0)
    out = tmp_path / "out"
    report = run_proof(folder, out, runs)
    assert runs.seen == ["unchanged", "no-alpha", "no-beta", "quiet"]
    assert report.totals == {"killed": 2, "excused": 1}
    found = json.loads((out / MUTANTS_FILE).read_text())
    assert found["totals"] == {"killed": 2, "excused": 1}
    assert (found["of"], found["profile"], found["chosen"]) == ("emulator", "qemu-10.0", 3)
    assert found["results"][0]["by"] == "bare-metal/a::sees_no-alpha"
    store = Store(tmp_path / "store")
    ours = load_emulator("qemu-10.0")
    base = [patch.identity for patch in fetch_series(ours.series, store, Silent())]
    for name, path in runs.profiles.items():
        # The same name: the build folder that is kept for the series is used again.
        profile = load_emulator(str(path))
        assert (profile.name, profile.source) == (ours.name, ours.source)
        patches = fetch_series(profile.series, store, Silent())
        assert [patch.identity for patch in patches[: len(base)]] == base
        rest = [patch.content for patch in patches[len(base) :]]
        assert rest == ([] if name == "unchanged" else [(folder / f"{name}.patch").read_bytes()])


def option(argv: Sequence[str], name: str) -> str:
    return argv[argv.index(name) + 1]


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """One mutant that says where to look first."""
    where = tmp_path / "shown"
    where.mkdir()
    trailer = "\nShown-by: bare-metal/a on exposed-intel with 8 CPUs"
    (where / "first.patch").write_text(PATCH.format(what="x", trailer=trailer))
    return where


def test_what_shows_a_mutant_is_run_first_and_may_end_it(shown: Path, tmp_path: Path) -> None:
    runs = Runs()
    report = run_proof(shown, tmp_path / "out", runs)
    assert [result.status for result in report.results] == ["killed"]
    unchanged, first = runs.commands
    # What is run first has passed without the mutant, too.
    assert option(unchanged, "--cpu") == "exposed,exposed-intel"
    assert option(unchanged, "--smp") == "1,2,4,8"
    assert [option(first, name) for name in ("--cpu", "--smp", "-k")] == [
        *("exposed-intel", "8", "bare-metal/a")
    ]


@pytest.mark.parametrize(("code", "status"), [(0, "survived"), (1, "killed")])
def test_a_mutant_that_is_not_shown_is_run_with_the_whole_suite(
    shown: Path, tmp_path: Path, code: int, status: str
) -> None:
    runs = Runs(first__first=0, first__run=code)
    report = run_proof(shown, tmp_path / "out", runs)
    assert [result.status for result in report.results] == [status]
    whole = runs.commands[-1]
    assert [option(whole, name) for name in ("--cpu", "--smp", "-k")] == [
        *("exposed", "1,2,4", "bare-metal")
    ]


@pytest.mark.parametrize("chosen", [{"select": "api"}, {"smp": (2,)}, {"cpus": ("hidden",)}])
def test_who_chooses_programs_or_cells_gets_these(
    shown: Path, tmp_path: Path, chosen: dict[str, object]
) -> None:
    runs = Runs(first=0)
    proof = Proof.model_validate({"folder": shown, **chosen})
    prove(proof, tmp_path / "out", Store(tmp_path / "store"), Silent(), lambda _: None, start=runs)
    assert runs.seen == ["unchanged", "first"]
    assert option(runs.commands[1], "-k") == (proof.select or "bare-metal")


def test_results_are_there_as_soon_as_they_are_known(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen = []
    run_proof(folder, out, Runs(), lambda result: seen.append((result.name, statuses(out))))
    assert seen[0] == ("no-alpha", {"no-alpha": "killed"})
    assert seen[1] == ("no-beta", {"no-alpha": "killed", "no-beta": "killed"})


def test_an_interrupted_proof_keeps_what_it_has(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_proof(folder, out, Runs(no_beta=130))
    assert statuses(out) == {"no-alpha": "killed"}


@pytest.mark.parametrize(
    ("code", "family"), [(1, GuestError), (2, UserError), (3, BuildError), (4, GuestError)]
)
def test_without_a_suite_that_passes_there_is_no_proof(
    folder: Path, tmp_path: Path, code: int, family: type[HarnessError]
) -> None:
    runs = Runs(unchanged=code)
    with pytest.raises(family, match="without a mutant"):
        run_proof(folder, tmp_path / "out", runs)
    assert runs.seen == ["unchanged"]


def test_two_proofs_never_share_a_folder(folder: Path, tmp_path: Path) -> None:
    run_proof(folder, tmp_path / "out", Runs())
    with pytest.raises(UserError, match="already"):
        run_proof(folder, tmp_path / "out", Runs())


@pytest.mark.parametrize(
    ("codes", "expected"),
    [({}, 0), ({"no_alpha": 0}, 1), ({"no_alpha": 0, "no_beta": 3}, 3)],
)
def test_the_command_line(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    codes: dict[str, int],
    expected: ExitCode,
) -> None:
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mutants, "start_command", Runs(**codes))
    out = tmp_path / "out"
    assert cli.invoke(["mutants", "--from", str(folder), "--out", str(out), "no-*"]) == expected
    said = capsys.readouterr().out
    if not codes:
        assert f"by bare-metal/a::sees_no-alpha  in {CELL}" in said
    else:
        assert "survived       no-alpha" in said
    assert "2 mutants of qemu-10.0: " in said
    assert said.rstrip().endswith(f"results: {out / MUTANTS_FILE}")
