"""The log of a build: what a person has to read of it first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: Most lines of a log in an error, and how many lines after each complaint.
_SHOWN_LINES = 24
_CONTEXT_LINES = 3


def first_errors(lines: Sequence[str], complains: Callable[[str], bool]) -> str:
    """Return the first lines that complain, each with the lines after it.

    If no line complains, return the last lines.
    """
    shown: list[str] = []
    until = -1
    for number, line in enumerate(lines):
        if complains(line):
            until = number + _CONTEXT_LINES
        if number <= until:
            shown.append(line)
        if len(shown) >= _SHOWN_LINES:
            break
    return "\n".join(shown or lines[-_CONTEXT_LINES * 3 :])
