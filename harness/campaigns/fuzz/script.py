"""Scripts and their results, in the text formats of ``guest-tests/fuzz/interpreter.c``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.errors import UserError
from harness.lib.files import read_bounded
from harness.values import Value

#: How a thread waits for its turn: blocked in the kernel; blocked, on the second CPU; or spinning
#: in user mode, on the second CPU.
Way = Literal["blocked", "far", "spin"]

#: The name of a finding's file, by its number.
KEPT = "finding-{}.fuzz"
MAX_THREADS = 4
MAX_STEPS = 250
#: Ending of a script that the interpreter played to its end.
WELL = "exited 0"
_STEP = re.compile(r"[0-3] [a-z_]+( [\x21-\x7e]+)*")


class Script(Value):
    """Steps of a few threads, one after the other."""

    #: A thread per entry.
    ways: tuple[Way, ...] = Field(min_length=1, max_length=MAX_THREADS)
    #: ``THREAD OP ARGUMENT…``
    steps: tuple[str, ...] = Field(max_length=MAX_STEPS)

    def text(self) -> str:
        """Return the lines, as :func:`parse_script` reads them."""
        return "".join(f"{line}\n" for line in (f"threads {' '.join(self.ways)}", *self.steps))


class Play(Value):
    """The result of a script in a cell."""

    #: A line per step.
    lines: tuple[str, ...]
    #: :data:`WELL`, or how the script ended early.
    ending: str = WELL

    @property
    def completed(self) -> bool:
        """Whether the script was played to its end."""
        return self.ending == WELL

    def text(self) -> list[str]:
        """Return the lines, and the ending if the script ended early."""
        return [*self.lines, *(() if self.completed else (self.ending,))]


def parse_script(text: str, where: str) -> Script:
    """Read a script; ``#`` begins a comment.

    :param where: the file's name, for the error.
    :raise UserError: it is not a script.
    """
    lines = [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]
    ways = lines[0].split()[1:] if lines and lines[0].startswith("threads ") else []
    hint = "it is a line `threads WAY…`, then a line `THREAD OP ARGUMENT…` for each step"
    for line in lines[1:]:
        if not _STEP.fullmatch(line) or int(line[0]) >= len(ways):
            raise UserError(f"this is not a step: {line}", where=where, hint=hint)
    try:
        return Script.model_validate({"ways": ways, "steps": lines[1:]})
    except ValueError as error:
        raise UserError("this is not a script", where=where, hint=hint) from error


def read_script(path: Path) -> Script:
    """Read a script's file.

    :raise UserError: it cannot be read, or has no script.
    """
    try:
        text = read_bounded(path).decode(errors="replace")
    except OSError as error:
        raise UserError(
            f"the script cannot be read: {error.strerror}",
            where=path,
            hint=f"give a file {KEPT.format('N')} that uintr-harness fuzz kept",
        ) from error
    return parse_script(text, str(path))


def batch_text(scripts: Sequence[Script]) -> str:
    """Return the interpreter's input for several scripts, numbered from 0."""
    return "".join(
        f"script {number}\n{script.text()}end\n" for number, script in enumerate(scripts)
    )


def read_plays(output: str) -> Iterator[Play]:
    """Yield the result of each script in the interpreter's output, which may be cut off."""
    lines: list[str] | None = None
    for line in output.splitlines():
        if line.startswith("script "):
            lines = []
        elif lines is not None and (match := re.fullmatch(r"end \d+: (.*)", line)):
            hangs = lines and lines[-1] == "hangs"
            yield Play(lines=tuple(lines), ending="hangs" if hangs else match[1])
            lines = None
        elif lines is not None and not line.startswith("#"):
            lines.append(line)
    if lines is not None:
        yield Play(lines=tuple(lines), ending="unfinished")


def difference(plays: Iterable[Play]) -> int | None:
    """Return the index of the first line that differs between plays, or None."""
    texts = [play.text() for play in plays]
    for place in range(max(len(text) for text in texts)):
        if len({tuple(text[place : place + 1]) for text in texts}) > 1:
            return place
    return None
