"""The small parts of a guest, each by value."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import GuestError, UserError
from harness.guest import accel, argv, cpu, probe_guest, runtime
from harness.guest.alarm import Alarm
from harness.guest.process import Process, death_argv
from harness.guest.spec import GuestSpec
from harness.guest.transport import keys
from harness.guest.transport.command import Bounded, remote_command
from harness.guest.transport.console import Console
from harness.guest.transport.portmap import forwarded_port
from harness.guest.transport.qmp import MonitorError
from harness.guest.verdict import deadlines
from harness.guest.verdict.deadlines import Calibration, Deadline
from harness.values import CpuProfile, Emulator

MakeSpec = Callable[..., GuestSpec]
MakeQemu = Callable[..., Emulator]


# --- argv ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "exposes", "knows", "expected"),
    [
        ((), False, False, "max,enforce"),
        ((), False, True, "max,uintr=off,enforce"),
        (("+uintr",), True, True, "max,+uintr,enforce"),
        (("-pku", "phys-bits=40"), False, False, "max,-pku,phys-bits=40,enforce"),
    ],
)
def test_cpu_argument(features: tuple[str, ...], exposes: bool, knows: bool, expected: str) -> None:
    profile = CpuProfile(name="x", model="max", features=features, exposes_uintr=exposes)
    assert argv.cpu_argument(profile, knows_uintr=knows) == expected


def test_command_line(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec()
    parts = argv.guest_argv(spec, argv.Runtime(tmp_path / "initrd", 7, tmp_path / "pid"))
    assert parts[0] == str(spec.emulator.binary)
    for option, value in [
        ("-accel", "tcg,thread=multi"),
        ("-cpu", "max,enforce"),
        ("-smp", "1"),
        ("-m", "512M"),
        ("-initrd", str(tmp_path / "initrd")),
        ("-mon", "chardev=qmp,mode=control"),
        ("-display", "none"),
    ]:
        assert parts[parts.index(option) + 1] == value
    assert "-no-reboot" in parts
    assert "hostfwd=tcp:127.0.0.1:0-" in parts[parts.index("-netdev") + 1]
    kvm = argv.machine_argv(spec.model_copy(update={"accel": "kvm"}))
    assert kvm[kvm.index("-accel") + 1] == "kvm"


def test_kernel_command_line_ends_with_the_users(make_spec: MakeSpec) -> None:
    spec = make_spec().model_copy(update={"cmdline": "uintr=off"})
    words = argv.kernel_cmdline(spec).split()
    assert words[-1] == "uintr=off"
    assert {"panic=-1", "no_timer_check"} <= set(words)
    assert "quiet" not in words


def test_script_is_a_script(make_spec: MakeSpec) -> None:
    spec = make_spec().model_copy(update={"cmdline": "a='b c'"})
    text = argv.as_script(spec, ["qemu", "-x", "it's"])
    assert text.startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n"], input=text.encode(), check=True)


# --- CPU -----------------------------------------------------------------------------------

CPUINFO = "processor : 0\nflags\t\t: fpu pku\n\nprocessor : 1\nflags\t\t: fpu pku uintr\n"


def test_cpuid_is_read_from_what_the_guest_prints() -> None:
    text = "noise\n0 00000000 219c07ab 0040069c 00000020\n11 1 2 3 4\n1 00000000 0 0 0\n"
    assert cpu.parse_cpuid(text) == {0: (0, 0x219C07AB, 0x0040069C, 0x20)}


@given(st.text())
def test_parsers_of_the_cpu_never_raise(text: str) -> None:
    cpu.parse_cpuid(text)
    cpu.parse_flags(text)


@pytest.mark.parametrize(
    ("edx", "exposes", "smp", "words"),
    [
        ((0x20, 0x20), True, 2, []),
        ((0x0, 0x0), False, 2, []),
        ((0x20, 0x0), True, 2, ["CPU 1"]),
        ((0x20, 0x0), False, 2, ["CPU 0"]),
        ((0x0,), False, 2, ["1 CPUs answered"]),
        ((), False, 2, ["0 CPUs answered"]),
    ],
)
def test_cpuid_against_the_profile(
    edx: tuple[int, ...], exposes: bool, smp: int, words: list[str]
) -> None:
    text = "".join(f"{n} 00000000 00000000 00000000 {value:08x}\n" for n, value in enumerate(edx))
    profile = CpuProfile(name="x", model="max", exposes_uintr=exposes)
    found = cpu.cpu_differences_in_guest(text, CPUINFO, profile, smp)
    assert len(found) == len(words)
    for line, word in zip(found, words, strict=True):
        assert word in line


def test_flags_against_the_profile() -> None:
    profile = CpuProfile(
        name="x", model="max", exposes_uintr=False, require_flags=("uintr",), forbid_flags=("pku",)
    )
    cpuid = "0 00000000 00000000 00000000 00000000\n1 00000000 00000000 00000000 00000000\n"
    found = cpu.cpu_differences_in_guest(cpuid, CPUINFO, profile, 2)
    assert [line.split(":")[0] for line in found] == ["CPU 0", "CPU 0", "CPU 1"]


@pytest.mark.parametrize(
    ("vendor", "says", "words"),
    [
        (None, "AuthenticAMD", []),
        ("AuthenticAMD", "AuthenticAMD", []),
        ("GenuineIntel", "AuthenticAMD", ["the vendor is AuthenticAMD, not GenuineIntel"]),
    ],
)
def test_the_vendor_against_the_profile(
    vendor: Literal["GenuineIntel", "AuthenticAMD"] | None, says: str, words: list[str]
) -> None:
    profile = CpuProfile(name="x", model="max", exposes_uintr=False, vendor=vendor)
    cpuinfo = f"processor\t: 0\nvendor_id\t: {says}\nflags\t\t: fpu\n"
    cpuid = "0 00000000 00000000 00000000 00000000\n"
    assert cpu.cpu_differences_in_guest(cpuid, cpuinfo, profile, 1) == words


def test_an_unrelated_refusal_is_not_the_users() -> None:
    profile = CpuProfile(name="x", model="max", exposes_uintr=False)
    emulator = Emulator(binary=Path("/qemu"), version="1")
    assert cpu.refusal("qemu: could not load kernel\n", profile, emulator) is None


# --- accelerator ---------------------------------------------------------------------------


@pytest.fixture
def kvm_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accel, "KVM", device)
    return device


MSR = "qemu: error: failed to set MSR 0x10a to 0x69\nqemu: Assertion `ret == x' failed.\n"


def test_kvm_that_does_not_run_a_guest(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    emulator = fake_qemu(refuse=MSR)
    choice = accel.probe_accel(emulator, "auto")
    assert choice.accel == "tcg"
    assert "failed to set MSR 0x10a to 0x69" in choice.reason
    assert "five times" in choice.reason
    with pytest.raises(UserError) as caught:
        accel.probe_accel(emulator, "kvm")
    assert "failed to set MSR" in (caught.value.detail or "")


def test_kvm_that_runs_a_guest(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    assert accel.probe_accel(fake_qemu(), "auto").accel == "kvm"


def test_kvm_whose_cpu_stops(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    with pytest.raises(UserError):
        accel.probe_accel(fake_qemu(running=False), "kvm")


def test_kvm_that_interprets(
    fake_qemu: MakeQemu, kvm_device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "PROBE_S", {"kvm": 0.2, "tcg": 30.0})
    with pytest.raises(UserError) as caught:
        accel.probe_accel(fake_qemu(halts=False), "kvm")
    assert "did not finish within" in (caught.value.detail or "")


def test_the_probe_guest_is_what_its_source_says(tmp_path: Path) -> None:
    source = Path(probe_guest.__file__).with_suffix(".S")
    made = tmp_path / "probe.o"
    subprocess.run(["gcc", "-c", source, "-o", made], check=True, timeout=60)
    with made.open("rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        assert text is not None
        assert text.data() == probe_guest.CODE
    elf = ELFFile(io.BytesIO(probe_guest.image()))
    (load,) = [one for one in elf.iter_segments() if one["p_type"] == "PT_LOAD"]
    assert load.data() == probe_guest.CODE
    assert (load["p_vaddr"], elf["e_entry"]) == (probe_guest.LOAD, probe_guest.LOAD)


def test_no_kvm(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    kvm_device.unlink()
    choice = accel.probe_accel(fake_qemu(), "auto")
    assert choice.accel == "tcg"
    assert "there is no" in choice.reason


def test_a_qemu_that_runs_nothing(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    with pytest.raises(GuestError):
        accel.probe_accel(fake_qemu(running=False), "auto")


def test_tcg_is_taken_without_a_look_at_kvm(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    assert accel.probe_accel(fake_qemu(), "tcg").accel == "tcg"


# --- console -------------------------------------------------------------------------------


def console(tmp_path: Path) -> Console:
    ticks = iter(range(1000))
    return Console(tmp_path / "console.log", Alarm(), lambda: float(next(ticks)))


def test_lines_are_stamped_and_bytes_are_kept(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.feed(b"caf\xe9\r\nhal")
    one.feed(b"f\nrest")
    one.close()
    lines = (tmp_path / "console.log").read_bytes().splitlines()
    assert [line.partition(b"] ")[2] for line in lines] == [b"caf\xe9", b"half", b"rest"]
    assert one.tail(2) == "half\nrest"


def test_marks_name_phases(tmp_path: Path) -> None:
    one = console(tmp_path)
    assert one.phase == "start"
    for text, phase in [
        (b"x\n", "firmware"),
        (b"Decompressing Linux...\n", "decompress"),
        (b"[    0.0] Linux version 6\n", "kernel"),
        (b"uintr-harness: init\n", "init"),
        (b"uintr-harness: sshd\n", "sshd"),
    ]:
        one.feed(text)
        assert one.phase == phase


def test_a_mark_in_two_pieces_is_a_mark(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.feed(b"uintr-harn")
    one.feed(b"ess: init\n")
    assert "init" in one.phases


def test_what_is_left_of_a_mark_is_none_of_a_restored_guest(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.phases["restored"] = 0.0
    one.feed(b"uintr-harness: sshd\n")
    assert list(one.phases) == ["restored"]


def test_a_panic_trips_the_alarm(tmp_path: Path) -> None:
    alarm = Alarm()
    one = Console(tmp_path / "console.log", alarm)
    one.feed(b"[    1.000000] Kernel panic - not syncing: x\n")
    assert alarm.tripped
    assert one.panic == "Kernel panic - not syncing: x"


BOOT = b"[    0.000000] Linux version 6.12.0\n[    0.500000] Run /init as init process\n"


@pytest.mark.parametrize("text", [b"Kernel panic - not syncing: x", b"reboot: Power down"])
def test_without_a_stamp_a_program_ends_nothing(tmp_path: Path, text: bytes) -> None:
    one = console(tmp_path)
    one.feed(BOOT + text + b"\n")
    assert (one.panic, one.shutdown_message) == (None, None)


@pytest.mark.parametrize("stamp", [b"", b"[    1.000000] "])
@pytest.mark.parametrize("text", [b"Kernel panic - not syncing: x", b"reboot: Power down"])
@pytest.mark.parametrize("quote", [b"# %s", b"ok 3 - %s", b'init: saw "%s"'])
def test_a_program_that_quotes_the_kernels_end_ends_nothing(
    tmp_path: Path, quote: bytes, text: bytes, stamp: bytes
) -> None:
    alarm = Alarm()
    one = Console(tmp_path / "console.log", alarm)
    one.feed(BOOT + stamp + quote % text + b"\n")
    assert (alarm.tripped, one.panic, one.shutdown_message) == (False, None, None)
    one.feed(b"[    2.000000] " + text + b"\n")
    assert text.decode() in {one.panic, one.shutdown_message}


def test_a_restored_guest_stamps_its_lines_as_the_saved_one_did(tmp_path: Path) -> None:
    for stamped, found in ((True, 0), (False, 1)):
        one = Console(tmp_path / f"{found}.log", Alarm())
        one.restored(stamped=stamped)
        one.feed(b"kernel BUG at foo.c:1!\n")
        assert len(one.splats()) == found
        assert "restored" in one.phases


def test_what_began_before_the_mute_is_a_splat(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.feed(b"[    1.000000] kernel BUG at foo.c:1!\n")
    one.mute()
    one.feed(b"[    2.000000] BUG: scheduling while atomic\n")
    assert [splat.kind for splat in one.splats()] == ["bug"]


def test_after_mute_nothing_is_a_splat(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.mute()
    one.feed(b"Kernel panic - not syncing: NMI\n")
    assert one.splats() == ()


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.feed(b"x" * 100_000)
    assert one.lines > 10


def test_a_full_disk_is_noticed(tmp_path: Path) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("no /dev/full")
    one = Console(Path("/dev/full"), Alarm())
    one.feed(b"line\n")
    assert one.error is not None


@given(st.lists(st.binary(max_size=60)))
def test_no_byte_is_lost(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    one = Console(tmp_path_factory.mktemp("c") / "log", Alarm())
    for piece in pieces:
        one.feed(piece)
    one.flush()
    assert one.bytes == sum(len(piece) for piece in pieces)
    one.close()


# --- deadlines -----------------------------------------------------------------------------


def test_deadlines_stretch_with_accelerator_boot_and_patience(make_spec: MakeSpec) -> None:
    calibration, spec = Calibration(), make_spec()
    kvm = spec.model_copy(update={"accel": "kvm"})
    assert calibration.factor(kvm) == 1
    assert calibration.factor(spec) == deadlines.ACCEL_FACTOR["tcg"]
    calibration.remember(spec, 20.0)
    calibration.remember(spec, 10.0)
    assert calibration.factor(spec) == 20
    assert calibration.factor(kvm) == 1
    assert calibration.factor(spec.model_copy(update={"patience": 2.0})) == 40
    calibration.remember(spec, 1e9)
    assert calibration.factor(spec) == deadlines.MAX_FACTOR
    assert "SSH login" in str(calibration.deadline(spec, "SSH login"))


def test_a_deadline_ends() -> None:
    assert Deadline("x", 0).expired
    assert not Deadline("x", 100).expired
    assert Deadline("x", 10, since=time.monotonic() - 100).remaining == 0


# --- SSH -----------------------------------------------------------------------------------


def test_bounded_keeps_both_ends() -> None:
    kept = Bounded(head=4, tail=6)
    for number in range(100):
        kept.add(b"%02d" % number)
    assert kept.value() == b"0001\n[ 190 bytes left out ]\n979899"


@given(st.lists(st.binary(max_size=9)), st.integers(0, 8), st.integers(1, 8))
def test_bounded_is_exact_when_it_fits(pieces: list[bytes], head: int, tail: int) -> None:
    kept, all_of_it = Bounded(head, tail), b"".join(pieces)
    for piece in pieces:
        kept.add(piece)
    if len(all_of_it) <= head + tail:
        assert kept.value() == all_of_it
    else:
        assert kept.value().startswith(all_of_it[:head])
        assert kept.value().endswith(all_of_it[-tail:])


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_words_survive_a_shell(words: list[str]) -> None:
    command = remote_command(["printf", "%s\\0", "x", *words], None, "/dev/null")
    local = command.replace("exec setsid ", "exec ", 1)
    done = subprocess.run(["sh", "-c", local], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == ["x", *words]


def test_with_a_terminal_the_server_has_begun_the_session() -> None:
    assert remote_command(["a b"], None, "/m") == "echo $$ >/m; exec setsid 'a b' </dev/null"
    words = remote_command(["a b"], {"K": "v"}, "/m")
    assert words == "echo $$ >/m; exec setsid env K=v 'a b' </dev/null"
    assert remote_command(["a b"], None, "/m", terminal=True, reads=True).endswith("exec 'a b'")


def test_keys_are_fresh_and_in_dropbears_format() -> None:
    one, two = keys.generate(), keys.generate()
    assert one.host != two.host
    assert one.host_private[:15] == b"\0\0\0\x0bssh-ed25519"
    assert len(one.host_private) == 15 + 4 + 64
    assert one.host_private[-32:] == one.host.asbytes()[-32:]
    assert b"authorized_keys" in one.archive()


# --- host ----------------------------------------------------------------------------------


def test_port_is_what_qemu_says() -> None:
    text = "  TCP[HOST_FORWARD]  12       127.0.0.1 45249       10.0.2.15    22     0     0\r\n"
    assert forwarded_port(text, "net0") == 45249
    with pytest.raises(MonitorError):
        forwarded_port("nothing", "net0")


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


def test_a_child_dies_with_the_harness(tmp_path: Path) -> None:
    program = """\
        import sys, threading
        from pathlib import Path
        from harness.guest.process import Process
        made = []
        def start():  # a thread that ends at once, as pytest's may
            made.append(Process(["sleep", "600"], log=Path(sys.argv[1])))
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


def test_process_tells_its_end(tmp_path: Path) -> None:
    alarm = Alarm()
    child = Process(["sh", "-c", "exit 7"], log=tmp_path / "log", on_exit=alarm.trip)
    assert alarm.wait(lambda: alarm.tripped, Deadline("end", 30))
    assert child.returncode == 7
    child.kill()
    child.close_streams()
    assert death_argv(["x"])[-1] == "x"
