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

    The exit code is 4 if a problem keeps the default run from working, else 0.
    """
    from harness.run.doctor import examine

    findings: list[HostCheck] = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(finding)
    bad = any(finding.state == "bad" for finding in findings)
    if as_json:
        say(
            json.dumps(
                {"schema": 1, "good": not bad, "findings": [f.model_dump() for f in findings]},
                indent=2,
                allow_nan=False,
            )
        )
    return ExitCode.GUEST if bad else ExitCode.PASSED


def _show(finding: HostCheck) -> None:
    mark, colour = _MARKS[finding.state]
    say(f"{mark:>4}", nl=False, fg=colour)
    say(f"  {finding.subject}: {finding.what}")
    if finding.remedy:
        say(f"      {finding.remedy}")
