"""``uintr-harness contract``: the statements, the cases that check them, and their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import Command
from harness.errors import ExitCode
from harness.lib.stdio import say

if TYPE_CHECKING:
    from harness.results.records import CaseRecord


@click.command("contract", cls=Command)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--holes", is_flag=True, help="Show only the statements that no case checks.")
@click.option("--json", "form", flag_value="json", help="Print everything as JSON.")
@click.option("--markdown", "form", flag_value="markdown", help="Print Markdown, for a comment.")
def command(run: Path | None, holes: bool, form: str | None) -> int:
    """Show the contract's statements and the cases that check them.

    The contract is guest-tests/CONTRACT.md.
    With RUN, a run's folder, show the result of each statement in each cell. A statement fails if a
    case that names it fails, else passes if one passes; only cases that ran count. The exit code is
    4 for a run that lacks results, because they may check further statements.
    """
    from harness.report import contract as report
    from harness.results.contract import check_contract, read_claims, read_contract
    from harness.results.folder import RunFolder
    from harness.results.outcome import read_outcome

    cases: tuple[CaseRecord, ...] = ()
    cells: list[str] = []
    code = ExitCode.PASSED
    if run is not None:
        folder = RunFolder(run)
        cells = [cell.name for cell in folder.read_plan().cells]
        outcome = read_outcome(folder).outcome
        cases = outcome.cases
        if outcome.exit_code not in {ExitCode.PASSED, ExitCode.TESTS_FAILED}:
            say(f"note: the run is {outcome.verdict}: {outcome.reason}", err=True)
            code = ExitCode.GUEST
    found = check_contract(read_contract(), read_claims(), cases, cells)
    shown = found
    if holes:
        shown = found.model_copy(update={"statements": found.holes})
    if form == "json":
        say(shown.to_json(), nl=False)
        return code
    sheet = report.by_cases(shown) if run is None else report.matrix(shown)
    if form == "markdown":
        from harness.report.markdown import sheet_markdown

        say(f"{sheet_markdown(sheet)}\n\n{report.sentence(found)}")
        return code
    from harness.report.console import make_console
    from harness.report.table import sheet_table

    console = make_console()
    console.print(sheet_table(sheet, console.width))
    if run is not None:
        console.print(sheet_table(report.totals(found), console.width))
    console.print(report.sentence(found), highlight=False, markup=False, soft_wrap=True)
    return code
