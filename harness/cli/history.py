"""``uintr-harness history``: the latencies of past runs, and what failed in them."""

from __future__ import annotations

import json

import click

from harness import paths
from harness.cli import Command
from harness.cli.options import WHOLE
from harness.errors import UserError
from harness.lib.stdio import say


@click.command("history", cls=Command)
@click.argument("mechanism", nargs=-1)
@click.option(
    "--last",
    type=click.IntRange(0, WHOLE),
    default=10,
    show_default=True,
    help="Runs to show; 0: all.",
)
@click.option("--cell", metavar="TEXT", default="", help="Only cells whose name contains TEXT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option(
    "--failures", is_flag=True, help="Show how often each program failed in these runs instead."
)
def command(
    mechanism: tuple[str, ...], last: int, cell: str, as_json: bool, failures: bool
) -> None:
    """Show the latencies of past runs on this machine.

    By default, all mechanisms are shown. Each run adds its latencies when it ends; the file is
    history.sqlite3 in the cache folder.
    """
    from harness.report.console import make_console
    from harness.report.history import failures_sheet, history_sheet
    from harness.report.table import sheet_table
    from harness.results.history import HISTORY_FILE, HistoryRow, ProgramRow, read, read_programs

    if failures and mechanism:
        raise UserError("--failures counts by program and takes no mechanism", where=mechanism[0])
    path = paths.cache_place() / HISTORY_FILE
    found = read_programs(path, last) if failures else read(path, mechanism, last)
    rows: list[HistoryRow | ProgramRow] = [row for row in found if cell in row.cell]
    if not rows:
        what, more = ("results", "") if failures else ("latencies", " -k latency")
        raise UserError(
            f"there are no such {what} of runs on this machine",
            where=path,
            hint=f"uintr-harness run{more} adds some",
        )
    if as_json:
        for row in rows:
            say(json.dumps(row.model_dump(), allow_nan=False))
        return
    console = make_console()
    latencies = [row for row in rows if isinstance(row, HistoryRow)]
    programs = [row for row in rows if isinstance(row, ProgramRow)]
    sheet = failures_sheet(programs) if failures else history_sheet(latencies)
    console.print(sheet_table(sheet, console.width))
