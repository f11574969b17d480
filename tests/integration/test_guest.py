"""Real guests: that they boot, and that each way to fail is told apart from the others.

The kernel is that of the default profile, built if it is not in the store yet, or, where
``$UINTR_HARNESS_TEST_KERNEL`` names a bzImage, that one.
"""

from __future__ import annotations

import dataclasses
import gzip
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.artefacts.emulator.choice import find_emulator
from harness.artefacts.image import build_image
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.store import Store
from harness.errors import UserError
from harness.guest.accel import probe_accel
from harness.guest.runtime import runtime_root
from harness.guest.snapshot import Snapshot
from harness.guest.spec import GuestSpec
from harness.guest.verdict.deadlines import CALIBRATION, LIMITS_S
from harness.guest.verdict.failure import GuestFailure
from harness.guest.vm import Guest, start_guest
from harness.lib import cpio
from harness.names import DEFAULT_KERNEL
from harness.progress import Silent
from harness.request.profiles import load_kernel
from harness.values import CpuProfile, Emulator, ImageArtefact, KernelArtefact

#: Fixtures are not timed: the first one may build a kernel, and a boot has deadlines of its own.
pytestmark = [pytest.mark.guest, pytest.mark.timeout(600, func_only=True)]

HIDDEN = CpuProfile(name="hidden", model="max", exposes_uintr=False)
#: Short, for guests that are meant to hang; a boot takes a few seconds.
IMPATIENT = 0.25


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return find_emulator()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> KernelArtefact:
    named = os.environ.get("UINTR_HARNESS_TEST_KERNEL")
    if not named:
        return build_kernel(load_kernel(DEFAULT_KERNEL), Store.open(), Silent())
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "bzImage").symlink_to(Path(named).resolve())
    return KernelArtefact(key="0" * 64, path=folder, release="test")


@pytest.fixture(scope="module")
def image() -> ImageArtefact:
    return build_image(Store.open(), Silent())


@pytest.fixture(scope="module")
def spec(emulator: Emulator, kernel: KernelArtefact, image: ImageArtefact) -> GuestSpec:
    return GuestSpec(emulator=emulator, kernel=kernel, image=image, cpu=HIDDEN)


@pytest.fixture(scope="module")
def guest(spec: GuestSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    folder = tmp_path_factory.mktemp("shared")
    with start_guest(spec, folder, save=folder / "state") as guest:
        yield guest


@pytest.fixture(scope="module")
def snapshot(guest: Guest) -> Snapshot:
    assert guest.unsaved is None
    assert guest.snapshot is not None
    return guest.snapshot


@pytest.fixture
def fresh(spec: GuestSpec, snapshot: Snapshot, tmp_path: Path) -> Iterator[Guest]:
    with start_guest(spec, tmp_path / "cell", snapshot=snapshot) as guest:
        yield guest


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


def soon(holds: Callable[[], object]) -> None:
    """Wait for what comes at once on a machine that has nothing else to do."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def failure(spec: GuestSpec, folder: Path) -> GuestFailure:
    with pytest.raises(GuestFailure) as caught, start_guest(spec, folder):
        pass
    assert not list(folder.parent.glob("*.pid"))
    return caught.value


# --- a guest that works --------------------------------------------------------------------


def test_boot_phases_are_in_order(guest: Guest) -> None:
    phases = guest.boot.phases
    assert list(phases) == ["firmware", "decompress", "kernel", "init", "sshd", "login", "ready"]
    assert list(phases.values()) == sorted(phases.values())
    assert guest.boot.boot_s == phases["ready"]


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("false", 1), ("exit 3", 3)])
def test_exit_codes(guest: Guest, script: str, code: int) -> None:
    done = guest.run(["sh", "-c", script], timeout_s=60)
    assert (done.returncode, done.signal, done.timed_out) == (code, None, False)


def test_a_signal_has_its_name(guest: Guest) -> None:
    done = guest.run(["sh", "-c", "kill -SEGV $$"], timeout_s=60)
    assert (done.returncode, done.signal) == (None, "SEGV")


def test_output_is_bytes_and_both_streams_are_kept_apart(guest: Guest) -> None:
    done = guest.run(["sh", "-c", r"printf '\377\000\n'; printf '\200' >&2"], timeout_s=60)
    assert (done.stdout, done.stderr) == (b"\xff\x00\n", b"\x80")


def test_a_terminal_has_both_streams_in_their_order(guest: Guest) -> None:
    script = "test -t 1 && echo one; echo two >&2; exit 3"
    done = guest.run(["sh", "-c", script], timeout_s=20, terminal=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"one\r\ntwo\r\n", b"")


def test_words_reach_the_program_as_they_are(guest: Guest) -> None:
    words = ["a b", "$HOME", "`id`", "'", '"', "*", "\n", ""]
    done = guest.run(["printf", "%s|", *words], timeout_s=60)
    assert done.stdout.decode() == "".join(f"{word}|" for word in words)


def test_environment(guest: Guest) -> None:
    done = guest.run(["sh", "-c", 'echo "$A"'], timeout_s=60, env={"A": "x y$z"})
    assert done.stdout == b"x y$z\n"


def test_output_streams_while_the_command_runs(guest: Guest) -> None:
    seen: list[bytes] = []
    guest.run(
        ["sh", "-c", "echo one; sleep 3; echo two"],
        timeout_s=60,
        on_stdout=seen.append,
    )
    assert seen == [b"one\n", b"two\n"]


def test_long_output_is_bounded_and_says_so(guest: Guest) -> None:
    taken = 0

    def count(data: bytes) -> None:
        nonlocal taken
        taken += len(data)

    done = guest.run(
        ["sh", "-c", "echo first; head -c 9000000 /dev/zero; echo last"],
        timeout_s=240,
        on_stdout=count,
    )
    assert taken == 9000011
    assert len(done.stdout) < 5_000_000
    assert done.stdout.startswith(b"first\n")
    assert done.stdout.endswith(b"last\n")
    assert b"bytes left out" in done.stdout


def test_a_late_command_is_killed_and_the_guest_goes_on(guest: Guest) -> None:
    script = "echo begun; sleep 7654; echo no"
    done = guest.run(["sh", "-c", script], timeout_s=guest.factor)
    assert done.timed_out
    assert (done.returncode, done.stdout) == (None, b"begun\n")
    left = guest.run(["pgrep", "-f", "sleep 765[4]"], timeout_s=60)
    assert left.stdout == b""


def test_a_child_that_keeps_the_output_open_is_not_waited_for(guest: Guest) -> None:
    done = guest.run(["sh", "-c", "sleep 4321 & exit 5"], timeout_s=60)
    assert (done.returncode, done.timed_out) == (5, False)


def test_push_and_fetch(guest: Guest, tmp_path: Path) -> None:
    local = tmp_path / "out"
    (local / "api").mkdir(parents=True)
    program = local / "api" / "hello"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    blob = os.urandom(300_000)
    (local / "blob").write_bytes(blob)
    guest.push(local, "/tests/x")
    assert guest.run(["/tests/x/api/hello"], timeout_s=60).stdout == b"hello\n"
    guest.push(program, "/tests/alone")
    assert guest.run(["/tests/alone/hello"], timeout_s=60).stdout == b"hello\n"
    guest.run(["ln", "-s", "/tests/x", "/tests/x/loop"], timeout_s=60)
    guest.fetch("/tests/x", tmp_path / "back")
    assert (tmp_path / "back" / "blob").read_bytes() == blob
    assert (tmp_path / "back" / "api" / "hello").exists()
    with pytest.raises(FileNotFoundError):
        guest.fetch("/nonexistent", tmp_path / "none")


def test_no_splats_in_a_good_boot(guest: Guest) -> None:
    assert guest.splats() == ()


def test_what_the_kernel_prints_is_scanned(guest: Guest) -> None:
    line = "WARNING: CPU: 0 PID: 1 at kernel/test.c:1 test+0x1/0x2"
    guest.run(["sh", "-c", f"echo '<4>{line}' >/dev/kmsg"], timeout_s=60)
    soon(guest.splats)
    assert [splat.kind for splat in guest.splats()] == ["warn"]


def test_orphans_are_reaped(guest: Guest) -> None:
    guest.run(["sh", "-c", "(sleep 0.1 &) ; exit 0"], timeout_s=60)
    find = "sleep 0.2; grep -l '^State:.Z' /proc/[0-9]*/status"
    soon(lambda: guest.run(["sh", "-c", find], timeout_s=60).stdout == b"")


def test_two_guests_at_once(guest: Guest, fresh: Guest) -> None:
    assert guest.ssh_port != fresh.ssh_port
    for one in (guest, fresh):
        assert one.run(["true"], timeout_s=60).returncode == 0


def test_only_this_host_can_reach_the_port(guest: Guest) -> None:
    listening = {
        c.laddr.ip
        for c in psutil.Process(guest.qemu_pid).net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_the_folder_says_how_to_boot_it_again(guest: Guest) -> None:
    script = guest.folder / "qemu.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", script], check=True)
    assert "Linux version" in (guest.folder / "console.log").read_text(errors="replace")


def test_nothing_is_left(spec: GuestSpec, tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    before = set(runtime_root().iterdir())
    with start_guest(spec, tmp_path / "cell") as guest:
        pid = guest.qemu_pid
        guest.run(["true"], timeout_s=60)
    assert not psutil.pid_exists(pid)
    assert set(runtime_root().iterdir()) <= before
    assert not [t.name for t in set(threading.enumerate()) - threads if t.is_alive()]
    assert len(os.listdir("/proc/self/fd")) <= descriptors  # noqa: PTH208


def test_four_cpus(spec: GuestSpec, tmp_path: Path) -> None:
    with start_guest(spec.model_copy(update={"smp": 4}), tmp_path / "cell") as guest:
        assert guest.run(["nproc"], timeout_s=60).stdout == b"4\n"


# --- guests that begin where another one was saved -----------------------------------------


def test_a_restored_guest_is_as_the_first_one_was_after_its_boot(
    guest: Guest, snapshot: Snapshot, tmp_path: Path
) -> None:
    guest.run(["touch", "/root/mark"], timeout_s=60)
    script = "ls /root; date +%s; ps -o comm | grep -c dropbear"
    for name in ("one", "two"):
        with start_guest(snapshot.spec, tmp_path / name, snapshot=snapshot) as restored:
            assert list(restored.boot.phases) == ["restored", "login", "ready"]
            assert restored.boot.restored
            before = time.time()
            done = restored.run(["sh", "-c", f"{script}; touch /root/mark"], timeout_s=60)
            after = time.time()
        servers = "2"  # the one that listens, and that of this command
        date = int(done.stdout.split()[0])
        assert done.stdout.decode().split() == [str(date), servers]
        assert before - 1.5 < date < after + 0.5
        assert restored.boot.boot_s < guest.boot.boot_s


def test_what_cannot_seed_the_generator_says_so(fresh: Guest) -> None:
    """Equal numbers cannot be provoked: interrupts stir the pool in each guest by themselves."""
    prepare = "mkdir -p /tmp/root/bin /tmp/root/dev && cp /bin/restored /tmp/root/bin/"
    fresh.run(["sh", "-c", f"{prepare} && touch /tmp/root/dev/urandom"], timeout_s=60)
    good = ["restored", str(time.time_ns()), "0f" * 32]
    for argv, code in (
        (good, 0),
        (["chroot", "/tmp/root", *good], 4),  # a file takes no seed
        ([*good[:2], "0f" * 31 + "0g"], 4),
        (good[:2], 2),
    ):
        assert fresh.run(argv, timeout_s=60).returncode == code


def test_splats_and_panics_of_a_restored_guest_are_seen(fresh: Guest) -> None:
    assert fresh.splats() == ()
    line = "WARNING: CPU: 0 PID: 1 at kernel/test.c:1 test+0x1/0x2"
    fresh.run(["sh", "-c", f"echo '<4>{line}' >/dev/kmsg"], timeout_s=60)
    soon(fresh.splats)
    with pytest.raises(GuestFailure) as caught:
        fresh.run(["sh", "-c", "echo c >/proc/sysrq-trigger"], timeout_s=600)
    assert (caught.value.verdict, caught.value.phase) == ("panic", "ready")


def test_a_state_that_was_cut_is_not_restored(snapshot: Snapshot, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_bytes(snapshot.state.read_bytes()[: snapshot.state.stat().st_size // 2])
    cut = dataclasses.replace(snapshot, state=state)
    with (
        pytest.raises(GuestFailure) as caught,
        start_guest(snapshot.spec, tmp_path / "cell", snapshot=cut),
    ):
        pass
    assert caught.value.verdict == "not-restored"


def test_a_guest_that_could_not_be_saved_is_as_good(spec: GuestSpec, tmp_path: Path) -> None:
    state = tmp_path / "not there" / "state"
    with start_guest(spec, tmp_path / "cell", save=state) as guest:
        assert guest.snapshot is None
        assert guest.unsaved is not None
        assert "could not save" in guest.unsaved
        assert guest.run(["echo", "hello"], timeout_s=60).stdout == b"hello\n"


# --- a kernel that fails -------------------------------------------------------------------


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


# --- things around the kernel that fail ----------------------------------------------------


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


def test_accelerator_is_probed_by_running_it(emulator: Emulator) -> None:
    choice = probe_accel(emulator, "auto")
    assert choice.reason
    if choice.accel == "tcg":
        with pytest.raises(UserError) as caught:
            probe_accel(emulator, "kvm")
        assert caught.value.detail


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


def test_a_boot_calibrates_deadlines(guest: Guest) -> None:
    assert guest.factor >= 1
    assert CALIBRATION.factor(guest.spec) >= guest.boot.boot_s


def test_a_taken_port_is_no_trouble(spec: GuestSpec, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 2222))
        taken.listen()
        with start_guest(spec, tmp_path / "cell") as guest:
            assert guest.ssh_port != 2222
