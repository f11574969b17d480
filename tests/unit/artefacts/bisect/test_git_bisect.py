"""``git bisect run uintr-harness run --for-bisect``: what git makes of the exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import paths
from harness.cli import invoke
from harness.errors import BuildError, ExitCode, GuestError, UserError
from harness.names import ABORT, UNTESTABLE
from harness.request.profiles import KernelOverrides, load_kernel
from harness.results.records import Record
from harness.run import suite
from tests.unit.results import make
from tests.unit.runs import ended

from .searches import failing, lost

#: State of a tree → exit code of the run, its records, and what git is told.
STATES: dict[str, tuple[int | Exception, tuple[Record, ...], int]] = {
    "good": (0, (make.case(),), 0),
    "bad": (1, (failing(),), 1),
    "panics": (4, (lost("panic", "api/a"),), 1),
    "splats": (1, (make.splat(),), 1),
    "does not boot": (4, (lost("panic-before-init"),), UNTESTABLE),
    "all skipped": (1, (make.case(status="skip"),), UNTESTABLE),
    "does not build": (3, (), UNTESTABLE),
    "does not apply": (BuildError("the patch does not apply"), (), UNTESTABLE),
    "wrong option": (UserError("there is no such cpu"), (), ABORT),
    "no disk": (GuestError("the disk is full"), (), ABORT),
    "host failed": (4, (), ABORT),
    "defect": (RuntimeError("a defect of the harness"), (), ABORT),
    "interrupted": (130, (), 130),
}
#: Takes the place of the run's engine: the verdict is in the file ``state`` of the current folder.
STEP = """
import sys
from pathlib import Path
from harness.cli import invoke
from harness.run import suite
from tests.unit.artefacts.bisect.test_git_bisect import run_in
suite.run = run_in
sys.exit(invoke(sys.argv[1:]))
"""


def run_in(request: object, options: suite.RunOptions, *_: object) -> int:
    code, records, _git = STATES[Path("state").read_text().strip()]
    assert options.exit_first
    assert options.out is not None
    if isinstance(code, Exception):
        raise code
    ended(options.out, code, *records)
    if code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    return code


@pytest.mark.parametrize("state", STATES)
def test_what_git_is_told(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("state").write_text(state)
    monkeypatch.setattr(suite, "run", run_in)
    told = STATES[state][2]
    assert invoke(["run", "--for-bisect"]) == told
    assert invoke(["run", "--for-bisect", "--out", "mine"]) == told


@pytest.mark.parametrize("wrong", [("--no-such-option",), ("--watch",), ("--smp", "x")])
def test_a_wrong_command_is_no_verdict(wrong: tuple[str, ...]) -> None:
    assert invoke(["run", "--for-bisect", *wrong]) == ABORT


def test_options_that_a_commit_lacks_are_left_out() -> None:
    assert load_kernel("linux-6.12").unknown_options == "refuse"
    asked = KernelOverrides(drop_unknown=True)
    assert load_kernel("linux-6.12", asked).unknown_options == "drop"


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(paths.ROOT), "GIT_CONFIG_GLOBAL": os.devnull},
    )  # fmt: skip
    return done.stdout + done.stderr


def history(folder: Path, *states: str) -> None:
    """Make a commit for each state, tagged by its number."""
    git(folder, "init", "-q")
    for number, state in enumerate(states):
        (folder / "state").write_text(state)
        git(folder, "add", "state")
        git(folder, "commit", "-q", "--allow-empty", "-m", f"{number} {state}")
        git(folder, "tag", f"c{number}")


def bisected(folder: Path, newest: int) -> str:
    git(folder, "bisect", "start", f"c{newest}", "c0")
    return git(folder, "bisect", "run", sys.executable, "-c", STEP, "run", "--for-bisect")


def test_git_finds_the_first_bad_commit(tmp_path: Path) -> None:
    states = (
        "good",
        "good",
        "does not build",
        "good",
        "good",
        "bad",
        "does not boot",
        "bad",
        "bad",
    )
    history(tmp_path, *states)
    said = bisected(tmp_path, len(states) - 1)
    assert "5 bad" in said.partition("is the first bad commit")[2]


def test_what_cannot_be_tested_stays_in_the_range(tmp_path: Path) -> None:
    states = ("good", "good", "does not boot", "does not build", "bad", "bad")
    history(tmp_path, *states)
    said = bisected(tmp_path, len(states) - 1)
    assert "There are only 'skip'ped commits left to test" in said


def test_git_stops_where_the_host_fails(tmp_path: Path) -> None:
    history(tmp_path, "good", "no disk", "no disk", "no disk", "bad")
    said = bisected(tmp_path, 4)
    assert "first bad commit" not in said
    assert "the disk is full" in said
    assert str(ABORT) in said
