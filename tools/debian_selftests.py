r"""Comparison of a run's selftest verdicts with those under Debian's kernel, case by case.

::

    uintr-harness run --kernel plain-6.12 --cpu hidden --smp 2 --kselftest TARGETS \
        -k kselftest --out RUN
    python -m tools.debian_selftests RUN --keep FOLDER

boots Debian's binary kernel of the same version as the run's source, with a root file system made
by ``debootstrap`` (bash, python3, the C library, procps), in the same QEMU and on the same CPU
model. It runs the same programs there, each in its folder, as the harness does. Their output is
parsed by the harness's reader. Each difference must be explained in ``selftests-differences.toml``
beside this file; the exit code is 1 if one is not.

TARGETS are those of the tree: Linux 6.12 has ``sigaltstack`` and ``futex/functional``, and no
``signal``. ``clone3`` and ``mqueue`` need the host's libcap and libpopt, with their headers.

Under TCG a target takes minutes, and ``mqueue`` ends only at its deadline. The folder of ``--keep``
has the root file system, the kernel and one console log per target. They are used again, so that
the comparison can be done in parts with ``--targets``. ``debootstrap`` needs root.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.artefacts.selftests import subject_of
from harness.errors import BuildError, GuestError, HarnessError
from harness.lib import cpio
from harness.lib.process import capture
from harness.progress import Progress
from harness.report.progress import RichProgress
from harness.results.folder import CellSetup, RunFolder
from harness.results.ktap.reader import CaseResult
from harness.results.ktap.selftest import SelftestReader
from harness.results.reading import read_records
from harness.results.records import CaseRecord
from harness.values import Program
from tools.selftests import boot_argv, package_kernel

EXPLAINED = Path(__file__).with_name("selftests-differences.toml")
PACKAGES = ("bash", "python3-minimal", "procps", "iproute2", "kmod", "libcap2-bin", "libpopt0")
#: Folders that are not needed, and would be half of the archive.
_LEFT_OUT = (
    "boot",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "var/cache",
    "var/lib/apt",
)
_MEMORY = "3072M"
_ALL_S = 3600.0
#: Factor on the timeout of a target's ``settings``, for TCG.
_SLOWER = 8

INIT = """#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t devtmpfs dev /dev; mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm; mount -t mqueue mqueue /dev/mqueue; mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup; mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing
ip link set lo up
dmesg -n 1
stty -opost
exec </dev/console >/dev/console 2>&1
cd /selftests
while read -r folder name limit; do
    echo; echo "@@ begin $folder/$name"
    (cd "$folder" && exec timeout -s KILL "$limit" "./$name" </dev/null 2>&1)
    code=$?; echo; echo "@@ end $folder/$name $code"
done <list
echo "@@ done"
echo o >/proc/sysrq-trigger
sleep 60
"""

_MARK = re.compile(rb"^@@ (begin|end|done) ?(\S*) ?(\d*)$")

#: Program and case.
Case = tuple[str, str]
#: Verdict of a case of a program that was not run.
NOT_RUN = "not run"


# --- the guest -----------------------------------------------------------------------------


def debian_root(folder: Path, progress: Progress) -> Path:
    """Return a Debian root file system, made unless it is there."""
    root = folder / "root"
    if (root / "var/lib/dpkg/status").is_file():
        return root
    mirrors = capture(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(CODENAME)"]).text
    host = Path("/etc/os-release").read_text(encoding="utf-8")
    release = re.search(r"^VERSION_CODENAME=(\S+)$", host, re.MULTILINE)
    code = release[1] if release else "stable"
    mirror = next((line[0] for line in _split(mirrors) if line[-1] == code), None)
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", code, str(root)]
    with progress.step(f"debootstrap {code}"):
        done = capture([*argv, *([mirror] if mirror else [])], timeout_s=_ALL_S)
    if done.returncode:
        raise BuildError(f"debootstrap ended with {done.returncode}", detail=done.text[-2000:])
    return root


def _split(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        yield line.split("|")


def nodes(root: Path) -> Iterator[cpio.Node]:
    """Yield the nodes of a root file system."""
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if _path(place, name, root) not in _LEFT_OUT]
        for name in [*folders, *files]:
            path = Path(place) / name
            inside = _path(place, name, root)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield cpio.link(inside, str(path.readlink()))
            elif stat.S_ISDIR(mode):
                yield cpio.folder(inside, stat.S_IMODE(mode))
            elif stat.S_ISREG(mode):
                yield cpio.file(inside, path.read_bytes(), stat.S_IMODE(mode))


def _path(place: str, name: str, root: Path) -> str:
    return str((Path(place) / name).relative_to(root))


def archive_of(root: Path, programs: Sequence[Program]) -> bytes:
    """Return the archive of a root file system with an init and all programs that were built."""
    made = [*nodes(root), cpio.character_device("dev/console", 5, 1)]
    lines = []
    for folder in {program.path.parent for program in programs}:
        place = f"selftests/{folder.name}"
        made += [replace(one, path=f"{place}/{one.path}") for one in nodes(folder)]
    for program in programs:
        if program.path.is_file():
            limit = program.timeout_s * _SLOWER
            lines.append(f"{program.path.parent.name} {program.path.name} {limit:.0f}\n")
    made.append(cpio.file("selftests/list", "".join(lines).encode()))
    made.append(cpio.file("init", INIT.encode(), 0o755))
    return cpio.pack(made)


def read_console(data: bytes) -> dict[Case, str]:
    """Return the verdict of each case in a console's output.

    :raise GuestError: it ends before the last program does.
    """
    cases: dict[Case, str] = {}
    reader, program = SelftestReader(), ""
    for raw in data.split(b"\n"):
        found: list[CaseResult] = []
        mark = _MARK.match(raw.rstrip(b"\r"))
        if mark and mark[1] == b"done":
            return cases
        if mark and mark[1] == b"begin":
            reader, program = SelftestReader(), mark[2].decode()
        elif mark:
            found = reader.close(int(mark[3]))
        elif program:
            found = reader.feed(raw + b"\n")
        cases |= {(program, case.name): case.status for case in found}
        if mark and mark[1] == b"end":
            program = ""
    raise GuestError(
        "the guest did not finish the selftests", detail=data[-2000:].decode(errors="replace")
    )


def boot(folder: Path, subject: str, setup: CellSetup, progress: Progress) -> None:
    """Run a target's programs under Debian, and keep the console's output.

    :param setup: the run's cell, for its programs, QEMU and CPU.
    :raise GuestError: the guest did not finish.
    """
    root = debian_root(folder, progress)
    kernels = folder / "kernel"
    if not kernels.is_dir():
        kernels.mkdir()
        with progress.step("fetch Debian's kernel"):
            package_kernel(kernel_package(), kernels)
    bzimage = next((kernels / "unpacked/boot").glob("vmlinuz-*"))
    programs = [
        program
        for program in setup.programs.programs
        if program.name.partition("/")[0] == subject and program.kind == "kselftest"
    ]
    part, initrd = folder / "console.part", folder / "initrd"
    initrd.write_bytes(archive_of(root, programs))
    argv = boot_argv(setup.emulator, setup.cell.cpu, bzimage, initrd, part)
    argv[argv.index("-m") + 1] = _MEMORY
    argv[argv.index("-smp") + 1] = str(setup.cell.smp)
    with progress.step(f"run {subject} under Debian"):
        capture(argv, timeout_s=_ALL_S)
    read_console(part.read_bytes())
    part.rename(folder / f"{subject}.console")


def kernel_package() -> str:
    """Return the name of Debian's kernel package of the same version as the source package.

    :raise BuildError: apt does not offer it.
    """
    said = capture(["dpkg-query", "-W", "-f", "${Version}", "linux-source-6.12"]).text
    version = said.partition("-")[0]
    names = capture(["apt-cache", "pkgnames", f"linux-image-{version}"]).text.splitlines()
    for name in sorted(names):
        if re.fullmatch(rf"linux-image-{re.escape(version)}(\+deb\d+)?-amd64-unsigned", name):
            return name
    raise BuildError(f"apt offers no linux-image-{version}…-amd64-unsigned", hint="apt-get update")


# --- the comparison ------------------------------------------------------------------------


def harness_cases(run: Path, cell: str) -> tuple[dict[Case, str], dict[str, str]]:
    """Return the verdicts of the selftests in a run's cell, and each program's last message."""
    cases: dict[Case, str] = {}
    why: dict[str, str] = {}
    for record in read_records(run / "results.jsonl").records:
        if isinstance(record, CaseRecord) and record.cell == cell:
            cases[record.program, record.case] = record.status
            why[record.program] = record.message
    return cases, why


def differences(
    ours: Mapping[Case, str], debian: Mapping[Case, str]
) -> dict[Case, tuple[str, str]]:
    """Return the cases with different verdicts: the harness's and Debian's."""
    return {
        case: (ours.get(case, NOT_RUN), debian.get(case, NOT_RUN))
        for case in sorted(ours.keys() | debian.keys())
        if ours.get(case) != debian.get(case)
    }


def explanations(path: Path = EXPLAINED) -> list[dict[str, str]]:
    """Read the file of explained differences: program, case (patterns), verdicts and why."""
    with path.open("rb") as file:
        return list(tomllib.load(file).get("difference", []))


def explain(
    case: Case, verdicts: tuple[str, str], explained: Sequence[Mapping[str, str]]
) -> str | None:
    """Return the reason of a difference, if it is known."""
    for one in explained:
        if (
            re.fullmatch(one["program"], case[0])
            and re.fullmatch(one.get("case", ".*"), case[1])
            and (one["ours"], one["debian"]) == verdicts
        ):
            return one["why"]
    return None


def run(options: argparse.Namespace, progress: Progress) -> int:
    """Boot the targets that have no console yet, compare, and return the exit code."""
    folder: Path = options.keep
    folder.mkdir(parents=True, exist_ok=True)
    setup = RunFolder(options.run).read_artefacts().cells[0]
    debian: dict[Case, str] = {}
    wanted = options.targets.split(",") if options.targets else setup.cell.selftests
    subjects = {subject_of(target) for target in wanted}
    for subject in sorted(subjects):
        console = folder / f"{subject}.console"
        if not console.exists():
            boot(folder, subject, setup, progress)
        debian |= read_console(console.read_bytes())
    ours, why = harness_cases(options.run, setup.cell.name)
    ours = {case: status for case, status in ours.items() if case[0].partition("/")[0] in subjects}
    return report(ours, why, debian)


def report(ours: Mapping[Case, str], why: Mapping[str, str], debian: Mapping[Case, str]) -> int:
    """Print the differences with their reasons; return 1 if one has none, else 0."""
    explained = explanations()
    under_debian = {program for program, _ in debian}
    bad = different = 0
    for case, verdicts in differences(ours, debian).items():
        program, name = case
        if program not in under_debian and verdicts[0] == "skip":
            print(f"not compared: {program}: {why[program]}")
            continue
        different += 1
        reason = explain(case, verdicts, explained)
        bad += reason is None
        print(f"{program} {name!r}: ours {verdicts[0]}, Debian {verdicts[1]}: {reason or '???'}")
    print(f"{len(debian)} cases under Debian, {different} differ, {bad} of these without a reason")
    return int(bad > 0)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("run", type=Path, help="folder of a run with --kselftest")
    options.add_argument("--targets", help="some of the run's, comma-separated")
    options.add_argument(
        "--keep", type=Path, required=True, help="folder for root, kernel and consoles"
    )
    return options


def main() -> int:
    try:
        with RichProgress() as progress:
            return run(parser().parse_args(), progress)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
