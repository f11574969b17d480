"""A shell script per failing case, that runs its program again with the same inputs.

The script first checks that all that decided the result still is what it was, by SHA-256, so that
a different result is never taken for a fixed bug or a flaky one. Then it runs the program through
the harness, or, where ``--qemu`` is given, boots the cell's guest by hand. A bare-metal program
needs no harness: QEMU runs it, and QEMU's exit status becomes the program's.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from harness.errors import GuestError
from harness.lib.text import clean_line
from harness.values import Cell, Sha256, Value

#: The folder of a cell that holds the scripts.
FOLDER = "reproduce"
_MAX_NAME = 80


class FrozenInput(Value):
    """A file that decided the result, and what was in it."""

    #: ``kernel``, ``image``, ``program``, ``emulator``.
    label: str
    path: Path
    sha256: Sha256


class Reproduction(Value):
    """All that a script needs."""

    cell: str
    program: str
    case: str
    message: str = ""
    inputs: tuple[FrozenInput, ...] = ()
    #: The command that runs the program again; its first word can be replaced by a variable.
    argv: tuple[str, ...]
    #: What the script with QEMU's command said when the case failed.
    qemu: str = ""
    #: That script of a bare-metal program, relative to the cell's folder; empty for one for Linux.
    bare_metal: str = ""
    #: Seconds that a bare-metal program may take.
    limit_s: int = 0


def freeze(label: str, path: Path) -> FrozenInput:
    """Return an input with the SHA-256 of what is in it now.

    :raise OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return FrozenInput(
            label=label,
            path=path.absolute(),
            sha256=hashlib.file_digest(file, "sha256").hexdigest(),
        )


def run_argv(cell: Cell, program: str, *, accel: str = "", more: Iterable[str] = ()) -> list[str]:
    """Return the command that runs one program in one cell.

    :param accel: the accelerator that ``auto`` came to.
    :param more: options that the run had besides (``--tree DIR``, ``--series PATH``).
    """
    return [
        *("uintr-harness", "run"),
        *("--kernel", cell.kernel.name),
        *("--cpu", cell.cpu.name),
        *("--smp", str(cell.smp)),
        *("--cc", cell.cc),
        *("--accel", accel or cell.accel),
        *more,
        *("-k", program),
    ]


def script_path(cell: str, program: str, case: str) -> Path:
    """Return where a case's script is, relative to the run's folder.

    Names come from guests: what is no letter, digit, dot or underscore becomes a dash, and a digest
    of the true name keeps two cases from sharing a script.
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
        "bare_metal": shlex.quote(reproduction.bare_metal),
        "limit_s": reproduction.limit_s,
    }
    begin, end = (_BARE_METAL, _QEMU) if reproduction.bare_metal else (_LINUX, _HARNESS)
    return (begin + _CHECKS + end).format(**fields)


def write_script(run: Path, reproduction: Reproduction) -> Path:
    """Write a case's script into a run's folder and return its path.

    :raise GuestError: the host cannot keep it.
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
# Runs a guest program again that failed, with the same kernel, image and program.
{heading}
#
# usage: sh THIS-SCRIPT [--anyway] [OPTIONS OF uintr-harness run]
#        sh THIS-SCRIPT --qemu
#   --anyway  run although an input has changed since
#   --qemu    boot the guest by hand, with its console on this terminal
# UINTR_HARNESS names another uintr-harness than the one on the PATH.
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
# Runs a bare-metal program again that failed, with the same QEMU and program.
{heading}
#
# usage: sh THIS-SCRIPT [--anyway] [OPTIONS OF QEMU]
#   --anyway  run although an input has changed since
# It exits as the program did: 0 passed, 1 failed (or died), 4 skipped.
# LIMIT_S=SECONDS is how long it may take; 0 is forever, for `-s -S` and a debugger.
# The harness runs it by: {tool} {command}
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
        echo "the $1 is gone: $2" >&2
        changed=1
        return 0
    fi
    found=$(sha256sum < "$2")
    if [ "${{found%% *}}" != "$3" ]; then
        echo "the $1 is not the one that failed: $2" >&2
        changed=1
    fi
}}
{checks}

if [ "${{1:-}}" = --anyway ]; then
    shift
elif [ "$changed" -ne 0 ]; then
    echo "this would be another test; --anyway runs it all the same" >&2
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
