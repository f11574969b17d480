"""Readers of a guest's output on generated streams: ``python -m tools.streams``.

Each stream is a few MiB of one kind of hostile output: without newlines, only newlines, endless
results, subtests, diagnostics, reports of the kernel, NUL bytes, or a mixture. Each reader takes it
in pieces of odd sizes. None may use more than 64 MiB (by tracemalloc) beside the stream itself, and
twice the stream may not take much more than twice the time.

``--count 10000`` takes many hours of processor time with ``--size`` as large as it is by default,
and one to two with ``--size 16384``: nearly all of it goes into reading line by line.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.guest.alarm import Alarm
from harness.guest.transport.command import Bounded
from harness.guest.transport.console import Console
from harness.results.ktap.reader import KtapReader
from harness.results.ktap.selftest import SelftestReader

MOST = 64 << 20
#: Twice the input may take so many times the time; small inputs are too quick to be compared.
RATIO, QUICK_S = 4.0, 0.5
WORDS = (
    b"KTAP version 1\n", b"TAP version 13\n", b"1..3\n", b"1..0 # SKIP no\n", b"ok 1 a\n", b"ok\n",
    b"not ok 2 b # TODO c\n", b"# Subtest: s\n", b"    ", b"\t", b"\n", b"\r\n", b"\0", b"\xff",
    b"# a diagnostic\n", b"# checks: A-1\n", b"Bail out! x\n", b"[FAIL] x\n", b"[RUN] y\n",
    b"[    1.000000] ", b"WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n", b"BUG: x\n", b"lock ",
    b"------------[ cut here ]------------\n", b"BUG: using __this_cpu_", b"Call Trace:\n",
    b" f+0x1/0x2\n", b"---[ end trace 0 ]---\n", b"Linux version 6\n", b"x", b" detected", b"ok - ",
)  # fmt: skip

Feed = Callable[[bytes], object]


def stream(seed: int, size: int) -> bytes:
    """Return a stream of ``size`` bytes: a few fragments, again and again, and some noise."""
    chance = random.Random(seed)
    block = b"".join(chance.choices(WORDS, k=chance.randint(1, 12)))
    if chance.random() < 0.3:
        block += chance.randbytes(chance.randint(1, 40))
    return (block * (size // len(block) + 1))[:size]


def _readers(folder: Path) -> Iterator[tuple[str, Feed, Callable[[], object]]]:
    """Give each reader's name, what feeds it and what ends it."""
    ktap, selftest, kept = KtapReader(), SelftestReader(), Bounded()
    yield "ktap", ktap.feed, lambda: ktap.close(None, reason="end")
    yield "selftest", selftest.feed, lambda: selftest.close(None, reason="end")
    yield "output", kept.add, kept.value
    alarm = Alarm()
    console = Console(folder / "console.log", alarm)
    yield "console", console.feed, lambda: _end(console, alarm)


def _end(console: Console, alarm: Alarm) -> None:
    console.splats()
    console.close()
    alarm.close()


def measure(data: bytes, seed: int) -> dict[str, tuple[int, float]]:
    """Return the bytes that each reader used at most, and its seconds."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, feed, close in _readers(Path(folder)):
            chance = random.Random(seed)
            tracemalloc.start()
            began, place = time.process_time(), 0
            while place < len(data):
                step = chance.choice((1000, 4096, 16384))
                feed(data[place : place + step])
                place += step
            close()
            took = time.process_time() - began
            found[name] = (tracemalloc.get_traced_memory()[1], took)
            tracemalloc.stop()
    return found


def complaints(seed: int, size: int) -> list[str]:
    """Return which readers use too much memory or more than linear time; nothing is well."""
    once, twice = measure(stream(seed, size), seed), measure(stream(seed, 2 * size), seed)
    wrong = []
    for name, (used, took) in twice.items():
        if used > MOST:
            wrong.append(f"seed {seed}: {name} used {used >> 20} MiB for {2 * size} bytes")
        if took > QUICK_S and took > RATIO * once[name][1]:
            wrong.append(f"seed {seed}: {name} took {took:.1f} s after {once[name][1]:.1f} s")
    return wrong


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--count", type=int, default=20)
    options.add_argument("--size", type=int, default=1 << 20, metavar="BYTES")
    options.add_argument("--seed", type=int, default=0, help="of the first stream")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Try streams; return 1 if a reader went beyond the limits."""
    options = parser().parse_args(argv)
    wrong = []
    for seed in range(options.seed, options.seed + options.count):
        for line in complaints(seed, options.size):
            wrong.append(line)
            print(line, flush=True)
    print(f"{options.count} streams, {len(wrong)} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
