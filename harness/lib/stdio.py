"""Standard streams whose loss does not end a command.

A reader that goes away (``| head -1``), a closed stream (``>&-``) or a full device must not end a
run in the middle, nor change its verdict. Output that cannot be written is dropped;
:meth:`Output.settle` decides at the end what that means for the exit code.

All text goes through :func:`say`, or through a console of :mod:`harness.report.console`. Both
escape control characters, because the text may quote a guest, a mail or a tree.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

import click

from harness.errors import ExitCode
from harness.lib.text import clean, without_commands

#: Errors of a pipe or a terminal whose other end is closed.
_GONE = frozenset({errno.EPIPE, errno.EIO, errno.ECONNRESET})


def say(text: object = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print a text, with its control characters escaped.

    :param err: print on standard error.
    :param nl: end the line.
    :param style: as for :func:`click.style`.
    """
    click.secho(clean(str(text)), err=err, nl=nl, **style)  # noqa: TID251 -- the one place


class _Dropping(io.RawIOBase):
    """A file descriptor that drops everything after the first write that failed."""

    def __init__(self, number: int) -> None:
        self.error: OSError | None = None
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        while self.error is None:
            try:
                return os.write(self._number, data)
            except BlockingIOError:
                select.select([], [self._number], [])
            except OSError as error:
                self.error = error
        return len(data)


class Output:
    """Standard output and standard error of a command."""

    def __init__(self) -> None:
        for number in range(3):
            _open_if_closed(number)
        self._out = _Dropping(1)
        sys.stdout = _stream(self._out, sys.stdout)
        sys.stderr = _stream(_Dropping(2), sys.stderr)

    def settle(self, code: int) -> int:
        """Flush the output, and return the final exit code of a command that ended with `code`.

        A reader that went away changes nothing. Any other output that could not be written is a
        failure of the host.
        """
        sys.stdout.flush()
        error = self._out.error
        if error is None or error.errno in _GONE:
            return code
        say(
            f"error: the output cannot be written: {error.strerror}\n"
            "  where: standard output\n"
            "  hint: some of it is lost; make room there, or send it to another file",
            err=True,
        )
        return code if code > ExitCode.TESTS_FAILED else ExitCode.GUEST


def _open_if_closed(number: int) -> None:
    """Open /dev/null in place of a standard stream that is closed.

    Otherwise the next opened file would get its number, and with it everything that is printed.
    """
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)


class _WithoutCommands(io.TextIOWrapper):
    """A text stream whose lines are no workflow commands, however they are put together."""

    #: What was written of the current line, as far as it matters.
    _line = ""

    def write(self, text: str, /) -> int:
        whole = without_commands(self._line + text)
        super().write(whole[len(self._line) :])
        line = (self._line + text).rpartition("\n")[2]
        self._line = line if not line.strip(" \t:") else f"x{line[-2:]}"
        return len(text)


def _stream(raw: _Dropping, before: TextIO | None) -> io.TextIOWrapper:
    """Return a text stream with the settings of the one that it replaces."""
    text = before if isinstance(before, io.TextIOWrapper) else None
    if text is not None:
        text.flush()
    in_github = os.environ.get("GITHUB_ACTIONS") == "true"
    return (_WithoutCommands if in_github else io.TextIOWrapper)(
        io.BufferedWriter(raw),  # type: ignore[type-var]  # it takes any RawIOBase
        encoding=text.encoding if text else "utf-8",
        errors=text.errors if text else "backslashreplace",
        line_buffering=text.line_buffering if text else False,
        write_through=text.write_through if text else False,
    )
