"""The first bad commit or patch, found in toy trees by runs that really look at the tree."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal
from unittest.mock import ANY

import pytest

from harness import cli
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.source.commits import Commits
from harness.artefacts.source.git import Repository
from harness.artefacts.source.series import apply_series, fetch_series
from harness.artefacts.source.trees import fetch_source
from harness.artefacts.store import Store
from harness.campaigns import child_runs
from harness.campaigns.bisect import BisectOptions, bisect, judge, run_argv
from harness.campaigns.bisect_range import CommitRange
from harness.campaigns.child_runs import run_child
from harness.errors import BuildError, ExitCode, GuestError, HarnessError, UserError
from harness.progress import Silent
from harness.request.profiles import KernelOverrides, load_kernel
from harness.request.request import Request
from harness.results.bisection import BISECT_FILE, Bisection, BisectionStep, Point
from harness.results.folder import RunFolder
from harness.results.records import CaseRecord, GuestFailureRecord, Record, SplatRecord
from harness.values import KernelProfile
from tests.unit.runs import ended

from .conftest import git, make_checkout, snapshot

CELL = "toy-hidden-smp2-gcc"
FILE = "kernel/fork.c"

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture(autouse=True)
def own_fragments(fragments: Path) -> None:
    """Let the default kernel's fragments be what the toy tree knows."""
    (fragments / "uintr.config").write_text("# Why.\nCONFIG_SMP=y\n")


def failing(case: str = "first", program: str = "api/a") -> CaseRecord:
    return CaseRecord(cell=CELL, program=program, case=case, status="fail", message="1 is not 2")


def lost(verdict: str, program: str | None = None) -> GuestFailureRecord:
    return GuestFailureRecord(cell=CELL, verdict=verdict, message="it is gone", program=program)


class Looks:
    """Takes the place of ``uintr-harness run``: what the tree of the profile holds is the verdict.

    A file of the tree says ``BUG``, ``NO BUILD`` or ``NO BOOT`` where something is planted.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        #: What the file said, by step.
        self.seen: list[str] = []
        self.profiles: list[KernelProfile] = []

    def __call__(self, argv: Sequence[str], log: Path, on_line: Callable[[str], None]) -> int:
        profile = load_kernel(argv[argv.index("--kernel") + 1])
        out = Path(argv[argv.index("--out") + 1])
        assert log.parent == out.parent
        self.profiles.append(profile)
        text = self.look(profile)
        self.seen.append(text)
        if "NO BUILD" in text:
            ended(out, ExitCode.BUILD, errors=(BuildError("the kernel does not build"),))
        elif "NO BOOT" in text:
            ended(out, ExitCode.GUEST, lost("panic-before-init"))
        elif "BUG" in text:
            ended(out, ExitCode.TESTS_FAILED, failing())
        else:
            ended(out, ExitCode.PASSED)
        # What counts is what the folder tells.
        on_line("error: this line is nobody's")
        return 1

    def look(self, profile: KernelProfile) -> str:
        store = Store.open()
        base = fetch_source(profile.source, store, Silent())
        repository = Repository(self.scratch / "look.git").init()
        repository.borrow(base.repository)
        patches = fetch_series(profile.series, store, Silent())
        commit = apply_series(repository, base.commit, patches, "tree", Silent())
        return repository.run("show", f"{commit}:{FILE}")


class Builds(Looks):
    """Also builds the kernel, by the commands that build a real one, and looks at its symbols."""

    def __call__(self, argv: Sequence[str], log: Path, on_line: Callable[[str], None]) -> int:
        try:
            return super().__call__(argv, log, on_line)
        except BuildError as error:
            ended(Path(argv[argv.index("--out") + 1]), ExitCode.BUILD, errors=(error,))
            return ExitCode.BUILD

    def look(self, profile: KernelProfile) -> str:
        kernel = build_kernel(profile, Store.open(), Silent())
        return "BUG" if " bug" in (kernel.path / "System.map").read_text() else ""


@pytest.fixture
def looks(tmp_path: Path) -> Looks:
    return Looks(tmp_path)


def commit(tree: Path, subject: str, text: str | None = None, file: str = FILE) -> str:
    """Commit a change of a file, by default a line more; return the commit."""
    path = tree / file
    path.write_text(path.read_text() + f"\n/* {subject} */\n" if text is None else text)
    git(tree, "add", "--all", "--force", ".")
    git(tree, "commit", "--quiet", "--message", subject)
    return git(tree, "rev-parse", "HEAD")


def make_series(toy: Path, tmp_path: Path, texts: Sequence[str]) -> Request:
    """Return the request for a series on the toy tree; each patch makes a file be a text."""
    make_checkout(toy)
    git(toy, "tag", "base")
    for number, text in enumerate(texts, 1):
        commit(toy, f"Patch {number}", f"/* {number} */\n{text}\n")
    series = tmp_path / "given"
    git(toy, "format-patch", "--quiet", "-o", str(series), "base")
    names = sorted(path.name for path in series.glob("*.patch"))
    (series / "series").write_text("".join(f"{name}\n" for name in names))
    git(toy, "checkout", "--quiet", "base")
    profile = tmp_path / "toy.toml"
    profile.write_text(f'[source]\nkind = "tree"\npath = "{toy}"\n')
    return Request(kernels=(str(profile),), overrides=KernelOverrides(series=str(series)))


def command(monkeypatch: pytest.MonkeyPatch, looks: Looks, *args: str) -> int:
    monkeypatch.setattr(child_runs, "start_command", looks)
    return cli.invoke(["bisect", *args])


def search_series(
    request: Request, monkeypatch: pytest.MonkeyPatch, looks: Looks, out: Path, *args: str
) -> int:
    options = ["--kernel", request.kernels[0], "--series", str(request.overrides.series)]
    return command(monkeypatch, looks, *options, "--out", str(out), *args)


def written(out: Path) -> Bisection:
    return Bisection.model_validate_json((out / BISECT_FILE).read_bytes())


# --- patches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", [1, 7, 12])
def test_a_planted_bad_patch_is_found(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    planted: int,
) -> None:
    texts = ["BUG" if number >= planted else "fine" for number in range(1, 13)]
    request = make_series(toy, tmp_path, texts)
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out) == 0
    found = written(out)
    assert found.status == "found"
    assert found.first_bad == Point(id=str(planted), subject=f"Patch {planted}")
    assert found.suspects == ()
    # All, none, and no more than it takes to tell twelve apart.
    assert [step.point.id for step in found.steps[:2]] == ["12", "0"]
    assert 5 <= len(found.steps) <= 6
    for step, text in zip(found.steps, looks.seen, strict=True):
        assert step.verdict == ("bad" if "BUG" in text else "good")
        assert (out / step.folder / "run" / "results.jsonl").exists()
        patches = list((out / step.folder).glob("series/*.patch"))
        assert len(patches) == int(step.point.id)
    # What only a later patch defines may be asked for, but not at the end.
    unknown = [profile.unknown_options for profile in looks.profiles]
    assert unknown == ["refuse"] + ["drop"] * (len(unknown) - 1)
    said = capsys.readouterr().out
    assert f"first bad patch: {planted} Patch {planted}" in said
    assert f"by api/a::first  in {CELL}" in said


def test_a_patch_is_found_by_building_each_step(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third does not compile, the fourth brings the bug: one of them is all that is known."""
    texts = ["int a;", "int b;", "int undeclared = x;", "int bug;", "int bug, c;"]
    request = make_series(toy, tmp_path, texts)
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, Builds(tmp_path), out) == ExitCode.BUILD
    found = written(out)
    assert (found.status, found.first_bad) == ("range", None)
    assert [point.id for point in found.suspects] == ["3", "4"]
    (skipped,) = (step for step in found.steps if step.verdict == "skip")
    assert (skipped.point.id, skipped.cause) == ("3", "build")
    assert "does not build" in skipped.message


def test_the_ends_can_be_given(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: Looks
) -> None:
    request = make_series(toy, tmp_path, ["BUG", "fine", "fine", "BUG", "fine"])
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out, "--good", "2", "--bad", "4") == 0
    found = written(out)
    assert found.first_bad is not None
    assert found.first_bad.id == "4"
    assert {step.point.id for step in found.steps} == {"2", "3", "4"}


# --- commits -------------------------------------------------------------------------------------


@pytest.fixture
def history(toy: Path) -> dict[str, str]:
    """A history whose bug comes with the second commit of a branch that was merged.

    ::

        base - one - two ------- merge - three - four
             \\                 /
              left - bug - right
    """
    make_checkout(toy)
    at = {"base": git(toy, "rev-parse", "HEAD")}
    git(toy, "checkout", "--quiet", "-b", "side")
    at["left"] = commit(toy, "left")
    at["bug"] = commit(toy, "Add a BUG", "int bug; /* BUG */\n")
    at["right"] = commit(toy, "right")
    git(toy, "checkout", "--quiet", "main")
    at["one"] = commit(toy, "one", file="lib/string.c")
    at["two"] = commit(toy, "two", file="lib/string.c")
    git(toy, "merge", "--quiet", "--no-ff", "-m", "Merge it", "side")
    at["merge"] = git(toy, "rev-parse", "HEAD")
    at["three"] = commit(toy, "three", file="lib/string.c")
    at["four"] = commit(toy, "four", file="lib/string.c")
    return at


def search(
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: Looks,
    out: Path,
    *args: str,
) -> int:
    return command(monkeypatch, looks, "--tree", str(tree), "--out", str(out), *args)


def test_a_planted_bad_commit_is_found_behind_a_merge(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    history: dict[str, str],
) -> None:
    # Somebody works in the checkout: neither does it matter, nor is it touched.
    (toy / FILE).write_text("BUG\n")
    git(toy, "add", "--force", FILE)
    (toy / "lib/string.c").write_text("BUG\n")
    before = snapshot(toy)
    out = tmp_path / "out"
    assert search(toy, monkeypatch, looks, out, "--good", history["base"]) == 0
    assert snapshot(toy) == before
    found = written(out)
    assert found.bad == Point(id=history["four"], subject="four")
    assert found.first_bad == Point(id=history["bug"], subject="Add a BUG")
    assert f"first bad commit: {history['bug']} Add a BUG" in capsys.readouterr().out
    assert [step.number for step in found.steps] == list(range(1, len(found.steps) + 1))


def test_the_merge_is_found_by_first_parents(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: Looks,
    history: dict[str, str],
) -> None:
    out = tmp_path / "out"
    args = ("--good", history["base"], "--bad", "main", "--first-parent")
    assert search(toy, monkeypatch, looks, out, *args) == 0
    found = written(out)
    assert found.first_bad == Point(id=history["merge"], subject="Merge it")
    assert not {step.point.id for step in found.steps} & {history["bug"], history["left"]}


def test_a_commit_is_found_by_building_each_step(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: dict[str, str]
) -> None:
    linked = tmp_path / "linked"
    git(toy, "worktree", "add", "--quiet", "--detach", str(linked), "main")
    out = tmp_path / "out"
    looks = Builds(tmp_path)
    assert search(linked, monkeypatch, looks, out, "--good", history["base"]) == 0
    found = written(out)
    assert found.first_bad is not None
    assert found.first_bad.id == history["bug"]
    # A commit is used where it is: nothing was copied.
    assert not list((tmp_path / "cache").glob("source/*"))


def test_what_is_good_on_another_branch_is_judged_where_both_began(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: Looks,
    history: dict[str, str],
) -> None:
    git(toy, "checkout", "--quiet", "-b", "stable", history["two"])
    commit(toy, "stable", file="lib/string.c")
    out = tmp_path / "out"
    args = ("--good", "stable", "--bad", "main")
    assert search(toy, monkeypatch, looks, out, *args) == 0
    found = written(out)
    assert found.steps[2].point.id == history["two"]
    assert found.first_bad is not None
    assert found.first_bad.id == history["bug"]
    # The bug is older than where they went apart, and only the other branch is mended.
    git(toy, "checkout", "--quiet", "-b", "mended", history["three"])
    commit(toy, "Mend it", "int fine;\n")
    args = ("--good", "mended", "--bad", "main")
    assert search(toy, monkeypatch, looks, tmp_path / "other", *args) == ExitCode.USAGE
    assert written(tmp_path / "other").status == "refused"


# --- steps without a verdict ---------------------------------------------------------------------


def test_a_skipped_step_that_hides_nothing_does_not_matter(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
) -> None:
    texts = ["fine", "NO BUILD", "NO BOOT", "fine", "fine", "BUG", "BUG"]
    request = make_series(toy, tmp_path, texts)
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out, "--good", "1", "--bad", "6") == 0
    found = written(out)
    assert found.first_bad is not None
    assert found.first_bad.id == "6"
    skipped = [(step.point.id, step.cause) for step in found.steps if step.verdict == "skip"]
    assert skipped == [("3", "boot")]
    assert "skip  3 Patch 3  by (panic-before-init)" in capsys.readouterr().out


@pytest.mark.parametrize(("what", "code"), [("NO BUILD", 3), ("NO BOOT", 4)])
def test_skips_next_to_the_first_bad_one_leave_a_range(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    what: str,
    code: int,
) -> None:
    request = make_series(toy, tmp_path, ["fine", "fine", what, what, "BUG", "BUG"])
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out) == code
    found = written(out)
    assert (found.status, found.first_bad) == ("range", None)
    assert [point.id for point in found.suspects] == ["3", "4", "5"]
    said = capsys.readouterr().out
    assert "hide the first bad one, which is one of these" in said
    assert "  4 Patch 4" in said


def test_a_kernel_that_does_not_boot_can_be_what_is_looked_for(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: Looks
) -> None:
    request = make_series(toy, tmp_path, ["fine", "fine", "NO BUILD", "NO BOOT", "NO BOOT"])
    out = tmp_path / "out"
    args = ("--boot-failure", "bad", "--good", "2")
    assert search_series(request, monkeypatch, looks, out, *args) == ExitCode.BUILD
    assert [point.id for point in written(out).suspects] == ["3", "4"]
    out = tmp_path / "other"
    assert search_series(request, monkeypatch, looks, out) == ExitCode.GUEST
    assert written(out).status == "refused"


class Many:
    """A long line in memory, of which many neighbours do not build."""

    of = "commits"
    tree = "memory"

    def __init__(self, count: int) -> None:
        self.count = count

    def subject(self, id_: str) -> str:
        return f"commit {id_}"

    def suspects(self, goods: Sequence[str], bad: str) -> list[str]:
        return [str(one) for one in range(max(map(int, goods)) + 1, int(bad) + 1)]

    def next_best(self, goods: Sequence[str], bad: str) -> list[str]:
        middle = (max(map(int, goods)) + int(bad)) / 2
        return sorted(self.suspects(goods, bad)[:-1], key=lambda one: abs(int(one) - middle))

    def also_good(self, good: str, bad: str) -> list[str]:
        return []

    def profile(self, id_: str, folder: Path) -> KernelProfile:
        return load_kernel("linux-6.12")

    def place(self, id_: str) -> str:
        return id_


def test_a_long_stretch_that_does_not_build_is_left_soon(tmp_path: Path) -> None:
    """Of 1000 commits 200 in the middle do not build; the bug is at 900."""

    def start(argv: Sequence[str], log: Path, on_line: Callable[[str], None]) -> int:
        number = int(log.parent.name.partition("-")[2])
        code = ExitCode.TESTS_FAILED if number >= 900 else ExitCode.PASSED
        code = ExitCode.BUILD if 400 <= number < 600 else code
        ended(log.parent / "run", code, *([failing()] if number >= 900 else []))
        return code

    span: Any = Many(1000)
    found, _ = bisect(
        Request(),
        BisectOptions(out=tmp_path / "out"),
        span,
        ("0", "1000"),
        Silent(),
        lambda _: None,
        start,
    )
    assert found.first_bad is not None
    assert found.first_bad.id == "900"
    assert sum(step.verdict == "skip" for step in found.steps) <= 4


# --- ends that are not what they were said to be -------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "args", "code", "said"),
    [
        (["fine", "fine"], [], 2, "--bad has to be bad, but it passes"),
        (["BUG", "BUG"], ["--good", "1"], 2, "--good has to be good, but it fails"),
        (["fine", "NO BUILD"], [], 3, "--bad has to be bad, but it cannot be judged (build)"),
        (["NO BOOT", "BUG"], ["--good", "1"], 4, "--good has to be good, but it cannot be judged"),
    ],
)
def test_ends_are_run_and_refused(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    texts: list[str],
    args: list[str],
    code: int,
    said: str,
) -> None:
    request = make_series(toy, tmp_path, texts)
    out = tmp_path / "out"
    assert search_series(request, monkeypatch, looks, out, *args) == code
    assert said in capsys.readouterr().err
    assert written(out).status == "refused"
    assert written(out).steps[-1].verdict != ("bad" if "--bad" in said else "good")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--series", "none"], "no series to search"),
        (["--good", "13"], "there is no patch 13"),
        (["--bad", "v6.12"], "there is no patch v6.12"),
        (["--good", "2", "--bad", "2"], "does not come before"),
        (["--first-parent"], "--first-parent is for the commits"),
        (["--cpu", "hidden", "--kernel", "linux-6.12,plain-6.12"], "one kernel"),
    ],
)
def test_a_search_in_a_series_that_makes_no_sense(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    args: list[str],
    said: str,
) -> None:
    request = make_series(toy, tmp_path, ["fine", "BUG"])
    assert search_series(request, monkeypatch, looks, tmp_path / "out", *args) == 2
    assert said in capsys.readouterr().err
    assert looks.seen == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "--good is missing"),
        (["--good", "nowhere"], "there is no commit 'nowhere'"),
        (["--good", "main", "--bad", "main~1"], "has the bad one in its history"),
        (["--good", "other"], "no history in common"),
    ],
)
def test_a_search_in_a_history_that_makes_no_sense(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Looks,
    history: dict[str, str],
    args: list[str],
    said: str,
) -> None:
    git(toy, "checkout", "--quiet", "--orphan", "other")
    git(toy, "commit", "--quiet", "-m", "other")
    git(toy, "checkout", "--quiet", "main")
    assert search(toy, monkeypatch, looks, tmp_path / "out", *args) == 2
    assert said in capsys.readouterr().err
    assert looks.seen == []


def test_a_tree_without_a_history(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: Looks
) -> None:
    with pytest.raises(UserError, match="no git checkout"):
        Commits(toy)
    assert search(toy, monkeypatch, looks, tmp_path / "out", "--good", "main") == 2


# --- what is kept --------------------------------------------------------------------------------


def test_each_step_is_kept_as_soon_as_it_is_known(
    toy: Path, tmp_path: Path, looks: Looks, history: dict[str, str]
) -> None:
    out = tmp_path / "out"
    span = CommitRange(
        KernelProfile(name="toy", source={"kind": "tree", "path": toy}), Commits(toy)
    )
    seen: list[tuple[BisectionStep, Bisection]] = []

    def on_step(step: BisectionStep) -> None:
        seen.append((step, written(out)))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bisect(
            Request(overrides=KernelOverrides(tree=toy)),
            BisectOptions(out=out),
            span,
            (history["base"], history["four"]),
            Silent(),
            on_step,
            looks,
        )
    assert [found.steps[-1] for _, found in seen] == [step for step, _ in seen]
    last = written(out)
    assert last.status == "searching"
    # Before the third step: all but the good end.
    assert {point.id for point in last.suspects} == set(history.values()) - {history["base"]}
    assert last.suspects[-1].id == history["four"]
    assert json.loads((out / BISECT_FILE).read_text())["schema"] == 1


def test_two_searches_never_share_a_folder(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: Looks,
    history: dict[str, str],
) -> None:
    out = tmp_path / "out"
    assert search(toy, monkeypatch, looks, out, "--good", history["base"]) == 0
    assert search(toy, monkeypatch, looks, out, "--good", history["base"]) == 2


# --- commands and verdicts -----------------------------------------------------------------------


def test_the_command_of_a_step() -> None:
    argv = run_argv(Request(), BisectOptions(), Path("/p/k.toml"), Path("/o"))
    assert argv[1:] == [
        *("-m", "harness", "run", "-x", "--kernel", "/p/k.toml", "--cpu", "hidden"),
        *("--cc", "gcc", "--accel", "auto", "--clock", "host"),
        *("--jobs", "1", "--repeat", "1", "--out", "/o"),
    ]
    request = Request(
        cpus=("exposed", "hidden"),
        smp=(1, 2),
        clock="host",
        cmdline="a=b c",
        qemu="bundled",
        select="api or wait",
    )
    options = BisectOptions(jobs=2, repeat=9, baseline=(Path("before"),))
    argv = run_argv(request, options, Path("/p/k.toml"), Path("/o"))
    assert argv[5:] == [
        *("--kernel", "/p/k.toml", "--cpu", "exposed,hidden", "--smp", "1,2", "--cc", "gcc"),
        *("--accel", "auto", "--clock", "host", "--qemu", "bundled", "--cmdline", "a=b c"),
        *("-k", "api or wait", "--jobs", "2", "--repeat", "9", "--out", "/o"),
        *("--baseline", "before", "--allow-missing"),
    ]


def judged(
    folder: Path, code: int, *records: Record, boot_failure: Literal["skip", "bad"] = "skip"
) -> dict[str, object]:
    """Return what a run says of its kernel that ended so."""

    def start(_argv: Sequence[str], _log: Path, on_line: Callable[[str], None]) -> int:
        on_line("error: no disk")
        ended(
            folder, code, *records, errors=(BuildError("it does not build"),) if code == 3 else ()
        )
        return code

    ran = run_child([], folder, folder.parent / "log", lambda _: None, start)
    return judge(ran, folder, boot_failure)


SPLAT = SplatRecord(cell=CELL, kind="warn", title="WARNING: x")


@pytest.mark.parametrize(
    ("code", "records", "expected"),
    [
        (0, [], ("good", None, "")),
        (1, [failing()], ("bad", None, "api/a::first")),
        (1, [SPLAT], ("bad", None, "(kernel log)")),
        (1, [], ("bad", None, "(baseline)")),
        (3, [], ("skip", "build", "")),
        # One cell failed although programs for another could not be built: the kernel is bad.
        (3, [failing()], ("bad", None, "api/a::first")),
        (4, [lost("panic", "api/a")], ("bad", None, "api/a::(panic)")),
        (4, [lost("hang", "api/a"), failing()], ("bad", None, "api/a::(hang)")),
        (4, [failing(), lost("panic", "api/a")], ("bad", None, "api/a::first")),
        (4, [lost("panic-before-init")], ("skip", "boot", "(panic-before-init)")),
        (4, [lost("panic")], ("skip", "boot", "(panic)")),
        (4, [lost("hang-in-init"), failing("x", "api/b")], ("bad", None, "api/b::x")),
        # QEMU was killed: what failed with it is no verdict on the kernel.
        (4, [lost("qemu-died", "api/a"), failing()], ("skip", "guest", "api/a::(qemu-died)")),
        (4, [failing(), lost("qemu-died", "api/a")], ("skip", "guest", "api/a::(qemu-died)")),
        (4, [lost("qemu-died")], ("skip", "guest", "(qemu-died)")),
    ],
)
def test_what_a_run_says_of_its_kernel(
    tmp_path: Path, code: int, records: list[Record], expected: tuple[str, str | None, str]
) -> None:
    found = judged(tmp_path / "run", code, *records)
    assert (found["verdict"], found.get("cause"), found.get("by", "")) == expected
    if found.get("cause") == "build":
        assert found["message"] == "it does not build"


def test_what_does_not_boot_is_bad_if_so_asked(tmp_path: Path) -> None:
    found = judged(tmp_path / "run", 4, lost("silent"), boot_failure="bad")
    assert (found["verdict"], found["cause"]) == ("bad", None)
    found = judged(tmp_path / "other", 4, lost("qemu-died"), boot_failure="bad")
    assert found["verdict"] == "skip"


@pytest.mark.parametrize(
    ("code", "family"), [(2, UserError), (4, GuestError), (130, KeyboardInterrupt)]
)
def test_a_run_that_says_nothing_ends_the_search(
    tmp_path: Path, code: int, family: type[HarnessError]
) -> None:
    with pytest.raises(family):
        judged(tmp_path / "run", code)


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 4), (1, 4), (2, 2), (3, 4), (4, 4), (-9, 4), (130, 130)]
)
def test_a_process_alone_makes_no_run_pass_or_fail(
    tmp_path: Path, code: int, expected: int
) -> None:
    def start(_argv: Sequence[str], _log: Path, on_line: Callable[[str], None]) -> int:
        on_line("error: this line is nobody's")
        return code

    ran = run_child([], tmp_path / "run", tmp_path / "log", lambda _: None, start)
    assert ran.exit_code == expected
    assert ran.error == f"the run ended with {code} and did not say why"
    # It was killed at its work, and what it had recorded is no verdict.
    RunFolder(tmp_path / "run").begin([])
    assert run_child([], tmp_path / "run", tmp_path / "log", lambda _: None, start) == ran._replace(
        seconds=ANY
    )
