"""``uintr-harness report``: a run's folder rendered again."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import Command


@click.command("report", cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="For a job's summary or a comment.")
@click.option(
    "--kcidb",
    metavar="ORIGIN",
    help="As JSON for KCIDB, the common database of kernel test results; ORIGIN is the name that "
    "it knows you by.",
)
def command(run: Path, markdown: bool, kcidb: str | None) -> int:
    """Write RUN's summary, JUnit file and reproducers again from its results, and show them.

    The exit code is what the recorded results say: 0, 1 or 4.
    """
    from harness.report.render import render_run, show_run
    from harness.results.folder import RunFolder

    folder = RunFolder(run)
    outcome = render_run(folder)
    if markdown:
        from harness.report.markdown import markdown as to_markdown

        click.echo(to_markdown(outcome, folder.path), nl=False)
    elif kcidb:
        from harness.report.kcidb import render_kcidb

        click.echo(render_kcidb(folder, kcidb), nl=False)
    else:
        show_run(folder, outcome)
    return outcome.exit_code
