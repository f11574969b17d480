"""The machine of a guest: a QEMU process with its files, console and monitor."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from harness.errors import GuestError
from harness.guest import cpu
from harness.guest.alarm import Alarm
from harness.guest.argv import Runtime, as_script, guest_argv
from harness.guest.confined import confined_argv
from harness.guest.process import Process
from harness.guest.runtime import PIDFILE, runtime_folder
from harness.guest.spec import GuestSpec
from harness.guest.transport.console import Console
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.lib import cpio

QUIT_S = 2.0
START_S = 30.0
#: Time limit for registers, which are optional.
LOOK_S = 2.0


class Machine:
    """A running QEMU. The state of the guest in it is not known here.

    :param folder: gets ``console.log``, ``qemu.sh`` and ``qemu.log``.
    :param archive: cpio archive with more files for the guest than its image has.
    :param alarm: tripped when QEMU ends, and when the console shows a panic.
    :param stack: ends QEMU.
    :param incoming: whether QEMU waits for a state to restore, instead of booting.
    :raise GuestError: QEMU cannot be started, or its files cannot be written.
    """

    def __init__(
        self,
        spec: GuestSpec,
        folder: Path,
        archive: bytes,
        alarm: Alarm,
        stack: contextlib.ExitStack,
        *,
        incoming: bool = False,
    ) -> None:
        with _files("the guest's folder"):
            folder.mkdir(parents=True, exist_ok=True)
        #: Folder for this guest's temporary files, removed at its end.
        self.runtime = stack.enter_context(runtime_folder())
        knows_uintr = not spec.cpu.exposes_uintr and cpu.knows_property(
            spec.emulator, spec.cpu.model, "uintr"
        )
        initrd = self.runtime / "initramfs"
        with _files("the guest's archive"):
            initrd.write_bytes(cpio.joined(spec.image.initramfs.read_bytes(), archive))
        self._socket, theirs = socket.socketpair()
        with theirs:
            runtime = Runtime(initrd, theirs.fileno(), self.runtime / PIDFILE, incoming)
            argv = guest_argv(spec, runtime, knows_uintr=knows_uintr)
            with _files("the guest's folder"):
                script = folder / "qemu.sh"
                ran = confined_argv(argv)
                script.write_text(as_script(spec, ran, knows_uintr=knows_uintr))
                script.chmod(0o755)
            self._started = time.monotonic()
            self.process = Process(
                argv,
                log=folder / "qemu.log",
                pass_fds=[theirs.fileno()],
                on_exit=alarm.trip,
            )
        stack.callback(self.process.close_streams)
        self.console = Console(folder / "console.log", alarm, self.clock)
        stack.callback(self.console.close)
        stack.callback(self.process.kill)
        self.console.follow(self.process.stdout)
        self.monitor = Monitor()
        stack.callback(self.monitor.close)
        stack.callback(self._quit)

    def connect(self) -> None:
        """Connect to QEMU's monitor.

        :raise MonitorError: QEMU has ended, or did not answer.
        """
        self.monitor.connect(self._socket, START_S, self.process.ended.is_set)

    def sample_cpus(self) -> tuple[str, float] | None:
        """Return the CPUs' registers, and the CPU time (seconds) that QEMU has used.

        None if they are not available.
        """
        with contextlib.suppress(MonitorError, psutil.Error):
            registers = self.monitor.human("info registers -a", timeout_s=LOOK_S)
            used = psutil.Process(self.process.pid).cpu_times()
            return registers, used.user + used.system
        return None

    def clock(self) -> float:
        """Return the seconds since QEMU's start."""
        return time.monotonic() - self._started

    def _quit(self) -> None:
        """Ask QEMU to end. If it does not, the stack's next callback kills it."""
        if not self.process.ended.is_set():
            with contextlib.suppress(MonitorError):
                self.monitor.command("quit", timeout_s=QUIT_S)
            self.process.wait(QUIT_S)


@contextlib.contextmanager
def _files(what: str) -> Iterator[None]:
    """Turn an error in writing files, such as a full disk, into a :exc:`GuestError`."""
    try:
        yield
    except OSError as error:
        raise GuestError(
            f"{what} cannot be written: {error.strerror}",
            where=error.filename,
            hint="free space there, or choose another folder with --out or TMPDIR",
        ) from error
