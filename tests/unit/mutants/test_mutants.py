"""Mutants: how they are read, laid out and judged."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness import paths
from harness.artefacts.source.series import fetch_series
from harness.artefacts.store import Store
from harness.campaigns import mutants
from harness.campaigns.child_runs import run_child, write_profile
from harness.campaigns.mutants import (
    MutantResult,
    Proof,
    ShownBy,
    exit_code,
    find_mutants,
    judge,
    read_mutant,
    run_argv,
)
from harness.errors import GuestError, UserError
from harness.progress import Silent
from harness.request.profiles import load_emulator, load_kernel
from harness.results.records import GuestFailureRecord, Record, SplatRecord
from harness.values import KernelProfile, TreeSource
from tests.unit.mutants.files import CELL, PATCH, failing
from tests.unit.runs import ended


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
