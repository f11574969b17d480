"""Check that an incomplete run is never reported as passed: ``python -m tools.prefixes [RUN…]``.

A killed run leaves a prefix of its ``results.jsonl``, and a ``run.json`` without an end. An
incomplete copy leaves a prefix, and a ``run.json`` with an end. Each RUN, a folder of a passed run,
and as many generated ones are cut at line ends and within lines. Then every reader of a run's
folder is run: the report in each form, the files that it writes, the contract, comparisons in both
directions and each form, and the history. None may say that the run passed or that nothing got
worse, or return exit code 0. A seed reproduces the cases.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from harness import cli
from harness.errors import ExitCode
from harness.paths import CACHE_ENV
from harness.progress import Silent
from harness.results.folder import CellSetup, RunArtefacts, RunFolder
from harness.results.history import HISTORY_FILE, read, read_programs
from harness.results.outcome import read_outcome
from harness.results.records import (
    BootRecord,
    CaseRecord,
    ProgramRecord,
    Record,
    Recorder,
    SplatRecord,
)
from harness.run.history import add_to_history
from harness.values import (
    Cell,
    CpuProfile,
    Emulator,
    ImageArtefact,
    KernelArtefact,
    KernelProfile,
    Plan,
    ProgramsArtefact,
    TreeSource,
)
from tools.scratch import scratch

#: Prefixes taken from one run before the next one.
CUTS = 20
#: Texts that no report on an incomplete run may contain.
GOOD = ("PASSED", "✅", "SAME OR BETTER", "same or better", '"verdict": "passed"')
_TEXTS = ("a", "b c", "größe €", "ok 1 # SKIP", "{}", '"}\n', "passed", "", "x" * 300)

Ending = Callable[[Path], None]


# --- runs that are cut ---------------------------------------------------------------------


def generate(folder: Path, rng: random.Random) -> RunFolder:
    """Make the folder of a passed run."""
    cells = tuple(
        Cell(
            kernel=KernelProfile(name="k", source=TreeSource(path=Path("/tree"))),
            cpu=CpuProfile(name="hidden", model="max", exposes_uintr=False),
            smp=smp,
            cc="gcc",
        )
        for smp in range(1, rng.randint(1, 2) + 1)
    )
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    run.write_plan(Plan(cells=cells))
    run.write_artefacts(RunArtefacts(cells=tuple(_setup(folder, cell) for cell in cells)))
    run.begin(["uintr-harness", "run"])
    with Recorder(run.results) as recorder:
        for cell in cells:
            for record in _records(cell, rng):
                recorder.write(record)
    run.end(0, cells=[cell.name for cell in cells])
    return run


def _setup(folder: Path, cell: Cell) -> CellSetup:
    return CellSetup(
        cell=cell,
        emulator=Emulator(binary=Path("/qemu"), version="0"),
        accel="tcg",
        kernel=KernelArtefact(key="0" * 64, path=folder, release="6.12.0"),
        image=ImageArtefact(key="0" * 64, path=folder),
        programs=ProgramsArtefact(key="0" * 64, path=folder, cc="gcc", programs=()),
    )


def _records(cell: Cell, rng: random.Random) -> Iterator[Record]:
    name = cell.name
    yield BootRecord(
        cell=name, kernel="k", cpu="hidden", smp=cell.smp, cc="gcc", accel="tcg", boot_s=1.0
    )
    for number in range(rng.randint(1, 3)):
        program = f"api/p{number}"
        for case in range(rng.randint(1, 4)):
            status = rng.choice(("pass", "pass", "pass", "skip")) if case else "pass"
            text = rng.choice(_TEXTS)
            yield CaseRecord(
                cell=name, program=program, case=f"{case} {text}", status=status, message=text
            )
        if rng.random() < 0.2:
            yield SplatRecord(cell=name, kind="warn", title="WARNING in f", excused="known")
        yield ProgramRecord(cell=name, program=program, returncode=0, stray=rng.choice(_TEXTS))


def copy_of(run: Path, folder: Path) -> RunFolder:
    """Copy a run's folder, without its programs' output."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("output", "*.log"))
    return RunFolder(folder)


def _left_alone(_: Path) -> None:
    """Leave ``run.json`` as it is after the run's end."""


def _as_it_began(folder: Path) -> None:
    info = json.loads((folder / "run.json").read_text())
    info |= {"finished": None, "exit_code": None, "results": None}
    (folder / "run.json").write_text(json.dumps(info))


def _gone(folder: Path) -> None:
    (folder / "run.json").unlink()


ENDINGS: tuple[Ending, ...] = (_left_alone, _as_it_began, _gone)


def cut(whole: bytes, rng: random.Random, ending: Ending) -> bytes:
    """Return a prefix, which may be the whole file if ``run.json`` records no end."""
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    places = [0, *ends] if ending is not _left_alone else [0, *ends[:-1]]
    return whole[: rng.choice((rng.choice(places), rng.randrange(len(whole))))]


# --- readers -------------------------------------------------------------------------------


def said_of(run: RunFolder, good: RunFolder) -> Iterator[tuple[str, int, str]]:
    """Yield the name of each reader, its exit code and its output for ``run``."""
    one, other = str(run.path), str(good.path)
    for argv in (
        ["report", one],
        ["report", "--markdown", one],
        ["report", "--kcidb", "bench", one],
        ["contract", "--json", one],
        *(["compare", *form, other, one] for form in ([], ["--json"], ["--markdown"])),
        *(["compare", *form, one, other] for form in ([], ["--json"], ["--markdown"])),
        ["compare", "--allow-missing", other, one],
        ["compare", other, f"{one}/baseline.json"],
    ):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            code = cli.invoke(argv)
        if code == ExitCode.INTERRUPTED:  # the command took the signal that was for this tool
            raise KeyboardInterrupt
        yield " ".join(word for word in argv if word not in (one, other)), code, out.getvalue()
    yield "report.html", 4, (run.path / "report.html").read_text().partition("</title>")[0]
    yield "summary.json", 4, run.summary.read_text()


def complaints(run: RunFolder, good: RunFolder) -> Iterator[str]:
    """Yield a message for each reader that reports a run as passed."""
    for name, code, text in said_of(run, good):
        if code == 0:
            yield f"{name}: exit code 0"
        for word in GOOD:
            if word in text:
                yield f"{name} says {word!r}"
        if "--kcidb" in name:
            statuses = {test["status"] for test in json.loads(text)["tests"]}
            if not statuses & {"FAIL", "ERROR", "MISS"}:
                yield f"{name}: {statuses or 'no test'}"
    suites = ET.parse(run.junit).getroot()
    if not int(suites.get("failures", "0")) + int(suites.get("errors", "0")):
        yield "junit.xml has neither failure nor error"
    outcome = read_outcome(run).outcome
    if outcome.verdict == "passed" or "passed" in outcome.verdicts.values():
        yield f"outcome: {outcome.verdict}, cells {outcome.verdicts}"
    history = Path(os.environ[CACHE_ENV]) / HISTORY_FILE
    history.unlink(missing_ok=True)
    add_to_history(run, outcome, "2026-01-01T00:00:00Z", Silent())
    verdicts = [
        row.verdict
        for rows in ((read(history), read_programs(history)) if history.exists() else ())
        for row in rows
    ]
    if "passed" in verdicts:
        yield "history: passed"


def check(run: RunFolder, good: RunFolder, rng: random.Random, cuts: int) -> Iterator[str]:
    """Cut a run in some places, and yield a message for each fault; the folder is changed."""
    whole = run.results.read_bytes()
    info = (run.path / "run.json").read_bytes()
    summary = run.summary.read_bytes() if run.summary.exists() else None
    if read_outcome(run).outcome.verdict != "passed":
        yield "the whole run did not pass"
        return
    for _ in range(cuts):
        ending = rng.choice(ENDINGS)
        part = cut(whole, rng, ending)
        run.results.write_bytes(part)
        (run.path / "run.json").write_bytes(info)
        if summary is not None:
            run.summary.write_bytes(summary)
        ending(run.path)
        where = f"{len(part)} of {len(whole)} bytes, run.json {ending.__name__.strip('_')}"
        yield from (f"{where}: {one}" for one in complaints(run, good))


def check_prefixes(seed: int, count: int, runs: Sequence[Path] = (), cuts: int = CUTS) -> list[str]:
    """Check ``count`` prefixes of generated runs and of ``runs`` in turn; return the faults."""
    wrong = []
    before = os.environ.get(CACHE_ENV)
    with scratch("prefixes") as work:
        os.environ[CACHE_ENV] = f"{work}/cache"
        try:
            for number in range(0, count, cuts):
                rng = random.Random(f"{seed}/{number}")
                folder = work / "run"
                good = work / "good"
                turn = number // cuts
                if runs and turn % 2:
                    run = copy_of(runs[turn // 2 % len(runs)], folder)
                else:
                    run = generate(folder, rng)
                shutil.copytree(folder, good)
                for line in check(run, RunFolder(good), rng, cuts):
                    wrong.append(f"seed {seed}, case {number}: {line}")
                    print(wrong[-1], flush=True)
                shutil.rmtree(folder)
                shutil.rmtree(good)
        finally:
            os.environ.pop(CACHE_ENV)
            if before is not None:
                os.environ[CACHE_ENV] = before
    return wrong


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folder of a run")
    options.add_argument("--count", type=int, default=1000, help="prefixes (default: %(default)s)")
    options.add_argument("--seed", type=int, default=1)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Check prefixes; return 1 if a reader reports one as passed."""
    options = parser().parse_args(argv)
    wrong = check_prefixes(options.seed, options.count, options.runs)
    print(f"{options.count} prefixes, {len(wrong)} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
