"""Real guests that work: commands, copies, splats, and guests that are restored."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.errors import UserError
from harness.guest.accel import probe_accel
from harness.guest.runtime import runtime_root
from harness.guest.snapshot import Snapshot
from harness.guest.spec import GuestSpec
from harness.guest.verdict.deadlines import CALIBRATION
from harness.guest.verdict.failure import GuestFailure
from harness.guest.vm import Guest, start_guest
from harness.values import Emulator
from tests.integration.runs import soon

#: Fixtures are not timed: the first one may build a kernel, and a boot has deadlines of its own.
pytestmark = [pytest.mark.guest, pytest.mark.timeout(600, func_only=True)]


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


@pytest.mark.parametrize("argv", ["true", ["sleep", 1], [Path("/bin/true")], [b"true"]])
def test_what_is_no_list_of_words_is_refused(guest: Guest, argv: Any) -> None:
    with pytest.raises(TypeError, match="argv is a list of strings"):
        guest.run(argv, timeout_s=60)


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
    for remote, place in (
        ("/tests/alone/", "/tests/alone/hello"),
        ("/tests/alone", "/tests/alone/hello"),  # a folder that is there
        ("/new/folder/tool", "/new/folder/tool"),
        ("/new/folder/tool", "/new/folder/tool"),  # a file that is there
        ("/hello2", "/hello2"),
    ):
        guest.push(program, remote)
        assert guest.run([place], timeout_s=60).stdout == b"hello\n"
    assert guest.run(["ls", "/new/folder"], timeout_s=60).stdout == b"tool\n"
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


def test_accelerator_is_probed_by_running_it(emulator: Emulator) -> None:
    choice = probe_accel(emulator, "auto")
    assert choice.reason
    if choice.accel == "tcg":
        with pytest.raises(UserError) as caught:
            probe_accel(emulator, "kvm")
        assert caught.value.detail


def test_a_boot_calibrates_deadlines(guest: Guest) -> None:
    assert guest.factor >= 1
    assert CALIBRATION.factor(guest.spec) >= guest.boot.boot_s


def test_a_taken_port_is_no_trouble(spec: GuestSpec, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 2222))
        taken.listen()
        with start_guest(spec, tmp_path / "cell") as guest:
            assert guest.ssh_port != 2222
