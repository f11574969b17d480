"""Proofs by mutants: the series first, then each mutant; the runs are a fake's."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness import cli
from harness.artefacts.source.series import fetch_series
from harness.artefacts.store import Store
from harness.campaigns import mutants
from harness.campaigns.mutants import (
    MUTANTS_FILE,
    MutantResult,
    Proof,
    prove,
)
from harness.errors import BuildError, ExitCode, GuestError, HarnessError, UserError
from harness.progress import Silent
from harness.request.profiles import load_emulator
from tests.unit.mutants.files import CELL, PATCH, failing, statuses
from tests.unit.runs import ended


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
