"""`uintr-harness run` with guests that die, and runs that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

from harness import paths
from harness.results.folder import RunFolder
from harness.results.reading import read_records
from harness.results.records import CaseRecord
from harness.results.summary import Summary
from tests.integration.runs import LIMIT_S, Run, cases, failures

pytestmark = pytest.mark.guest


def test_of_three_runs_at_once_a_killed_one_takes_nothing_with_it(tmp_path: Path) -> None:
    """Each has a guest; what the dead one leaves is gone once the next guest starts."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    env = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}

    def begin(name: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "harness", "run", "--out", str(tmp_path / name)]
        with (tmp_path / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*argv, "--smp", "1", "-k", "lifetime"],
                cwd=tmp_path,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def begun(name: str) -> bool:
        found = read_records(RunFolder(tmp_path / name).results).records
        return any(isinstance(record, CaseRecord) for record in found)

    def left() -> tuple[list[str], list[str]]:
        """QEMUs of these runs, and folders of guests."""
        qemus = [
            str(process.pid)
            for process in psutil.process_iter(["cmdline"])
            if any(str(runtime) in word for word in process.info["cmdline"] or ())
        ]
        root = runtime / f"uintr-harness-{os.getuid()}"
        return qemus, [path.name for path in root.iterdir() if path.is_dir()]

    runs = {name: begin(name) for name in ("one", "two", "three")}
    try:
        end = time.monotonic() + LIMIT_S
        while not begun("two"):
            assert runs["two"].poll() is None, (tmp_path / "two.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        runs["two"].kill()
        for name in ("one", "three"):
            assert runs[name].wait(LIMIT_S) == 0, (tmp_path / f"{name}.log").read_text()
    finally:
        for process in runs.values():
            process.kill()
            process.wait()
    qemus, folders = left()
    assert not qemus
    assert len(folders) <= 2, "those of the dead run's guest and of its state"
    last = begin("last")
    assert last.wait(LIMIT_S) == 0, (tmp_path / "last.log").read_text()
    assert left() == ([], [])
    (cell,) = read_summary(tmp_path / "one").cells
    assert cell.passed > 20
    assert cell.fail == 0
    same = {(record.program, record.case, record.status) for record in cases(tmp_path / "one")}
    for name in ("three", "last"):
        assert {(r.program, r.case, r.status) for r in cases(tmp_path / name)} == same


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGKILL, 4, "INCOMPLETE"), (signal.SIGHUP, 130, "INTERRUPTED")],
)
def test_a_run_that_is_stopped_is_passed_nowhere(
    number: signal.Signals, code: int, word: str, tmp_path: Path
) -> None:
    """Killed, or by a terminal that is closed, after some of its cases passed."""
    folder = RunFolder(tmp_path / "out")
    # The stress lasts far longer than the signal takes, whatever else the host does.
    argv = [sys.executable, "-m", "harness", "run", "--smp", "1", "-k", "api or stress"]
    with subprocess.Popen(
        [*argv, "--out", str(folder.path)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        end = time.monotonic() + LIMIT_S
        while len(cases(folder.path)) < 3:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(number)
        said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert b"PASSED" not in said
    assert {record.status for record in cases(folder.path)} == {"pass"}

    def harness(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness", *args, str(folder.path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    report = harness("report")
    assert report.returncode == code
    assert f"\n{word}: " in report.stdout
    assert "passed " not in report.stdout.rpartition(word)[0]
    markdown = harness("report", "--markdown")
    assert (markdown.returncode, f"❌ {word.lower()}" in markdown.stdout) == (code, True)
    kcidb = harness("report", "--kcidb", "bench")
    assert kcidb.returncode == code
    assert json.loads(kcidb.stdout)["tests"][-1]["status"] == "ERROR"
    assert harness("compare", str(folder.path)).returncode == 4
    assert int(ET.parse(folder.junit).getroot().get("errors", "0")) >= 1
    assert f"<title>{word.capitalize()}" in (folder.path / "report.html").read_text()


def read_summary(folder: Path) -> Summary:
    return Summary.model_validate_json(RunFolder(folder).summary.read_text())


FAULTS = """
import os, signal, threading
import psutil
import pytest


def qemu():
    (one,) = [c for c in psutil.Process().children(recursive=True) if "qemu" in c.name()]
    return one


def test_panic(guest):
    guest.run(["sh", "-c", "echo c >/proc/sysrq-trigger"])


def test_after_panic(guest):
    assert guest.run(["true"]).returncode == 0


def test_killed(guest):
    threading.Timer(1, lambda: qemu().kill()).start()
    guest.run(["sleep", "100"], timeout_s=100)


def test_hang(guest):
    threading.Timer(1, lambda: qemu().suspend()).start()
    # A hang is known by the command's deadline, which is several times this on an emulated CPU.
    guest.run(["sleep", "1000"], timeout_s=3)


def test_cut(guest):
    guest.run(["sh", "-c", "killall -9 dropbear; sleep 100"], timeout_s=100)


def test_after_all(guest):
    assert guest.run(["true"]).returncode == 0
"""


def test_each_death_of_a_guest_has_its_verdict_and_the_run_goes_on(
    run: Run, folder: RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "test_faults.py").write_text(FAULTS)
    done = run("--smp", "1", "--tests", "test_faults.py")
    assert done.returncode == 4
    assert failures(folder) == {
        "test_panic": "panic",
        "test_killed": "qemu-died",
        "test_hang": "hang",
        "test_cut": "connection-lost",
    }
    passed = [
        record.program.rpartition("::")[2].partition("[")[0]
        for record in read_records(folder.results).records
        if isinstance(record, CaseRecord) and record.status == "pass"
    ]
    assert passed == ["test_after_panic", "test_after_all"]
    assert "FAILED: a guest failed" in done.stdout
    assert "Traceback" not in done.stderr
    (diagnosis,) = folder.path.glob("cells/*/*/diagnosis")
    assert list(diagnosis.iterdir())
    left = [line for line in processes() if str(folder.path) in line]
    assert not left


def processes() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines


def test_a_kernel_that_does_not_boot(run: Run, folder: RunFolder, tmp_path: Path) -> None:
    text = (paths.KERNELS / "linux-6.12.toml").read_text()
    text = text.replace("../../patches", str(paths.PATCHES))
    (tmp_path / "broken.toml").write_text(f'cmdline = "rdinit=/nothing init=/nothing"\n{text}')
    done = run("--kernel", "broken.toml", "-k", "api")
    assert done.returncode == 4
    assert failures(folder) == {"boot": "panic-before-init"}
    assert "panic-before-init" in done.stdout
    assert "Requested init /nothing failed" in done.stdout + done.stderr
    told = "panic-before-init: "
    assert done.stderr.count(told) == 1, "the same error is told for each program"
    assert "another exception" not in done.stderr


def test_a_cpu_that_this_qemu_has_not(run: Run, folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "future.toml").write_text('model = "Future-CPU"\nexposes_uintr = false\n')
    done = run("--cpu", "./future.toml")
    assert done.returncode == 2
    assert "no CPU model 'Future-CPU'" in done.stderr
    assert "hint:" in done.stderr
    assert not folder.path.exists(), "something was prepared for a cell that cannot run"
