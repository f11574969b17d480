"""Measure the stages of a user interrupt in QEMU: ``python -m tools.stages``.

In a guest with two CPUs, two threads spin and send each other user interrupts (``judge uintr
spins``). QEMU's trace events, with times in nanoseconds, divide the time from one SENDUIPI to the
next into stages. Each emulator of ``--qemu`` has a row in the table and a bar in the picture
(``--svg FILE``), which shows the effect of a change of the emulator.

=============  ================================================================================
stage          ends with
=============  ================================================================================
post           the request is in the UPID
kick           the sender has told the APIC, with the main loop's lock held; the receiver has left
               translated code and taken the notification
deliver        the frame is on the stack, and RIP is the handler
handler        UIRET
program        the other thread's SENDUIPI, after it has seen what the handler stored
=============  ================================================================================

Each stage is a median, so their sum is not exactly the median of the whole. An event itself takes
some tens of ns; the last column is half of a round trip without trace events.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from harness.artefacts.emulator.choice import build_emulator
from harness.artefacts.store import Store
from harness.errors import GuestError, HarnessError
from harness.guest.vm import Guest, start_guest
from harness.progress import Progress
from harness.report.progress import RichProgress
from harness.values import Emulator
from tools.judge import Judge, compile_judge, own_judges, run_judge, two_cpus

#: Stage → the event that ends it.
STAGES = {
    "post": "x86_uintr_notify",
    "kick": "x86_uintr_notification",
    "deliver": "x86_uintr_deliver",
    "handler": "x86_uintr_uiret",
    "program": "x86_uintr_send",
}
#: The event with which a way begins.
SEND = "x86_uintr_send"
#: Format of the trace file: QEMU's docs/devel/tracing.rst and trace/simple.c.
_HEADER_EVENT, _MAGIC, _VERSION = 0xFFFFFFFFFFFFFFFF, 0xF2B177CB0AA429B4, 4
_MAPPING, _EVENT = 0, 1
_MOST_BYTES = 256 << 20
_ROUND_TRIPS = 2000
_COLOURS = ("#4c78a8", "#e45756", "#72b7b2", "#54a24b", "#bab0ac")
_WIDTH, _LEFT, _BAR, _ROW = 900, 130, 26, 58


class Event(NamedTuple):
    """A trace event: its name, its time in ns, and its CPU, None if it has none."""

    name: str
    ns: int
    cpu: int | None


def read_events(data: bytes) -> Iterator[Event]:
    """Yield the events of a file of QEMU's `simple` trace backend, in the file's order.

    :raise GuestError: it is not such a file, or is cut off.
    """
    names: dict[int, str] = {}
    try:
        if struct.unpack_from("=QQQ", data) != (_HEADER_EVENT, _MAGIC, _VERSION):
            raise GuestError("no trace file of version 4")
        at = 24
        while at < len(data):
            (kind,) = struct.unpack_from("=Q", data, at)
            if kind == _MAPPING:
                number, length = struct.unpack_from("=QL", data, at + 8)
                at += 20
                names[number] = data[at : at + length].decode()
                at += length
            elif kind == _EVENT:
                number, ns, length, _pid = struct.unpack_from("=QQLL", data, at + 8)
                name = names.get(number, "")
                cpu = struct.unpack_from("=Q", data, at + 32)[0] if length >= 32 else None
                yield Event(name, ns, cpu)
                at += 8 + length
            else:
                raise GuestError(f"the trace file has a record of kind {kind}", where=f"byte {at}")
    except struct.error as error:
        raise GuestError("the trace file is cut", detail=str(error)) from error


def ways(events: Iterable[Event]) -> Iterator[tuple[int, ...]]:
    """Yield the stages, in ns, of each way from a SENDUIPI to the one that answers it.

    A way with other events in between, such as the kernel's IPIs, is left out.
    """
    order = sorted(events, key=lambda event: event.ns)
    pattern = (SEND, *STAGES.values())
    for begin in range(len(order) - len(STAGES)):
        way = order[begin : begin + len(pattern)]
        if tuple(event.name for event in way) != pattern:
            continue
        sender, receiver = {way[0].cpu, way[1].cpu}, {event.cpu for event in way[2:]}
        if len(sender) == len(receiver) == 1 and sender != receiver:
            yield tuple(after.ns - before.ns for before, after in itertools.pairwise(way))


class Row(NamedTuple):
    """An emulator's stages: medians in ns."""

    emulator: str
    stages: tuple[float, ...]
    #: Number of complete ways.
    ways: int
    #: Half of the median round trip without trace events, in ns.
    untraced: float


def trace(guest: Guest, judge: Judge, path: Path) -> bytes:
    """Return the trace of a judge's run."""
    events = sorted({SEND, *STAGES.values()})
    guest.monitor.human(f"trace-file set {path}")
    for name in events:
        guest.monitor.command("trace-event-set-state", {"name": name, "enable": True})
    guest.monitor.human("trace-file on")
    run_judge(guest, judge)
    for name in events:
        guest.monitor.command("trace-event-set-state", {"name": name, "enable": False})
    guest.monitor.human("trace-file flush")
    guest.monitor.human("trace-file off")
    if path.stat().st_size > _MOST_BYTES:
        raise GuestError("the trace is too large", where=path)
    return path.read_bytes()


def measure(emulator: Emulator, name: str, rounds: int, store: Store, progress: Progress) -> Row:
    """Boot a guest on an emulator, and return its row.

    :raise GuestError: the trace has no whole way.
    """
    spec = two_cpus(emulator, "exposed", "linux-6.12", store, progress)
    (judge,) = (
        one
        for one in own_judges(_ROUND_TRIPS)
        if (one.mechanism, one.mode) == ("uintr", "ping-pong-fair")
    )
    found: list[tuple[int, ...]] = []
    untraced = []
    with tempfile.TemporaryDirectory() as folder:
        compile_judge(spec.kernel, Path(folder, "push"))
        with start_guest(spec, Path(folder, "guest")) as guest:
            guest.push(Path(folder, "push"), "/judge")
            for number in range(rounds):
                untraced.append(run_judge(guest, judge) or 0.0)
                found += ways(read_events(trace(guest, judge, Path(folder, f"trace{number}"))))
    if not found:
        raise GuestError("the trace has no whole way from SENDUIPI to SENDUIPI", where=name)
    stages = tuple(statistics.median(stage) for stage in zip(*found, strict=True))
    return Row(name, stages, len(found), statistics.median(untraced) / 2)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown; medians in ns."""
    head = ("emulator", *STAGES, "sum", "ways", "untraced")
    lines = [head, ("---",) * len(head)]
    for row in rows:
        figures = (*row.stages, sum(row.stages), row.ways, row.untraced)
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
        left = _LEFT + number * 110
        parts.append(f'<rect x="{left}" y="10" width="14" height="14" fill="{colour}"/>')
        parts.append(f'<text x="{left + 20}" y="22" style="{style}">{name}</text>')
    for number, row in enumerate(rows):
        at: float = _LEFT
        top = 44 + number * _ROW
        parts.append(f'<text x="4" y="{top + 18}" style="{style}">{escape(row.emulator)}</text>')
        for ns, colour in zip(row.stages, _COLOURS, strict=True):
            width = ns * scale
            parts.append(
                f'<rect x="{at:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}"'
                f' fill="{colour}"/>'
            )
            if width > 30:
                middle = at + width / 2
                parts.append(
                    f'<text x="{middle:.1f}" y="{top + _BAR + 14}" text-anchor="middle"'
                    f' style="{style}; font-size: 11px">{ns:.0f}</text>'
                )
            at += width
        parts.append(
            f'<text x="{at + 6:.1f}" y="{top + 18}" style="{style}">{sum(row.stages):.0f} ns</text>'
        )
    return "\n".join((*parts, "</svg>")) + "\n"


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument(
        "--qemu",
        default="qemu-10.0",
        help="emulator profiles, with commas: names, or paths of files (default: %(default)s)",
    )
    options.add_argument("--rounds", type=int, default=5, help="rounds of each emulator")
    options.add_argument("--svg", type=Path, help="write the picture to this file")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = parser().parse_args(argv)
    try:
        with RichProgress() as progress:
            store = Store.open(progress)
            built = [
                (Path(name).stem if "/" in name else name, build_emulator(store, progress, name))
                for name in options.qemu.split(",")
            ]
            rows = [
                measure(emulator, name, options.rounds, store, progress) for name, emulator in built
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
