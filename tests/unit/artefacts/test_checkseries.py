"""A series patch by patch, on a toy tree that builds in a second and fake guests."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import cli
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.store import Store
from harness.campaigns import series_check
from harness.campaigns.series_check import CheckOptions, check_series
from harness.errors import BuildError, ExitCode, UserError
from harness.progress import Silent
from harness.report.console import make_console
from harness.report.series import print_series
from harness.request.profiles import KernelOverrides
from harness.request.request import Request
from harness.results.folder import CellSetup, RunArtefacts
from harness.results.series import SeriesResult, StepCell, StepResult
from harness.run import engine
from harness.run.prepare import ChosenQemu, Preparation
from harness.run.suite import pytest_argv
from harness.values import Emulator, ImageArtefact, Plan, Program, ProgramsArtefact

from .conftest import git, make_checkout

REPOSITORY = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.usefixtures("fragments")

FORK = "int fork_count;\nint do_fork(void);\nint do_fork(void)\n{{\n{}\treturn 0;\n}}\n"
KCONFIG = '\nconfig X86_USER_INTERRUPTS\n\tbool "User interrupts"\n'
GOOD = "echo 'KTAP version 1'; echo 1..1; echo 'ok 1 first'"
BAD = "echo 'KTAP version 1'; echo 1..1; echo 'not ok 1 broken'; exit 1"

Commit = Callable[..., None]


@pytest.fixture
def commit(toy: Path) -> Commit:
    """Commit changes to the toy tree; ``path=content`` with ``__`` for ``/``, ``+=`` appends."""
    make_checkout(toy)
    git(toy, "tag", "base")

    def commit(subject: str, changes: dict[str, str]) -> None:
        for name, content in changes.items():
            path = toy / name.removesuffix("+")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((path.read_text() if name.endswith("+") else "") + content)
        git(toy, "add", "--all", "--force", ".")
        git(toy, "commit", "--quiet", "--message", f"{subject}\n\nWhy.")

    return commit


@pytest.fixture
def request_of(toy: Path, tmp_path: Path, store: Store) -> Callable[[], Request]:
    """Return the request for the commits as a series on the tree without them."""

    def request_of() -> Request:
        series = tmp_path / "given"
        git(toy, "format-patch", "--quiet", "-o", str(series), "base")
        names = sorted(path.name for path in series.glob("*.patch"))
        (series / "series").write_text("".join(f"{name}\n" for name in names))
        tree = tmp_path / "base"
        shutil.copytree(toy, tree)
        git(tree, "checkout", "--quiet", "base")
        profile = tmp_path / "toy.toml"
        profile.write_text(f'[source]\nkind = "tree"\npath = "{tree}"\n')
        return Request(
            kernels=(str(profile),), overrides=KernelOverrides(series=str(series)), smp=(1,)
        )

    return request_of


def check(request: Request, out: Path, *, boot: bool = False, sparse: bool = False) -> SeriesResult:
    options = CheckOptions(out=out, boot=boot, sparse=sparse)
    return check_series(request, options, Silent())[0]


def test_each_patch_by_itself(
    commit: Commit, request_of: Callable[[], Request], tmp_path: Path, fragments: Path
) -> None:
    """A warning and a finding belong to the patch that brings them; a build may mend itself."""
    (fragments / "base.config").write_text("CONFIG_SMP=y\nCONFIG_X86_USER_INTERRUPTS=y\n")
    commit("Count TODO", {"kernel/fork.c": FORK.format("\tint unused;\n\n") + "/* TODO */\n"})
    commit("Break it", {"lib/string.c+": "int broken = undeclared;\n"})
    commit("Mend it", {"lib/string.c": "int mended; \n"})
    commit("The option", {"arch/x86/Kconfig+": KCONFIG, "arch/x86/kernel/uintr.c": "int uintr;\n"})
    result = check(request_of(), tmp_path / "out")
    one, two, three, four = result.patches

    assert [step.subject for step in result.patches] == [
        "Count TODO",
        "Break it",
        "Mend it",
        "The option",
    ]
    assert [step.applies for step in result.patches] == [True] * 4
    assert [step.builds for step in result.patches] == [True, False, True, True]
    assert "undeclared" in two.error
    assert [step.exit_code for step in result.patches] == [1, 3, 1, 0]
    assert result.exit_code == 3

    assert one.warnings is not None
    assert any("unused variable" in text for text in one.warnings)
    assert two.warnings is None
    assert three.warnings == ()
    assert four.warnings == ()
    assert one.checkpatch is not None
    assert (one.checkpatch.errors, one.checkpatch.warnings) == (0, 1)
    assert three.checkpatch is not None
    assert (three.checkpatch.errors, three.checkpatch.warnings) == (1, 0)
    assert one.sparse is None
    assert one.cells is None

    written = json.loads((tmp_path / "out/series.json").read_text())
    assert written["schema"] == 1
    assert len(written["patches"]) == written["length"] == 4
    assert SeriesResult.model_validate(written) == result


def test_a_developers_own_kept_folder_is_left_alone(
    commit: Commit, request_of: Callable[[], Request], tmp_path: Path, store: Store
) -> None:
    commit("One", {"kernel/fork.c+": "int one;\n"})
    check(request_of(), tmp_path / "out")
    assert [path.name for path in (store.root / "work").iterdir()] == ["kernel-toy-series-gcc"]


def test_a_patch_that_does_not_apply_ends_the_check(
    commit: Commit, request_of: Callable[[], Request], tmp_path: Path
) -> None:
    commit("One", {"kernel/fork.c+": "int one;\n"})
    commit("Two", {"kernel/fork.c+": "int two;\n"})
    commit("Three", {"kernel/fork.c+": "int three;\n"})
    request = request_of()
    series = Path(request.overrides.series or "") / "series"
    names = series.read_text().splitlines()
    series.write_text("\n".join((names[0], names[2], names[1])))
    result = check(request, tmp_path / "out")
    assert [step.applies for step in result.patches] == [True, False]
    assert result.length == 3
    assert "does not apply" in result.patches[1].error
    assert result.exit_code == ExitCode.BUILD


def test_what_the_tree_complained_of_before_is_not_the_series_fault(
    commit: Commit, request_of: Callable[[], Request], toy: Path, tmp_path: Path
) -> None:
    commit("Upstream", {"kernel/fork.c": FORK.format("\tint old;\n\n")})
    git(toy, "tag", "--force", "base")
    commit("One", {"kernel/fork.c": FORK.format("\n\n\tint old, fresh;\n\n")})
    commit("Two", {"lib/string.c+": "int two;\n"})
    commit("Three", {"kernel/fork.c+": "int three;\n"})
    one, two, three = check(request_of(), tmp_path / "out").patches
    assert one.warnings is not None
    assert [text.partition("'")[2].partition("'")[0] for text in one.warnings] == ["fresh"]
    assert two.warnings == three.warnings == ()


def test_sparse_reads_what_the_series_touches(
    commit: Commit, request_of: Callable[[], Request], tmp_path: Path, stub: Callable[..., Path]
) -> None:
    stub(
        "sparse",
        'grep -q __user "$1" && echo "include/linux/alone.h:1:1: warning: who calls this"\n'
        'grep -n __user "$1" | sed "s,\\([0-9]*\\):.*,$1:\\1:1: warning: address,"',
    )
    commit("One", {"kernel/fork.c+": "/* __user */\n"})
    commit("Two", {"kernel/fork.c+": "int two;\n"})
    one, two = check(request_of(), tmp_path / "out", sparse=True).patches
    assert one.sparse == ("kernel/fork.c: warning: address",)
    assert two.sparse == ()
    assert one.exit_code == ExitCode.TESTS_FAILED
    assert two.exit_code == ExitCode.PASSED


def test_a_tree_that_does_not_build_without_the_series(
    commit: Commit, request_of: Callable[[], Request], toy: Path, tmp_path: Path
) -> None:
    commit("Upstream", {"kernel/fork.c": "int broken = undeclared;\n"})
    git(toy, "tag", "--force", "base")
    commit("One", {"lib/string.c+": "int one;\n"})
    with pytest.raises(BuildError, match="does not build"):
        check(request_of(), tmp_path / "out")


def test_what_cannot_be_checked(
    commit: Commit, request_of: Callable[[], Request], tmp_path: Path
) -> None:
    commit("One", {"kernel/fork.c+": "int one;\n"})
    request = request_of()
    none = request.model_copy(update={"overrides": KernelOverrides(series="none")})
    with pytest.raises(UserError, match="no series"):
        check(none, tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/series.json").touch()
    with pytest.raises(UserError, match="already holds"):
        check(request, tmp_path / "out")


# --- guests --------------------------------------------------------------------------------


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let each step find these scripts as its programs, in fake guests of another process."""

    def guests(scripts: dict[str, str], release: str = platform.release()) -> None:
        programs = []
        for name, text in scripts.items():
            path = tmp_path / "programs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            programs.append(Program(name=name, path=path))
        emulator = Emulator(binary=Path("/bin/true"), version="0")

        def prepare(plan: Plan, *_: object, options: dict[str, tuple[str, ...]], **__: object):  # type: ignore[no-untyped-def]
            cells = []
            for cell in plan.cells:
                kernel = build_kernel(cell.kernel, Store.open(), Silent(), apart=series_check.APART)
                setup = CellSetup(
                    cell=cell,
                    emulator=emulator,
                    accel="tcg",
                    # A fake guest is this host, and says so.
                    kernel=kernel.model_copy(update={"release": release}),
                    image=ImageArtefact(key=kernel.key, path=tmp_path),
                    programs=ProgramsArtefact(
                        key=kernel.key,
                        path=tmp_path / "programs",
                        cc="gcc",
                        programs=tuple(programs),
                    ),
                    options=options[cell.name],
                )
                cells.append(setup)
            return Preparation(RunArtefacts(cells=tuple(cells)))

        real = pytest_argv
        monkeypatch.setattr(series_check, "choose_qemu", lambda *_: ChosenQemu(emulator, None))  # type: ignore[arg-type]
        monkeypatch.setattr(engine, "prepare", prepare)
        monkeypatch.setattr(
            series_check,
            "pytest_argv",
            lambda *args: ["-p", "tests.unit.fake_guest", *real(*args)],
        )
        monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    return guests


def test_each_kernel_boots(
    commit: Commit,
    request_of: Callable[[], Request],
    tmp_path: Path,
    guests: Callable[..., None],
) -> None:
    commit("One", {"kernel/fork.c+": "int one;\n"})
    commit("Two", {"kernel/fork.c+": "int two;\n"})
    guests({"api/a": GOOD})
    request = request_of().model_copy(update={"smp": (1, 2)})
    result = check(request, tmp_path / "out", boot=True)
    for step in result.patches:
        assert step.boots
        assert not step.tested
        assert [cell.verdict for cell in step.cells or ()] == ["passed", "passed"]
    assert result.exit_code == ExitCode.PASSED
    kernels = {
        json.loads(path.read_text())["cells"][0]["kernel"]["key"]
        for path in (tmp_path / "out").glob("*/artefacts.json")
    }
    assert len(kernels) == 2


def test_another_kernel_than_the_one_built_is_no_boot_of_it(
    commit: Commit,
    request_of: Callable[[], Request],
    tmp_path: Path,
    guests: Callable[..., None],
) -> None:
    commit("One", {"kernel/fork.c+": "int one;\n"})
    guests({"api/a": GOOD}, release="6.12.0-other")
    (step,) = check(request_of(), tmp_path / "out", boot=True).patches
    assert step.exit_code == ExitCode.TESTS_FAILED


def test_a_kernel_that_does_not_boot_is_exit_4(
    commit: Commit,
    request_of: Callable[[], Request],
    tmp_path: Path,
    guests: Callable[..., None],
) -> None:
    commit("One", {"kernel/fork.c+": "int one;\n"})
    guests({"api/a": GOOD})
    request = request_of().model_copy(update={"cmdline": "fail-boot"})
    (step,) = check(request, tmp_path / "out", boot=True).patches
    assert step.boots is False
    assert step.exit_code == ExitCode.GUEST


def test_programs_run_on_each_kernel_when_selected(
    commit: Commit,
    request_of: Callable[[], Request],
    tmp_path: Path,
    guests: Callable[..., None],
) -> None:
    commit("One", {"kernel/fork.c+": "int one;\n"})
    guests({"api/a": GOOD, "api/b": BAD, "delivery/c": BAD})
    request = request_of()
    (step,) = check(
        request.model_copy(update={"select": "api"}), tmp_path / "out", boot=True
    ).patches
    (cell,) = step.cells or ()
    assert (cell.passed, cell.fail, cell.failed) == (1, 1, ("api/b::broken",))
    assert step.tested
    assert step.exit_code == ExitCode.TESTS_FAILED
    (script,) = (tmp_path / "out").glob("01-One/cells/*/reproduce/*.sh")
    assert str(tmp_path / "out/01-One/series") in script.read_text()
    nothing = request.model_copy(update={"select": "nothing"})
    with pytest.raises(UserError, match="no program matches"):
        check(nothing, tmp_path / "other", boot=True)


# --- the report and the command ------------------------------------------------------------


def test_the_table_says_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    up = StepCell(name="k", boot_s=2, verdict="failed", passed=3, fail=1, skip=0, splats=0)
    down = up.model_copy(update={"boot_s": None, "verdict": "guest failed"})
    step = StepResult(
        number=1,
        patch="a",
        subject="x86: [bold]A",
        applies=True,
        builds=True,
        build_s=61,
        warnings=("a.c: warning: x",),
        tested=True,
        cells=(up,),
    )
    result = SeriesResult(
        kernel="k",
        toolchain="gcc",
        base="tree",
        length=3,
        patches=(step, step.model_copy(update={"number": 2, "cells": (down,)})),
    )
    print_series(make_console(), result, Path("out"))
    out = capsys.readouterr().out
    assert "1: W=1: a.c: warning: x" in out
    assert "x86: [bold]A" in out
    assert "3 pass, 1 FAIL" in out
    assert "NO (1 of 1)" in out
    assert "1 more not checked" in out
    assert "FAILED" in out
    assert result.exit_code == ExitCode.GUEST


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "say what to build"),
        (["kernel", "--cpu", "hidden"], "--cpu is for --check-series"),
        (["kernel", "-k", "api"], "-k is for --check-series"),
        (["kernel", "--no-boot"], "--boot is for --check-series"),
        (["image", "--check-series"], "--check-series takes a kernel only"),
        (["--check-series", "--no-boot", "-k", "api"], "which --no-boot leaves out"),
        (["--check-series", "--kernel", "linux-6.12,rfc-2021"], "one kernel"),
        (["--check-series", "--series", "none"], "no series to check"),
    ],
)
def test_wrong_usage_is_exit_2(
    args: list[str],
    said: str,
    store: Store,
    fragments: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del store
    (fragments / "uintr.config").write_text("CONFIG_SMP=y\n")
    assert cli.invoke(["build", *args]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
