"""Player of cases in Bochs, a second implementation of the manual."""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from oracle.bochs import DISPLAY, LOG_FILE, assemble, configure, rom

from harness.artefacts.bochs import MODEL, Bochs
from harness.campaigns.bare_fuzz.campaign import SequencePlayer
from harness.campaigns.bare_fuzz.case import CASE_SIZE, PAGE_SIZE, RESULT, Case
from harness.campaigns.bare_fuzz.model import Facts
from harness.campaigns.bare_fuzz.play import (
    IN,
    Modes,
    Played,
    Start,
    input_head,
    play_in_starts,
    play_some,
)
from harness.errors import GuestError
from harness.guest.process import Process
from harness.lib.process import capture

#: The way's name.
WAY = "bochs"
#: A ROM is at most 4 MiB: the player, a page before the cases, and the last page.
MAX_CASES = ((4 << 20) - (128 << 10)) // CASE_SIZE
#: Layout of the disk, as in ``player.h``.
_SECTOR, _RESULT_SECTORS = 512, 4
#: Sectors of a cylinder.
_CYLINDER = 16 * 63
#: Seconds after which it is looked whether Bochs still writes to the disk, and after which it hangs
#: if it does not. A case takes a millisecond.
_POLL_S, QUIET_S = 2.0, 15.0
_PANIC = ">>PANIC<<"
#: How it ends when the player has finished.
_SHUTDOWN = "Bochs ended: Shutdown port: shutdown requested"


class WithBochs:
    """A player that plays each case in Bochs, too.

    :param other: player in all other ways.
    """

    def __init__(self, other: SequencePlayer, bochs: BochsPlayer) -> None:
        self._other = other
        self._bochs = bochs
        self.facts = other.facts
        self.ways = (*other.ways, WAY)

    @property
    def restored(self) -> int:
        """How often a machine was saved, and restored in another QEMU."""
        return self._other.restored

    def play(self, way: str, cases: Sequence[Case]) -> Sequence[Played | None]:
        """Play cases in a way, and return the result of each that is played in it."""
        return self._bochs.play(cases) if way == WAY else self._other.play(way, cases)


def is_playable(case: Case) -> bool:
    """Tell whether Bochs can play a case.

    It ends at an assertion where CR4.UINTR is cleared while a request can be delivered. It hangs in
    some sequences of several CPUs with a code breakpoint.
    """
    if case.cpus > 1 and any(one.kind == "execute" for one in case.breakpoints):
        return False
    return case.cr4_uintr or not (case.uif and case.msrs[0])


def features(facts: Facts) -> str:
    """Return the parameter that gives Bochs's processor the same width of linear addresses."""
    return "" if facts.linear_bits == 57 else ', exclude_features="la57"'


def disk_size(cases: int) -> int:
    """Return the size of the disk for the results of some cases, in cylinders."""
    return -(-(1 + cases * _RESULT_SECTORS) // _CYLINDER)


def disk_line(path: Path, cylinders: int) -> str:
    """Return the line of Bochs's configuration for the disk with the results."""
    return (
        f"ata0-master: type=disk, path={path}, mode=flat, cylinders={cylinders}, heads=16, spt=63\n"
    )


class BochsPlayer:
    """A player in Bochs.

    :param player: the program that plays cases.
    :param facts: what its processor must be like.
    :raise GuestError: the ROM's last page is not assembled; Bochs does not start; its processor
        is another one.
    """

    def __init__(self, bochs: Bochs, player: Path, facts: Facts) -> None:
        self._bochs = bochs
        self._features = features(facts)
        self._program = player.read_bytes()
        with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
            page = Path(scratch) / "page"
            for argv in assemble(page):
                done = capture(argv)
                if done.returncode:
                    raise GuestError("the ROM for Bochs is not assembled", detail=done.complaint)
            self._page = page.read_bytes()
        start = self._start([], Modes(x2apic=False, la57=False))
        if start.ending:
            raise GuestError("the player does not run in Bochs", detail=start.ending)
        found = Facts(linear_bits=57 if start.la57 else 48, uiret_uif=start.uiret_uif)
        if found != facts:
            raise GuestError("Bochs's processor is another one", detail=f"{found}, not {facts}")

    def play(self, cases: Sequence[Case]) -> list[Played | None]:
        """Play cases, and return the result of each that Bochs can play."""
        return play_some(
            cases, is_playable, lambda these: play_in_starts(these, MAX_CASES, self._start)
        )

    def _start(self, packed: Sequence[bytes], modes: Modes) -> Start:
        words = f"smp={modes.cpus} modelled=1 bochs=1 la57={modes.la57:d}"
        data = (input_head(len(packed), modes).ljust(PAGE_SIZE, b"\0"), *packed)
        image = rom(self._page, self._program, words, [(IN, b"".join(data))])
        with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
            folder, disk = Path(scratch), Path(scratch) / "disk"
            cylinders = disk_size(len(packed))
            with disk.open("wb") as file:
                file.truncate(cylinders * _CYLINDER * _SECTOR)
            config = configure(
                folder,
                image,
                display=DISPLAY,
                model=MODEL,
                more=disk_line(disk, cylinders),
                features=self._features,
                cpus=modes.cpus,
            )
            argv = [*self._bochs.argv, "-q", "-f", str(config)]
            process = Process(argv, log=folder / "messages", sandbox=False)
            try:
                in_time = _wait(process, disk)
            finally:
                process.kill()
                process.close_streams()
            return read_disk(disk.read_bytes(), len(packed), folder / LOG_FILE, in_time=in_time)


def _wait(process: Process, disk: Path) -> bool:
    """Wait for Bochs's end. Return false if it has not written to the disk for some time."""
    while not process.wait(min(_POLL_S, QUIET_S)):
        if time.time() - disk.stat().st_mtime > QUIET_S:
            return False
    return True


def read_disk(disk: bytes, count: int, log: Path, *, in_time: bool) -> Start:
    """Return what Bochs has left.

    :param count: number of cases to play.
    :param log: Bochs's log.
    :param in_time: whether it ended by itself.
    """
    begun, ended, la57, uiret_uif = struct.unpack_from("<4Q", disk)
    size = _RESULT_SECTORS * _SECTOR
    results = [RESULT.unpack_from(disk, _SECTOR + size * place) for place in range(ended)]
    ending = _ending(log) if in_time else "hangs"
    if ending == _SHUTDOWN and ended == count:
        ending = ""
    return Start(results, begun, bool(la57), bool(uiret_uif), ending)


def _ending(log: Path) -> str:
    """Return how Bochs ended."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    told = [line.partition(_PANIC)[2].strip() for line in lines if _PANIC in line]
    return f"Bochs ended: {told[-1]}" if told else "Bochs ended"
