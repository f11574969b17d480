"""The consoles that reports write to: a terminal, or a log that a CI system shows."""

from __future__ import annotations

import io
import os
import sys
from typing import IO

from rich.console import Console

#: Columns of a log that nobody set a width for: tables stay whole, and lines short enough.
LOG_WIDTH = 160


def make_console(stream: IO[str] | None = None) -> Console:
    """Return a console on a stream; standard output by default.

    Colours follow ``NO_COLOR`` and ``FORCE_COLOR``; characters that the stream's encoding lacks
    are written as escapes, because a report must not end in an encoding error.
    """
    file = stream if stream is not None else sys.stdout
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="backslashreplace")
    wide = not is_terminal(file) and not os.environ.get("COLUMNS", "").isdigit()
    return Console(file=file, width=LOG_WIDTH if wide else None, highlight=False, emoji=False)


def is_terminal(file: IO[str]) -> bool:
    """Return whether cursor movements make sense: ``FORCE_COLOR`` does not make a log a screen."""
    if os.environ.get("TERM", "") in {"dumb", "unknown"}:
        return False
    return file.isatty()
