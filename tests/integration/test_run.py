"""`uintr-harness run` with real guests that work, and shells in them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.results.folder import RunFolder
from harness.results.reading import read_records
from harness.results.records import BootRecord, CaseRecord
from tests.integration.runs import LIMIT_S, Run

pytestmark = pytest.mark.guest

#: Of a guest that boots, everything being built.
CONSOLE_S = 600


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
