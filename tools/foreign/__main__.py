"""Try damaged and hostile files on the readers of the harness: ``python -m tools.foreign``.

Right files (profiles, the folder of a run, mails, the output of guests, archives and samples,
findings) are changed, and read as a stranger's. Each case runs in a process of its own. It must end
in time, with an error that the harness makes or with a result; it may use 512 MiB, print no control
character, and write nothing outside the folders that are its own. If one does not, the command that
repeats it is printed, and its files are kept in the folder of ``--out``.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from harness.lib.interrupts import terminated_as_interrupted
from harness.paths import CACHE_ENV
from tools.foreign import parts
from tools.foreign.mutate import mutated
from tools.foreign.parts import PARTS, Part, runs_like
from tools.scratch import scratch

#: Largest memory of a case, besides what the modules take.
MEMORY = 512 << 20
#: The content of the file that nothing may change, and complaints that are kept.
CANARY, MOST_KEPT = b"untouched\n", 100


def make(part: Part, folder: Path, chance: Random) -> None:
    """Write the files of a case into ``folder/in``, and change some."""
    inputs = folder / "in"
    inputs.mkdir(parents=True)
    part.make(inputs, chance)
    files = sorted(
        {path for pattern in part.changed for path in inputs.glob(pattern) if path.is_file()}
    )
    for path in chance.sample(files, min(len(files), chance.choice((1, 1, 1, 2, 3)))):
        path.write_bytes(mutated(path.read_bytes(), path.name, chance))
    for name in ("canary", "in/canary"):
        (folder / name).write_bytes(CANARY)


def complaints(part: Part, folder: Path) -> Iterator[str]:
    """Read the files of a case, and yield what is wrong. The current folder is changed."""
    here = folder / "here"
    here.mkdir()
    os.chdir(here)
    os.environ[CACHE_ENV] = str(folder / "cache")
    try:
        yield from part.read(folder / "in")
    except MemoryError:
        yield f"more than {MEMORY >> 20} MiB"
    except Exception:
        yield traceback.format_exc()[-1500:]
    for name in ("canary", "in/canary"):
        if (folder / name).read_bytes() != CANARY:
            yield f"{name} was changed"
    found = {path.name for path in folder.iterdir()} - {"in", "here", "cache", "canary"}
    found |= {f"here/{path.name}" for path in here.iterdir()}
    for name in sorted(found):
        yield f"{name} was written"


def tried(part: Part, folder: Path, chance: Random) -> list[str]:
    """Make and read a case in a child process, and return the complaints."""
    make(part, folder, chance)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _child(part, folder, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as answer:
            said = answer.read()
    finally:
        os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
    if not said:
        return [f"the process died: status {status:#x}, {used.ru_maxrss >> 10} MiB"]
    return [str(one) for one in json.loads(said)]


def _child(part: Part, folder: Path, writing: int) -> None:
    """Write the complaints to a pipe, and end."""
    os.setsid()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(parts.LIMIT_S)
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        os.write(writing, json.dumps(list(complaints(part, folder)))[: 1 << 16].encode())
    finally:
        os._exit(0)


def search(names: Sequence[str], options: argparse.Namespace) -> int:
    """Try cases until the time or their number is over. Return the number of complaints."""
    chosen = {**PARTS, "runs": runs_like([run.resolve() for run in options.run])}
    end = time.monotonic() + options.minutes * 60
    number, tries, wrong = options.first, Counter[str](), 0
    with scratch("foreign") as work:
        while time.monotonic() < end and number - options.first < options.count:
            for name in names:
                folder = work / name
                shutil.rmtree(folder, ignore_errors=True)
                for line in tried(chosen[name], folder, Random(f"{options.seed}/{name}/{number}")):
                    wrong += 1
                    command = f"--part {name} --seed {options.seed} --first {number} --count 1"
                    print(f"python -m tools.foreign {command}\n  {line}", flush=True)
                    if wrong <= MOST_KEPT and options.out:
                        shutil.copytree(
                            folder / "in", options.out / f"{name}-{number}", dirs_exist_ok=True
                        )
                tries[name] += 1
            number += 1
    print(f"{sum(tries.values())} cases ({dict(tries)}), {wrong} complaints")
    return wrong


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--part", action="append", choices=tuple(PARTS))
    options.add_argument(
        "--run", action="append", type=Path, default=[], help="folder of a run to change copies of"
    )
    options.add_argument("--minutes", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--first", type=int, default=0, metavar="N", help="number of the first case"
    )
    options.add_argument("--count", type=int, default=1 << 40, metavar="N", help="cases per part")
    options.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the files of complaints"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Try cases; return 1 if there are complaints."""
    options = parser().parse_args(argv)
    with terminated_as_interrupted():
        return 1 if search(options.part or tuple(PARTS), options) else 0


if __name__ == "__main__":
    sys.exit(main())
