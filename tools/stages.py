"""Where the time of a user interrupt goes: ``python -m tools.stages``.

In a guest with two CPUs, two threads spin and send each other user interrupts (``judge uintr
spins``). An emulator with ``stamps.patch`` on its series notes when each step began, which takes
some tens of ns. Each emulator of ``--qemu`` is one row of the table and one bar of the picture
(``--svg FILE``), for a comparison of an emulator before and after a change.

=========  =====================================================================================
stage      ends with
=========  =====================================================================================
post       the request is in the UPID
lock       the sender has the main loop's lock
kick       the receiver has left translated code, and its local APIC hands out the notification
take       the requests are in UIRR
deliver    the frame is on the stack, and RIP is the handler
handler    UIRET
program    the other thread's SENDUIPI, after it has seen what the handler stored
=========  =====================================================================================

Each stage is a median, so their sum is not exactly the median of the whole. The last column is half
of the median round trip that the guest measures on the emulator without stamps.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from harness.artefacts.emulator.choice import build_emulator
from harness.artefacts.source.patch import Patch
from harness.artefacts.source.series import fetch_series, write_series
from harness.artefacts.store import Store
from harness.campaigns.child_runs import write_profile
from harness.errors import GuestError, HarnessError
from harness.guest.vm import start_guest
from harness.progress import Progress
from harness.report.progress import RichProgress
from harness.request.profiles import load_emulator
from harness.values import Emulator, FolderSeries
from tools.judge import compile_judge, own_judges, run_judge, two_cpus
from tools.scratch import scratch

PATCH = Path(__file__).with_name("stamps.patch")
STAGES = ("post", "lock", "kick", "take", "deliver", "handler", "program")
#: Steps of a way that are on the sender, by the number in the stamp; the others are the receiver's.
_SENDER_STEPS = (0, 1, 2)
#: As in ``stamps.patch``.
_VARIABLE, _CPUS, _STAMPS = "UINTR_STAMPS", 2, 1 << 20
_ROUND_TRIPS = 2000
_COLOURS = ("#4c78a8", "#e45756", "#f58518", "#eeca3b", "#72b7b2", "#54a24b", "#bab0ac")
_WIDTH, _LEFT, _BAR, _ROW = 900, 130, 26, 58


class Stamp(NamedTuple):
    """A step that began at a time in ns, on a CPU."""

    ns: int
    step: int
    cpu: int


def read_stamps(data: bytes) -> list[Stamp]:
    """Return the stamps of a file, by time; of each CPU there are the latest."""
    words = memoryview(data).cast("Q")
    found = []
    for cpu in range(_CPUS):
        log = words[cpu * _STAMPS : (cpu + 1) * _STAMPS]
        count = min(log[0], _STAMPS - 1)
        found += [Stamp(word >> 8, word & 0xFF, cpu) for word in log[1 : count + 1]]
    return sorted(found)


def ways(stamps: Iterable[Stamp]) -> Iterator[tuple[int, ...]]:
    """Yield the stages, in ns, of each way from a SENDUIPI to the one that answers it.

    A way with a step between that does not belong to it is left out.
    """
    way: list[Stamp] = []
    for stamp in stamps:
        step = len(way)
        done = step == len(STAGES)
        if done and stamp.step == 0 and stamp.cpu == way[-1].cpu:
            times = [one.ns for one in (*way, stamp)]
            yield tuple(after - before for before, after in itertools.pairwise(times))
        if stamp.step == 0:
            way = [stamp]
        elif way and not done and stamp.step == step:
            on_sender = stamp.cpu == way[0].cpu
            way = [*way, stamp] if on_sender == (step in _SENDER_STEPS) else []
        else:
            way = []


class Row(NamedTuple):
    """An emulator's stages: medians in ns."""

    emulator: str
    stages: tuple[float, ...]
    #: Number of complete ways.
    ways: int
    #: Half of the median round trip on the emulator without stamps, in ns.
    plain: float


def stamped(name: str, folder: Path, store: Store, progress: Progress) -> Emulator:
    """Build an emulator profile with ``stamps.patch`` on its series."""
    profile = load_emulator(name)
    patches = fetch_series(profile.series, store, progress)
    folder.mkdir()
    series = write_series(folder / "series", [*patches, Patch(PATCH.name, PATCH.read_bytes())])
    changed = profile.model_copy(
        update={"name": f"{profile.name}-stamps", "series": FolderSeries(path=series)}
    )
    return build_emulator(store, progress, str(write_profile(changed, folder)))


@contextmanager
def stamps_in(path: Path) -> Iterator[None]:
    """Let emulators that are started meanwhile stamp into a file."""
    with path.open("wb") as file:
        file.truncate(_CPUS * _STAMPS * 8)
    os.environ[_VARIABLE] = str(path)
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


def play(emulator: Emulator, rounds: int, store: Store, progress: Progress) -> float:
    """Boot a guest and run the judge in it; return the median round trip, in ns."""
    spec = two_cpus(emulator, "exposed", "linux-6.12", store, progress)
    (judge,) = (
        one
        for one in own_judges(_ROUND_TRIPS)
        if (one.mechanism, one.mode) == ("uintr", "ping-pong-fair")
    )
    with scratch("stages") as folder:
        compile_judge(spec.kernel, folder / "push")
        with start_guest(spec, folder / "guest") as guest:
            guest.push(folder / "push", "/judge")
            return statistics.median(run_judge(guest, judge) or 0.0 for _ in range(rounds))


def measure(name: str, rounds: int, store: Store, progress: Progress) -> Row:
    """Return the row of an emulator profile.

    :raise GuestError: no way is complete.
    """
    title = Path(name).stem if "/" in name else name
    with scratch("stages") as folder:
        plain = build_emulator(store, progress, name)
        marked = stamped(name, folder / "profile", store, progress)
        round_trip = play(plain, rounds, store, progress)
        with stamps_in(folder / "stamps"):
            play(marked, rounds, store, progress)
        found = list(ways(read_stamps((folder / "stamps").read_bytes())))
    if not found:
        raise GuestError("the stamps have no complete way from SENDUIPI to SENDUIPI", where=title)
    stages = tuple(statistics.median(stage) for stage in zip(*found, strict=True))
    return Row(title, stages, len(found), round_trip / 2)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown; medians in ns."""
    head = ("emulator", *STAGES, "sum", "ways", "without stamps")
    lines = [head, ("---",) * len(head)]
    for row in rows:
        figures = (*row.stages, sum(row.stages), row.ways, row.plain)
        lines.append((row.emulator, *(f"{figure:.0f}" for figure in figures)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(rows: Sequence[Row]) -> str:
    """Return the rows as bars, in SVG."""
    scale = (_WIDTH - _LEFT - 90) / max(sum(row.stages) for row in rows)
    height = 44 + _ROW * len(rows)
    style = "font: 13px sans-serif; fill: #222"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        "<title>Stages from one SENDUIPI to the next, in ns</title>",
    ]
    for number, (name, colour) in enumerate(zip(STAGES, _COLOURS, strict=True)):
        left = _LEFT + number * 100
        parts.append(f'<rect x="{left}" y="10" width="14" height="14" fill="{colour}"/>')
        parts.append(f'<text x="{left + 20}" y="22" style="{style}">{name}</text>')
    for number, row in enumerate(rows):
        parts += _bar(row, 44 + number * _ROW, scale, style)
    return "\n".join((*parts, "</svg>")) + "\n"


def _bar(row: Row, top: int, scale: float, style: str) -> Iterator[str]:
    """Yield the parts of a row's bar."""
    at: float = _LEFT
    yield f'<text x="4" y="{top + 18}" style="{style}">{escape(row.emulator)}</text>'
    for ns, colour in zip(row.stages, _COLOURS, strict=True):
        width = ns * scale
        box = f'x="{at:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}"'
        yield f'<rect {box} fill="{colour}"/>'
        if width > 26:
            place = f'x="{at + width / 2:.1f}" y="{top + _BAR + 14}" text-anchor="middle"'
            yield f'<text {place} style="{style}; font-size: 11px">{ns:.0f}</text>'
        at += width
    whole = f"{sum(row.stages):.0f} ns"
    yield f'<text x="{at + 6:.1f}" y="{top + 18}" style="{style}">{whole}</text>'


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument(
        "--qemu",
        default="qemu-10.0",
        help="emulator profiles, with commas: names, or paths of files (default: %(default)s)",
    )
    options.add_argument("--rounds", type=int, default=5, help="runs of the judge on each")
    options.add_argument("--svg", type=Path, help="write the picture to this file")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = parser().parse_args(argv)
    try:
        with RichProgress() as progress:
            store = Store.open(progress)
            rows = [
                measure(name, options.rounds, store, progress) for name in options.qemu.split(",")
            ]
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(table(rows))
    if options.svg:
        options.svg.write_text(picture(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
