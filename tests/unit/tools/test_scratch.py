"""Tools that are ended leave no scratch folder and no process behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness import cli, paths
from harness.errors import ExitCode
from harness.results.folder import RunFolder
from tools import prefixes

#: Seconds that a tool may take to begin, and to end.
PATIENCE_S = 120
TOOLS = {
    "mailboxes": ["--count", "100000", "--jobs", "2"],
    "prefixes": ["--count", "1000000"],
    "streams": ["--count", "100000"],
}
#: Modules that may create temporary folders otherwise, and where theirs are.
OWN = {
    "scratch.py",
    "mailboxes.py",  # in a worker's folder
    "debian_root.py",  # in a folder with a lock, which the next one sweeps
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_that_is_ended_leaves_nothing(tool: str, tmp_path: Path) -> None:
    """A signal other than SIGTERM may be ignored where the tests run, as nohup does."""
    work, out = tmp_path / "tmp", tmp_path / "out"
    work.mkdir()
    with out.open("wb") as log:
        process = psutil.Popen(
            [sys.executable, "-m", f"tools.{tool}", *TOOLS[tool]],
            cwd=paths.ROOT,
            env={**os.environ, "TMPDIR": str(work)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        end = time.monotonic() + PATIENCE_S
        while not any(path.is_file() for path in work.rglob("*")) and process.poll() is None:
            assert time.monotonic() < end, "the tool writes nothing"
            time.sleep(0.05)
        children = process.children(recursive=True)
        process.terminate()
        assert process.wait(PATIENCE_S) != 0
    assert list(work.iterdir()) == [], out.read_text()
    _, left = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert left == []


def test_prefixes_ends_if_the_signal_meets_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line turns it into an exit code."""

    monkeypatch.setattr(cli, "invoke", lambda _argv: ExitCode.INTERRUPTED)
    run = RunFolder(paths.ROOT)
    with pytest.raises(KeyboardInterrupt):
        list(prefixes.said_of(run, run))


def test_a_second_signal_does_not_interrupt_the_clean_up(tmp_path: Path) -> None:
    """``timeout`` sends its signal twice: to the process, and to its group."""
    script = (
        "import os, signal, time\n"
        "from tools.scratch import scratch\n"
        "with scratch('x'):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(0.1)\n"
        "        open('cleaned', 'w')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(paths.ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["cleaned"], done.stderr


def test_all_tools_create_their_scratch_folders_in_one_way() -> None:
    others = {
        path.name
        for path in (paths.ROOT / "tools").rglob("*.py")
        if "tempfile." in path.read_text() and path.name not in OWN
    }
    assert others == set()
