"""``uintr-harness doctor``: what this host can do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from harness.cli import Command
from harness.errors import ExitCode
from harness.lib.stdio import say

if TYPE_CHECKING:
    from harness.run.doctor import HostCheck

_MARKS = {"good": ("ok", "green"), "note": ("note", "yellow"), "bad": ("BAD", "red")}


@click.command("doctor", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> int:
    """Show what this host can do, and how to remedy each problem.

    The last line says whether the default run works, what to paste if something is missing, or why
    the host cannot. The exit code is 4 if a problem keeps the default run from working, else 0.
    """
    from harness.run.doctor import conclude, examine

    findings: list[HostCheck] = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(finding)
    conclusion = conclude(findings)
    good = conclusion.exit_code == ExitCode.PASSED
    if as_json:
        say(
            json.dumps(
                {
                    "schema": 1,
                    "good": good,
                    "conclusion": conclusion.model_dump(),
                    "findings": [finding.model_dump() for finding in findings],
                },
                indent=2,
                allow_nan=False,
            )
        )
    else:
        say(f"\n{conclusion.sentence}", bold=True, fg="green" if good else "red")
        if conclusion.command:
            say(f"  {conclusion.command}")
    return conclusion.exit_code


def _show(finding: HostCheck) -> None:
    mark, colour = _MARKS[finding.state]
    say(f"{mark:>4}", nl=False, fg=colour)
    say(f"  {finding.subject}: {finding.what}")
    if finding.remedy:
        say(f"      {finding.remedy}")
