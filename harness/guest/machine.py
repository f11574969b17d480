"""The machine of a guest: a QEMU with the guest's files, its console and its monitor."""

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
from harness.guest.process import Process
from harness.guest.runtime import PIDFILE, runtime_folder
from harness.guest.spec import GuestSpec
from harness.guest.transport.console import Console
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.lib import cpio

QUIT_S = 2.0
START_S = 30.0
#: For an answer of the monitor that can be done without.
LOOK_S = 2.0


class Machine:
    """A QEMU that runs; nothing is known yet of the guest in it.

    :param folder: gets ``console.log``, ``qemu.sh`` and ``qemu.log``.
    :param archive: files for the guest, beside those of its image.
    :param alarm: goes when QEMU ends, and when the console tells of a panic.
    :param stack: ends it.
    :param incoming: whether it waits for a state to restore instead of booting.
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
        #: Where the harness and QEMU meet; gone with the guest.
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
                script.write_text(as_script(spec, argv, knows_uintr=knows_uintr))
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
        """Shake hands with QEMU's monitor.

        :raise MonitorError: it ended before that, or did not answer.
        """
        self.monitor.connect(self._socket, START_S, self.process.ended.is_set)

    def look(self) -> tuple[str, float] | None:
        """Return what the CPUs' registers are, and the CPU time (seconds) that QEMU has had.

        None where they cannot be had.
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
        """Let QEMU end by itself if it will; what follows kills it."""
        if not self.process.ended.is_set():
            with contextlib.suppress(MonitorError):
                self.monitor.command("quit", timeout_s=QUIT_S)
            self.process.wait(QUIT_S)


@contextlib.contextmanager
def _files(what: str) -> Iterator[None]:
    """Say what could not be written, a full disk above all."""
    try:
        yield
    except OSError as error:
        raise GuestError(
            f"{what} cannot be written: {error.strerror}",
            where=error.filename,
            hint="free space there, or name another place by --out or TMPDIR",
        ) from error
