"""A shell script for each failing case, which runs its program again with the same inputs.

The script first compares the SHA-256 of each input with that of the failed run. So a different
result cannot come from a changed input. Then it runs the program through the harness or, with
``--qemu``, boots the cell's guest by hand. A bare-metal program needs no harness: QEMU runs it, and
the script translates QEMU's exit status.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path

from harness.errors import GuestError
from harness.lib.text import clean_line
from harness.values import Sha256, Value

#: The folder of a cell that holds the scripts.
FOLDER = "reproduce"
_MAX_NAME = 80


class FrozenInput(Value):
    """An input of the failed run: a file and its digest."""

    #: ``kernel``, ``image``, ``program``, ``emulator``.
    label: str
    path: Path
    sha256: Sha256


class Reproduction(Value):
    """Contents of a script."""

    cell: str
    program: str
    case: str
    message: str = ""
    inputs: tuple[FrozenInput, ...] = ()
    #: The command that runs the program again. ``UINTR_HARNESS`` can replace its first word.
    argv: tuple[str, ...]
    #: Text of the script with QEMU's command, at the time of the failure.
    qemu: str = ""
    #: Path of a bare-metal program's script, relative to the cell's folder; otherwise empty.
    bare_metal: str = ""
    #: Seconds that a bare-metal program may take.
    limit_s: int = 0


def freeze(label: str, path: Path) -> FrozenInput:
    """Return an input with the SHA-256 of its current contents.

    :raise OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return FrozenInput(
            label=label,
            path=path.absolute(),
            sha256=hashlib.file_digest(file, "sha256").hexdigest(),
        )


def script_path(cell: str, program: str, case: str) -> Path:
    """Return the path of a case's script, relative to the run's folder.

    Names come from guests: characters other than letters, digits, dots and underscores become
    dashes. A digest of the original name keeps the paths of two cases apart.
    """
    wanted = f"{program}::{case}"
    name = re.sub(r"[^A-Za-z0-9._]+", "-", wanted)[:_MAX_NAME].strip("-.")
    digest = hashlib.sha256(wanted.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return Path("cells") / cell / FOLDER / f"{name}-{digest}.sh"


def script(reproduction: Reproduction) -> str:
    """Return the text of the script (POSIX sh)."""
    tool, *rest = reproduction.argv
    checks = "\n".join(
        f"check {shlex.quote(given.label)} {shlex.quote(str(given.path))} {given.sha256}"
        for given in reproduction.inputs
    )
    qemu = "\n".join(f"#   {clean_line(line)}" for line in reproduction.qemu.strip().split("\n"))
    heading = [
        f"# program: {reproduction.program}",
        f"# case:    {reproduction.case}",
        f"# said:    {reproduction.message}",
        f"# cell:    {reproduction.cell}",
    ]
    fields = {
        "heading": "\n".join(clean_line(line).rstrip() for line in heading),
        "qemu": qemu if reproduction.qemu.strip() else "#   (not recorded)",
        "checks": checks or ": # no inputs were recorded",
        "tool": shlex.quote(tool),
        "command": " ".join(map(shlex.quote, rest)),
        "comment": clean_line(shlex.join(reproduction.argv)),
        "bare_metal": shlex.quote(reproduction.bare_metal),
        "limit_s": reproduction.limit_s,
    }
    begin, end = (_BARE_METAL, _QEMU) if reproduction.bare_metal else (_LINUX, _HARNESS)
    return (begin + _CHECKS + end).format(**fields)


def write_script(run: Path, reproduction: Reproduction) -> Path:
    """Write a case's script into a run's folder and return its path.

    :raise GuestError: the host cannot store it.
    """
    path = run / script_path(reproduction.cell, reproduction.program, reproduction.case)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script(reproduction), encoding="utf-8", errors="backslashreplace")
        path.chmod(0o755)
    except OSError as error:
        raise GuestError(
            f"a reproducer cannot be written: {error.strerror}",
            where=path,
            hint="make room, or choose another folder with --out",
        ) from error
    return path


_LINUX = """\
#!/bin/sh
# Runs a failed guest program again, with the same kernel, image and program.
{heading}
#
# usage: sh THIS-SCRIPT [--anyway] [OPTIONS OF uintr-harness run]
#        sh THIS-SCRIPT --qemu
#   --anyway  run even if an input has changed
#   --qemu    boot the guest by hand, with its console on this terminal
# UINTR_HARNESS=PATH runs another uintr-harness than the one on the PATH.
#
# The guest was started by:
{qemu}
set -eu

here=$(dirname "$0")
if [ "${{1:-}}" = --qemu ]; then
    exec sh "$here/../qemu.sh"
fi
"""

_BARE_METAL = """\
#!/bin/sh
# Runs a failed bare-metal program again, with the same QEMU and program.
{heading}
#
# usage: sh THIS-SCRIPT [--anyway] [OPTIONS OF QEMU]
#   --anyway  run even if an input has changed
# Exit codes: 0 passed, 1 failed (or died), 4 skipped.
# LIMIT_S=SECONDS sets the time limit; 0 is no limit, for `-s -S` and a debugger.
# To run it with the harness: {comment}
#
# It was started by:
{qemu}
set -eu

here=$(dirname "$0")
"""

_CHECKS = """
changed=0
check() {{
    if [ ! -r "$2" ]; then
        echo "the $1 is missing: $2" >&2
        changed=1
        return 0
    fi
    found=$(sha256sum < "$2")
    if [ "${{found%% *}}" != "$3" ]; then
        echo "the $1 has changed: $2" >&2
        changed=1
    fi
}}
{checks}

if [ "${{1:-}}" = --anyway ]; then
    shift
elif [ "$changed" -ne 0 ]; then
    echo "the result would not be comparable; --anyway runs it nevertheless" >&2
    exit 2
fi
"""

_HARNESS = """
harness=${{UINTR_HARNESS:-{tool}}}
exec "$harness" {command} "$@"
"""

_QEMU = """
limit=${{LIMIT_S:-{limit_s}}}
status=0
timeout --foreground --kill-after=5 "$limit" sh "$here"/../{bare_metal} "$@" || status=$?
# A program that ends by itself makes QEMU end with (code << 1) | 1.
case $status in
    1) exit 0 ;;
    3) exit 1 ;;
    9) exit 4 ;;
    124) echo "the program did not end within $limit s" >&2 ;;
    *) echo "the program did not end by itself: QEMU's exit status is $status" >&2 ;;
esac
exit 1
"""
