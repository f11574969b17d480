"""False alarms and missed ones of ``compare``: ``python -m tools.alarms``.

One kernel is measured ``--runs`` times. Each run is compared with the first one, and should not be
worse. Then a kernel with one line that makes sending slower (``slower.patch``) is measured
``--slower`` times; each of these runs should be worse.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness.artefacts.source.patch import Patch
from harness.artefacts.source.series import fetch_series, write_series
from harness.artefacts.store import Store
from harness.campaigns.child_runs import run_child, start_command, write_profile
from harness.errors import GuestError, HarnessError
from harness.names import DEFAULT_KERNEL
from harness.progress import Progress
from harness.report.progress import RichProgress
from harness.request.profiles import load_kernel
from harness.results.compare.comparison import Comparison, compare
from harness.results.outcome import load_baseline
from harness.values import FolderSeries

SLOWER = Path(__file__).with_name("slower.patch")


class Bench:
    """The folder of the runs, and their options."""

    def __init__(self, folder: Path, words: list[str], store: Store, progress: Progress) -> None:
        self._folder = folder
        self._words = words
        self._store = store
        self._progress = progress

    def profile(self, name: str, *patches: Path) -> Path:
        """Write the default kernel's profile with further patches, and return its path."""
        kernel = load_kernel(DEFAULT_KERNEL)
        series = write_series(
            self._folder / name,
            [
                *fetch_series(kernel.series, self._store, self._progress),
                *(Patch(path.name, path.read_bytes()) for path in patches),
            ],
        )
        return write_profile(
            kernel.model_copy(update={"series": FolderSeries(path=series.absolute())}), series
        )

    def run(self, profile: Path, name: str) -> Path:
        """Measure a kernel, and return the run's folder.

        :raise GuestError: the run did not pass.
        """
        out = self._folder / name
        argv = [sys.executable, "-m", "harness", "run", "--kernel", str(profile), *self._words]
        with self._progress.step(name) as step:
            ran = run_child(
                [*argv, "--out", str(out)], out, out.with_suffix(".log"), step.update, start_command
            )
        if ran.exit_code:
            raise GuestError(f"{name} failed", where=out, detail="\n".join(ran.said[-10:]))
        return out


def said(found: Comparison) -> str:
    """Return the verdicts of a comparison in one line."""
    counts = Counter(change.verdict for change in found.latencies)
    alarms = [
        f"{change.mechanism} {change.mode} {change.judgement.ratio[0]:.2f}x"
        for change in found.latencies
        if change.verdict in {"worse", "better"} and change.judgement and change.judgement.ratio
    ]
    return ", ".join([*(f"{n} {verdict}" for verdict, n in sorted(counts.items())), *alarms])


def wrong(bench: Bench, runs: int, slower: int) -> Iterator[bool]:
    """Measure and compare; yield for each pair of runs whether its verdict is wrong."""
    same = bench.profile("same")
    first = load_baseline(bench.run(same, "run-1"))
    for number in range(2, runs + 1):
        found = compare([first], load_baseline(bench.run(same, f"run-{number}")))
        print(f"same kernel, run {number}: {said(found)}", flush=True)
        yield found.exit_code != 0
    profile = bench.profile("slower", SLOWER)
    for number in range(1, slower + 1):
        found = compare([first], load_baseline(bench.run(profile, f"slower-{number}")))
        print(f"slower kernel, run {number}: {said(found)}", flush=True)
        yield found.exit_code == 0


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument(
        "--folder", type=Path, required=True, help="folder for the runs; must not exist"
    )
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--slower", type=int, default=3)
    options.add_argument("-k", dest="select", default="latency/uintr or latency/eventfd")
    options.add_argument("--cpu", default="hidden")
    options.add_argument("--smp", default="2")
    options.add_argument("--clock", choices=("host", "icount"), default="host")
    options.add_argument(
        "--repeat", default="3", help="takes in each run; only with the host's clock"
    )
    return options


def main() -> int:
    """Measure, and print a line for each pair."""
    options = parser().parse_args()
    words = ["--cpu", options.cpu, "-k", options.select, "--clock", options.clock]
    if options.clock == "host":
        words += ["--smp", options.smp, "--repeat", options.repeat]
    try:
        options.folder.mkdir(parents=True)
        with RichProgress() as progress:
            bench = Bench(options.folder, words, Store.open(progress), progress)
            mistakes = list(wrong(bench, options.runs, options.slower))
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{sum(mistakes)} of {len(mistakes)} verdicts are wrong")
    return 1 if any(mistakes) else 0


if __name__ == "__main__":
    sys.exit(main())
