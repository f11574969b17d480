"""Commands that a build starts end with the harness, and say what was wrong in the right family."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.errors import BuildError
from harness.lib import reaper
from harness.lib.process import capture, require, says_disk_full, stream

REPOSITORY = Path(__file__).resolve().parents[3]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def test_output_and_exit_code_come_back() -> None:
    result = capture(["sh", "-c", "cat; echo oops >&2; exit 3"], stdin=b"in")
    assert result == (3, b"in", b"oops\n")
    assert result.complaint == "oops"


def test_lines_are_logged_and_told_as_they_come(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "log"
    code = stream(["sh", "-c", "echo one; echo two >&2"], log=log, on_line=lines.append)
    assert (code, lines, log.read_text()) == (0, ["one", "two"], "one\ntwo\n")


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(BuildError, match="no-such-tool is not installed"):
        capture(["no-such-tool"])
    with pytest.raises(BuildError, match="a test needs no-such-tool, nor-this"):
        require("sh", "no-such-tool", "nor-this", needed_for="a test")


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(BuildError, match="did not end within"):
        capture(["sh", "-c", f"echo $$ > {pid}; sleep 60 & wait"], timeout_s=0.3)
    wait_gone(int(pid.read_text()))


def test_an_exception_ends_the_whole_group(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def fail(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(["sh", "-c", f"sleep 60 & echo $! > {pid}; echo go; wait"], on_line=fail)
    wait_gone(int(pid.read_text()))


def test_a_command_ends_when_the_harness_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "from harness.lib.process import stream\n"
        f"stream(['sh', '-c', 'echo $$ > {pid}; exec sleep 60'])\n"
    )
    harness = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    deadline = time.monotonic() + 30
    while not pid.exists() or not pid.read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    wait_gone(int(pid.read_text()))


#: A build whose compiler, a grandchild, heeds no signal but SIGKILL. Both write their numbers.
BUILD = """echo begun; echo $$ > make
sh -c 'trap "" TERM; echo $$ > cc1; while :; do sleep 1; done' & wait"""


def numbers(folder: Path) -> dict[str, int]:
    found = {}
    for name in ("make", "cc1", "told"):
        deadline = time.monotonic() + 30
        while not (text := (folder / name).read_text() if (folder / name).exists() else "").strip():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        found[name] = int(text)
    del found["told"]  # the harness has begun to read: it knows the session
    return found


@pytest.fixture
def quick_reaper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the reaper that does not wait as long."""
    text = Path(reaper.__file__).read_text()
    for name in ("ORDERLY_S", "GRACE_S"):
        text, count = re.subn(rf"^{name} = .*", f"{name} = 0.2", text, flags=re.MULTILINE)
        assert count == 1
    path = tmp_path / "reaper.py"
    path.write_text(text)
    return path


def killed(code: str, folder: Path, quick: Path) -> dict[str, int]:
    """Run code that runs a build, kill it by SIGKILL, and return the build's processes."""
    head = (
        "from pathlib import Path\n"
        "from harness.lib import process, reaper\n"
        f"reaper.__file__ = {str(quick)!r}\n"
        "told = lambda line: Path('told').write_text('1')\n"
    )
    harness = subprocess.Popen(
        [sys.executable, "-c", head + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    found = numbers(folder)
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    return found


def test_what_a_command_has_started_ends_when_the_harness_is_killed(
    tmp_path: Path, quick_reaper: Path
) -> None:
    for pid in killed(
        f"process.stream(['sh', '-c', {BUILD!r}], on_line=told)", tmp_path, quick_reaper
    ).values():
        wait_gone(pid)


def test_a_killed_reaper_is_replaced(tmp_path: Path, quick_reaper: Path) -> None:
    code = f"""
import psutil
process.capture(["true"])
for child in psutil.Process().children():
    child.kill()
    child.wait(30)
process.capture(["true"])
process.stream(['sh', '-c', {BUILD!r}], on_line=told)
"""
    for pid in killed(code, tmp_path, quick_reaper).values():
        wait_gone(pid)


def test_a_daemon_is_left_alone(tmp_path: Path, quick_reaper: Path) -> None:
    """SSH's master connection is one. So is what a command that has ended left behind."""
    daemon = "setsid -f sh -c 'echo $$ > daemon; exec sleep 60'"
    ended = "sleep 60 >/dev/null 2>&1 & echo $! > ended"
    left = f"process.capture(['sh', '-c', {ended!r}])"
    code = f"{left}\nprocess.stream(['sh', '-c', {daemon + '; ' + BUILD!r}], on_line=told)"
    for pid in killed(code, tmp_path, quick_reaper).values():
        wait_gone(pid)
    time.sleep(1)
    for name in ("daemon", "ended"):
        pid = int((tmp_path / name).read_text())
        assert not gone(pid), name
        os.kill(pid, signal.SIGKILL)


def test_make_may_remove_what_it_had_half_written(tmp_path: Path, quick_reaper: Path) -> None:
    """Its death signal is all that it gets in that time: a second one would end it at once."""
    text = quick_reaper.read_text().replace("ORDERLY_S = 0.2", "ORDERLY_S = 20.0")
    quick_reaper.write_text(text)
    make = (
        "echo begun; trap 'trap \"exit 1\" TERM; sleep 1; touch cleaned; exit' TERM; "
        "echo $$ > make; echo $$ > cc1; while :; do sleep 0.1; done"
    )
    for pid in killed(
        f"process.stream(['sh', '-c', {make!r}], on_line=told)", tmp_path, quick_reaper
    ).values():
        wait_gone(pid)
    assert (tmp_path / "cleaned").exists()


def test_a_full_disk_is_recognised_in_what_a_tool_says() -> None:
    said = capture(["cp", "/etc/hostname", "/dev/full"]).complaint
    assert says_disk_full(said)
    assert not says_disk_full("fork.c:3: error: no space")
