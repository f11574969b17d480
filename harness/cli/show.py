"""The display that commands share: progress on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.progress import Progress


@contextmanager
def shown() -> Iterator[Progress]:
    """Show progress while the context lasts."""
    from harness.report.progress import RichProgress  # rich only where shown

    with RichProgress() as progress:
        yield progress
