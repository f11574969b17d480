"""Limits on data from a guest: bytes, files, depth, length of names, time.

A guest is not trusted. It may state wrong sizes, print without end, and use names that a host
file cannot have. Each reader checks a limit while it reads: one of this module, or for a program's
output the program's own (``OUTPUT_LIMIT`` in ``harness/values.py``). Data beyond it is cut off,
which is recorded as a result of the program that was running.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from harness.errors import GuestError

MIB = 1 << 20
#: Bytes of a console line that splat rules are matched against.
MATCHED = 512


#: Exceptions of parsers whose input violates a protocol or a format.
NONSENSE = (
    *(struct.error, ValueError, LookupError, TypeError, AttributeError),
    *(RecursionError, OverflowError),
)


class CopyLimitError(GuestError):
    """A copy exceeds its budget, or has files that the host cannot store."""


class OutputLimitError(Exception):
    """Raised by a callback that accepts no more output. The text says why."""


class Budget(NamedTuple):
    """Limits on one copy out of the guest."""

    size: int
    files: int = 10_000
    #: Depth of nested folders; 0 allows only files in the folder that is copied.
    depth: int = 32
    #: Bytes of a file's name; the default is Linux's limit.
    name: int = 255


#: For a test's copies, and for the counters of a kernel built with gcov.
COPY = Budget(256 * MIB)
#: For the raw samples of one program.
SAMPLES = Budget(64 * MIB, files=256, depth=0)


class CopyUsage:
    """The part of a budget that a copy has used.

    :raise CopyLimitError: from every method, when the budget is exceeded.
    """

    def __init__(self, budget: Budget, what: str) -> None:
        self._budget = budget
        self._what = what
        self._bytes = 0
        self._files = 0

    def entry(self, depth: int) -> None:
        """Count a file or a folder.

        :param depth: the number of folders around it, below the one that is copied.
        """
        self._files += 1
        if self._files > self._budget.files:
            raise self._error(f"more than {self._budget.files} files and folders")
        if depth > self._budget.depth:
            allowed = self._budget.depth
            deep = f"folders more than {allowed} deep" if allowed else "a folder among the files"
            raise self._error(deep)

    def claim(self, size: int, name: str) -> None:
        """Check a size that the guest states, before the file is read."""
        if size > self._budget.size - self._bytes:
            raise self._error(
                f"{name!r} claims to have {size} bytes; all files together may have "
                f"{as_size(self._budget.size)}"
            )

    def add(self, size: int) -> None:
        """Count bytes that were read."""
        self._bytes += size
        if self._bytes > self._budget.size:
            raise self._error(f"more than {as_size(self._budget.size)}")

    def name(self, raw: bytes) -> str:
        """Return a printable file name for the host, see :func:`printable`."""
        if len(raw) > self._budget.name:
            raise self._error(f"a name of {len(raw)} bytes: {raw[:40]!r}...")
        if raw in {b"", b".", b".."} or b"/" in raw or b"\0" in raw:
            raise self._error(f"{raw!r} is not a file name")
        return printable(raw)

    def timed_out(self, seconds: float) -> CopyLimitError:
        """Return the error for a copy that takes too long."""
        return self._error(f"the copy was not complete after {seconds:.0f} s")

    def _error(self, why: str) -> CopyLimitError:
        return CopyLimitError(
            f"too much to copy from the guest: {why}",
            where=self._what,
            hint="let the program write less",
        )


def printable(raw: bytes) -> str:
    """Return bytes as text of at most 255 characters.

    Bytes that are not UTF-8 and characters that are not printable become escapes.
    """
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )[:255]


def as_size(size: int) -> str:
    """Return a number of bytes with a unit, such as ``64 MiB``."""
    for unit, name in ((1 << 30, "GiB"), (MIB, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def read_end(path: Path, limit: int) -> bytes:
    """Return a file's last ``limit`` bytes; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - limit))
            return file.read(limit)
    except OSError:
        return b""
