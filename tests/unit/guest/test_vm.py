"""Verdicts of a boot, with a QEMU that plays each of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import GuestError, UserError
from harness.guest.runtime import runtime_root
from harness.guest.spec import GuestSpec
from harness.guest.verdict.failure import GuestFailure
from harness.guest.vm import start_guest
from harness.values import CpuProfile

MakeSpec = Callable[..., GuestSpec]

KERNEL = "Decompressing Linux... done.\r\n[    0.000000] Linux version 6.12.0\r\n"
INIT = "uintr-harness: init\r\n"
SSHD = "uintr-harness: sshd\r\n"
PANIC = (
    "[    1.000000] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n"
    "[    1.000000] CPU: 0 PID: 1 Comm: swapper/0\r\n"
    "[    1.000000] ---[ end Kernel panic - not syncing ]---\r\n"
)


def fail(make_spec: MakeSpec, folder: Path, **script: object) -> GuestFailure:
    with pytest.raises(GuestFailure) as caught, start_guest(make_spec(**script), folder):
        pass
    assert [path.name for path in runtime_root().iterdir()] == [".sweep"]
    return caught.value


@pytest.mark.parametrize(
    ("script", "verdict", "phase"),
    [
        ({"console": []}, "silent", "start"),
        ({"console": [[0, "SeaBIOS\r\n"]]}, "silent", "firmware"),
        ({"console": [[0, KERNEL]]}, "hang-in-init", "kernel"),
        ({"console": [[0, KERNEL + INIT]]}, "hang-in-init", "init"),
        ({"console": [[0, KERNEL + INIT + SSHD]]}, "no-ssh", "sshd"),
        ({"console": [[0, KERNEL + PANIC]], "end": 0}, "panic-before-init", "kernel"),
        ({"console": [[0, KERNEL + PANIC]]}, "panic-before-init", "kernel"),
        ({"console": [[0, PANIC]], "end": 0}, "panic-before-init", "firmware"),
        ({"console": [[0, KERNEL + INIT + PANIC]], "end": 0}, "panic", "init"),
        ({"console": [[0, KERNEL]], "end": 0, "reset": True}, "panic-before-init", "kernel"),
        ({"console": [[0, KERNEL]], "end": 0}, "qemu-died", "kernel"),
        ({"console": [[0, KERNEL + INIT]], "end": 139}, "qemu-died", "init"),
        ({"refuse": "qemu: could not load kernel 'x'"}, "qemu-died", "start"),
    ],
)
def test_verdicts(
    make_spec: MakeSpec, tmp_path: Path, script: dict[str, object], verdict: str, phase: str
) -> None:
    error = fail(make_spec, tmp_path / "cell", patience=0.02, **script)
    assert (error.verdict, error.phase) == (verdict, phase)
    assert error.what.startswith(verdict)
    assert error.exit_code == 4


def test_a_guest_whose_qemu_aborts_during_its_boot_is_booted_once_more(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    script = {"console": [[0, KERNEL + PANIC]], "aborts": str(tmp_path / "aborted")}
    error = fail(make_spec, tmp_path / "cell", end=0, **script)
    assert error.verdict == "panic-before-init"  # of the second boot
    kept = tmp_path / "cell" / "aborted"
    assert "an assertion failed" in (kept / "qemu.log").read_text()
    assert "Linux version" in (kept / "console.log").read_text()
    assert "assertion" not in (tmp_path / "cell" / "qemu.log").read_text()


def test_a_qemu_that_aborts_each_time_has_died(make_spec: MakeSpec, tmp_path: Path) -> None:
    error = fail(make_spec, tmp_path / "cell", console=[[0, KERNEL]], aborts=True)
    assert (error.verdict, error.phase) == ("qemu-died", "kernel")
    assert "SIGABRT" in error.what


def test_a_failure_shows_the_last_lines_and_qemus_own_words(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    error = fail(make_spec, tmp_path / "cell", console=[[0, KERNEL + PANIC]], end=0)
    assert "Unable to mount root" in error.console_tail
    assert "Unable to mount root" in str(error)
    died = fail(make_spec, tmp_path / "killed", console=[[0, KERNEL]], end=3)
    assert "exit code 3" in died.what
    assert "Linux version" in died.console_tail
    died = fail(make_spec, tmp_path / "other", refuse="qemu: no space left")
    assert "no space left" in str(died)


def test_a_hang_is_diagnosed_and_a_panic_is_not(make_spec: MakeSpec, tmp_path: Path) -> None:
    fail(make_spec, tmp_path / "hang", patience=0.02, console=[[0, KERNEL]], nmi="NMI here\n")
    assert "NMI here" in (tmp_path / "hang" / "diagnosis" / "5-nmi.txt").read_text()
    fail(make_spec, tmp_path / "panic", console=[[0, KERNEL + PANIC]], end=0)
    assert not (tmp_path / "panic" / "diagnosis").exists()


def test_a_monitor_that_is_deaf_does_not_stop_the_diagnosis(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.guest.verdict.diagnose.STEP_S", 0.2)
    fail(
        make_spec,
        tmp_path / "cell",
        patience=0.02,
        console=[[0, KERNEL]],
        deaf=["query-status", "chardev-send-break"],
    )
    diagnosis = tmp_path / "cell" / "diagnosis"
    assert "not available" in (diagnosis / "1-status.json").read_text()
    assert "RIP=" in (diagnosis / "2-registers.txt").read_text()
    assert "Linux version" in (diagnosis / "6-console.txt").read_text()


def test_a_monitor_that_answers_nothing_is_waited_for_once(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.guest.verdict.diagnose.STEP_S", 0.4)
    monkeypatch.setattr("harness.guest.verdict.diagnose.LAST_S", 0.1)
    deaf = ["query-status", "chardev-send-break", "inject-nmi"]
    fail(make_spec, tmp_path / "cell", patience=0.02, console=[[0, KERNEL]], deaf=deaf)
    diagnosis = tmp_path / "cell" / "diagnosis"
    assert "process" in (diagnosis / "0-qemu.txt").read_text()
    assert "within 0.4 s" in (diagnosis / "1-status.json").read_text()
    assert "within 0.1 s" in (diagnosis / "4-sysrq-l.txt").read_text()
    assert "within 0.1 s" in (diagnosis / "5-nmi.txt").read_text()


@pytest.mark.parametrize(
    ("stderr", "words", "hint"),
    [
        ("qemu: Property 'max-x86_64-cpu.uintr' not found\n", "'uintr'", "--qemu bundled"),
        ("qemu: Property 'max-x86_64-cpu.foo' not found\n", "'foo'", "-cpu help"),
        ("qemu: unable to find CPU model 'foo'\n", "no CPU model 'foo'", "-cpu help"),
        (
            "qemu: warning: TCG doesn't support requested feature: CPUID.07H:EBX.hle [bit 4]\n",
            "lacks features of",
            "features",
        ),
        (
            "qemu: Host doesn't support requested features\n",
            "lacks features of",
            "features",
        ),
    ],
)
def test_refused_cpus(
    make_spec: MakeSpec, tmp_path: Path, stderr: str, words: str, hint: str
) -> None:
    profile = CpuProfile(name="exposed", model="max", features=("+uintr",), exposes_uintr=True)
    spec = make_spec(cpu=profile, refuse=stderr)
    with pytest.raises(UserError, match=words) as caught, start_guest(spec, tmp_path / "cell"):
        pass
    assert hint in (caught.value.hint or "")


def test_a_cpu_that_qemu_reports_otherwise_is_a_mismatch(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    profile = CpuProfile(
        name="odd", model="max", features=("+uintr", "pku=off"), exposes_uintr=True
    )
    error = fail(make_spec, tmp_path / "cell", cpu=profile, values={"uintr": False, "pku": False})
    assert error.verdict == "cpu-mismatch"
    assert "uintr is off, not on" in str(error)
    assert "pku" not in str(error)


def test_a_qemu_that_knows_uintr_is_told_to_hide_it(make_spec: MakeSpec, tmp_path: Path) -> None:
    fail(make_spec, tmp_path / "cell", console=[], end=0, props=["uintr", "pku"])
    assert "max,uintr=off,enforce" in (tmp_path / "cell" / "qemu.sh").read_text()


def test_a_qemu_that_is_not_there(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec()
    gone = spec.emulator.model_copy(update={"binary": tmp_path / "no-such-qemu"})
    with (
        pytest.raises(GuestError),
        start_guest(spec.model_copy(update={"emulator": gone}), tmp_path / "cell"),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_no_traceback(make_spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(GuestError, match="cannot be written"),
        start_guest(make_spec(), tmp_path / "file" / "cell"),
    ):
        pass


def test_nothing_is_left_of_a_failed_start(make_spec: MakeSpec, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for number in range(3):
        fail(make_spec, tmp_path / str(number), console=[[0, KERNEL + PANIC]], end=0)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208
