"""``uintr-harness compare``: what changed from one run to the next."""

from __future__ import annotations

import re
from pathlib import Path

import click

from harness.cli import Command
from harness.errors import UserError
from harness.lib.stdio import say


class Percent(click.ParamType[float]):
    """A percentage, with or without the sign."""

    name = "percent"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the percentage as a fraction of 1."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)\s*%?", str(value))
        if not found:
            self.fail(f"{value!r} is not a percentage such as 15%", param, ctx)
        return float(found[1]) / 100


@click.command("compare", cls=Command)
@click.argument(
    "runs", nargs=-1, required=True, metavar="BASE… RUN", type=click.Path(path_type=Path)
)
@click.option(
    "--floor",
    type=Percent(),
    metavar="PERCENT",
    help="Difference of medians that still counts as the same.  [default: 15%; 30% under TCG]",
)
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Do not count cases, latencies and cells that RUN lacks, and cases that it skips; for a "
    "run of fewer programs or cells.",
)
@click.option("--json", "form", flag_value="json", help="Print everything as JSON.")
@click.option("--markdown", "form", flag_value="markdown", help="Print Markdown, for a comment.")
def command(
    runs: tuple[Path, ...], floor: float | None, allow_missing: bool, form: str | None
) -> int:
    """Compare RUN with one or more earlier runs, BASE.

    Each latency gets a verdict, and the cases whose result changed are listed. RUN and BASE are a
    run's folder or its baseline.json. Several bases of the same kind show how much a latency varies
    from run to run.

    Exit codes: 0 nothing got worse; 1 a latency is worse, something newly fails, or cases or cells
    are gone; 2 wrong usage; 4 one of the runs is incomplete, or nothing ran in it.
    """
    from harness.results.compare.comparison import compare
    from harness.results.compare.judge import Floors
    from harness.results.outcome import load_baseline

    if len(runs) < 2:
        raise UserError("a comparison takes two runs", hint="uintr-harness compare BASE RUN")
    *bases, new = [load_baseline(path) for path in runs]
    floors = Floors() if floor is None else Floors(relative=floor, emulated=floor)
    found = compare(bases, new, floors, allow_missing=allow_missing)
    if form == "json":
        say(found.to_json(), nl=False)
    elif form == "markdown":
        from harness.report.comparison import comparison_markdown

        say(comparison_markdown(found), nl=False)
    else:
        from harness.report.comparison import print_comparison
        from harness.report.console import make_console

        print_comparison(make_console(), found)
    return found.exit_code
