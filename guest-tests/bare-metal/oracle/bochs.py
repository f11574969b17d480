#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run bare-metal programs in Bochs, an independent model of the processor.

The cases' expected results come from the manual. A second implementation shows where the cases
misread it. Bochs 3.1 or later is needed: SENDUIPI and UIRET are wrong in earlier versions.
The file ``deviations`` lists known deviations, one case and its reason per line. A case that
differs without being listed fails, and so does a listed case that no longer differs.

    bochs.py [--bochs COMMAND] [--display LIBRARY] [PROGRAM…]

:param COMMAND: the command that starts Bochs, with further arguments if they are needed.
:param LIBRARY: Bochs's display library; none of them is used.

A ROM takes the BIOS's place. It holds the program, and starts it as QEMU's ``-kernel`` would.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE.parent
RUNTIME = PROGRAMS / "runtime"
#: Races need CPUs that run in parallel; Bochs runs them in turn. Bochs does not end a wait at the
#: limit in IA32_UMWAIT_CONTROL, so that waitpkg hangs.
LEFT_OUT = {"races", "waitpkg"}
LIMIT_S = 300
WORDS = "smp=1 scale=1000 modelled=1 bochs=1"
STATUSES = ("pass", "fail", "skip")

#: Source of the ROM's last page, its size, and the places of its parts.
ROM = HERE / "rom.S"
_PAGE, _INFO, _PARTS, _CODE = 4096, 8, 48, 2048
_ROM_UNIT = 64 << 10
_TOP = 1 << 32
_PVH_MAGIC = 0x336EC578
_PT_LOAD = 1
#: Files of :func:`configure` in its folder.
ROM_FILE, VGA_FILE, LOG_FILE, CONFIG_FILE = "rom", "vga", "log", "bochsrc"
#: The display library ``term`` makes a terminal of its own, and needs no window and no port.
DISPLAY = "term"
#: A model with user interrupts.
MODEL = "arrow_lake"

CONFIG = """\
romimage: file={folder}/{rom}
vgaromimage: file={folder}/{vga}
cpu: model={model}, count={cpus}, ips=50000000, reset_on_triple_fault=0{features}
memory: guest=128, host=128
port_e9_hack: enabled=1
display_library: {display}
log: {folder}/{log}
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
speaker: enabled=0
sound: waveoutdrv=dummy
"""


def assemble(output: Path) -> list[list[str]]:
    """Return the commands that make the ROM's last page."""
    target = output.with_suffix(".o")
    return [
        ["gcc", "-c", "-o", str(target), str(ROM)],
        ["objcopy", "-O", "binary", "-j", ".text", str(target), str(output)],
    ]


def loaded(elf: bytes) -> tuple[int, list[tuple[int, bytes]]]:
    """Return a 64-bit program's entry, and the address and content of each part with content."""
    entry, headers = struct.unpack_from("<QQ", elf, 24)
    size, count = struct.unpack_from("<HH", elf, 54)
    found = []
    for place in range(headers, headers + size * count, size):
        kind, _, offset, _, address, length = struct.unpack_from("<IIQQQQ", elf, place)
        if kind == _PT_LOAD:
            found.append((address, elf[offset : offset + length]))
    return entry, found


def rom(page: bytes, program: bytes, words: str, data: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """Return a ROM that starts a program with some data in memory.

    :param page: what :func:`assemble` makes.
    :param program: an ELF file.
    :param words: the program's command line.
    :param data: further addresses and contents.
    """
    entry, parts = loaded(program)
    parts = [
        (address, content.ljust(-(-len(content) // 4) * 4, b"\0"))
        for address, content in (*parts, *data)
    ]
    body = b"".join(content for _, content in parts)
    size = -(-(len(body) + _PAGE) // _ROM_UNIT) * _ROM_UNIT
    last, place, table = _TOP - _PAGE, _TOP - size, b""
    for address, content in parts:
        table += struct.pack("<3I", place, address, len(content) // 4)
        place += len(content)
    line = last + _PARTS + len(table)
    info = struct.pack("<4IQQQ", _PVH_MAGIC, 1, 0, 0, 0, line, 0)
    head = struct.pack("<2I", entry, len(parts)) + info + table + words.encode() + b"\0"
    assert len(head) <= _CODE
    return body.ljust(size - _PAGE, b"\0") + head.ljust(_CODE, b"\0") + page[_CODE:_PAGE]


def configure(
    folder: Path,
    image: bytes,
    *,
    display: str,
    model: str = MODEL,
    more: str = "",
    features: str = "",
    cpus: int = 1,
) -> Path:
    """Write a ROM and Bochs's configuration into a folder, and return the latter's path.

    :param model: Bochs's name of the processor.
    :param more: further lines of the configuration.
    :param features: further parameters of the processor.
    :param cpus: number of processors.
    """
    (folder / ROM_FILE).write_bytes(image)
    (folder / VGA_FILE).write_bytes(bytes(2048))
    config = folder / CONFIG_FILE
    text = CONFIG.format(
        folder=folder,
        cpus=cpus,
        rom=ROM_FILE,
        vga=VGA_FILE,
        log=LOG_FILE,
        model=model,
        features=features,
        display=display,
    )
    config.write_text(text + more)
    return config


def run(argv: list[str]) -> None:
    """Run a tool. If it fails, the script ends."""
    subprocess.run(argv, check=True)


def build(name: str, folder: Path) -> bytes:
    """Return the ROM with a program."""
    flags = [
        line.partition("#")[0].strip() for line in (RUNTIME / "flags").read_text().splitlines()
    ]
    elf, page = folder / "elf", folder / "page"
    sources = [PROGRAMS / f"{name}.c", *sorted(RUNTIME.glob("*.[cS]"))]
    where = ["-I", str(RUNTIME), "-T", str(RUNTIME / "link.ld"), "-o", str(elf)]
    run(["gcc", *filter(None, flags), *where, *map(str, sources)])
    for argv in assemble(page):
        run(argv)
    return rom(page.read_bytes(), elf.read_bytes(), WORDS)


def verdicts(output: str) -> dict[str, str]:
    """Return the status of each case. The APIC mode is part of the name."""
    found = {}
    for line in output.splitlines():
        match = re.match(r"(not )?ok \d+ (\S+)(?: # (SKIP).*)?$", line)
        if match:
            found[match[2]] = "skip" if match[3] else "fail" if match[1] else "pass"
    return found


def deviations() -> dict[str, str]:
    """Return the known deviations: ``PROGRAM/CASE``, without the APIC mode → reason."""
    lines = (line.partition("#")[0] for line in (HERE / "deviations").read_text().splitlines())
    return dict(line.split(None, 1) for line in lines if line.strip())


def judge(name: str, found: dict[str, str], known: dict[str, str]) -> list[str]:
    """Return the unexpected verdicts of a program, as text."""
    wrong = []
    for case, status in found.items():
        reason = known.get(f"{name}/{case.rpartition('.')[0]}")
        if status == "fail" and reason is None:
            wrong.append(f"{case} differs, and no deviation is known")
        if status == "pass" and reason is not None:
            wrong.append(f"{case} does not differ any more: {reason}")
    return wrong or ([] if found else ["nothing was printed"])


def in_bochs(name: str, args: argparse.Namespace, folder: Path) -> str:
    """Run a program in Bochs, and return its output. Bochs is killed if it does not end in time."""
    config = configure(folder, build(name, folder), display=args.display)
    argv = [*shlex.split(args.bochs), "-q", "-f", str(config)]
    env = {"TERM": "linux", **os.environ}
    try:
        done = subprocess.run(
            argv, input=b"c\n", capture_output=True, timeout=LIMIT_S, cwd=folder, env=env
        )
        output = done.stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    text = output.decode(errors="replace")
    return (
        text if verdicts(text) else text + (folder / LOG_FILE).read_text(errors="replace")[-1500:]
    )


def main() -> int:
    """Run the named programs, or all. Return 1 if a verdict is unexpected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bochs", default="bochs", help="the command that starts Bochs")
    parser.add_argument("--display", default=DISPLAY, help="the display library")
    parser.add_argument("programs", nargs="*")
    args = parser.parse_args()
    everything = sorted(path.stem for path in PROGRAMS.glob("*.c") if path.stem not in LEFT_OUT)
    known = deviations()
    failed = False
    for name in args.programs or everything:
        with tempfile.TemporaryDirectory(prefix="bochs-") as scratch:
            output = in_bochs(name, args, Path(scratch))
        found = verdicts(output)
        wrong = judge(name, found, known)
        failed |= bool(wrong)
        counts = [f"{list(found.values()).count(status)} {status}" for status in STATUSES]
        print(f"{name}: {', '.join(counts)}")
        for line in wrong:
            print(f"  {line}")
        if wrong:
            print("\n".join(f"    {line}" for line in output.splitlines()[-60:]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
