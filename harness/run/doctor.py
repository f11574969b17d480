"""Findings on what this host can do, each with its remedy. Nothing is installed or changed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import psutil

from harness import paths
from harness.artefacts.emulator.choice import build_emulator, find_emulator, is_built
from harness.artefacts.store import Store
from harness.artefacts.toolchain import identify, knows_uintr
from harness.errors import ExitCode, HarnessError
from harness.guest.accel import probe_accel
from harness.guest.confined import knows_sandbox, may_drop_capabilities
from harness.guest.cpu import knows_property
from harness.names import EMULATOR_ENV, cpu_names
from harness.progress import Silent
from harness.request.profiles import load_cpu
from harness.run.prepare import check_cpu
from harness.values import Compiler, Emulator, Value

State = Literal["good", "note", "bad"]

GIB = 1 << 30
#: Free bytes that a first run takes: source, build folder, artefacts and compiler cache.
DISK_FIRST_RUN = 8 * GIB
#: Free bytes below which a run with everything built is at risk.
DISK_LATER_RUN = GIB
MEMORY_GUEST = GIB
_QEMU = "qemu-system-x86"


class HostCheck(Value):
    """The result of one check."""

    subject: str
    #: ``bad`` keeps the default run from working, ``note`` a less common one.
    state: State
    what: str
    #: A command or a sentence; empty if there is nothing to do.
    remedy: str = ""
    #: Debian packages that would make it good.
    packages: tuple[str, ...] = ()


class Conclusion(Value):
    """What all checks together say."""

    verdict: Literal["ready", "incomplete", "unable"]
    sentence: str
    #: A command to paste; empty if there is none.
    command: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command."""
        return ExitCode.PASSED if self.verdict == "ready" else ExitCode.GUEST


def conclude(findings: Sequence[HostCheck]) -> Conclusion:
    """Return the one sentence that matters, and a command if that is enough."""
    bad = [finding for finding in findings if finding.state == "bad"]
    packages = dict.fromkeys(name for finding in bad for name in finding.packages)
    obstacles = [finding for finding in bad if not finding.packages]
    if obstacles:
        first = obstacles[0]
        why = "; ".join(filter(None, (f"{first.subject}: {first.what}", first.remedy)))
        return Conclusion(
            verdict="unable", sentence=f"This host cannot run guests as it is, because of {why}"
        )
    if packages:
        count = len(packages)
        return Conclusion(
            verdict="incomplete",
            sentence=f"{count} package{'s are' if count > 1 else ' is'} missing; paste this:",
            command=install_line(packages),
        )
    return Conclusion(
        verdict="ready",
        sentence="Everything that the default run needs is there: uintr-harness run",
    )


def install_line(packages: Iterable[str]) -> str:
    """Return the command that installs Debian packages, or the names if there is no apt-get."""
    names = " ".join(packages)
    if not shutil.which("apt-get"):
        return f"(by the host's package manager; the names are Debian's) {names}"
    sudo = "" if os.getuid() == 0 else "sudo "
    return f"{sudo}apt-get install --no-install-recommends {names}"


def examine() -> Iterator[HostCheck]:
    """Yield all findings, the quick ones first."""
    yield _python()
    yield from _packages()
    yield _cache()
    yield _memory()
    for cc in ("gcc", "clang"):
        yield _compiler(cc)
    yield from _emulation()


def missing_packages(listing: Path) -> list[str]:
    """Return the packages of a list in ``ci/`` that are not installed."""
    wanted = [
        name
        for line in listing.read_text(encoding="utf-8").splitlines()
        if (name := line.partition("#")[0].strip())
    ]
    form = "${db:Status-Abbrev} ${Package}\n"
    query = subprocess.run(
        ["dpkg-query", "-W", "-f", form, *wanted], capture_output=True, text=True, timeout=60
    )
    installed = {line[2:].strip() for line in query.stdout.splitlines() if line.startswith("ii")}
    return [name for name in wanted if name not in installed]


def _python() -> HostCheck:
    return HostCheck(subject="python", state="good", what=platform.python_version())


def _packages() -> Iterator[HostCheck]:
    if not shutil.which("dpkg-query"):
        yield HostCheck(
            subject="packages",
            state="note",
            what="this is not a Debian system, so packages were not checked",
            remedy="ci/packages.run.txt lists the packages needed, by their Debian names",
        )
        return
    for purpose, state in (("run", "bad"), ("test", "note")):
        listing = paths.ROOT / "ci" / f"packages.{purpose}.txt"
        if not listing.exists():  # only a checkout has the harness's own tests
            continue
        missing = missing_packages(listing)
        yield HostCheck(
            subject=f"packages for {purpose}",
            state="good" if not missing else state,
            what=f"missing: {' '.join(missing)}" if missing else "all installed",
            remedy=install_line(missing) if missing else "",
            packages=tuple(missing),
        )


def _cache() -> HostCheck:
    try:
        folder = paths.cache_dir()
    except HarnessError as error:
        return HostCheck(
            subject="cache",
            state="bad",
            what=f"{error.what}: {error.where}",
            remedy=error.hint or "",
        )
    free = shutil.disk_usage(folder).free
    used = any((folder / "kernel").glob("*"))
    needed = DISK_LATER_RUN if used else DISK_FIRST_RUN
    return HostCheck(
        subject="cache",
        state="good" if free >= needed else "bad",
        what=f"{folder}: {free / GIB:.1f} GiB free, {needed / GIB:.0f} wanted",
        remedy="" if free >= needed else f"free some space, or set {paths.CACHE_ENV}",
    )


def _memory() -> HostCheck:
    free = psutil.virtual_memory().available
    guests = int(free // MEMORY_GUEST)
    return HostCheck(
        subject="memory",
        state="good" if guests else "bad",
        what=f"{free / GIB:.1f} GiB available, {psutil.cpu_count()} CPUs",
        remedy="" if guests else "a guest needs up to 1 GiB: end other processes",
    )


def _compiler(cc: Compiler) -> HostCheck:
    state: State = "bad" if cc == "gcc" else "note"
    try:
        first = identify(cc).version.partition("\n")[0]
        if knows_uintr(cc):
            return HostCheck(subject=cc, state="good", what=f"{first}, knows -muintr")
        return HostCheck(
            subject=cc,
            state=state,
            what=f"{first} does not know -muintr",
            remedy="GCC 11 or Clang 12 is the oldest that does",
        )
    except HarnessError as error:
        return HostCheck(
            subject=cc, state=state, what=error.what, remedy=install_line([cc]), packages=(cc,)
        )


def _emulation() -> Iterator[HostCheck]:
    try:
        emulator = find_emulator()
    except HarnessError as error:
        yield HostCheck(
            subject="qemu",
            state="bad",
            what=str(error.what),
            remedy=error.hint or "",
            packages=() if os.environ.get(EMULATOR_ENV) else (_QEMU,),
        )
        return
    yield HostCheck(subject="qemu", state="good", what=f"{emulator.version} ({emulator.binary})")
    yield _kvm(emulator)
    ours = _ours()
    yield _rights(ours or emulator)
    yield HostCheck(
        subject="qemu with user interrupts",
        state="good" if ours else "note",
        what=f"{ours.version} ({ours.binary})" if ours else "not built yet",
        remedy="" if ours else "`uintr-harness build emulator`, or any run with --cpu exposed",
    )
    for name in cpu_names():
        yield _cpu(emulator, ours, name)


def _rights(emulator: Emulator) -> HostCheck:
    """Tell what a guest's QEMU can do on this host, should a program break out of its guest."""
    subject = "rights of qemu"
    try:
        filtered = knows_sandbox(str(emulator.binary))
    except HarnessError as error:
        return HostCheck(subject=subject, state="note", what=error.what)
    if os.getuid() == 0 and not may_drop_capabilities():
        return HostCheck(
            subject=subject,
            state="note",
            what="root's capabilities stay: this process may not remove them from another",
            remedy="run as an ordinary user, or give the container CAP_SETPCAP",
        )
    return HostCheck(
        subject=subject,
        state="good" if filtered else "note",
        what="no capabilities, seccomp" if filtered else "no capabilities, but no seccomp either",
        remedy="" if filtered else "use a QEMU that was built with seccomp",
    )


def _ours() -> Emulator | None:
    """Return the bundled QEMU, None if it has not been built."""
    try:
        store = Store.open()
        return build_emulator(store, Silent()) if is_built(store) else None
    except HarnessError:  # another finding reports the cache
        return None


def _kvm(emulator: Emulator) -> HostCheck:
    try:
        choice = probe_accel(emulator, "auto")
    except HarnessError as error:
        return HostCheck(
            subject="acceleration", state="bad", what=error.what, remedy=error.hint or ""
        )
    return HostCheck(
        subject="acceleration",
        state="good" if choice.accel == "kvm" else "note",
        what=f"{choice.accel}: {choice.reason}",
        remedy=""
        if choice.accel == "kvm"
        else "none needed; a host with working KVM boots and tests several times faster",
    )


def _cpu(emulator: Emulator, ours: Emulator | None, name: str) -> HostCheck:
    subject = f"cpu {name}"
    try:
        cpu = load_cpu(name)
        if cpu.exposes_uintr and not knows_property(emulator, cpu.model, "uintr"):
            if ours is None:
                return HostCheck(
                    subject=subject, state="note", what="needs the QEMU with user interrupts"
                )
            emulator = ours
        check_cpu(emulator, cpu, "tcg")
    except HarnessError as error:
        return HostCheck(subject=subject, state="note", what=error.what, remedy=error.hint or "")
    return HostCheck(subject=subject, state="good", what=cpu.description or cpu.model)
