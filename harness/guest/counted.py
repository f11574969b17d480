"""A guest that counts instructions: it runs one program, with the same samples on any host.

QEMU's instruction counter (``-icount``) is the machine's only clock. An instruction takes a
nanosecond, timers fire at a count, and an idle CPU skips to the next timer. Other sources of
variation are removed. There is no network. Output goes to files, which do not delay the serial
ports. Random numbers come from a fixed seed, and the date is a constant. Addresses are not
randomised. So a run depends only on the emulator, the kernel, the image and the program, and two
such runs agree in every sample, the disturbed ones included.

Each program has its own boot, so that its figures do not depend on other programs.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from harness import paths
from harness.guest.argv import base_argv, boot_argv, guest_machine_argv
from harness.guest.cpu import knows_property
from harness.guest.limits import (
    NONSENSE,
    SAMPLES,
    CopyLimitError,
    CopyUsage,
    OutputLimitError,
    as_size,
    printable,
)
from harness.guest.process import Process
from harness.guest.query import start
from harness.guest.runtime import runtime_folder
from harness.guest.spec import GuestSpec
from harness.guest.transport.command import CHUNK, Bounded
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.guest.verdict.deadlines import Deadline
from harness.guest.verdict.failure import Completed, GuestFailure, ending
from harness.guest.verdict.splat_report import Splat
from harness.guest.verdict.splats import Scanner
from harness.lib import cpio
from harness.lib.kept import LineCutter
from harness.values import OUTPUT_LIMIT, Value

#: An instruction takes 2**SHIFT nanoseconds of the guest's time.
SHIFT = 0
INIT = "counted-init"
#: Kernel parameters: no randomised addresses, and the init.
WORDS = f"nokaslr norandmaps rdinit=/{INIT}"
#: Bytes of the archive with the samples and the standard error.
REST_LIMIT = 2 * SAMPLES.size
#: Lines of the console that are scanned, which takes some seconds.
MOST_LINES = 500_000
CONSOLE, OUTPUT, REST = "console.log", "output", "rest.tar"
_START_S = 30.0
_POLL_S = 0.1
#: Lines of the console in an error, and the bytes that they are taken from.
_TAIL, _TAIL_BYTES = 30, 64 << 10


class Counted(Value):
    """The result of a program in a guest that counts instructions."""

    done: Completed
    #: Host seconds until the first output; None if there was none.
    boot_s: float | None
    splats: tuple[Splat, ...]


def counted_argv(spec: GuestSpec, initrd: Path, folder: Path, *, knows_uintr: bool) -> list[str]:
    """Return QEMU's command line, without a monitor.

    :param initrd: the image, followed by the archive with the program.
    :param folder: gets the files of the three serial ports.
    :param knows_uintr: whether this QEMU's CPU model has the property ``uintr``.
    """
    ports = [
        word
        for name in (CONSOLE, OUTPUT, REST)
        for word in (
            *("-chardev", f"file,id={Path(name).stem},path={folder / name}"),
            *("-serial", f"chardev:{Path(name).stem}"),
        )
    ]
    return [
        *base_argv(spec.emulator),
        *guest_machine_argv(spec, knows_uintr=knows_uintr, threads="single"),
        *("-icount", f"shift={SHIFT},sleep=off"),
        *("-rtc", "base=2000-01-01T00:00:00,clock=vm"),
        *("-seed", "1"),
        *ports,
        *boot_argv(spec, initrd, WORDS),
    ]


def archive(program: bytes) -> bytes:
    """Return a cpio archive with the init and the program, to follow the image."""
    init = (paths.IMAGES / INIT).read_bytes()
    return cpio.pack([cpio.file(INIT, init, 0o755), cpio.file("program", program, 0o755)])


def run_counted(
    spec: GuestSpec,
    program: Path,
    folder: Path,
    samples: Path,
    *,
    timeout_s: float,
    on_stdout: Callable[[bytes], None],
    limit: int = OUTPUT_LIMIT,
    known: Callable[[Splat], bool] = lambda _: False,
) -> Counted:
    """Boot a guest for one program, run it, and end the guest.

    :param folder: gets ``console.log`` (as the guest printed it), ``qemu.log`` and, after a
        time-out, ``registers.txt``.
    :param samples: gets the program's raw samples.
    :param timeout_s: host seconds, for the boot and the program.
    :param on_stdout: called with output as it arrives.
    :param limit: bytes that the program may print, and the same again for the console.
    :param known: the test for splats that are excused.
    :raise GuestFailure: the guest died or hung before the program ended.
    :raise GuestError: QEMU does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(runtime_folder())
        process, monitor = _start(spec, program, folder, scratch, stack)
        follower = _Follower(scratch / OUTPUT, on_stdout)
        deadline = Deadline(program.name, timeout_s)
        ended, overflow = _follow(process, follower, deadline, scratch, limit)
        console = _read(scratch / CONSOLE, limit)
        (folder / CONSOLE).write_bytes(console)
        scanner = _scan(console, known)
        overflow = overflow or _too_many_lines(console)
        if overflow:
            return Counted(
                done=follower.ended(began, overflow), boot_s=None, splats=scanner.splats()
            )
        if not ended:
            with contextlib.suppress(MonitorError):
                (folder / "registers.txt").write_text(monitor.human("info registers -a"))
        try:
            rest = _unpack(scratch / REST, samples)
        except CopyLimitError as error:
            return Counted(
                done=follower.ended(began, error.what), boot_s=None, splats=scanner.splats()
            )
        if rest is None:
            what = None if ended else f"the program did not end within {timeout_s:.0f} s"
            raise _failure(console, scanner.panic, process.returncode, what, folder)
    status, stderr = rest
    return Counted(
        done=Completed(
            # The shell reports a signal as 128 plus its number.
            returncode=status,
            signal=None,
            stdout=follower.kept.value(),
            stderr=stderr,
            seconds=time.monotonic() - began,
        ),
        boot_s=follower.first - began if follower.first is not None else None,
        splats=scanner.splats(),
    )


def _start(
    spec: GuestSpec, program: Path, folder: Path, scratch: Path, stack: contextlib.ExitStack
) -> tuple[Process, Monitor]:
    """Start a guest that runs the program. ``stack`` ends it."""
    initrd = _initrd(spec, program, scratch)
    knows = knows_property(spec.emulator, spec.cpu.model, "uintr")
    argv = [*counted_argv(spec, initrd, scratch, knows_uintr=knows), "-S"]
    process, monitor = start(argv, folder / "qemu.log", timeout_s=_START_S, stack=stack)
    monitor.command("cont")
    return process, monitor


def _initrd(spec: GuestSpec, program: Path, scratch: Path) -> Path:
    """Write the image with the program behind it, and return its path."""
    image = spec.image.initramfs.read_bytes()
    path = scratch / "initramfs"
    path.write_bytes(image + b"\0" * (-len(image) % 4) + archive(program.read_bytes()))
    return path


def _follow(
    process: Process, follower: _Follower, deadline: Deadline, scratch: Path, limit: int
) -> tuple[bool, str]:
    """Pass the output on until QEMU ends, a file is too large, or the deadline.

    Return whether QEMU ended, and what is too large.
    """
    ended, overflow = False, ""
    while not ended and not overflow and not deadline.expired:
        ended = process.wait(_POLL_S)
        try:
            follower.read_new()
        except OutputLimitError as error:
            overflow = str(error)
        overflow = overflow or _overflow(scratch, limit)
    return ended, overflow


class _Follower:
    """Reads a file that is being written."""

    def __init__(self, path: Path, on_data: Callable[[bytes], None]) -> None:
        self._path = path
        self._on_data = on_data
        self._place = 0
        self.kept = Bounded()
        #: When the first byte was seen.
        self.first: float | None = None

    def read_new(self) -> None:
        """Read the new bytes, up to the file's current size.

        :raise OutputLimitError: the callback accepts no more.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            size = file.seek(0, os.SEEK_END)
            file.seek(self._place)
            while self._place < size and (fresh := file.read(CHUNK)):
                self.first = time.monotonic() if self.first is None else self.first
                self._place += len(fresh)
                self.kept.add(fresh)
                self._on_data(fresh)

    def ended(self, began: float, overflow: str) -> Completed:
        """Return the result of a program that was ended because of its output."""
        return Completed(
            returncode=None,
            signal=None,
            stdout=self.kept.value(),
            stderr=b"",
            seconds=time.monotonic() - began,
            overflow=overflow,
        )


def _overflow(scratch: Path, limit: int) -> str:
    """Return which serial port's file is too large, as text; empty if none is."""
    for name, most in ((CONSOLE, limit), (OUTPUT, limit), (REST, REST_LIMIT)):
        path = scratch / name
        if path.exists() and path.stat().st_size > most:
            return f"more than {as_size(most)} in {name}"
    return ""


def _scan(console: bytes, known: Callable[[Splat], bool]) -> Scanner:
    """Return a scanner that has read a console's output, up to :data:`MOST_LINES`."""
    scanner, cutter = Scanner(), LineCutter()
    scanner.excuse(known)
    for line in islice(cutter.feed(console), MOST_LINES):
        scanner.feed(line)
    scanner.feed(cutter.rest())
    return scanner


def _too_many_lines(console: bytes) -> str:
    """Return that a console has more lines than are scanned, as text; empty if it has not."""
    return f"more than {MOST_LINES} lines in {CONSOLE}" if console.count(b"\n") > MOST_LINES else ""


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        return b""


def _unpack(archive: Path, samples: Path) -> tuple[int, bytes] | None:
    """Write the samples to their folder, and return the exit status and the standard error.

    None if the archive is incomplete. It comes from the guest, so the names in it are checked and
    never used as paths.

    :raise CopyLimitError: there is more in it than the limits for samples allow.
    """
    try:
        with tarfile.open(archive, "r:") as tar:  # not compressed, so that no member is a bomb
            files = dict(_members(tar))
        status = int(files["status"])
    except (OSError, tarfile.TarError, *NONSENSE):
        return None
    samples.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        folder, _, base = name.partition("/")
        if folder == "samples" and base and "/" not in base:
            (samples / base).write_bytes(content)
    return status, files.get("stderr", b"")


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Yield the regular files of an archive, within the limits for samples.

    Sparse members are skipped: they can claim any size, and would be read as zeros.
    """
    usage = CopyUsage(SAMPLES, REST)
    for member in tar:
        usage.entry(0)
        if not member.isreg() or member.issparse():
            continue
        name = printable(member.name.encode(errors="surrogateescape"))
        usage.claim(member.size, name)
        stream = tar.extractfile(member)
        if stream is not None:
            content = stream.read(member.size)
            usage.add(len(content))
            yield name, content


def _failure(
    console: bytes, panic: bytes | None, returncode: int | None, hung: str | None, folder: Path
) -> GuestFailure:
    """Return why the program did not end: a panic, a hang, or the end of QEMU."""
    last = console[-_TAIL_BYTES:].splitlines()
    lines = [line.decode(errors="replace").rstrip() for line in last]
    booted = b"uintr-harness: init" in console
    if panic is None and hung is not None:
        verdict, what, hint = "hang" if booted else "hang-in-init", hung, None
    else:
        end = ending(
            panic=panic.decode(errors="replace") if panic is not None else None,
            in_user_space=booted,
            ended=True,
            returncode=returncode,
            shutdown="guest-reset" if returncode == 0 else "",
            why="",
        )
        verdict, what, hint = end.verdict, end.what, end.hint
    return GuestFailure(
        verdict,  # type: ignore[arg-type]  # one of them, or what ending() gives
        f"{verdict}: {what}",
        phase="init" if booted else "kernel" if lines else "start",
        console_tail="\n".join(lines[-_TAIL:]),
        where=str(folder / CONSOLE),
        hint=hint,
    )
