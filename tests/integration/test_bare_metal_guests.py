"""Bare-metal programs in a real QEMU: how each kind of end is told, and that nothing is left."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from harness import paths
from harness.artefacts.bare_metal import build_bare_metal
from harness.artefacts.emulator.choice import build_emulator, find_emulator
from harness.artefacts.store import Store
from harness.guest.bare_metal import BareMetalSpec, bare_metal_argv, run_bare_metal
from harness.guest.query import start
from harness.guest.verdict.failure import Completed
from harness.progress import Silent
from harness.request.profiles import load_cpu
from harness.values import Emulator

pytestmark = pytest.mark.guest

#: Of each wait for something that takes a second or two when nothing else runs.
LIMIT_S = 150

ENDS = {
    "passes": "static void good(void) { EXPECT(1); } TESTS(TEST_ANYWHERE(good));",
    "fails": "static void bad(void) { EXPECT_EQ(1 + 1, 3); } TESTS(TEST_ANYWHERE(bad));",
    "skips": 'static void odd(void) { skip("why"); } TESTS(TEST_ANYWHERE(odd));',
    "hangs": (
        "static void good(void) { } static void hang(void) { for (;;) cpu_relax(); }"
        "TESTS(TEST_ANYWHERE(good), TEST_ANYWHERE(hang));"
    ),
    "faults": ('static void bad(void) { asm volatile("ud2"); } TESTS(TEST_ANYWHERE(bad));'),
    "resets": (
        "static void bad(void) { struct { u16 limit; u64 base; } __attribute__((packed)) no = "
        '{ 0, 0 }; asm volatile("lidt %0; ud2" :: "m"(no)); } TESTS(TEST_ANYWHERE(bad));'
    ),
}

#: Has a request wait for CPL 3 and one in its UPID, then gives the test time to save the machine.
SAVED = """
#include "uintr.h"
static void nothing(void *unused) { (void)unused; }
static void state_survives(void)
{
	u64 until;

	ui_setup();
	stui();
	wrmsr(MSR_UINTR_RR, BIT(7));
	wrmsr(MSR_UINTR_STACKADJUST, 256);
	ui[0].upid.pir = BIT(9);
	ui[0].upid.low |= UPID_ON;
	until = rdtsc() + 3000000000UL;
	note("ready");
	while ((long)(rdtsc() - until) < 0)
		;
	EXPECT_EQ(rdmsr(MSR_UINTR_RR), BIT(7));
	EXPECT_EQ(rdmsr(MSR_UINTR_STACKADJUST), 256);
	EXPECT_EQ(rdmsr(MSR_UINTR_MISC), MISC(UINV, 63));
	EXPECT_EQ(rdmsr(MSR_UINTR_TT), (u64)ui[0].uitt | TT_ENABLE);
	EXPECT(testui());
	EXPECT_EQ(ui_log.count, 0);
	EXPECT_EQ(try_user(NULL, nothing, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 1);
	send_ipi(cpus[0].apic_id, UINV);
	EXPECT_EQ(try_user(NULL, nothing, NULL), VECTOR_DONE);
	EXPECT_EQ(ui_log.count, 2);
	EXPECT_EQ(ui_log.frames[1].vector, 9);
}
TESTS(TEST(state_survives));
"""


def compiled(tmp_path: Path, sources: dict[str, str]) -> dict[str, Path]:
    """Compile programs with the repository's runtime."""
    folder = tmp_path / "guest-tests/bare-metal"
    folder.mkdir(parents=True)
    (folder / "runtime").symlink_to(paths.GUEST_TESTS / "bare-metal/runtime")
    for name, source in sources.items():
        (folder / f"{name}.c").write_text(f'#include "bare.h"\n{source}\n')
    programs = build_bare_metal("gcc", Store(tmp_path / "store"), Silent(), folder.parent)
    return {program.path.name: program.path for program in programs}


def spec(program: Path, emulator: Emulator, cpu: str = "hidden") -> BareMetalSpec:
    return BareMetalSpec(
        emulator=emulator, cpu=load_cpu(cpu), smp=1, accel="tcg", program=program, factor=6
    )


def test_every_kind_of_end(tmp_path: Path) -> None:
    ends: dict[str, tuple[Completed, str | None]] = {}
    for name, program in compiled(tmp_path, ENDS).items():
        pieces: list[bytes] = []
        limit_s = 4 if name == "hangs" else 60
        began = time.monotonic()
        ends[name] = run_bare_metal(
            spec(program, find_emulator()),
            tmp_path / "out",
            timeout_s=limit_s,
            on_stdout=pieces.append,
        )
        assert time.monotonic() - began < limit_s + 10
        assert b"".join(pieces) == ends[name][0].stdout
    codes = {name: done.returncode for name, (done, _) in ends.items()}
    assert codes == {
        "passes": 0,
        "fails": 1,
        "skips": 4,
        "faults": 1,
        "hangs": None,
        "resets": None,
    }
    assert b"ok 1 good.xapic\n" in ends["passes"][0].stdout
    assert b"1 + 1 is 0x2, not 0x3" in ends["fails"][0].stdout
    assert b"unexpected #UD" in ends["faults"][0].stdout
    assert ends["hangs"][0].timed_out
    assert b"ok 1 good.xapic\n" in ends["hangs"][0].stdout
    assert "RIP=" in (tmp_path / "out/hangs.registers.txt").read_text()
    assert "triple fault" in (ends["resets"][1] or "")
    assert not ends["resets"][0].timed_out
    left = [process for process in psutil.Process().children() if "qemu" in process.name()]
    assert not left


def test_the_script_runs_the_program_by_hand(tmp_path: Path) -> None:
    program = compiled(tmp_path, {"passes": ENDS["passes"]})["passes"]
    run_bare_metal(
        spec(program, find_emulator()), tmp_path / "out", timeout_s=60, on_stdout=lambda _: None
    )
    done = subprocess.run(
        [tmp_path / "out/passes.sh"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert done.returncode == 1  # (0 << 1) | 1
    assert done.stdout.startswith(b"KTAP version 1\n")


def test_pending_user_interrupts_survive_save_and_restore(tmp_path: Path) -> None:
    """Migration to a file and back; the state is QEMU's VMState ``cpu/uintr``."""
    program = compiled(tmp_path, {"saved": SAVED})["saved"]
    emulator = build_emulator(Store.open(), Silent())
    argv = bare_metal_argv(spec(program, emulator, "exposed"), knows_uintr=True)
    image = tmp_path / "image"
    with ExitStack() as stack:
        process, monitor = start([*argv, "-S"], tmp_path / "1.log", timeout_s=LIMIT_S, stack=stack)
        monitor.command("cont")
        said = read_until(process.stdout.fileno(), b"# ready\n")
        monitor.command("stop")
        assert b"ok 1" not in said
        monitor.command("migrate", {"uri": f"file:{image}"})
        wait_for(lambda: monitor.command("query-migrate").get("status") == "completed")
        registers = monitor.human("info registers")
        assert "UIRR=0000000000000080 UIF=1 UINV=ec" in registers
    with ExitStack() as stack:
        incoming = [*argv, "-incoming", f"file:{image}"]
        process, monitor = start(incoming, tmp_path / "2.log", timeout_s=LIMIT_S, stack=stack)
        # The machine arrives paused, as it was saved; "cont" before it is there is forgotten.
        wait_for(lambda: monitor.command("query-status")["status"] == "paused")
        monitor.command("cont")
        said = read_until(process.stdout.fileno(), b"# Totals")
        assert process.wait(LIMIT_S)
    assert b"ok 1 state_survives.xapic" in said, said.decode()
    assert b"not ok" not in said, said.decode()
    assert process.returncode == 1


@pytest.mark.parametrize(("place", "bit"), [(31, 8), (39, 2)], ids=["UPIDADDR", "UITTADDR"])
def test_a_stream_with_an_address_that_is_reserved_is_refused(
    tmp_path: Path, place: int, bit: int
) -> None:
    """Else the first notification would meet an assertion."""
    program = compiled(tmp_path, {"saved": SAVED})["saved"]
    emulator = build_emulator(Store.open(), Silent())
    argv = bare_metal_argv(spec(program, emulator, "exposed"), knows_uintr=True)
    image = tmp_path / "image"
    with ExitStack() as stack:
        process, monitor = start([*argv, "-S"], tmp_path / "1.log", timeout_s=LIMIT_S, stack=stack)
        monitor.command("cont")
        read_until(process.stdout.fileno(), b"# ready\n")
        monitor.command("stop")
        monitor.command("migrate", {"uri": f"file:{image}"})
        wait_for(lambda: monitor.command("query-migrate").get("status") == "completed")
    stream = bytearray(image.read_bytes())
    name = b"cpu/uintr"
    fields = stream.rindex(bytes([len(name)]) + name + b"\0\0\0\1") + 1 + len(name) + 4
    # UIRR, UIHANDLER, UISTACKADJUST, UPIDADDR, UITTADDR: big-endian quadwords
    assert stream[fields + 7] == 1 << 7
    assert stream[fields + 39] & 0xF == 1
    stream[fields + place] |= bit
    image.write_bytes(stream)
    done = subprocess.run(
        [*argv, "-incoming", f"file:{image}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 1
    assert b"load of migration failed: Invalid argument" in done.stderr, done.stderr.decode()
    assert b"ok 1" not in done.stdout


@pytest.mark.parametrize("name", ["delivery", "notification"])
def test_a_replay_is_what_was_recorded(tmp_path: Path, name: str) -> None:
    """Faults take the place of interrupts in many cases of these programs."""
    programs = {
        program.path.name: program.path
        for program in build_bare_metal("gcc", Store.open(), Silent())
    }
    emulator = build_emulator(Store.open(), Silent())
    argv = bare_metal_argv(spec(programs[name], emulator, "exposed"), knows_uintr=True)
    accel = argv.index("-accel")
    argv[accel : accel + 2] = []
    said = []
    for mode in ("record", "replay"):
        icount = f"shift=3,rr={mode},rrfile={tmp_path / 'log'}"
        done = subprocess.run(
            [*argv, "-icount", icount],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
        )
        said.append(done.stdout)
    recorded, replayed = said
    assert b"# Totals" in recorded
    # The recording ends with the program, so that its last events may be missing.
    assert recorded.startswith(replayed)
    assert len(replayed.splitlines()) >= len(recorded.splitlines()) - 5


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def read_until(descriptor: int, mark: bytes) -> bytes:
    """Return what came until a mark, or the end."""
    said = b""
    end = time.monotonic() + LIMIT_S
    os.set_blocking(descriptor, False)
    while mark not in said and time.monotonic() < end:
        try:
            piece = os.read(descriptor, 4096)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        if not piece:
            break
        said += piece
    assert mark in said, said.decode()
    return said
