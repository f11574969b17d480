"""Run the x86 selftests of an unpatched kernel on both emulators, under TCG.

``python -m tools.selftests`` builds the selftests of the profile's source: all of
``tools/testing/selftests/x86`` that builds statically, and the tests of protection keys, whose
register is part of XSTATE. It boots the kernel on the emulator without the series, and on ours with
user interrupts on, runs them and compares exit codes and the numbers of OK, FAIL and SKIP. The exit
code is 1 if a test is worse on ours, or if ours does not show XSAVES.

``--package linux-image-6.12…-amd64-unsigned`` boots Debian's binary kernel of that package instead,
which has far more options than the harness's kernels. Its network drivers are modules, so no
network is used: init runs the tests and prints their output on the serial console.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.artefacts.emulator.choice import build_emulator
from harness.artefacts.image import build_image
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.kernel.kconfig_wishes import SELFTESTS
from harness.artefacts.selftests import (
    build_selftests,
    find_selftests,
    unpack_selftests,
)
from harness.artefacts.store import Store
from harness.errors import BuildError, GuestError, HarnessError
from harness.guest.argv import base_argv, machine_argv
from harness.guest.cpu import knows_property
from harness.lib import cpio
from harness.lib.process import capture
from harness.progress import Progress
from harness.report.progress import RichProgress
from harness.request.profiles import load_cpu, load_kernel
from harness.values import CpuProfile, Emulator, ImageArtefact, KernelArtefact, KernelProfile
from tools.scratch import scratch

#: Tests of protection keys, in ``selftests/mm``.
PKEYS = ("protection_keys", "pkey_sighandler_tests")
_STATIC = "-static"
#: Seconds per test and for all, under TCG on a busy machine.
_TEST_S = 900
_ALL_S = 5400.0

INIT = f"""#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t devtmpfs devtmpfs /dev
mkdir -p /proc /sys /dev/shm
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs shm /dev/shm
echo "@@ cpu $(grep -m1 ^flags /proc/cpuinfo)"
echo "@@ release $(uname -r)"
dmesg -n 1
cd /selftests
for test in *; do
    echo "@@ begin $test"
    timeout -s KILL {_TEST_S} "./$test" </dev/null 2>&1
    code=$?
    kill -KILL -1 2>/dev/null # what it left would print into the next one's output
    echo "@@ end $test $code"
done
echo "@@ done"
reboot -f
"""

_MARK = re.compile(r"^@@ (\w+) ?(.*)$")
_VERDICT = re.compile(r"\s*(?:\[(OK|FAIL|SKIP|WARN|NOTE)\]|(ok|not ok) \d+\b)")
_TAP_SKIP = re.compile(r"# skip\b", re.IGNORECASE)


class Outcome(NamedTuple):
    """The exit code and the verdicts of a selftest."""

    code: int
    counts: Mapping[str, int]

    def worse_than(self, other: Outcome) -> bool:
        """Return true if it fails when the other does not, fails more often, or checks less."""
        return (
            (self.code not in {0, 4} and other.code in {0, 4})
            or self.counts.get("FAIL", 0) > other.counts.get("FAIL", 0)
            or self.counts.get("OK", 0) < other.counts.get("OK", 0)
        )

    def __str__(self) -> str:
        counts = " ".join(f"{what} {count}" for what, count in sorted(self.counts.items()))
        return f"exit {self.code}" + (f", {counts}" if counts else "")


class Boot(NamedTuple):
    """The contents of a guest's console."""

    release: str
    flags: frozenset[str]
    #: The kernel's line on the XSAVE features that it uses.
    xstate: str
    outcomes: dict[str, Outcome]


def read_console(text: str) -> Boot:
    """Parse the console output of :data:`INIT`.

    :raise GuestError: it ends before the last test does.
    """
    marks: dict[str, str] = {}
    outcomes: dict[str, Outcome] = {}
    counts: Counter[str] = Counter()
    xstate = ""
    for line in text.splitlines():
        if "x86/fpu: Enabled xstate features" in line:
            xstate = line.partition("x86/fpu: ")[2]
        if mark := _MARK.match(line):
            marks[mark[1]] = mark[2]
            if mark[1] == "begin":
                counts = Counter()
            elif mark[1] == "end":
                name, _, code = mark[2].rpartition(" ")
                outcomes[name] = Outcome(int(code), dict(counts))
        elif verdict := _verdict(line):
            counts[verdict] += 1
    if "done" not in marks:
        raise GuestError(
            "the guest did not finish the selftests", detail="\n".join(text.splitlines()[-30:])
        )
    flags = frozenset(marks["cpu"].partition(":")[2].split())
    return Boot(marks["release"], flags, xstate, outcomes)


def _verdict(line: str) -> str | None:
    """Return OK, FAIL, SKIP, WARN or NOTE for a line in either format of selftests."""
    found = _VERDICT.match(line)
    if not found:
        return None
    if found[1]:
        return found[1]
    if _TAP_SKIP.search(line):
        return "SKIP"
    return "OK" if found[2] == "ok" else "FAIL"


# --- build ---------------------------------------------------------------------------------


def build(
    profile: KernelProfile,
    kernel: KernelArtefact,
    store: Store,
    progress: Progress,
    folder: Path,
    only: Sequence[str] = (),
) -> list[Path]:
    """Build a profile's selftests statically, for 64 bits, and return those that built.

    :param kernel: the profile's kernel, for its headers.
    :param folder: an empty folder.
    :param only: names; by default all of x86 and :data:`PKEYS`.
    """
    tree = find_selftests(profile, store, progress)
    programs = build_selftests(tree, ("x86",), kernel, "gcc", store, progress)
    built = [
        program.path
        for program in programs
        if program.path.name.endswith("_64") and not program.missing
    ]
    unpack_selftests(tree, store, progress, folder)
    for name in PKEYS:
        # Their Makefile also needs 32-bit libraries.
        sources = [f"{part}.c" for part in (name, "vm_util", "thp_settings")]
        cc = ["gcc", "-O2", "-mxsave", _STATIC, "-pthread", "-D_GNU_SOURCE", "-w"]
        cc += ["-isystem", str(kernel.headers), "-I", str(folder / "tools/include/uapi")]
        done = capture([*cc, *sources, "-o", str(folder / name)], cwd=folder / SELFTESTS / "mm")
        built += [] if done.returncode else [folder / name]
    chosen = sorted(path for path in built if not only or path.name in only)
    if not chosen:
        raise BuildError("no selftest was built", hint=f"there are {sorted(p.name for p in built)}")
    return chosen


def package_kernel(package: str, folder: Path) -> Path:
    """Fetch a Debian kernel package and return its bzImage."""
    for argv in (["apt-get", "download", package], ["sh", "-c", "dpkg-deb -x ./*.deb unpacked"]):
        done = capture(argv, cwd=folder)
        if done.returncode:
            raise BuildError(f"{argv[0]} ended with {done.returncode}", detail=done.complaint)
    return next((folder / "unpacked" / "boot").glob("vmlinuz-*"))


def archive_of(image: ImageArtefact, programs: list[Path]) -> bytes:
    """Return the image with the programs and another init."""
    base = image.initramfs.read_bytes()
    nodes = [cpio.file("init", INIT.encode(), 0o755)]
    nodes += [cpio.file(f"selftests/{path.name}", path.read_bytes(), 0o755) for path in programs]
    return base + b"\0" * (-len(base) % 4) + cpio.pack(nodes)


# --- run -----------------------------------------------------------------------------------


def boot_argv(
    emulator: Emulator, cpu: CpuProfile, bzimage: Path, initrd: Path, console: Path
) -> list[str]:
    knows_uintr = knows_property(emulator, cpu.model, "uintr")
    return [
        *base_argv(emulator),
        *machine_argv(cpu, "tcg", knows_uintr=knows_uintr, smp=2, memory_mib=1024),
        *("-kernel", str(bzimage)),
        *("-initrd", str(initrd)),
        # The check of the timer panics if the host is too busy to deliver ticks.
        *("-append", "console=ttyS0,115200 panic=-1 no_timer_check"),
        *("-serial", f"file:{console}"),
    ]


def boot(emulator: Emulator, cpu: CpuProfile, bzimage: Path, archive: bytes, folder: Path) -> Boot:
    """Boot, run the selftests, and return the contents of the console.

    :raise GuestError: the guest did not finish.
    """
    initrd, console = folder / "initrd", folder / "console"
    initrd.write_bytes(archive)
    try:
        capture(boot_argv(emulator, cpu, bzimage, initrd, console), timeout_s=_ALL_S)
    except BuildError as error:
        tail = console.read_text(errors="replace")[-2000:] if console.exists() else ""
        raise GuestError(error.what, detail=tail) from error
    return read_console(console.read_text(errors="replace"))


def compare(stock: Boot, ours: Boot) -> Iterator[tuple[bool, str]]:
    """Yield for each selftest whether it is worse on ours, and a line with both outcomes."""
    for name, before in stock.outcomes.items():
        after = ours.outcomes.get(name)
        if after is None:
            yield True, f"{name}: {before} → not run"
        elif after.worse_than(before):
            yield True, f"{name}: {before} → {after}"
        else:
            yield False, f"{name}: {before}" + (f" → {after}" if after != before else "")


def run(options: argparse.Namespace, progress: Progress) -> tuple[Boot, Boot]:
    store = Store.open(progress)
    profile = load_kernel(options.kernel)
    kernel = build_kernel(profile, store, progress)
    image = build_image(store, progress)
    boots = []
    with scratch("selftests") as folder:
        with progress.step("build the selftests"):
            only = options.only.split(",") if options.only else ()
            unpacked = folder / "tree"
            unpacked.mkdir()
            programs = build(profile, kernel, store, progress, unpacked, only)
            archive = archive_of(image, programs)
        bzimage = kernel.bzimage
        if options.package:
            with progress.step(f"fetch {options.package}"):
                bzimage = package_kernel(options.package, folder)
        for name, cpu in ((options.stock, "hidden"), (options.ours, "exposed")):
            emulator = build_emulator(store, progress, name)
            with progress.step(f"{name}, cpu {cpu}: boot and run the selftests"):
                boots.append(boot(emulator, load_cpu(cpu), bzimage, archive, folder))
    return boots[0], boots[1]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--kernel", default="plain-6.12", help="profile; has the selftests, too")
    options.add_argument("--package", help="boot the kernel of this Debian package instead")
    options.add_argument("--only", help="names of selftests, as in the report")
    options.add_argument("--stock", default="qemu-10.0-stock", help="emulator profile")
    options.add_argument("--ours", default="qemu-10.0", help="emulator profile")
    return options


def main() -> int:
    options = parser().parse_args()
    try:
        with RichProgress() as progress:
            stock, ours = run(options, progress)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    bad = "xsaves" not in ours.flags
    for name, guest in ((options.stock, stock), (options.ours, ours)):
        print(f"{name}: Linux {guest.release}, {guest.xstate}")
        print(
            f"    more in /proc/cpuinfo: {' '.join(sorted(guest.flags - stock.flags)) or 'nothing'}"
        )
    for worse, line in compare(stock, ours):
        bad = bad or worse
        print(f"{'WORSE' if worse else 'ok':6}{line}")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
