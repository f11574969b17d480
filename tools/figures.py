"""Write the tables of ``docs/figures.md`` from runs: ``python -m tools.figures RUN...``.

::

    uintr-harness run --cpu exposed,hidden --smp 2 -k latency --out a      (and again: b, c)
    uintr-harness run --cpu exposed,hidden --clock icount -k latency --out d      (and e)
    python -m tools.judge --rounds 5 >judge.log
    python -m tools.figures a b c d e --judge judge.log

The text between the two marks of the page is replaced. Each figure comes from the records of a
passed run, and is shown with the date, the commit, the class of the host and how many latencies
were disturbed. Host names and local paths are not written. A run does not record the commit; shown
are the newest commit of this checkout that is older than the run, and the keys of the artefacts,
which are exact.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness import paths
from harness.errors import ExitCode, HarnessError, UserError
from harness.lib.files import write_atomically
from harness.report.figures import quantity
from harness.report.published import BLOCKED, CLAIMS, FAIR, TALK, Claim
from harness.results.ending import RunInfo
from harness.results.environment import Environment
from harness.results.folder import CellSetup, RunFolder
from harness.results.hostload import disturbed
from harness.results.outcome import read_outcome
from harness.results.summary import LatencySummary, Outcome

PAGE = paths.ROOT / "docs" / "figures.md"
BEGIN = "<!-- begin: written by python -m tools.figures -->"
END = "<!-- end: written by python -m tools.figures -->"
MECHANISMS = ("uintr", "eventfd", "pipe", "unix", "futex", "signal", "signalfd", "shm")
_JUDGED = re.compile(
    r"^(\w+) +((?:judge )?[\w-]+) +(.+?) +([\d.]+) +([\d.]+) +([\d.]+)( +DIFFERS)?$"
)
_JUDGED_CELL = re.compile(r"^([\w.-]+), load ([\d.]+) to ([\d.]+)$")

Row = Sequence[str]


class Run(NamedTuple):
    """A passed run, with the data that is shown."""

    path: Path
    info: RunInfo
    environment: Environment
    cells: tuple[CellSetup, ...]
    outcome: Outcome

    @property
    def clock(self) -> str:
        """``host`` or ``icount``."""
        return self.cells[0].cell.clock


def read_run(path: Path) -> Run:
    """Read a run's folder.

    :raise UserError: it is not a run's folder, or the run did not pass.
    """
    folder = RunFolder(path)
    info = folder.read_info()
    environment = folder.read_environment()
    if environment is None:
        raise UserError("this run has no environment.json", where=path)
    outcome = read_outcome(folder).outcome
    if info is None or outcome.exit_code != ExitCode.PASSED:
        raise UserError("figures are of runs that passed", where=path, hint=outcome.reason)
    return Run(folder.path, info, environment, folder.read_artefacts().cells, outcome)


def commit_before(started: str) -> str:
    """Return the newest commit of this checkout that is older than a run."""
    argv = ["git", "-C", str(paths.ROOT), "log", "-1", f"--before={started}", "--format=%h"]
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip() or "unknown"


def command(argv: Sequence[str]) -> str:
    """Return a run's command line, without the folder for its results and without paths."""
    words: list[str] = []
    rest = iter(argv[1:])
    for word in rest:
        if word == "--out":
            next(rest, None)
        elif not word.startswith("--out="):
            words.append("PATH" if word.startswith(("/", "~")) else word)
    return " ".join(("uintr-harness", *words))


def runs_table(runs: Sequence[Run]) -> str:
    """Return a table of the runs: time, commit, command, result and disturbed latencies."""
    rows = []
    for number, run in enumerate(runs, start=1):
        latencies = run.outcome.summary.latency
        hit = sum(bool(disturbed(row.host)) for row in latencies)
        rows.append(
            (
                str(number),
                f"{run.info.started[:16].replace('T', ' ')}",
                commit_before(run.info.started),
                f"`{command(run.info.argv)}`",
                run.info.reason,
                f"{hit} of {len(latencies)}",
            )
        )
    titles = ("run", "began (UTC)", "commit before", "command", "result", "latencies disturbed")
    return table(titles, rows)


def host_lines(runs: Sequence[Run]) -> str:
    """Return the classes of the hosts, and the kernels, emulators and artefacts, each once."""
    lines = dict.fromkeys(
        f"- host: {run.environment.host.cpu}, {run.environment.host.cores} cores,"
        f" {run.environment.host.system}"
        for run in runs
    )
    for run in runs:
        for setup in run.cells:
            keys = {"kernel": setup.kernel.key, "programs": setup.programs.key}
            keys |= {"emulator": setup.emulator.key} if setup.emulator.key else {}
            said = ", ".join(f"{name} {key[:12]}" for name, key in sorted(keys.items()))
            version = f"QEMU {setup.emulator.version}, {setup.accel.upper()}"
            lines[f"- {version}, Linux {setup.kernel.release}; artefacts: {said}"] = None
    return "\n".join(lines)


def talk_table(cell: str, runs: Sequence[Run]) -> str:
    """Return a table of round trips as multiples of user interrupts': published, and per run."""
    found = [_by_mode(run, cell) for run in runs]
    rows: list[Row] = []
    for blocked in (False, True):
        own = (BLOCKED,) * 2 if blocked else (TALK, FAIR)
        medians = [_joined(found, "uintr", mode, _median) for mode in own]
        receiver = "blocked" if blocked else "spins"
        rows.append(("uintr", receiver, "1", medians[0] if not blocked else "", medians[1]))
        rows += [_claimed(claim, found) for claim in CLAIMS if claim.blocked == blocked]
    titles = ("mechanism", "uintr's receiver", "published", "talk form", "fair form")
    return table(titles, [row for row in rows if any(row[3:])])


Measured = dict[tuple[str, str], LatencySummary]


def _by_mode(run: Run, cell: str) -> Measured:
    return {
        (row.mechanism, row.mode): row for row in run.outcome.summary.latency if row.cell == cell
    }


def _claimed(claim: Claim, found: Sequence[Measured]) -> Row:
    fair = BLOCKED if claim.blocked else FAIR
    return (
        claim.mechanism,
        "blocked" if claim.blocked else "spins",
        f"{claim.multiple:.3g}",
        "" if claim.blocked else _joined(found, claim.mechanism, TALK, _multiple),
        _joined(found, claim.mechanism, fair, _multiple),
    )


def _joined(
    found: Sequence[Measured], mechanism: str, mode: str, text: Callable[[LatencySummary], str]
) -> str:
    rows = [measured.get((mechanism, mode)) for measured in found]
    return ", ".join(text(row) if row else "-" for row in rows) if any(rows) else ""


def _median(row: LatencySummary) -> str:
    return quantity(row.p50, row.unit)


def _multiple(row: LatencySummary) -> str:
    return f"{row.to_uintr.ratio:.3g}" if row.to_uintr else "-"


def medians_table(cell: str, runs: Sequence[Run]) -> str:
    """Return a table of medians by mode and mechanism: the smallest and largest of the runs."""
    found = [_by_mode(run, cell) for run in runs]
    modes = sorted({mode for measured in found for _, mode in measured})
    rows = []
    for mode in modes:
        each = [[m[name, mode] for m in found if (name, mode) in m] for name in MECHANISMS]
        rows.append((mode, *(_range([row.p50 for row in one], _unit(one)) for one in each)))
    return table(("mode", *MECHANISMS), rows)


def _unit(rows: Sequence[LatencySummary]) -> str:
    return rows[0].unit if rows else "ns"


def _range(values: Sequence[int], unit: str) -> str:
    ends = sorted({min(values), max(values)}) if values else []
    if unit == "insn":
        return "…".join(f"{value:,}" for value in ends)
    return "…".join(f"{value / 1000:.3g}" for value in ends)


def agreement(runs: Sequence[Run]) -> str:
    """Return a sentence on how many latencies have the same raw samples in all counted runs."""
    samples = [
        {
            (take.cell, take.mechanism, take.mode, take.attempt): _bytes(run.path / take.samples)
            for take in run.outcome.takes
        }
        for run in runs
    ]
    keys = set[object]().union(*samples)
    same = sum(all(one.get(key) == first for one in samples) for key, first in samples[0].items())
    return (
        f"Of {len(keys)} latencies, {same} have the same samples in all {len(runs)} runs, byte for"
        " byte."
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError("raw samples are gone", where=path) from error


def judged(log: str) -> Iterator[str]:
    """Yield a heading and a table for each cell in the output of ``tools.judge``."""
    cell, rows = "", list[Row]()
    titles = ("mechanism", "mode", "judge", "bench, µs", "judge, µs", "ratio", "")
    for line in (*log.splitlines(), ""):
        if begin := _JUDGED_CELL.match(line):
            cell = f"`{begin[1]}`, load of the host {begin[2]} to {begin[3]}:"
        elif row := _JUDGED.match(line):
            rows.append((*row.groups()[:6], "differs" if row[7] else ""))
        elif cell and rows:
            yield f"{cell}\n\n{table(titles, rows)}"
            cell, rows = "", []


def page_part(runs: Sequence[Run], judge: str = "", judged_on: str = "") -> str:
    """Return the text between the marks."""
    parts = [
        "## Runs",
        host_lines(runs),
        runs_table(runs),
        _DISTURBED,
    ]
    timed = [run for run in runs if run.clock == "host"]
    counted = [run for run in runs if run.clock == "icount"]
    if timed:
        parts += ["## Round trips as multiples of user interrupts'", _TALK]
        for cell in _cells(timed):
            parts += [f"`{cell}`:", talk_table(cell, timed)]
        parts += ["## Latencies by time", _TIMES]
        for cell in _cells(timed):
            parts += [f"`{cell}`:", medians_table(cell, timed)]
    if judge:
        parts += ["## Beside independent programs", _JUDGE.format(date=judged_on), *judged(judge)]
    if counted:
        parts += ["## Latencies in counted instructions", _COUNTED, agreement(counted)]
        for cell in _cells(counted):
            parts += [f"`{cell}`:", medians_table(cell, counted)]
    return "\n\n".join(parts)


_TALK = """\
Medians of the round trip, as multiples of the median of user interrupts; those of user interrupts
themselves are times. There is one number per run. The published figures are those of the RFC of
2021, on a processor with the feature. The talk form is the set-up that they had for each mechanism.
The fair form has the same conditions for all."""
_TIMES = "Medians in µs. Two numbers are the smallest and the largest median of the runs."
_COUNTED = """\
Medians in executed instructions. Two numbers are the smallest and the largest median of the
runs."""
_JUDGE = """\
From `python -m tools.judge`, {date}. It measures each latency in turn with the bench and with an
independent program, the judge, in the same guest. The ratio is the bench's figure divided by the
judge's, as the median of all pairs. Figures that differ by more than a third are marked."""
_DISTURBED = """\
The commit is the newest one from before the run. A latency counts as disturbed if QEMU waited for
a CPU for 10 % of the time or more, or if a hypervisor took 2 % or more. The times of a run with
disturbed latencies are orders of magnitude: `compare` calls a difference in such a latency
*unsure*."""


def _cells(runs: Iterable[Run]) -> list[str]:
    return list(dict.fromkeys(setup.cell.name for run in runs for setup in run.cells))


def table(titles: Row, rows: Iterable[Row]) -> str:
    """Return a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def replaced(page: str, part: str) -> str:
    """Return the page with another text between the marks.

    :raise UserError: the page does not have both marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError("the page has no place for figures", hint=f"add {BEGIN} and {END}")
    return f"{before}{begin}\n\n{part}\n\n{end}{after}"


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder")
    options.add_argument("--judge", type=Path, metavar="LOG", help="output of tools.judge")
    options.add_argument("--page", type=Path, default=PAGE, help="page instead of docs/figures.md")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables."""
    options = parser().parse_args(argv)
    try:
        runs = [read_run(path) for path in options.runs]
        log, date = "", ""
        if options.judge:
            log = options.judge.read_text(encoding="utf-8")
            date = f"{datetime.fromtimestamp(options.judge.stat().st_mtime, UTC):%Y-%m-%d}"
        page = options.page.read_text(encoding="utf-8")
        write_atomically(options.page, replaced(page, page_part(runs, log, date)))
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
