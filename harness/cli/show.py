"""The display that commands share: progress on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.report.progress import RichProgress


@contextmanager
def shown() -> Iterator[RichProgress]:
    """Show progress while the context lasts."""
    import click

    from harness.report.progress import RichProgress  # rich only where shown

    context = click.get_current_context(silent=True)
    quiet = bool(context and (context.find_object(dict) or {}).get("quiet"))
    with RichProgress(mode="quiet" if quiet else "auto") as progress:
        yield progress
