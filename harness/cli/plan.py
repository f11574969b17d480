"""``uintr-harness plan``: show the cells of a run without running them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.cli import Command
from harness.cli.options import run_options
from harness.lib.stdio import say

if TYPE_CHECKING:
    from harness.request.plan import Format
    from harness.request.request import Request


@click.command("plan", cls=Command)
@run_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="github prints a line for $GITHUB_OUTPUT with one job per cell.",
)
def command(request: Request, form: Format) -> None:
    """Print the cells that `run` would run with the same options."""
    from harness.request.plan import render

    plan = request.plan()
    say(render(plan, form, request.cell_options(plan)))
