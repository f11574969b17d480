"""Test with a program that prints without end in one of two cells: ``python -m tools.endless``.

Both cells run at the same time and have the same programs. In the cell with a single CPU,
``endless/prints`` prints on both outputs for at least ``--minutes``, as fast as the default limit
on its output allows. The harness must then end it, for its output or at its deadline, report that,
run the following programs in the same guest, and give the right verdict for all others. Meanwhile
the memory of the harness's processes and the size of the run's folder are measured. The exit code
is 1 if a verdict is wrong or a limit is exceeded.

``tests/integration/test_hostile.py`` has a program that prints as fast as it can, which is ended
within seconds.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from harness import paths
from harness.guest.verdict.deadlines import ACCEL_FACTOR
from harness.results.folder import RunFolder
from harness.results.outcome import read_outcome
from harness.results.reading import read_records
from harness.results.records import CaseRecord
from harness.values import OUTPUT_LIMIT
from tools.scratch import scratch

#: Limits in bytes: memory of the harness without QEMU's, and size of the run's folder.
MEMORY, DISK = 512 << 20, OUTPUT_LIMIT + (32 << 20)
#: Subjects that run beside the program: one before it, one after it.
SUBJECTS = ("api", "lifetime")
PROGRAM = "endless/prints"
#: Share of its output limit that it prints before the earliest time of its deadline.
SHARE = 0.8
ENDED = ("timed out", "too much output")
LOOK_S = 2.0
#: Script that runs the command line with another folder of guest programs.
_RUN = """
import pathlib, sys
from harness import paths
paths.GUEST_TESTS = pathlib.Path(sys.argv[1])
from harness.cli import main
sys.exit(main(sys.argv[2:]))
"""


def lay_out(tests: Path, minutes: float) -> None:
    """Fill a folder with guest programs, the endless one included."""
    for name in ("include", *SUBJECTS):
        shutil.copytree(paths.GUEST_TESTS / name, tests / name)
    endless = tests / PROGRAM
    endless.parent.mkdir()
    source = Path(__file__).with_suffix(".c").read_text()
    rate = int(SHARE * OUTPUT_LIMIT / (minutes * 60))
    endless.with_suffix(".c").write_text(source.replace("PER_SECOND", str(rate)))
    # A deadline is written for KVM, and stretched under TCG.
    settings = f"timeout={minutes * 60 / ACCEL_FACTOR['tcg']:.3f}\n"
    (endless.parent / "settings").write_text(settings)


def memory_of(root: psutil.Process) -> int:
    """Return the resident bytes of a process and its children, without QEMU's."""
    size = 0
    for process in (root, *root.children(recursive=True)):
        try:
            if not process.name().startswith("qemu"):
                size += process.memory_info().rss
        except psutil.Error:
            continue
    return size


def size_of(folder: Path) -> int:
    """Return the bytes of a folder's files on the disk."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return size


def watch(argv: Sequence[str], out: Path, cwd: Path) -> tuple[int, int]:
    """Run a command, and return its peak memory and disk space in bytes."""
    memory = disk = 0
    process = psutil.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL)
    began = said = time.monotonic()
    try:
        while process.poll() is None:
            memory, disk = max(memory, memory_of(process)), max(disk, size_of(out))
            now = time.monotonic()
            if now - said > 60:
                said = now
                used = f"memory {memory >> 20}, disk {disk >> 20} MiB"
                print(f"{now - began:.0f} s: {used}", flush=True)
            time.sleep(LOOK_S)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return memory, max(disk, size_of(out))


def wrong_verdicts(run: RunFolder) -> Iterator[str]:
    """Yield a message for each wrong verdict."""
    cases = [
        record for record in read_records(run.results).records if isinstance(record, CaseRecord)
    ]
    endless = set()
    for case in cases:
        if case.program == PROGRAM and "-smp1-" in case.cell:
            endless.add(case.status)
            if case.status == "fail" and not case.message.startswith(ENDED):
                yield f"{PROGRAM} was not ended for what it did: {case.message}"
        elif case.status == "fail":
            yield f"{case.cell}: {case.program} {case.case}: {case.status}: {case.message}"
    if endless != {"fail"}:
        yield f"{PROGRAM} is {', '.join(endless) or 'missing'} where it prints without end"
    counts = {
        cell: len({case.program for case in cases if case.cell == cell})
        for cell in {case.cell for case in cases}
    }
    if len(counts) != 2 or len(set(counts.values())) != 1:
        yield f"programs by cell: {counts}"
    outcome = read_outcome(run).outcome
    verdicts = {cell.partition("-smp")[2][:1]: one for cell, one in outcome.verdicts.items()}
    if verdicts != {"1": "failed", "2": "passed"}:
        yield f"verdicts by number of CPUs: {verdicts}"


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--out", type=Path, required=True, help="folder for the results")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run both cells; return 1 if a verdict is wrong or a limit is exceeded."""
    options = parser().parse_args(argv)
    out = options.out.absolute()
    with scratch("endless") as folder:
        tests = folder / "guest-tests"
        lay_out(tests, options.minutes)
        words = ["run", "--accel", "tcg", "--smp", "1,2", "--jobs", "2", "--retries", "0"]
        command = [sys.executable, "-c", _RUN, str(tests), *words, "--quiet", "--out", str(out)]
        memory, disk = watch(command, out, paths.ROOT)
    wrong = list(wrong_verdicts(RunFolder(out)))
    if memory > MEMORY:
        wrong.append("too much memory")
    if disk > DISK:
        wrong.append("too much disk space")
    print(*wrong, sep="\n")
    print(f"memory {memory >> 20} MiB, disk {disk >> 20} MiB, {len(wrong)} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
