"""Real guests that fail: that each way to fail is told apart from the others."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.errors import UserError
from harness.guest.spec import GuestSpec
from harness.guest.verdict.deadlines import LIMITS_S
from harness.guest.verdict.failure import GuestFailure
from harness.guest.vm import Guest, start_guest
from harness.lib import cpio
from harness.values import CpuProfile, ImageArtefact
from tests.integration.runs import soon

#: Fixtures are not timed: the first one may build a kernel, and a boot has deadlines of its own.
pytestmark = [pytest.mark.guest, pytest.mark.timeout(600, func_only=True)]

#: Short, for guests that are meant to hang; a boot takes a few seconds.
IMPATIENT = 0.25


def with_init(image: ImageArtefact, script: str, folder: Path) -> ImageArtefact:
    """The same image with another init: a later archive's files replace an earlier one's."""
    folder.mkdir()
    base = gzip.decompress(image.initramfs.read_bytes())
    extra = cpio.pack([cpio.file("init", textwrap.dedent(script).encode(), 0o755)])
    (folder / "initramfs.cpio.gz").write_bytes(gzip.compress(base + extra))
    return ImageArtefact(key="2" * 64, path=folder)


def with_first_code(spec: GuestSpec, code: bytes, folder: Path) -> GuestSpec:
    """The same guest with a kernel that begins with these instructions."""
    image = bytearray(spec.kernel.bzimage.read_bytes())
    start = (image[0x1F1] + 1) * 512
    image[start : start + len(code)] = code
    (folder / "bzImage").write_bytes(image)
    kernel = spec.kernel.model_copy(update={"path": folder})
    return spec.model_copy(update={"kernel": kernel})


def failure(spec: GuestSpec, folder: Path) -> GuestFailure:
    with pytest.raises(GuestFailure) as caught, start_guest(spec, folder):
        pass
    assert not list(folder.parent.glob("*.pid"))
    return caught.value


def test_panic_is_seen_at_once_and_keeps_what_was_said(fresh: Guest) -> None:
    with pytest.raises(GuestFailure) as caught:
        fresh.run(["sh", "-c", "echo before; sleep 1; echo c >/proc/sysrq-trigger"], timeout_s=600)
    error = caught.value
    assert error.verdict == "panic"
    assert "sysrq triggered crash" in error.what
    assert error.partial is not None
    assert error.partial.stdout == b"before\n"
    assert error.exit_code == 4
    assert "panic" in [splat.kind for splat in fresh.splats()]
    with pytest.raises(GuestFailure):
        fresh.run(["true"], timeout_s=5)


def test_panic_before_init(spec: GuestSpec, tmp_path: Path) -> None:
    error = failure(spec.model_copy(update={"cmdline": "rdinit=/no init=/no"}), tmp_path / "cell")
    assert (error.verdict, error.phase) == ("panic-before-init", "kernel")
    assert "Kernel panic" in error.console_tail


def test_panic_of_init(spec: GuestSpec, image: ImageArtefact, tmp_path: Path) -> None:
    script = """\
        #!/bin/sh
        mount -t devtmpfs devtmpfs /dev
        echo 'uintr-harness: init' >/dev/console
        exit 1
        """
    dying = with_init(image, script, tmp_path / "image")
    error = failure(spec.model_copy(update={"image": dying}), tmp_path / "cell")
    assert error.verdict == "panic"
    assert "Attempted to kill init" in error.what


@pytest.mark.parametrize("says_init", [True, False])
def test_hang_in_init(
    spec: GuestSpec, image: ImageArtefact, tmp_path: Path, says_init: bool
) -> None:
    script = f"""\
        #!/bin/sh
        mount -t devtmpfs devtmpfs /dev
        {"echo 'uintr-harness: init' >/dev/console" if says_init else ""}
        exec sleep 99999 </dev/console
        """
    update = {"image": with_init(image, script, tmp_path / "image"), "patience": IMPATIENT}
    error = failure(spec.model_copy(update=update), tmp_path / "cell")
    assert (error.verdict, error.phase) == ("hang-in-init", "init" if says_init else "kernel")
    diagnosis = tmp_path / "cell" / "diagnosis"
    assert '"running"' in (diagnosis / "1-status.json").read_text()
    assert "RIP=" in (diagnosis / "2-registers.txt").read_text()
    assert "RIP=" in (diagnosis / "3-registers-again.txt").read_text()
    assert "Show State" in (diagnosis / "4-sysrq-t.txt").read_text()
    assert "sleep" in (diagnosis / "4-sysrq-t.txt").read_text()
    assert "NMI" in (diagnosis / "5-nmi.txt").read_text()


def test_ssh_server_that_does_not_answer(
    spec: GuestSpec, image: ImageArtefact, tmp_path: Path
) -> None:
    script = """\
        #!/bin/sh
        mount -t devtmpfs devtmpfs /dev
        echo 'uintr-harness: init' >/dev/console
        echo 'uintr-harness: sshd' >/dev/console
        exec sleep 99999
        """
    update = {"image": with_init(image, script, tmp_path / "image"), "patience": IMPATIENT}
    error = failure(spec.model_copy(update=update), tmp_path / "cell")
    assert (error.verdict, error.phase) == ("no-ssh", "sshd")


def test_silent(spec: GuestSpec, tmp_path: Path) -> None:
    """A kernel whose first instructions are ``cli; hlt``."""
    dead = with_first_code(spec, b"\xfa\xf4\xeb\xfd", tmp_path)
    error = failure(dead.model_copy(update={"patience": IMPATIENT}), tmp_path / "cell")
    assert (error.verdict, error.phase) == ("silent", "start")


def test_triple_fault_is_a_crash(spec: GuestSpec, tmp_path: Path) -> None:
    """A kernel whose first instruction is undefined, before there is anything to handle that."""
    error = failure(with_first_code(spec, b"\x0f\x0b", tmp_path), tmp_path / "cell")
    assert error.verdict == "panic-before-init"
    assert "reset itself" in error.what


def test_hang_while_running(fresh: Guest) -> None:
    fresh.monitor.command("stop")
    with pytest.raises(GuestFailure) as caught:
        fresh.run(["echo", "hello"], timeout_s=2)
    assert caught.value.verdict == "hang"
    assert '"paused"' in (fresh.folder / "diagnosis" / "1-status.json").read_text()


def test_qemu_that_is_stopped_while_a_command_runs(fresh: Guest) -> None:
    stop = threading.Timer(fresh.factor / 2, os.kill, (fresh.qemu_pid, signal.SIGSTOP))
    stop.start()
    with pytest.raises(GuestFailure) as caught:
        fresh.run(["sh", "-c", "echo before; sleep 600"], timeout_s=fresh.factor)
    assert caught.value.verdict == "hang"
    assert caught.value.partial is not None
    assert caught.value.partial.stdout == b"before\n"
    diagnosis = fresh.folder / "diagnosis"
    assert "stopped" in (diagnosis / "0-qemu.txt").read_text()
    assert "did not answer" in (diagnosis / "1-status.json").read_text()
    assert "Child connection" in (diagnosis / "6-console.txt").read_text()


def test_hang_while_files_are_copied(
    fresh: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS_S, "copy of files", 1.0)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "blob").write_bytes(bytes(1 << 20))
    fresh.monitor.command("stop")
    with pytest.raises(GuestFailure) as caught:
        fresh.push(tmp_path / "files", "/tmp/files")
    assert caught.value.verdict == "hang"


def test_hang_while_files_are_fetched(fresh: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS_S, "copy of files", 1.0)
    fresh.run(["sh", "-c", "head -c 50000000 /dev/zero >/tmp/big"], timeout_s=120)
    threading.Timer(0.3, fresh.monitor.command, ["stop"]).start()
    with pytest.raises(GuestFailure) as caught:
        fresh.fetch("/tmp/big", fresh.folder / "big")
    assert caught.value.verdict == "hang"


def test_qemu_killed_while_a_command_runs(fresh: Guest) -> None:
    threading.Timer(fresh.factor / 2, os.kill, (fresh.qemu_pid, signal.SIGKILL)).start()
    with pytest.raises(GuestFailure) as caught:
        fresh.run(["sh", "-c", "echo before; sleep 600"], timeout_s=600)
    assert caught.value.verdict == "qemu-died"
    assert caught.value.partial is not None
    assert caught.value.partial.stdout == b"before\n"


def test_ssh_cut_while_a_command_runs(fresh: Guest) -> None:
    with pytest.raises(GuestFailure) as caught:
        fresh.run(["sh", "-c", "echo before; sleep 1; kill -9 $PPID; sleep 600"], timeout_s=600)
    assert caught.value.verdict == "connection-lost"
    assert caught.value.partial is not None
    assert caught.value.partial.stdout == b"before\n"


def test_ssh_cut_between_commands_is_mended(fresh: Guest) -> None:
    fresh.run(["sh", "-c", "(sleep 1; kill -9 $PPID) >/dev/null 2>&1 &"], timeout_s=60)
    time.sleep(fresh.factor)
    assert fresh.run(["echo", "again"], timeout_s=60).stdout == b"again\n"
    assert fresh.reconnects == 1


def test_a_foreign_server_on_the_port_is_not_trusted(fresh: Guest, spec: GuestSpec) -> None:
    from harness.guest.alarm import Alarm
    from harness.guest.transport import keys
    from harness.guest.transport.ssh import ConnectionLost, Ssh
    from harness.guest.verdict.deadlines import Deadline

    stranger = Ssh(("127.0.0.1", fresh.ssh_port), keys.generate(), Alarm())
    with pytest.raises(ConnectionLost, match="host key"):
        stranger.connect(Deadline("test", 5.0))


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"model": "max", "features": ("+uintr",), "exposes_uintr": True}, "uintr"),
        ({"model": "no-such-cpu"}, "no-such-cpu"),
        ({"model": "Skylake-Server"}, "lacks features of"),
        ({"model": "max", "features": ("pku=maybe",)}, "value"),
    ],
)
def test_a_cpu_that_qemu_refuses_is_the_users_error(
    spec: GuestSpec, tmp_path: Path, profile: dict[str, object], words: str
) -> None:
    wanted = CpuProfile.model_validate({"name": "bad", "exposes_uintr": False, **profile})
    if "+uintr" in wanted.features:
        from harness.guest.cpu import knows_property

        if knows_property(spec.emulator, "max", "uintr"):
            pytest.skip("this QEMU has the UINTR model")
    with (
        pytest.raises(UserError, match=words) as caught,
        start_guest(spec.model_copy(update={"cpu": wanted}), tmp_path / "cell"),
    ):
        pass
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "profile",
    [
        {"exposes_uintr": True},
        {"exposes_uintr": False, "require_flags": ("no_such_flag",)},
        {"exposes_uintr": False, "forbid_flags": ("fpu",)},
    ],
)
def test_a_cpu_that_is_not_as_promised(
    spec: GuestSpec, tmp_path: Path, profile: dict[str, object]
) -> None:
    wanted = CpuProfile.model_validate({"name": "bad", "model": "qemu64", **profile})
    error = failure(spec.model_copy(update={"cpu": wanted}), tmp_path / "cell")
    assert error.verdict == "cpu-mismatch"


def test_kill_9_of_the_harness_leaves_nothing(spec: GuestSpec, tmp_path: Path) -> None:
    program = """\
        import sys, time
        from pathlib import Path
        from harness.guest.spec import GuestSpec
        from harness.guest.vm import start_guest
        spec = GuestSpec.model_validate_json(Path(sys.argv[1]).read_text())
        with start_guest(spec, Path(sys.argv[2])) as guest:
            print(guest.qemu_pid, guest._machine.runtime, flush=True)
            time.sleep(600)
        """
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    harness = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "spec.json", tmp_path / "cell"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with harness:
        assert harness.stdout is not None
        pid, runtime = harness.stdout.readline().split()
        assert psutil.pid_exists(int(pid))
        harness.kill()
    soon(lambda: not psutil.pid_exists(int(pid)))
    # The dead run's folder goes when the next run starts.
    with start_guest(spec, tmp_path / "next"):
        assert not Path(runtime).exists()
