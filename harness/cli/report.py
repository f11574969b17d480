"""``uintr-harness report``: render a run's folder again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import Command
from harness.cli.options import LATENCY_DETAIL
from harness.errors import GuestError
from harness.lib.stdio import say

if TYPE_CHECKING:
    from harness.report.table import LatencyDetail


@click.command("report", cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="Print Markdown, for a job's summary or a comment.")
@click.option(
    "--mail",
    "as_mail",
    is_flag=True,
    help="Print plain text for a reply to a mailing list; with a Tested-by line if the run passed "
    "and git has your name and address.",
)
@click.option(
    "--kcidb",
    metavar="ORIGIN",
    help="Print JSON for KCIDB, the common database of kernel test results; ORIGIN is your name "
    "there.",
)
@LATENCY_DETAIL
@click.option("-v", "--verbose", is_flag=True, help="List the cases that do not apply to a cell.")
def command(
    run: Path,
    markdown: bool,
    as_mail: bool,
    kcidb: str | None,
    latency: LatencyDetail,
    verbose: bool,
) -> int:
    """Show a run's results, and write its reports again.

    RUN is a run's folder. The reports are the summary, the JUnit file and the reproducers. In a
    folder that cannot be written to, they are left as they are.

    The exit code is the run's own: 0, 1, 3 or 4. It is 4 for a run that did not end.
    """
    from harness.report.render import show_run, write_reports
    from harness.results.folder import RunFolder
    from harness.results.outcome import read_outcome

    folder = RunFolder(run)
    rendered = read_outcome(folder)
    outcome = rendered.outcome
    try:
        write_reports(folder, rendered)
    except GuestError as error:
        where = error.where or folder.path
        say(f"note: the run's files are left as they are: {error.what}: {where}", err=True)
    if markdown:
        from harness.report.markdown import markdown as to_markdown

        say(to_markdown(outcome, folder.path), nl=False)
    elif as_mail:
        from harness.report.mail import git_identity, mail

        say(mail(outcome, folder, git_identity()), nl=False)
    elif kcidb is not None:
        from harness.report.kcidb import render_kcidb
        from harness.results.compare.measured import read_setups

        if outcome.exit_code and not read_setups(folder):
            say(f"note: there is nothing to submit: {outcome.reason}", err=True)
            return outcome.exit_code
        for part in render_kcidb(folder, kcidb, outcome):
            say(part, nl=False)
    else:
        show_run(folder, outcome, latency, verbose=verbose)
    return outcome.exit_code
