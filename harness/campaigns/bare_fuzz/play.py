"""Player of cases in QEMU, many in one start of the machine, in each way that QEMU runs code."""

from __future__ import annotations

import mmap
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from harness.campaigns.bare_fuzz.case import (
    CASE_SIZE,
    PAGE_SIZE,
    RESULT,
    Case,
    needs_threads,
    pack,
)
from harness.campaigns.bare_fuzz.model import Facts
from harness.errors import GuestError
from harness.guest.argv import MACHINES, base_argv, cpu_argument, program_argv
from harness.guest.process import Process
from harness.guest.query import start
from harness.guest.snapshot import load, stop_and_save
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.guest.verdict.deadlines import Deadline
from harness.values import CpuProfile, Emulator

#: The way in which the machine is saved and restored several times.
SAVED = "saved"
#: Ways in which QEMU runs code; each ends translation blocks and checks for interrupts elsewhere.
WAYS: Mapping[str, tuple[str, ...]] = {
    "multi": ("-accel", "tcg,thread=multi"),
    "single": ("-accel", "tcg,thread=single"),
    "one-insn": ("-accel", "tcg,thread=multi,one-insn-per-tb=on"),
    "icount": ("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"),
    SAVED: ("-accel", "tcg,thread=multi"),
}
#: Ways with one thread for all CPUs: one that spins without PAUSE keeps the others from running.
ONE_THREAD = frozenset(("single", "icount"))
_MIB = 1 << 20
_MEMORY_MIB = 128
#: Addresses of input and output, as in ``player.h``.
IN, _OUT = 64 * _MIB, 96 * _MIB
_MAGIC = 0x72657961
#: Largest number of cases in one start.
MAX_CASES = (_OUT - IN - PAGE_SIZE) // CASE_SIZE
#: Seconds after which a machine hangs that begins no further case. On a host with too few cores
#: each hand-over between CPUs takes some milliseconds, and a storm has hundreds.
QUIET_S = 60.0
#: How often a player is saved; seconds between two looks at it before that and else, that its end
#: may take, and that it may take to save or restore it.
_SAVES, _POLL_S, _LOOK_S, _END_S, _SAVE_S = 4, 0.0005, 0.5, 2.0, 60.0
_MEMORY_STAYS = {"capability": "x-ignore-shared", "state": True}
#: QEMU's exit code when the player has finished.
_ENDED = 1

#: The words of a result, or how the machine ended during the case.
Played = tuple[int, ...] | str


class PlayerSetup(NamedTuple):
    """An emulator, a CPU model, and the player that it boots."""

    emulator: Emulator
    cpu: CpuProfile
    player: Path


def player_argv(
    machine: PlayerSetup, way: str, memory: Path, *, la57: bool = False, cpus: int = 1
) -> list[str]:
    """Return QEMU's command line, with a file as its memory."""
    return [
        *base_argv(machine.emulator),
        *("-machine", f"{MACHINES[machine.cpu.machine]},memory-backend=ram"),
        *("-object", f"memory-backend-file,id=ram,size={_MEMORY_MIB}M,mem-path={memory},share=on"),
        *WAYS[way],
        *("-cpu", cpu_argument(machine.cpu, knows_uintr=True)),
        *("-smp", str(cpus)),
        *("-m", f"{_MEMORY_MIB}M"),
        *program_argv(machine.player, f"smp={cpus} modelled=1 la57={la57:d}"),
    ]


class QemuPlayer:
    """A player in QEMU: each batch of cases is one start of the machine.

    :param ways: names of :data:`WAYS`.
    :raise GuestError: QEMU does not start.
    """

    def __init__(self, machine: PlayerSetup, ways: Sequence[str] = tuple(WAYS)) -> None:
        self._machine = machine
        self.ways = tuple(ways)
        #: How often a machine was saved, and restored in another QEMU.
        self.restored = 0
        start = self._start(self.ways[0], [], Modes(x2apic=False, la57=False))
        if start.ending:
            raise GuestError("the player does not run", detail=start.ending)
        self.facts = Facts(linear_bits=57 if start.la57 else 48, uiret_uif=start.uiret_uif)

    def play(self, way: str, cases: Sequence[Case]) -> list[Played | None]:
        """Play cases in a way, and return the result of each that can be played in it.

        After a case that ends the machine, the remaining ones are played in another start.

        :raise GuestError: QEMU does not start.
        """
        return play_some(
            cases,
            lambda case: way not in ONE_THREAD or not needs_threads(case),
            lambda these: play_in_starts(
                these, MAX_CASES, lambda packed, modes: self._start(way, packed, modes)
            ),
        )

    def _start(self, way: str, packed: Sequence[bytes], modes: Modes) -> Start:
        with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
            memory = Path(scratch) / "memory"
            _write_memory(memory, packed, modes)
            argv = player_argv(self._machine, way, memory, la57=modes.la57, cpus=modes.cpus)
            if way == SAVED:
                saved = _run_saved(argv, memory, len(packed))
                self.restored += saved.restored
                return _read_memory(memory, saved.ending)
            process = Process(argv, log=Path(scratch) / "log")
            try:
                with _begun(memory) as begun:
                    ending = _ending(process, begun)
            finally:
                process.kill()
                process.close_streams()
            return _read_memory(memory, ending)


class Modes(NamedTuple):
    """Modes that a machine is in from its start to its end."""

    x2apic: bool
    la57: bool
    cpus: int = 1


class Start(NamedTuple):
    """One start of the machine."""

    results: list[tuple[int, ...]]
    #: Number of cases that were begun.
    begun: int
    la57: bool
    uiret_uif: bool
    #: How the machine ended early, or empty.
    ending: str


def play_some(
    cases: Sequence[Case],
    playable: Callable[[Case], bool],
    play: Callable[[Sequence[Case]], Sequence[Played]],
) -> list[Played | None]:
    """Play the cases that can be played, and return their results; None for the others."""
    wanted = [playable(case) for case in cases]
    played = iter(play([case for case, good in zip(cases, wanted, strict=True) if good]))
    return [next(played) if good else None for good in wanted]


def play_in_starts(
    cases: Sequence[Case], most: int, start: Callable[[Sequence[bytes], Modes], Start]
) -> list[Played]:
    """Play cases in starts of a machine, and return the result of each.

    After a case that ends the machine, the remaining ones are played in another start.

    :param most: largest number of cases in a start.
    :param start: plays packed cases in a start.
    :raise GuestError: the machine does not start.
    """
    played: dict[int, Played] = {}
    by_modes: dict[Modes, list[int]] = {}
    for number, case in enumerate(cases):
        by_modes.setdefault(Modes(case.x2apic, case.la57, case.cpus), []).append(number)
    for modes, numbers in by_modes.items():
        while numbers:
            these = numbers[:most]
            done = start([pack(cases[number]) for number in these], modes)
            if not done.begun:
                raise GuestError("the player does not run", detail=done.ending)
            results: list[Played] = list(done.results)
            if len(results) < len(these):
                results.append(done.ending or "the player ended early")
            elif done.ending:
                results[-1] = done.ending
            played |= zip(these, results, strict=False)
            del numbers[: len(results)]
    return [played[number] for number in range(len(cases))]


def input_head(count: int, modes: Modes) -> bytes:
    """Return the words before the cases."""
    return struct.pack("<4Q", _MAGIC, count, modes.x2apic, modes.la57)


def _write_memory(memory: Path, packed: Sequence[bytes], modes: Modes) -> None:
    with memory.open("wb") as file:
        file.truncate(_MEMORY_MIB * _MIB)
        file.seek(IN)
        file.write(input_head(len(packed), modes))
        file.seek(IN + PAGE_SIZE)
        file.write(b"".join(packed))


class Saved(NamedTuple):
    """A run of a player in several QEMUs."""

    #: How often it was saved, and restored in the next one.
    restored: int
    #: How it ended early, or empty.
    ending: str


class _Begun:
    """The number of cases that a player has begun, and the time since that changed."""

    def __init__(self, view: mmap.mmap | bytearray) -> None:
        self._view = view
        self._last = -1
        self._since = 0.0

    def look(self) -> int:
        """Return the number."""
        now: int = struct.unpack_from("<Q", self._view, _OUT)[0]
        if now != self._last:
            self._last, self._since = now, time.monotonic()
        return now

    @property
    def hangs(self) -> bool:
        """Whether it has not changed for too long."""
        self.look()
        return time.monotonic() - self._since > QUIET_S


@contextmanager
def _begun(memory: Path) -> Iterator[_Begun]:
    with memory.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        yield _Begun(view)


def _run_saved(argv: Sequence[str], memory: Path, cases: int) -> Saved:
    """Run a player, and continue it several times in a new QEMU that reads the saved state.

    The memory is a file that all of them use.
    """
    state, log = memory.with_name("state"), memory.with_name("log")
    saves = [cases * number // (_SAVES + 1) for number in range(1, _SAVES + 1)] if cases else []
    incoming: tuple[str, ...] = ()
    restored = 0
    for after in (*saves, None):
        with ExitStack() as stack:
            process, monitor = start([*argv, "-S", *incoming], log, timeout_s=_SAVE_S, stack=stack)
            begun = stack.enter_context(_begun(memory))
            try:
                monitor.command("migrate-set-capabilities", {"capabilities": [_MEMORY_STAYS]})
                if incoming and (refusal := _refusal(monitor, state)):
                    return Saved(restored, refusal)
                restored += bool(incoming)
                monitor.command("cont")
                if after is None or not _wait_for_case(begun, after, process):
                    return Saved(restored, _ending(process, begun))
                stop_and_save(monitor, state, Deadline("saving", _SAVE_S))
            except MonitorError as error:
                # The player may have ended while it was asked to stop.
                ended = process.wait(_END_S)
                ending = _ending(process, begun) if ended else f"cannot be saved: {error.what}"
                return Saved(restored, ending)
        incoming = ("-incoming", "defer")
    raise AssertionError("the last QEMU runs to its end")


def _refusal(monitor: Monitor, state: Path) -> str:
    """Restore a machine. Return why QEMU refused the state, or an empty text.

    QEMU ends with the exit code of a player that has finished.
    """
    try:
        load(monitor, state, Deadline("restoring", _SAVE_S))
    except MonitorError as error:
        return f"cannot be restored: {error.what}"
    return ""


def _wait_for_case(begun: _Begun, number: int, process: Process) -> bool:
    """Wait until a player has begun a case after this one. Return false if it ends or hangs."""
    while begun.look() <= number:
        if process.wait(_POLL_S) or begun.hangs:
            return False
    return True


def _ending(process: Process, begun: _Begun) -> str:
    """Wait for a player's end, and return how it ended early, or an empty text."""
    while not process.wait(_LOOK_S):
        if begun.hangs:
            return "hangs"
    if process.returncode == _ENDED:
        return ""
    said = process.stderr_text().strip().splitlines()
    return said[-1] if said else f"QEMU ended with {process.returncode}"


def _read_memory(memory: Path, ending: str) -> Start:
    with memory.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        begun, ended, la57, uiret_uif = struct.unpack_from("<4Q", view, _OUT)
        first = _OUT + PAGE_SIZE
        results = [RESULT.unpack_from(view, first + RESULT.size * place) for place in range(ended)]
    return Start(results, begun, bool(la57), bool(uiret_uif), ending)
