"""Make golden logs: ``python -m tools.complaints --kernel BZIMAGE --out DIR WAY...``.

The kernel is one with ``complain.c`` in it: copy that file into ``lib/`` of a tree, add
``obj-y += complain.o`` to ``lib/Makefile``, and build with the checks whose reports are wanted
(KASAN, lockdep, SLUB_DEBUG, KFENCE, UBSAN, LKDTM). Each way is provoked in a separate boot, because
many reports appear only once per boot. ``lkdtm:NAME`` is a crash type of LKDTM. The head of each
log is what the scanner finds: check it against the log before using it as an expectation.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
from pathlib import Path

from harness.artefacts.emulator.choice import find_emulator
from harness.guest.argv import base_argv
from harness.guest.verdict.splats import scan
from harness.lib import cpio
from harness.values import Emulator
from tools.scratch import scratch
from tools.splats import head_of

INIT = Path(__file__).with_name("init.c")
BEGIN, END = b"complaint: begin", b"complaint: end"


def make_initrd(folder: Path) -> Path:
    """Return the path of an initial RAM disk with the compiled ``init.c``."""
    program = folder / "init"
    subprocess.run(["cc", "-static", "-O1", "-o", program, INIT], check=True)
    nodes = [
        cpio.character_device("dev/console", 5, 1),
        cpio.file("init", program.read_bytes(), 0o755),
    ]
    initrd = folder / "initrd.gz"
    initrd.write_bytes(gzip.compress(cpio.pack(nodes)))
    return initrd


def boot(emulator: Emulator, kernel: Path, initrd: Path, words: str, timeout_s: int) -> bytes:
    """Return a guest's console output from the begin mark to the end mark."""
    console = initrd.with_name("console.log")
    argv = [
        *base_argv(emulator),
        *("-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "512"),
        *("-accel", "tcg,thread=multi", "-serial", f"file:{console}"),
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", f"console=ttyS0 panic=1 loglevel=8 nokaslr {words}"),
    ]
    try:
        subprocess.run(argv, check=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        print("the guest did not end in time", file=sys.stderr)
    text = console.read_bytes().replace(b"\r", b"")
    start = text.find(BEGIN)
    if start < 0:
        return b""
    text = text[text.rfind(b"\n", 0, start) + 1 :]
    end = text.find(END)
    return text if end < 0 else text[: text.find(b"\n", end) + 1]


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("ways", nargs="+", metavar="WAY")
    options.add_argument("--kernel", type=Path, required=True)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--words", default="", help="more words for the kernel's command line")
    options.add_argument("--wait", type=int, default=2, help="seconds that the report may take")
    options.add_argument("--timeout", type=int, default=300, help="seconds for each guest")
    return options


def main() -> int:
    """Run the command; return its exit code."""
    options = parser().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    emulator = find_emulator()
    with scratch("complaints") as folder:
        initrd = make_initrd(folder)
        for way in options.ways:
            kind, _, name = way.rpartition(":")
            words = f"{kind or 'way'}={name} wait={options.wait} {options.words}"
            text = boot(emulator, options.kernel, initrd, words, options.timeout)
            splats = scan(text.splitlines())
            print(f"{way}: {', '.join(splat.title for splat in splats) or 'nothing'}")
            log = options.out / f"{name.lower().replace('_', '-')}.log"
            log.write_bytes(head_of(splats, f"provoked by {way}").encode() + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
