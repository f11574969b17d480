"""``uintr-harness run``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import Command
from harness.cli.options import cell_options
from harness.cli.show import shown

if TYPE_CHECKING:
    from harness.request import Request


@click.command("run", cls=Command)
@cell_options
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Guests at a time."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the results  [default: runs/TIME-RANDOM, with a link runs/latest]",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    metavar="N",
    help="Run each program N times in a row.",
)
@click.option(
    "--baseline",
    multiple=True,
    metavar="RUN|FILE",
    type=click.Path(path_type=Path),
    help="Compare with that run, or its baseline.json: exit 1 if a latency is worse.",
)
@click.option("-x", "--exitfirst", "exit_first", is_flag=True, help="Stop at the first failure.")
@click.option(
    "--lf", "--last-failed", "last_failed", is_flag=True, help="Only what failed the last time."
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
    help="Your own pytest files with a `guest` instead of the guest programs.",
)
@click.option("-v", "--verbose", count=True, help="pytest's own output instead of the display.")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def command(request: Request, **options: Any) -> int:
    """Build what is missing, boot each cell, run the guest programs, show the results.

    Arguments after -- go to pytest as they are.
    """
    from harness.session import RunOptions, run  # the engine, after --help

    with shown() as progress:
        return run(request, RunOptions(**options), progress, sys.argv)
