"""``uintr-harness run``: build, boot, test and report."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from harness.cli import Command
from harness.cli.options import (
    LATENCY_DETAIL,
    baseline_option,
    out_option,
    repeat_option,
    run_options,
)
from harness.cli.show import shown
from harness.errors import ExitCode, UserError
from harness.lib.extras import require_extra
from harness.lib.stdio import say
from harness.names import FOR_BISECT

if TYPE_CHECKING:
    from harness.request.request import Request
    from harness.run.suite import RunOptions


class Jobs(click.ParamType[int | None]):
    """A number of guests, or None for ``auto``."""

    name = "N|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """Accept a number from 1 to 64, or ``auto``."""
        if value == "auto":
            return None
        number: int = click.IntRange(1, 64).convert(value, param, ctx)
        return number


@click.command("run", cls=Command)
@run_options
@click.option(
    "--jobs",
    type=Jobs(),
    default="1",
    show_default=True,
    help="Guests at a time; auto: as many as CPUs and memory allow.",
)
@out_option("Folder for the results  [default: runs/TIME-RANDOM, with a link runs/latest]")
@repeat_option("Run each program N times in a row.")
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="Run a failed program up to N times again, in a fresh guest, to tell whether it is flaky. "
    "Without effect with -x or --repeat.",
)
@click.option(
    "--isolate", is_flag=True, help="Run each program in a fresh guest, restored from a saved one."
)
@baseline_option(
    "Compare with a run, by its folder or its baseline.json: exit 1 if a latency is worse, or "
    "something newly fails or is gone."
)
@click.option(
    "--allow-missing",
    is_flag=True,
    help="With --baseline: do not count what this run lacks or skips.",
)
@click.option("-x", "--exitfirst", "exit_first", is_flag=True, help="Stop at the first failure.")
@click.option(
    "--lf", "--last-failed", "last_failed", is_flag=True, help="Run only what failed last time."
)
@click.option(
    "--keep-going/--no-keep-going",
    default=True,
    show_default=True,
    help="Run the other cells when the build for one fails.",
)
@click.option(
    "--tests",
    multiple=True,
    metavar="PATH",
    help="Run your own pytest files, which use `guest`, instead of the guest programs.",
)
@click.option(
    "--watch", is_flag=True, help="Run again when the tree, the series or a program changes."
)
@click.option(
    FOR_BISECT,
    "for_bisect",
    is_flag=True,
    help="Be the command of `git bisect run`: stop at the first failure, and exit with 125 if the "
    "kernel does not build, boot or run the programs, with 255 if the command or the host fails.",
)
@LATENCY_DETAIL
@click.option("-v", "--verbose", count=True, help="Show pytest's output instead of the display.")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def command(request: Request, watch: bool, for_bisect: bool, **options: Any) -> int:
    """Build, boot and test each cell, and show the results.

    Only missing artefacts are built. Arguments after -- are passed to pytest unchanged.
    """
    from harness.run.suite import RunOptions, run  # the engine, after --help

    if for_bisect:
        if watch:
            raise UserError("these options exclude each other", where=f"{FOR_BISECT} --watch")
        return _for_bisect(request, RunOptions(**options))
    if watch:
        return _watch(request, RunOptions(**options))
    with shown() as progress:
        return run(request, RunOptions(**options), progress, sys.argv)


def _for_bisect(request: Request, options: RunOptions) -> int:
    from harness.campaigns.bisect import exit_code_for_git
    from harness.results.folder import make_run_folder
    from harness.run.suite import run

    # An older commit may not know an option that a fragment needs at the newest one.
    overrides = request.overrides.model_copy(update={"drop_unknown": True})
    request = request.model_copy(update={"overrides": overrides})
    folder = make_run_folder(options.out).path
    options = options.model_copy(update={"out": folder, "exit_first": True})
    with shown() as progress:
        code = run(request, options, progress, sys.argv)
    return exit_code_for_git(ExitCode(code), folder)


def _watch(request: Request, options: RunOptions) -> int:
    require_extra("watch", "watchfiles", needed_for="--watch")
    from harness.campaigns.watch import (  # watchfiles, only for this
        run_and_watch,
        run_once,
        watched,
    )

    if options.out:
        raise UserError(
            "each run needs a folder of its own",
            where=f"--watch --out {options.out}",
            hint="leave --out out: the last run is runs/latest",
        )
    places = watched(request, options.tests)
    return run_and_watch(lambda: run_once(sys.argv), places, lambda text: say(text, err=True))
