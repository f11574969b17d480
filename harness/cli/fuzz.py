"""``uintr-harness fuzz``: compare the results of random programs between cells."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import Command
from harness.cli.options import WHOLE, Minutes, compared_cells_options, out_option
from harness.cli.show import shown
from harness.errors import UserError
from harness.lib.stdio import say
from harness.lib.text import clean_line

if TYPE_CHECKING:
    from harness.campaigns.fuzz.campaign import FuzzReport, ScriptCampaign, ScriptFinding
    from harness.progress import Progress
    from harness.request.request import Request
    from harness.results.folder import RunFolder


@click.command("fuzz", cls=Command)
@compared_cells_options
@click.option(
    "--bare-metal",
    is_flag=True,
    help="Play instruction sequences without a kernel, and compare with a model of the CPU.",
)
@click.option(
    "--bochs",
    metavar="COMMAND",
    help="With --bare-metal: Bochs 3.1 or later, or `none`  [default: Debian's, fetched by apt]",
)
@click.option(
    "--seed", type=click.IntRange(0, WHOLE), help="Seed of the random scripts  [default: random]"
)
@click.option(
    "--minutes",
    type=Minutes(),
    default=5.0,
    show_default=True,
    help="Time for trying new scripts, boots included; builds before it do not count.",
)
@click.option(
    "--scripts", type=click.IntRange(1, WHOLE), metavar="N", help="Try at most N scripts."
)
@click.option(
    "--replay",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Play kept findings instead of new scripts.",
)
@out_option("Folder for fuzz.json and the findings  [default: runs/fuzz-TIME-RANDOM]")
def command(
    request: Request,
    bare_metal: bool,
    bochs: str | None,
    seed: int | None,
    minutes: float,
    scripts: int | None,
    replay: tuple[Path, ...],
    out: Path | None,
) -> int:
    """Play random scripts in each cell, and compare the results.

    The steps of a script are system calls and instructions. Each reports its result and, for each
    thread, the signals, the user interrupts and the user interrupt flag. Scripts that differ
    between cells, crash or cause a splat are shrunk and kept for --replay. The exit code is 1 if
    there are any.

    With --bare-metal: play instruction sequences without a kernel, in each way that QEMU runs code
    and in Bochs, and compare with a model of the manual.
    """
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    if bare_metal:
        from harness.cli.fuzz_bare_metal import fuzz_bare_metal

        return fuzz_bare_metal(request, seed, minutes, scripts, replay, out, bochs)
    if bochs:
        raise UserError("Bochs runs no kernel", where="--bochs", hint="add --bare-metal")
    from harness.campaigns.fuzz.script import read_script

    given = [read_script(path) for path in replay]
    with shown() as progress, _campaign(request, progress, out) as (campaign, folder):
        report = campaign.replay(given) if given else campaign.search(seed, minutes * 60, scripts)
    folder.end(report.exit_code, reason=f"findings: {len(report.findings)}")
    _show_totals(report, folder.path)
    return report.exit_code


@contextmanager
def _campaign(
    request: Request, progress: Progress, out: Path | None
) -> Iterator[tuple[ScriptCampaign, RunFolder]]:
    """Build everything, and yield the search and its folder; guests end with the context."""
    from harness.campaigns.fuzz.campaign import FUZZ_FILE, ScriptCampaign
    from harness.campaigns.fuzz.cell import CellPlayer
    from harness.guest.verdict.known_splats import load_known_splats
    from harness.results.folder import RunFolder, make_results_folder
    from harness.run.cellguest import CellGuest
    from harness.run.engine import begin_run, errors_noted
    from harness.run.journal import Journal, ResultsLost

    plan = request.plan()
    if len(plan.cells) == 1:
        raise UserError(
            "one cell cannot be compared with itself",
            where=plan.cells[0].name,
            hint="choose at least two cells, as with --cpu exposed,hidden",
        )
    known = load_known_splats()

    def make_folder() -> RunFolder:
        return RunFolder(make_results_folder(out, "fuzz", FUZZ_FILE))

    run = begin_run(request, progress, make_folder, sys.argv, plan=plan)
    with errors_noted(run.folder):
        try:
            with ExitStack() as lifetime:
                journal = Journal(run.folder)
                lifetime.callback(journal.close)
                players = []
                for setup in run.setups:
                    guest = CellGuest(setup, run.folder, journal, known)
                    lifetime.callback(guest.close)
                    players.append(CellPlayer(guest))
                yield ScriptCampaign(players, run.folder.path, progress, _show), run.folder
        except ResultsLost as lost:
            raise lost.error from lost


def _show(finding: ScriptFinding, text: str) -> None:
    say(f"{finding.kind}: {clean_line(finding.what)}", fg="red", bold=True)
    say(text)


def _show_totals(report: FuzzReport, folder: Path) -> None:
    from harness.campaigns.fuzz.campaign import FUZZ_FILE

    of = "" if report.seed is None else f" of seed {report.seed}"
    say(
        f"{report.scripts} scripts{of}, {report.steps} steps, in {len(report.cells)} cells: "
        f"{len(report.findings)} findings in {report.seconds:.0f} s"
    )
    say(f"results: {folder / FUZZ_FILE}")
