"""Searches in toy trees, by runs that really look at the tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness import cli
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.source.git import Repository
from harness.artefacts.source.series import apply_series, fetch_series
from harness.artefacts.source.trees import fetch_source
from harness.artefacts.store import Store
from harness.campaigns import child_runs
from harness.errors import BuildError, ExitCode
from harness.progress import Silent
from harness.request.profiles import KernelOverrides, load_kernel
from harness.request.request import Request
from harness.results.bisection import BISECT_FILE, Bisection
from harness.results.records import CaseRecord, GuestFailureRecord
from harness.values import KernelProfile
from tests.unit.artefacts.conftest import git, make_checkout
from tests.unit.runs import ended

CELL = "toy-hidden-smp2-gcc"
FILE = "kernel/fork.c"


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


def search(
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: Looks,
    out: Path,
    *args: str,
) -> int:
    return command(monkeypatch, looks, "--tree", str(tree), "--out", str(out), *args)
