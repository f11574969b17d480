"""Commands that a build starts end with the harness, and say what was wrong in the right family."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.errors import BuildError
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


def test_a_full_disk_is_recognised_in_what_a_tool_says() -> None:
    said = capture(["cp", "/etc/hostname", "/dev/full"]).complaint
    assert says_disk_full(said)
    assert not says_disk_full("fork.c:3: error: no space")
