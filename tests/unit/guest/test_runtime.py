"""QEMU's process, and the folder of its sockets and files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import GuestError
from harness.guest import runtime
from harness.guest.alarm import Alarm
from harness.guest.process import Process
from harness.guest.spec import GuestSpec
from harness.guest.verdict.deadlines import Deadline
from harness.values import Emulator

MakeSpec = Callable[..., GuestSpec]
MakeQemu = Callable[..., Emulator]


def test_runtime_folders_of_the_dead_are_swept(tmp_path: Path) -> None:
    program = """\
        import os, sys
        from harness.guest.runtime import runtime_folder
        with runtime_folder() as folder:
            print(folder, flush=True)
            sys.stdin.read()
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        with runtime.runtime_folder():
            assert folder.exists()  # its owner lives
        other.kill()
    assert folder.exists()
    with runtime.runtime_folder() as mine:
        assert not folder.exists()
        assert mine.exists()
    assert not mine.exists()


def test_a_runtime_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / f"uintr-harness-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GuestError, match="another user"):
        runtime.runtime_root()


@pytest.mark.parametrize("trouble", ["shared", "foreign", "missing", "file"])
def test_only_a_runtime_folder_of_ones_own_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """``su`` leaves the variable of the user before, into whose folder root could write."""
    named, fallback = tmp_path / "named", tmp_path / "tmp"
    fallback.mkdir()
    monkeypatch.setattr("harness.guest.runtime.tempfile.gettempdir", lambda: str(fallback))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(named))
    if trouble == "file":
        named.touch()
    elif trouble != "missing":
        named.mkdir(mode=0o700)
    root = named if trouble == "foreign" else None
    if trouble == "shared":
        named.chmod(0o770)
    if root is not None:
        assert runtime.runtime_root().parent == named
        real = os.stat

        def foreign(path: Path, **more: bool) -> os.stat_result:
            found = real(path, **more)
            other = list(found)
            other[4] += 1  # st_uid
            return os.stat_result(other) if Path(path) == named else found

        monkeypatch.setattr("os.stat", foreign)
    assert runtime.runtime_root().parent == fallback


def test_a_runtime_folder_that_others_can_read_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    root = runtime.runtime_root()
    root.chmod(0o755)
    assert runtime.runtime_root().stat().st_mode & 0o777 == 0o700


def test_a_child_dies_with_the_harness(tmp_path: Path) -> None:
    program = """\
        import sys, threading
        from pathlib import Path
        from harness.guest.process import Process
        made = []
        def start():  # a thread that ends at once, as pytest's may
            made.append(Process(["sleep", "600"], log=Path(sys.argv[1]), sandbox=False))
        thread = threading.Thread(target=start); thread.start(); thread.join()
        print(made[0].pid, flush=True)
        sys.stdin.read()
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        pid = int(other.stdout.readline())
        time.sleep(0.3)
        assert Path(f"/proc/{pid}").exists()
        other.kill()
    end = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_qemu_behind_a_script_dies_with_the_harness(tmp_path: Path) -> None:
    """The death signal reaches the script alone."""
    program = """\
        import sys
        from pathlib import Path
        from harness.guest.process import Process
        argv = ["sh", "-c", "sleep 600 & echo $!; wait"]
        child = Process(argv, log=Path(sys.argv[1]), sandbox=False)
        print(int(child.stdout.readline()), flush=True)
        sys.stdin.read()
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        pid = int(other.stdout.readline())
        assert _runs(pid)
        other.kill()
    end = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _runs(pid)


def test_process_tells_its_end(tmp_path: Path) -> None:
    alarm = Alarm()
    argv = ["sh", "-c", "exit 7"]
    child = Process(argv, log=tmp_path / "log", on_exit=alarm.trip, sandbox=False)
    assert alarm.wait(lambda: alarm.tripped, Deadline("end", 30))
    assert child.returncode == 7
    child.kill()
    child.close_streams()
