"""Reasons why a guest with BusyBox and no shared libraries cannot run a built selftest."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from elftools.common.exceptions import ELFError

from harness.artefacts.image import needed_libraries
from harness.artefacts.kernel.kconfig import OFF

#: The only interpreter that the guest has.
_SHELL = "/bin/sh"


def why_not(path: Path) -> str:
    """Return why a program of a target could not run in a guest; empty if it could."""
    data = path.read_bytes()
    if data.startswith(b"\x7fELF"):
        try:
            libraries, interpreter = needed_libraries(data)
        except ELFError as error:
            return f"no program: {error}"
        if interpreter or libraries:
            return f"needs {', '.join(filter(None, [interpreter, *libraries]))}: it is not static"
        return ""
    if not data.startswith(b"#!"):
        return "no program: it is neither ELF nor a script"
    lacking = _lacking_interpreter(data)
    return f"needs {lacking}, which the guest has not" if lacking else ""


def _lacking_interpreter(data: bytes) -> str:
    """Return a script's interpreter if the guest does not have it, else nothing."""
    if not data.startswith(b"#!"):
        return ""
    interpreter = data[2:].partition(b"\n")[0].decode(errors="replace").strip()
    return "" if interpreter.split()[:1] == [_SHELL] else interpreter


def why_not_helped(program: Path, installed: Path, programs: Container[str]) -> str:
    """Return why a program's helper could not run: a script that it names, beside it.

    A compiled program names a file as a string of its own, a script as a word.
    """
    data = program.read_bytes()
    for helper in sorted(installed.iterdir()):
        if not helper.is_file() or helper.name in programs:
            continue
        name = re.escape(helper.name.encode())
        border = rb"[\0/]%b\0" if data.startswith(b"\x7fELF") else rb"(?<![\w.-])%b(?![\w.-])"
        lacking = _lacking_interpreter(helper.read_bytes())
        if lacking and re.search(border % name, data):
            return f"its helper {helper.name} needs {lacking}, which the guest has not"
    return ""


def why_not_configured(options: Sequence[str], config: Mapping[str, str]) -> str:
    """Return why a kernel cannot run a program that needs some options; empty if it can."""
    lacking = [f"CONFIG_{name}" for name in options if config.get(name, OFF) == OFF]
    return f"needs {', '.join(lacking)}, which this kernel has not" if lacking else ""
