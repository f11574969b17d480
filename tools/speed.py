"""Measure the slowdown by QEMU's series: ``python -m tools.speed``.

Guests of the same kernel are timed on two or more emulators, under TCG: their boot, from QEMU's
start to the first command over SSH, and each kind of work in ``speed.c``, which has a fixed amount.
A round boots one guest of each variant, then runs each kind in all of them in turn, in an order
that rotates, so that other load on the host affects all variants alike. The processor time of
QEMU's threads is used, because it depends less on other load than wall time.

A round's time of a kind is the median of its runs. A variant's figure is the median over the rounds
of its time divided by the first variant's in the same round, with the bootstrap interval of that
median. The exit code is 1 if an interval lies beyond ``--limit``. ^C stops the measurement and
reports the complete rounds.

Variants, all with the CPU model ``max``:

``stock``   the emulator without the series
``same``    ours without the new CPU features: the cost of the series' code paths
``hidden``  ours with user interrupts hidden as in cells: the kernel finds XSAVES, and uses it
``exposed`` ours with user interrupts
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.artefacts.emulator.choice import build_emulator
from harness.artefacts.image import build_image
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.store import Store
from harness.errors import ExitCode, GuestError, HarnessError
from harness.guest.spec import GuestSpec
from harness.guest.vm import Guest, start_guest
from harness.progress import Progress
from harness.report.progress import RichProgress
from harness.request.profiles import load_cpu, load_kernel
from harness.values import CpuProfile
from tools.scratch import scratch

SOURCE = Path(__file__).with_suffix(".c")
ORDER = ("stock", "same", "hidden", "exposed")
KINDS = ("integer", "memory", "floating", "syscalls", "switches", "signals", "faults")
#: Kinds that run on all CPUs of a guest.
SHARED = ("tickets", "files", "forks")
BOOT = "boot"
ALL = "all work"
_LIMIT_S = 60.0
_BOOTSTRAPS = 4000
_COVERED = 0.95


class Variant(NamedTuple):
    """An emulator profile with a CPU."""

    name: str
    emulator: str
    cpu: CpuProfile


class Time(NamedTuple):
    """A time in seconds: of QEMU's threads, and on the wall."""

    cpu: float
    wall: float


#: The times of one round, by variant and kind.
Round = dict[str, dict[str, list[Time]]]


def variants(stock: str, ours: str) -> list[Variant]:
    hidden, exposed = load_cpu("hidden"), load_cpu("exposed")
    same = hidden.model_copy(update={"features": ("xsavec=off", "xsaves=off")})
    return [
        Variant("stock", stock, hidden),
        Variant("same", ours, same),
        Variant("hidden", ours, hidden),
        Variant("exposed", ours, exposed),
    ]


def processor_s(pid: int) -> float:
    """Return the seconds that a process's threads have run, from the scheduler's ns counters."""
    total = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(stat.read_text().split()[0])
    return total / 1e9


@contextlib.contextmanager
def timed(pid: int, times: list[Time]) -> Iterator[None]:
    """Add the time of the block, of a process and on the wall, to a list."""
    cpu, wall = processor_s(pid), time.monotonic()
    yield
    times.append(Time(processor_s(pid) - cpu, time.monotonic() - wall))


def one_round(
    specs: dict[str, GuestSpec],
    order: Sequence[str],
    program: Path,
    kinds: Sequence[str],
    repeat: int,
) -> Round:
    """Boot a guest of each variant, and time each kind in all of them in turn.

    :raise GuestError: a guest failed, or results differ between guests.
    """
    times: Round = {name: {kind: [] for kind in (BOOT, *kinds)} for name in order}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch("speed"))
        guests: dict[str, Guest] = {}
        for name in order:
            guest = stack.enter_context(start_guest(specs[name], folder / name))
            times[name][BOOT].append(Time(processor_s(guest.qemu_pid), guest.boot.boot_s))
            guest.push(program, "/speed/")
            guests[name] = guest
        for kind in kinds:
            said = set()
            for name in list(order) * repeat:
                guest = guests[name]
                with timed(guest.qemu_pid, times[name][kind]):
                    done = guest.run(["/speed/speed", kind], timeout_s=_LIMIT_S * guest.factor)
                if done.returncode != 0:
                    raise GuestError(f"speed {kind} failed in a guest", where=name)
                said.add(done.stdout)
            if len(said) != 1:
                raise GuestError(f"the emulators do not agree on {kind}", detail=str(said))
    return times


class Ratio(NamedTuple):
    """A time as a multiple of the first variant's, with the ends of the interval."""

    low: float
    median: float
    high: float


def ratio(before: Sequence[float], after: Sequence[float]) -> Ratio:
    """Return the median of the ratios of pairs, and its bootstrap interval."""
    pairs = [b / a for a, b in zip(before, after, strict=True)]
    draw = random.Random(0)  # the same figures give the same interval
    medians = sorted(
        statistics.median(draw.choices(pairs, k=len(pairs))) for _ in range(_BOOTSTRAPS)
    )
    cut = round(_BOOTSTRAPS * (1 - _COVERED) / 2)
    return Ratio(medians[cut], statistics.median(pairs), medians[-cut - 1])


def verdict(found: Ratio, limit: float) -> str:
    if found.low > limit:
        return "SLOWER"
    return "ok" if found.high <= limit else "not sure"


def typical(rounds: Sequence[Round], name: str, kind: str, of: str) -> list[float]:
    """Return the time of a kind in each round; for all work, the geometric mean of the kinds.

    :param of: the field of :class:`Time`.
    """
    if kind == ALL:
        kinds = [kind for kind in rounds[0][name] if kind != BOOT]
        parts = [typical(rounds, name, kind, of) for kind in kinds]
        return [statistics.geometric_mean(times) for times in zip(*parts, strict=True)]
    return [statistics.median(getattr(taken, of) for taken in one[name][kind]) for one in rounds]


def report(rounds: Sequence[Round], limit: float, of: str = "cpu") -> tuple[str, bool]:
    """Return a table of one of the times as text, and whether an interval is beyond the limit."""
    first, *others = sorted(rounds[0], key=ORDER.index)
    lines = [f"{of:10}{first + ' s':>9}  " + "".join(f"{name:^38}" for name in others)]
    slower = False
    for kind in (*rounds[0][first], ALL):
        before = typical(rounds, first, kind, of)
        line = f"{kind:10}{statistics.median(before):9.3f}  "
        for name in others:
            found = ratio(before, typical(rounds, name, kind, of))
            judged = verdict(found, limit)
            slower = slower or judged == "SLOWER"
            span = f"{found.median:.3f} [{found.low:.3f}, {found.high:.3f}] {judged}"
            line += f"{span:^38}"
        lines.append(line.rstrip())
    return "\n".join(lines), slower


def measure(options: argparse.Namespace, progress: Progress) -> list[Round]:
    """Measure until the last round or ^C, and return the complete rounds."""
    store = Store.open(progress)
    kernel = build_kernel(load_kernel(options.kernel), store, progress)
    image = build_image(store, progress)
    chosen = [
        variant
        for variant in variants(options.stock, options.ours)
        if variant.name in {"stock", *options.variants.split(",")}
    ]
    specs = {
        name: GuestSpec(
            emulator=build_emulator(store, progress, emulator),
            kernel=kernel,
            image=image,
            cpu=cpu,
            smp=options.smp,
        )
        for name, emulator, cpu in chosen
    }
    names = list(specs)
    rounds: list[Round] = []
    with scratch("speed") as folder:
        flags = ["-O2", "-fno-math-errno", "-static", "-pthread", "-o", f"{folder}/speed"]
        subprocess.run(["gcc", *flags, str(SOURCE)], check=True)
        with progress.step("measure") as step, contextlib.suppress(KeyboardInterrupt):
            for number in range(options.rounds):
                step.update(f"round {number + 1}", done=number, total=options.rounds)
                at = number % len(names)
                order = names[at:] + names[:at]
                kinds = kinds_of(options)
                rounds.append(one_round(specs, order, Path(folder), kinds, options.repeat))
                if options.out:
                    options.out.write_text(json.dumps(rounds))
    return rounds


def kinds_of(options: argparse.Namespace) -> list[str]:
    """Return the kinds of work from the options, by default those for the number of CPUs."""
    if options.kinds:
        return list(options.kinds.split(","))
    return [*KINDS, *(SHARED if options.smp > 1 else ())]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--rounds", type=int, default=12)
    options.add_argument("--repeat", type=int, default=4, help="runs of a kind in a round")
    options.add_argument("--limit", type=float, default=1.02, help="largest ratio that is good")
    options.add_argument("--kernel", default="plain-6.12")
    options.add_argument("--stock", default="qemu-10.0-stock", help="emulator profile")
    options.add_argument("--ours", default="qemu-10.0", help="emulator profile")
    options.add_argument("--variants", default="same,hidden,exposed")
    options.add_argument("--smp", type=int, default=1, help="CPUs of each guest")
    options.add_argument(
        "--kinds", help=f"by default {','.join(KINDS)}; with several CPUs also {','.join(SHARED)}"
    )
    options.add_argument("--out", type=Path, help="JSON file for all times")
    return options


def main() -> int:
    options = parser().parse_args()
    try:
        with RichProgress() as progress:
            rounds = measure(options, progress)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if not rounds:
        return ExitCode.INTERRUPTED
    slower = False
    for of in ("cpu", "wall") if options.smp > 1 else ("cpu",):
        table, worse = report(rounds, options.limit, of)
        print(table)
        slower = slower or worse
    print(f"{len(rounds)} rounds of {options.repeat} runs of each kind")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
