"""Consoles for reports: a terminal, or the log of a CI system."""

from __future__ import annotations

import io
import os
import sys
from typing import IO

from rich.console import Console

#: Width of a log in columns, if ``COLUMNS`` is not set.
LOG_WIDTH = 160


def make_console(stream: IO[str] | None = None) -> Console:
    """Return a console on a stream; by default, on standard output.

    Colours follow ``NO_COLOR`` and ``FORCE_COLOR``. Characters that the stream's encoding lacks are
    escaped, so that they cause no error.
    """
    file = stream if stream is not None else sys.stdout
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="backslashreplace")
    wide = not is_terminal(file) and not os.environ.get("COLUMNS", "").isdigit()
    return Console(file=file, width=LOG_WIDTH if wide else None, highlight=False, emoji=False)


def is_terminal(file: IO[str]) -> bool:
    """Return true if a stream supports cursor movements, whatever ``FORCE_COLOR`` says."""
    if os.environ.get("TERM", "") in {"dumb", "unknown"}:
        return False
    return file.isatty()
