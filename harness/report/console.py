"""Consoles for reports: a terminal, or the log of a CI system."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typing_extensions import override

from harness.lib.text import clean

#: Width of a log in columns, if ``COLUMNS`` is not set.
LOG_WIDTH = 160


class _CleanConsole(Console):
    """A console that escapes the control characters in all text."""

    @override
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else clean(segment.text)
            yield Segment(text, segment.style, segment.control)


def make_console(stream: IO[str] | None = None) -> Console:
    """Return a console on a stream; by default, on standard output.

    Colours follow ``NO_COLOR`` and ``FORCE_COLOR``. Characters that the stream's encoding lacks are
    escaped, so that they cause no error.
    """
    file = stream if stream is not None else sys.stdout
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="backslashreplace")
    wide = not is_terminal(file) and not os.environ.get("COLUMNS", "").isdigit()
    return _CleanConsole(file=file, width=LOG_WIDTH if wide else None, highlight=False, emoji=False)


def is_terminal(file: IO[str]) -> bool:
    """Return true if a stream supports cursor movements, whatever ``FORCE_COLOR`` says."""
    if os.environ.get("TERM", "") in {"dumb", "unknown"}:
        return False
    return file.isatty()
