"""The display that commands share: progress on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from harness.lib.stdio import say
from harness.lib.text import clean_line

if TYPE_CHECKING:
    from harness.campaigns.mutants import MutantResult
    from harness.campaigns.mutation.records import GeneratedResult
    from harness.report.progress import RichProgress
    from harness.results.bisection import BisectionStep

#: Characters of a message in a line.
_SHOWN = 100


@contextmanager
def shown() -> Iterator[RichProgress]:
    """Show progress while the context lasts."""
    from harness.report.progress import RichProgress  # rich only where shown

    context = click.get_current_context(silent=True)
    quiet = bool(context and (context.find_object(dict) or {}).get("quiet"))
    with RichProgress(mode="quiet" if quiet else "auto") as progress:
        yield progress


def show_verdict(
    verdict: str,
    colour: str | None,
    name: str,
    found: BisectionStep | MutantResult | GeneratedResult,
    took: str,
) -> None:
    """Print a line with a verdict, what it is about, the reason for it, and the seconds."""
    why = ""
    if found.by:
        why = f"  by {found.by}  in {found.cell}"
    elif found.message:
        why = f"  {clean_line(found.message[:_SHOWN])}"
    say(verdict, nl=False, fg=colour)
    say(f" {clean_line(name)}{why}  {took} s")
