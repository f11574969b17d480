"""The harness's errors: three families, one exit code each.

::

    HarnessError
    ├── UserError    exit 2: wrong usage or configuration
    ├── BuildError   exit 3: an artefact could not be built
    └── GuestError   exit 4: a guest or the host failed

A kernel under test that fails a case is a result, not an error, and ends with exit 1
without any exception.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from pathlib import Path
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of every command; scripts can rely on them."""

    PASSED = 0
    TESTS_FAILED = 1
    USAGE = 2
    BUILD = 3
    GUEST = 4
    INTERRUPTED = 130


class HarnessError(Exception):
    """An error for the user: what went wrong, where, and what to do.

    :param what: what went wrong, in one sentence without a final stop.
    :param where: the file, option, command or guest concerned.
    :param hint: what to do next, as a command if there is one.
    :param detail: lines that show the cause (a hunk, the end of a log), printed unchanged.
    """

    exit_code: ClassVar[ExitCode]

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        hint: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where) if where is not None else None
        self.hint = hint
        self.detail = detail

    def __str__(self) -> str:
        """Return the whole message, in one or more lines without colour."""
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.detail:
            lines.extend(f"  | {line}" for line in self.detail.rstrip("\n").splitlines())
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class UserError(HarnessError):
    """Wrong usage or configuration; the user can correct it before any build or guest."""

    exit_code = ExitCode.USAGE


class BuildError(HarnessError):
    """A source, a series, a configuration or a compiler failed to produce an artefact."""

    exit_code = ExitCode.BUILD


class GuestError(HarnessError):
    """A guest, its QEMU, its connection or the host failed; not the kernel's test result."""

    exit_code = ExitCode.GUEST


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code of a command that ends with an exception."""
    match error:
        case HarnessError():
            return error.exit_code
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case UnicodeEncodeError() | OSError(errno=errno.ENAMETOOLONG):
            return ExitCode.USAGE
        case _:
            return ExitCode.GUEST
