"""A run again after each change that matters, and after no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import paths
from harness.campaigns.watch import run_and_watch, run_once, watched
from harness.cli import invoke
from harness.request.profiles import KernelOverrides
from harness.request.request import Request

#: Nothing here takes longer but on a machine that stands still.
LIMIT_S = 60.0


class Runs:
    """Stands for the run: counts, and lets a test wait for the next one."""

    def __init__(self, codes: list[int]) -> None:
        self.count = 0
        self._codes = codes
        self._begun = threading.Semaphore(0)

    def once(self) -> int:
        self.count += 1
        self._begun.release()
        return self._codes[min(self.count, len(self._codes)) - 1]

    def wait(self, seconds: float = LIMIT_S) -> bool:
        return self._begun.acquire(timeout=seconds)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/a.c").write_text("1")
    return tmp_path / "tree"


def test_each_change_is_a_run_whatever_became_of_the_last(place: Path) -> None:
    runs, said, stop = Runs([1, 4, 0]), list[str](), threading.Event()
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(run_and_watch(runs.once, [place], said.append, stop))
    )
    thread.start()
    assert runs.wait()
    (place / "sub/a.c").write_text("2")
    assert runs.wait()
    for name in ("a.o", ".a.o.cmd", ".tmp_vmlinux.kallsyms1"):
        (place / "sub" / name).write_text("built")
    assert not runs.wait(2.0), "an object is no change"
    (place / "new.c").write_text("3")
    assert runs.wait()
    stop.set()
    thread.join(LIMIT_S)
    assert codes == [0]
    assert [text for text in said if text.startswith("changed")] == [
        "changed: a.c",
        "changed: new.c",
    ]


def test_a_change_while_a_run_goes_on_begins_the_next(place: Path) -> None:
    stop = threading.Event()
    counts: list[int] = []

    def once() -> int:
        counts.append(1)
        if len(counts) == 1:
            (place / "sub/a.c").write_text("changed meanwhile")
        else:
            stop.set()
        return 0

    assert run_and_watch(once, [place], lambda _: None, stop) == 0
    assert len(counts) == 2


def test_an_interrupted_run_is_the_last(place: Path) -> None:
    assert run_and_watch(lambda: 130, [place], lambda _: None) == 130


def test_what_a_run_is_made_of(tmp_path: Path) -> None:
    tree, series = tmp_path / "linux", tmp_path / "series"
    tree.mkdir()
    (tree / "Kbuild").touch()
    series.mkdir()
    (series / "series").touch()
    test = tmp_path / "test_mine.py"
    test.touch()
    request = Request(overrides=KernelOverrides(tree=tree, series=str(series)))
    found = watched(request, [f"{test}::test_it"])
    assert {tree, series, test, paths.GUEST_TESTS} <= set(found)
    # The bundled series is watched where it is used.
    assert paths.PATCHES / "linux-6.12" in watched(Request(), ())


def test_the_command_of_a_run_is_this_one_without_watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen

    def instead(argv: list[str]) -> subprocess.Popen[bytes]:
        seen.append(argv)
        # As a user's ^C: this process gets it as well, and must wait all the same.
        code = f"import os, signal; os.kill({os.getpid()}, {int(signal.SIGINT)}); os._exit(3)"
        return popen([sys.executable, "-c", code])

    monkeypatch.setattr("harness.campaigns.watch.subprocess.Popen", instead)
    assert run_once(["x", "run", "--watch", "-k", "api"]) == 3
    assert seen == [[sys.executable, "-m", "harness", "run", "-k", "api"]]


def test_an_out_folder_would_be_that_of_the_first_run_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke(["run", "--watch", "--out", "x"]) == 2
    assert "leave --out out" in capsys.readouterr().err


def test_without_watchfiles_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.lib.extras.find_spec", lambda name: None)
    monkeypatch.setattr("harness.campaigns.watch.run_and_watch", lambda *_: 0)
    assert invoke(["run", "--watch"]) == 2
    said = capsys.readouterr().err
    assert "error: --watch needs Python modules that are not installed\n" in said
    assert "where: watchfiles\n" in said
    assert f"hint: {sys.executable} -m pip install --editable '{paths.ROOT}[watch]'\n" in said
