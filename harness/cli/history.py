"""``uintr-harness history``: the latencies of past runs."""

from __future__ import annotations

import json

import click

from harness import paths
from harness.cli import Command
from harness.errors import UserError


@click.command("history", cls=Command)
@click.argument("mechanism", nargs=-1)
@click.option(
    "--last", type=click.IntRange(0), default=10, show_default=True, help="Runs to show; 0: all."
)
@click.option("--cell", metavar="TEXT", default="", help="Only cells whose name has this in it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(mechanism: tuple[str, ...], last: int, cell: str, as_json: bool) -> None:
    """Show how latencies went from run to run on this machine, of all MECHANISMs or of those named.

    Each run adds its own when it ends; the file is history.sqlite3 in the cache folder.
    """
    from harness.report.console import make_console
    from harness.report.history import history_sheet
    from harness.report.table import sheet_table
    from harness.results.history import HISTORY_FILE, read

    path = paths.cache_dir() / HISTORY_FILE
    rows = [row for row in read(path, mechanism, last) if cell in row.cell]
    if not rows:
        raise UserError(
            "no run on this machine measured that",
            where=path,
            hint="uintr-harness run -k latency adds to it",
        )
    if as_json:
        for row in rows:
            click.echo(json.dumps(row.model_dump()))
        return
    console = make_console()
    console.print(sheet_table(history_sheet(rows), console.width))
