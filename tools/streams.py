"""Test the readers of a guest's output with generated streams: ``python -m tools.streams``.

Each stream is a few MiB of one kind of hostile output: without newlines, only newlines, endless
results, subtests, diagnostics, kernel reports, NUL bytes, or a mixture. Each reader gets it in
pieces of various sizes, in a process that is limited to 64 MiB besides the stream itself. A stream
of twice the size may not take much more than twice the time.

``--count 10000`` takes about twenty minutes of processor time with ``--size 16384``, and a day with
the default ``--size``. Nearly all of it is spent on reading line by line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.guest.alarm import Alarm
from harness.guest.transport.command import Bounded
from harness.guest.transport.console import Console
from harness.lib.interrupts import terminated_as_interrupted
from harness.results.ktap.reader import KtapReader
from harness.results.ktap.selftest import SelftestReader
from tools.scratch import scratch

MOST = 64 << 20
#: Largest ratio of times for twice the input, and seconds below which times are not compared.
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
    """Return a stream of ``size`` bytes: a few fragments, repeated, and some noise."""
    chance = random.Random(seed)
    block = b"".join(chance.choices(WORDS, k=chance.randint(1, 12)))
    if chance.random() < 0.3:
        block += chance.randbytes(chance.randint(1, 40))
    return (block * (size // len(block) + 1))[:size]


def _readers(folder: Path) -> Iterator[tuple[str, Feed, Callable[[], object]]]:
    """Yield each reader's name, and the functions that feed and close it."""
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


def measure(data: bytes, seed: int) -> dict[str, float]:
    """Return the seconds of each reader.

    :raise MemoryError: one needs more memory than the process's limit.
    """
    found = {}
    with scratch("streams") as folder:
        for name, feed, close in _readers(folder):
            chance = random.Random(seed)
            began, place = time.process_time(), 0
            try:
                while place < len(data):
                    step = chance.choice((1000, 4096, 16384))
                    feed(data[place : place + step])
                    place += step
                close()
            except MemoryError as error:
                raise MemoryError(name) from error
            found[name] = time.process_time() - began
    return found


def complaints(seed: int, size: int) -> list[str]:
    """Return a message for each reader that uses too much memory, or more than linear time."""
    small, large = stream(seed, size), stream(seed, 2 * size)
    limit_memory(MOST)
    try:
        once, twice = measure(small, seed), measure(large, seed)
    except MemoryError as error:
        return [f"seed {seed}: {error} used more than {MOST >> 20} MiB for {2 * size} bytes"]
    return [
        f"seed {seed}: {name} took {took:.1f} s after {once[name]:.1f} s"
        for name, took in twice.items()
        if took > QUICK_S and took > RATIO * once[name]
    ]


def limit_memory(more: int) -> None:
    """Limit this process's memory to what it has now and ``more`` bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def beside(seed: int, size: int) -> list[str]:
    """Return the complaints of a stream, which is tried in a child process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, json.dumps(complaints(seed, size)).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as answer:
            said = answer.read()
    except BaseException:
        os.kill(child, signal.SIGTERM)
        raise
    finally:
        os.waitpid(child, 0)
    return list(json.loads(said)) if said else [f"seed {seed}: the readers died"]


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--count", type=int, default=20)
    options.add_argument("--size", type=int, default=1 << 20, metavar="BYTES")
    options.add_argument("--seed", type=int, default=0, help="seed of the first stream")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Try streams; return 1 if a reader exceeded a limit."""
    options = parser().parse_args(argv)
    wrong = []
    with terminated_as_interrupted():
        for seed in range(options.seed, options.seed + options.count):
            for line in beside(seed, options.size):
                wrong.append(line)
                print(line, flush=True)
    print(f"{options.count} streams, {len(wrong)} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
