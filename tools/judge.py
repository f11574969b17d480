"""Compare the bench's latencies with those of independent programs: ``python -m tools.judge``.

A guest with two CPUs is booted. In it, each latency of the bench is measured in turn with a program
that measures the same and shares no code with the bench: ``judge.c`` beside this file, and programs
of Debian. Those are taken from the host if it has them, otherwise unpacked from their packages by
``apt-get download``, which needs no root. Their shared libraries and the dynamic loader are pushed
with them. The table shows both figures and their ratio, bench by judge. A ratio beyond ``--limit``,
in either direction, is marked and makes the exit code 1.

=====================  ===========================================================================
judge                  is compared with
=====================  ===========================================================================
``judge M spins``      ``ping-pong-fair``
``judge M sleeps``     ``ping-pong-blocked``
``judge M together``   ``ping-pong-blocked-same-cpu``
``perf bench``         ``ping-pong-blocked-same-cpu`` of pipe; an average, as is the bench's figure
``judge M one-way``    ``one-way-blocked-same-cpu``
``sigwaittest``        ``judge signal paced``: after a millisecond in which the CPU is idle, one
                       thread wakes the other, and the signal back is measured; an average in whole
                       microseconds. The bench does not measure this
``ptsematest``         ``judge futex paced``, for the same reason; a contended mutex is a futex
=====================  ===========================================================================

Not used, because the bench has no such mechanism or they measure something else: pmqtest (POSIX
message queues), svsematest (System V semaphores), cyclictest (timers), hackbench and stress-ng
(throughput of many tasks).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.artefacts.emulator import choice as qemu
from harness.artefacts.image import build_image
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.programs import build_programs
from harness.artefacts.store import Store
from harness.errors import GuestError, HarnessError, UserError
from harness.guest.spec import GuestSpec
from harness.guest.vm import Guest, start_guest
from harness.progress import Progress
from harness.report.progress import RichProgress
from harness.request.profiles import load_cpu, load_kernel
from harness.results.latency import read_folder
from harness.values import Emulator, KernelArtefact
from tools.scratch import scratch

SOURCE = Path(__file__).with_suffix(".c")
LIMIT = 4 / 3
EXIT_SKIP = 4
_REMOTE = "/judge"
_BENCH = "/judge-bench"
_SAMPLES = "/judge-samples"
_LIMIT_S = 60.0
#: Ways of ``judge MECHANISM paced``.
_PACED = 1000
_PACKAGES = {"perf": "linux-perf", "sigwaittest": "rt-tests", "ptsematest": "rt-tests"}
_NEEDED = re.compile(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)")


class Judge(NamedTuple):
    """A program, and the bench's latency that it is compared with."""

    mechanism: str
    mode: str
    argv: tuple[str, ...]
    #: Regular expression that finds its figure in its output.
    pattern: str
    #: Unit of the figure, in ns.
    ns: float = 1.0
    #: Whether it prints an average instead of a median.
    average: bool = False
    #: Form of ``judge.c`` to compare with, if the bench has no mode for it.
    form: str = ""

    @property
    def case(self) -> str:
        """Name of the bench's case for the mode."""
        return self.mode.replace("-", "_")

    @property
    def name(self) -> str:
        """The judge's name in the table."""
        return " ".join(word for word in self.argv[:3] if not word.startswith("-"))


def own_judges(rounds: int) -> list[Judge]:
    """Return the judges in ``judge.c``."""
    forms = {
        "spins": ("ping-pong-fair", ("uintr", "eventfd", "pipe", "unix", "futex", "shm", "signal")),
        "sleeps": ("ping-pong-blocked", ("eventfd", "pipe", "unix", "futex", "signal")),
        "together": ("ping-pong-blocked-same-cpu", ("eventfd", "pipe", "unix", "futex", "signal")),
        "one-way": ("one-way-blocked-same-cpu", ("eventfd", "pipe", "unix", "futex", "signal")),
    }
    return [
        Judge(mechanism, mode, ("judge", mechanism, form, str(rounds)), r"median (\d+)")
        for form, (mode, mechanisms) in forms.items()
        for mechanism in mechanisms
    ]


def packaged_judges(rounds: int) -> list[Judge]:
    """Return the judges that Debian packages; all run on one CPU, which determines the wake-up."""
    loops = str(rounds)
    rt = ("-q", "-t", "1", "-a", "0", "-i", "1000", "-l", loops)
    bench = ("perf", "bench", "sched", "pipe", "-T", "-l", str(rounds * 10))
    average, us = r"Avg\s+(\d+)", 1000.0
    return [
        Judge("pipe", "ping-pong-blocked-same-cpu", bench, r"([\d.]+) usecs/op", us, True),
        Judge("signal", "judge paced", ("sigwaittest", *rt), average, us, True, "paced"),
        Judge("futex", "judge paced", ("ptsematest", *rt, "-d", "0"), average, us, True, "paced"),
    ]


def figure(judge: Judge, output: str) -> float:
    """Return a judge's figure in ns.

    :raise GuestError: the output has no figure.
    """
    found = re.findall(judge.pattern, output)
    if not found:
        raise GuestError(f"{judge.name} printed no figure", detail=output[-2000:])
    return float(found[-1]) * judge.ns


def libraries(said: str) -> list[Path]:
    """Return the files that ``ldd`` lists, the dynamic loader included.

    :raise UserError: one is missing on the host.
    """
    missing = [line.split()[0] for line in said.splitlines() if "not found" in line]
    if missing:
        raise UserError(f"the host lacks {', '.join(missing)}", hint="apt-get install its package")
    return [Path(path) for path in _NEEDED.findall(said)]


def unpack(program: str, folder: Path) -> Path:
    """Return a program of a Debian package: the host's, or one unpacked into a folder.

    :raise UserError: apt cannot download the package.
    """
    found = shutil.which(program)
    if found:
        return Path(found)
    package = _PACKAGES[program]
    there = folder / package
    if not there.is_dir():
        there.mkdir()
        argv = ["apt-get", "-q", "download", package]
        done = subprocess.run(argv, cwd=there, capture_output=True, text=True, check=False)
        archives = list(there.glob("*.deb"))
        if done.returncode or not archives:
            raise UserError(f"apt-get could not download {package}", detail=done.stderr[-1000:])
        subprocess.run(["dpkg-deb", "-x", str(archives[0]), str(there)], check=True)
    return there / "usr/bin" / program


def bundle(programs: Iterable[str], unpacked: Path, into: Path) -> list[str]:
    """Copy Debian's programs and their libraries into a folder; return why some are missing."""
    complaints = []
    for program in programs:
        try:
            path = unpack(program, unpacked)
            env = {**os.environ, "LC_ALL": "C"}
            argv = ["ldd", str(path)]
            said = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
            for library in libraries(said.stdout):
                shutil.copy(library, into / library.name)
            shutil.copy(path, into / program)
        except HarnessError as error:
            complaints.append(f"{program}: {error.what}")
    return complaints


def command(judge: Judge) -> list[str]:
    """Return the command that runs a judge in the guest."""
    program, *words = judge.argv
    if program == "judge":
        return [f"{_REMOTE}/judge", *words]
    loader = [f"{_REMOTE}/ld-linux-x86-64.so.2", "--library-path", _REMOTE]
    return ["taskset", "1", *loader, f"{_REMOTE}/{program}", *words]


def run_judge(guest: Guest, judge: Judge) -> float | None:
    """Return a judge's figure in ns, or None if the kernel lacks the mechanism."""
    done = guest.run(command(judge), timeout_s=_LIMIT_S * guest.factor)
    if done.returncode == EXIT_SKIP:
        return None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        raise GuestError(f"{judge.name} failed with {done.returncode}", detail=said[-2000:])
    return figure(judge, done.stdout.decode("utf-8", "replace"))


def run_form(guest: Guest, judge: Judge) -> float | None:
    """Return the figure of ``judge.c`` in ns, for a judge that the bench has no case for."""
    own = ("judge", judge.mechanism, judge.form, str(_PACED))
    return run_judge(guest, Judge(judge.mechanism, judge.mode, own, r"mean (\d+)"))


def run_bench(guest: Guest, judge: Judge, folder: Path) -> float | None:
    """Return the bench's figure for a judge in ns, or None if it was skipped."""
    guest.run(["rm", "-rf", _SAMPLES], timeout_s=5)
    guest.run(["mkdir", _SAMPLES], timeout_s=5)
    done = guest.run(
        [f"{_BENCH}/{judge.mechanism}", judge.case],
        timeout_s=_LIMIT_S * guest.factor,
        env={"UINTR_SAMPLES": _SAMPLES},
    )
    if done.returncode == EXIT_SKIP:
        return None
    shutil.rmtree(folder, ignore_errors=True)
    guest.fetch(_SAMPLES, folder)
    found = read_folder(folder, cell="judge", program=judge.mechanism)
    if done.returncode or found.errors or len(found.records) != 1:
        said = done.stdout.decode("utf-8", "replace")
        raise GuestError(f"the bench's {judge.mechanism} {judge.mode} failed", detail=said[-2000:])
    (record,) = found.records
    return record.mean if judge.average else float(record.p50)


class Row(NamedTuple):
    """A line of the table: both figures of each round, in ns."""

    judge: Judge
    bench: tuple[float, ...]
    judged: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Lab by judge: the median of the rounds' ratios."""
        pairs = zip(self.bench, self.judged, strict=True)
        return statistics.median(bench / judged for bench, judged in pairs)

    def differs(self, limit: float) -> bool:
        """Return whether the two differ by more than the limit, in either direction."""
        return bool(self.bench) and not 1 / limit <= self.ratio <= limit


def table(rows: Sequence[Row], limit: float) -> str:
    """Return the rows as text; figures in microseconds. A row without figures was skipped."""
    lines = [f"{'mechanism':10}{'mode':28}{'judge':20}{'bench µs':>10}{'judge µs':>10}{'ratio':>8}"]
    for row in rows:
        if not row.bench:
            lines.append(
                f"{row.judge.mechanism:10}{row.judge.mode:28}{row.judge.name:20}   skipped"
            )
            continue
        bench, judged = (statistics.median(ns) / 1000 for ns in (row.bench, row.judged))
        mark = "  DIFFERS" if row.differs(limit) else ""
        names = f"{row.judge.mechanism:10}{row.judge.mode:28}{row.judge.name:20}"
        lines.append(f"{names}{bench:10.2f}{judged:10.2f}{row.ratio:8.2f}{mark}")
    return "\n".join(lines)


def measure(guest: Guest, judges: Sequence[Judge], rounds: int, folder: Path) -> list[Row]:
    """Run bench and judge of each latency in turn, for a number of rounds."""
    figures: dict[Judge, list[tuple[float, float]]] = {judge: [] for judge in judges}
    for number in range(rounds):
        for judge in judges:
            judged = run_judge(guest, judge) if number % 2 else None
            bench = run_form(guest, judge) if judge.form else run_bench(guest, judge, folder)
            if number % 2 == 0:
                judged = run_judge(guest, judge)
            # A figure of 0 is below the resolution of a program that prints microseconds.
            if bench and judged:
                figures[judge].append((bench, judged))
    return [
        Row(judge, tuple(bench for bench, _ in pairs), tuple(judged for _, judged in pairs))
        for judge, pairs in figures.items()
    ]


def choose(option: str, store: Store, progress: RichProgress) -> Emulator:
    """Return the QEMU that an option names, as with ``run --qemu``."""
    if option == qemu.BUNDLED:
        return qemu.build_emulator(store, progress)
    return qemu.find_emulator(None if option == qemu.SYSTEM else option)


def two_cpus(
    emulator: Emulator, cpu: str, kernel: str, store: Store, progress: Progress
) -> GuestSpec:
    """Return the spec of the guest to measure in: two CPUs of a model."""
    return GuestSpec(
        emulator=emulator,
        kernel=build_kernel(load_kernel(kernel), store, progress),
        image=build_image(store, progress),
        cpu=load_cpu(cpu),
        smp=2,
        memory_mib=1024,
    )


def compile_judge(kernel: KernelArtefact, folder: Path) -> None:
    """Compile ``judge.c`` for a kernel into a folder, which is made."""
    folder.mkdir(exist_ok=True)
    flags = ["-std=gnu11", "-O2", "-static", "-muintr", "-pthread"]
    headers = ["-isystem", str(kernel.headers)]
    subprocess.run(["gcc", *flags, *headers, "-o", str(folder / "judge"), str(SOURCE)], check=True)


def judge_cell(options: argparse.Namespace, cpu: str, progress: RichProgress) -> list[Row]:
    """Boot a guest with a CPU model, and return the rows of its table."""
    store = Store.open(progress)
    emulator = choose(options.qemu, store, progress)
    spec = two_cpus(emulator, cpu, options.kernel, store, progress)
    programs = build_programs(spec.kernel, "gcc", store, progress)
    judges = own_judges(options.loops)
    with scratch("judge") as folder:
        (folder / "unpacked").mkdir()
        compile_judge(spec.kernel, folder / "push")
        if not options.only_own:
            packaged = packaged_judges(options.loops)
            wanted = [judge.argv[0] for judge in packaged]
            for complaint in bundle(wanted, folder / "unpacked", folder / "push"):
                progress.note(f"left out: {complaint}")
            judges += [one for one in packaged if (folder / "push" / one.argv[0]).exists()]
        with start_guest(spec, folder / "guest") as guest:
            guest.push(folder / "push", _REMOTE)
            guest.push(programs.path / "latency", _BENCH)
            return measure(guest, judges, options.rounds, folder / "samples")


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--cpu", default="exposed,hidden")
    options.add_argument("--kernel", default="linux-6.12")
    options.add_argument("--qemu", default=qemu.BUNDLED, help="bundled, system, or a path")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--loops", type=int, default=1000, help="round trips of a judge")
    options.add_argument("--limit", type=float, default=LIMIT, help="ratio beyond which is marked")
    options.add_argument("--only-own", action="store_true", help="without Debian's programs")
    return options


def main() -> int:
    """Run the command."""
    options = parser().parse_args()
    differs = False
    try:
        for cpu in options.cpu.split(","):
            load = os.getloadavg()[0]
            with RichProgress() as progress:
                rows = judge_cell(options, cpu, progress)
            text = table(rows, options.limit)
            print(f"{cpu}, load {load:.1f} to {os.getloadavg()[0]:.1f}\n{text}\n", flush=True)
            differs |= any(row.differs(options.limit) for row in rows)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
