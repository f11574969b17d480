#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run bare-metal programs in Bochs, an independent model of the processor.

The cases' expected results come from the manual. A second implementation shows where the cases
misread it. Bochs 3.1 or later is needed: SENDUIPI and UIRET are wrong in earlier versions.
The file ``deviations`` lists known deviations, one case and its reason per line. A case that
differs without being listed fails, and so does a listed case that no longer differs.

    bochs.py [--bochs COMMAND] [--share DIR] [PROGRAM…]

:param COMMAND: the command that starts Bochs, with further arguments if they are needed.
:param DIR: the folder with ``BIOS-bochs-latest``.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE.parent
RUNTIME = PROGRAMS / "runtime"
#: Races need CPUs that run in parallel. Bochs runs them in turn.
LEFT_OUT = {"races"}
SECTOR, TRACK = 512, 36 * 512
LIMIT_S = 300
WORDS = "smp=1 scale=1000 modelled=1 bochs=1"
STATUSES = ("pass", "fail", "skip")

CONFIG = """\
romimage: file={share}/BIOS-bochs-latest
vgaromimage: file={vga}
cpu: model=arrow_lake, count=1, ips=50000000, reset_on_triple_fault=0
memory: guest=128, host=128
floppya: 1_44={disk}, status=inserted
boot: floppy
port_e9_hack: enabled=1
display_library: {display}
log: {log}
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
speaker: enabled=0
sound: waveoutdrv=dummy
"""


def run(argv: list[str]) -> None:
    """Run a tool. If it fails, the script ends."""
    subprocess.run(argv, check=True)


def build(name: str, folder: Path) -> Path:
    """Return the image of a floppy disk that boots a program."""
    flags = [
        line.partition("#")[0].strip() for line in (RUNTIME / "flags").read_text().splitlines()
    ]
    elf, flat, boot = folder / "elf", folder / "flat", folder / "boot"
    sources = [PROGRAMS / f"{name}.c", *sorted(RUNTIME.glob("*.[cS]"))]
    where = ["-I", str(RUNTIME), "-T", str(RUNTIME / "link.ld"), "-o", str(elf)]
    run(["gcc", *filter(None, flags), *where, *map(str, sources)])
    # The program's memory from 1 MiB on. Memory that is not in the file is zero.
    run(["objcopy", "-O", "binary", "-R", ".bss", str(elf), str(flat)])
    header = subprocess.run(
        ["readelf", "-h", str(elf)], check=True, capture_output=True, text=True
    ).stdout
    entry = re.search(r"Entry point address:\s+(\S+)", header)
    assert entry
    program = flat.read_bytes()
    tracks = -(-len(program) // TRACK)
    numbers = [f"-DTRACKS={tracks}", f"-DENTRY={entry[1]}", f'-DWORDS="{WORDS}"']
    options = ["-m32", "-nostdlib", "-static", "-Wl,-Ttext=0x7c00", "-Wl,--build-id=none"]
    run(["gcc", *options, *numbers, "-o", str(boot), str(HERE / "sector.S")])
    run(["objcopy", "-O", "binary", "-j", ".text", str(boot), str(boot)])
    disk = folder / "disk"
    image = boot.read_bytes()[:SECTOR].ljust(TRACK, b"\0") + program
    disk.write_bytes(image.ljust(80 * TRACK, b"\0"))
    return disk


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
    config, log = folder / "bochsrc", folder / "log"
    config.write_text(
        CONFIG.format(
            share=args.share,
            vga=args.vga,
            display=args.display,
            disk=build(name, folder),
            log=log,
        )
    )
    argv = [*shlex.split(args.bochs), "-q", "-f", str(config)]
    try:
        done = subprocess.run(argv, input=b"c\n", capture_output=True, timeout=LIMIT_S, cwd=folder)
        output = done.stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    text = output.decode(errors="replace")
    return text if verdicts(text) else text + log.read_text(errors="replace")[-1500:]


def main() -> int:
    """Run the named programs, or all. Return 1 if a verdict is unexpected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bochs", default="bochs", help="the command that starts Bochs")
    parser.add_argument("--share", type=Path, default=Path("/usr/share/bochs"))
    parser.add_argument("--vga", type=Path, default=Path("/usr/share/vgabios/vgabios.bin"))
    parser.add_argument("--display", default='rfb, options="timeout=0"')
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
