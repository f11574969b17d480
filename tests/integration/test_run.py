"""Whole runs with real guests: what is printed, kept and returned."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

from harness import paths
from harness.results.folder import RunFolder
from harness.results.reading import read_records
from harness.results.records import BootRecord, CaseRecord, GuestFailureRecord
from harness.results.summary import Summary

pytestmark = pytest.mark.guest

#: A whole run on a slow machine; the first one builds the kernel.
LIMIT_S = 3000
#: Of a guest that boots, everything being built.
CONSOLE_S = 600

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Start ``uintr-harness run`` in a folder of its own, as a user does."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "run", "--out", str(tmp_path / "out"), *args],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        print(done.stdout)
        print(done.stderr, file=sys.stderr)
        return done

    return run


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "out")


def failures(folder: RunFolder) -> dict[str, str]:
    """Return, by the test's name, what happened to its guest."""
    return {
        (record.program or "boot").rpartition("::")[2].partition("[")[0]: record.verdict
        for record in read_records(folder.results).records
        if isinstance(record, GuestFailureRecord)
    }


def verdicts(folder: RunFolder, cell: str) -> dict[tuple[str, str], str]:
    """Return the status of each case of a cell, by program and case."""
    return {
        (record.program, record.case): record.status
        for record in read_records(folder.results).records
        if isinstance(record, CaseRecord) and record.cell == cell
    }


def test_both_kinds_of_cpu_on_the_bundled_qemu_agree(run: Run, folder: RunFolder) -> None:
    """The CPU model passes its own tests, and the kernel the same ones on both CPUs.

    On the one the processor sends and delivers, on the other the kernel emulates it.
    """
    done = run("--cpu", "exposed,hidden", "--smp", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = {cell["cpu"]: cell for cell in json.loads(folder.summary.read_text())["cells"]}
    assert set(cells) == {"exposed", "hidden"}
    for cpu, words in (
        ("exposed", b"x86/uintr: the processor's"),
        ("hidden", b"x86/uintr: emulated"),
    ):
        assert words in (folder.cell(cells[cpu]["name"]) / "console.log").read_bytes()
    exposed, hidden = (verdicts(folder, cells[cpu]["name"]) for cpu in ("exposed", "hidden"))
    assert exposed.keys() == hidden.keys()

    def of(found: dict[tuple[str, str], str], subject: str) -> dict[tuple[str, str], str]:
        return {key: status for key, status in found.items() if key[0].startswith(subject)}

    for subject, least in ("api", 40), ("delivery", 70), ("lifetime", 25), ("kernel", 10):
        assert len(of(exposed, subject)) > least
    # A host that is too slow for a case makes it a skip; nothing else may differ.
    differ = {
        key: (status, hidden[key])
        for key, status in exposed.items()
        if status != hidden[key]
        and "skip" not in (status, hidden[key])
        and not key[0].startswith("bare-metal")
    }
    assert not differ
    # Without the feature there is little to test, but its absence is.
    reasons = {
        record.message
        for record in read_records(folder.results).records
        if isinstance(record, CaseRecord)
        and record.cell == cells["exposed"]["name"]
        and record.program.startswith("bare-metal")
        and record.status == "skip"
    }
    assert reasons <= {"needs more CPUs", "the CPU has no SYSEXIT in 64-bit mode"}
    assert of(hidden, "bare-metal")["bare-metal/enumeration", "msrs_follow_cpuid.xapic"] == "pass"
    assert of(hidden, "bare-metal")["bare-metal/senduipi", "posts_and_notifies.xapic"] == "skip"


def test_the_kernels_own_selftests_in_ktap_and_in_the_older_form(
    run: Run, folder: RunFolder
) -> None:
    """Both targets need no kernel of their own, which would take minutes to build."""
    select = "kselftest-sigaltstack/sas or kselftest-vDSO/vdso_test_correctness"
    done = run("--cpu", "exposed", "--smp", "2", "--kselftest", "sigaltstack,vDSO", "-k", select)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {
        (record.program, record.case): record
        for record in read_records(folder.results).records
        if isinstance(record, CaseRecord)
    }
    assert {program for program, _ in found} == {
        "kselftest-sigaltstack/sas",
        "kselftest-vDSO/vdso_test_correctness",
    }
    # A part of vDSO needs functions that only vDSOs for 32-bit programs have.
    assert {record.status for record in found.values()} == {"pass", "skip"}
    assert len([program for program, _ in found if program == "kselftest-sigaltstack/sas"]) == 3
    older = found["kselftest-vDSO/vdso_test_correctness", "Testing gettimeofday..."]
    assert older.status == "pass"
    assert f"[RUN]\t{older.case}" in older.diagnostics
    suites = ET.parse(folder.junit).getroot()
    assert "kselftest-vDSO.vdso_test_correctness" in ET.tostring(suites, encoding="unicode")


def test_without_a_kernel_no_guest_is_booted(run: Run, folder: RunFolder) -> None:
    done = run("--cpu", "exposed", "--smp", "1", "-k", "bare-metal/uiret")
    assert done.returncode == 0, done.stdout + done.stderr
    records = list(read_records(folder.results).records)
    assert not [record for record in records if isinstance(record, BootRecord)]
    cell = json.loads(folder.summary.read_text())["cells"][0]
    assert cell["boot_s"] is None
    output = folder.cell(cell["name"]) / "output/bare-metal.uiret.txt"
    planned = re.search(r"^1\.\.([0-9]+)", output.read_text(), re.MULTILINE)
    assert planned
    cases = verdicts(folder, cell["name"])
    assert set(cases.values()) == {"pass"}
    assert len(cases) == int(planned[1])
    script = folder.cell(cell["name"]) / "bare-metal/uiret.sh"
    by_hand = subprocess.run([script], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert by_hand.returncode == 1  # QEMU's status for exit code 0


def test_the_bundled_series_passes_every_program_of_either_compiler(
    run: Run, folder: RunFolder
) -> None:
    done = run("--cpu", "hidden", "--smp", "1,4", "--cc", "gcc,clang")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(folder.summary.read_text())
    cells = {(cell["smp"], cell["cc"]): cell for cell in summary["cells"]}
    assert set(cells) == {(1, "gcc"), (1, "clang"), (4, "gcc"), (4, "clang")}
    for smp in (1, 4):
        gcc = verdicts(folder, cells[smp, "gcc"]["name"])
        assert len(gcc) > 150
        assert gcc == verdicts(folder, cells[smp, "clang"]["name"])
    for cell in summary["cells"]:
        assert cell["pass"] > 150
        assert (cell["fail"], cell["splats"]) == (0, 0)
        place = folder.cell(cell["name"])
        assert b"uintr-harness: sshd" in (place / "console.log").read_bytes()
        for name in ("qemu.sh", "kernel.config"):
            assert (place / name).stat().st_size
    assert ET.parse(folder.junit).getroot().get("failures") == "0"
    assert "PASSED" in done.stdout


def test_a_second_run_builds_nothing(run: Run, folder: RunFolder) -> None:
    assert run("-k", "api/create-fd").returncode == 0
    (folder.path).rename(folder.path.with_name("first"))
    started = time.time()
    done = run("-k", "api/create-fd")
    assert done.returncode == 0
    assert "build kernel" not in done.stderr
    first = next(r for r in read_records(folder.results).records if isinstance(r, BootRecord))
    # The figure is for who reads the log: a loaded machine must not fail a test.
    print(f"{time.time() - started:.1f} s in all, booted in {first.boot_s:.1f} s")


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
    assert (cell.fail, cell.skip) == (0, 0)
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


def cases(folder: Path) -> list[CaseRecord]:
    found = read_records(RunFolder(folder).results).records
    return [record for record in found if isinstance(record, CaseRecord)]


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


def test_pytest_by_hand(run: Run, folder: RunFolder, tmp_path: Path) -> None:
    assert run("--smp", "1", "-k", "api/create-fd").returncode == 0
    (tmp_path / "test_mine.py").write_text(
        "def test_true(guest):\n    assert guest.run(['true']).returncode == 0\n"
    )
    for options in (["--uintr-run", str(folder.path)], ["--uintr-smp", "1"]):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "harness.testing.plugin", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 passed" in done.stdout
    # Both have begun and ended as any run does.
    for run_folder in (folder, RunFolder((tmp_path / "runs" / "latest").resolve())):
        environment = run_folder.read_environment()
        assert environment is not None
        assert environment.end is not None
        assert run_folder.read_ending().state == "ended"


def test_gdb_stops_the_guests_kernel_where_another_shell_leads_it(tmp_path: Path) -> None:
    other = f"{tmp_path}/uintr-harness-shell-*/ssh"
    lines = [
        "break __x64_sys_sync",
        f"shell sh -c '(sleep 2; echo sync | {other}) >/dev/null 2>&1 &'",
        "continue",
        "backtrace 3",
        "detach",
        "quit",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "shell", "--gdb", "--smp", "1"],
        input="\n".join(lines) + "\n",
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "Breakpoint 1, 0x" in done.stdout
    assert "in __x64_sys_sync ()" in done.stdout
    assert "another shell: " in done.stderr
    assert not list(tmp_path.glob("uintr-harness-shell-*"))


def test_the_console_has_a_shell_too(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "harness", "shell", "--console", "--smp", "1"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        watchdog = threading.Timer(CONSOLE_S, process.kill)
        watchdog.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            said = b""
            # What is typed before the shell reads would be lost in the serial port. The kernel may
            # have more to say behind the prompt.
            # The folder is / or, for newer versions of BusyBox, HOME.
            while not re.search(rb"[/~] # ", said) and (
                data := os.read(process.stdout.fileno(), 65536)
            ):
                said += data
            process.stdin.write(b"ls /tests/api; id -u; poweroff -f\n")
            process.stdin.flush()
            said += process.stdout.read()
        finally:
            watchdog.cancel()
    assert b"Linux version" in said
    assert b"create-fd" in said
    assert process.returncode == 0


def test_a_shell_takes_commands_and_gives_their_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "shell", "--smp", "1"],
        input="uname -r\nls /tests/api\nexit 3\n",
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("6.12")
    assert "create-fd" in done.stdout
