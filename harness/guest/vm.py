"""A guest from its start to its end, with commands, file copies and splats."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

from harness.errors import GuestError
from harness.guest.alarm import Alarm
from harness.guest.boot import Boot
from harness.guest.bootreport import BootReport
from harness.guest.limits import COPY, Budget, as_size
from harness.guest.machine import Machine
from harness.guest.snapshot import Snapshot
from harness.guest.spec import GuestSpec
from harness.guest.transport import keys
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.guest.verdict.deadlines import CALIBRATION, Deadline
from harness.guest.verdict.failure import Completed, GuestFailure
from harness.guest.verdict.liveness import LivenessMonitor, kernel_answers
from harness.guest.verdict.postmortem import Postmortem
from harness.guest.verdict.splat_report import Splat
from harness.values import OUTPUT_LIMIT

#: Folder for the logs of a boot during which QEMU aborted.
ABORTED = "aborted"


class State(Enum):
    """The state of a guest. It only changes downwards in this list."""

    STARTING = "starting"
    BOOTING = "booting"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


class Guest:
    """A running guest, created by :func:`start_guest`."""

    def __init__(
        self,
        spec: GuestSpec,
        folder: Path,
        stack: contextlib.ExitStack,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.spec = spec
        self.folder = folder
        self._state = State.STARTING
        self._stack = stack
        self._alarm = Alarm()
        stack.callback(self._alarm.close)
        self._report: BootReport | None = None
        self._liveness: LivenessMonitor | None = None
        #: QEMU's message if it aborted during an earlier boot of this guest.
        self.aborted = ""
        #: Why the guest's state could not be saved, if it could not.
        self.unsaved: str | None = None
        #: The snapshot that it was restored from, or that it saved at the end of its boot.
        self.snapshot = snapshot
        self._keys = snapshot.keys if snapshot else keys.generate()
        self._machine = Machine(
            spec,
            folder,
            self._keys.archive(),
            self._alarm,
            stack,
            incoming=snapshot is not None,
        )
        self._postmortem = Postmortem(spec, folder, self._machine, self._alarm)
        try:
            self._machine.connect()
        except MonitorError as error:
            raise self._postmortem.refused(error) from error
        self._state = State.BOOTING

    def start(self, save: Path | None = None) -> None:
        """Boot or restore the guest, and wait until it is ready.

        :param save: a file for the state at the end of a boot, see :attr:`snapshot`.
        :raise GuestFailure: the guest does not become ready.
        """
        boot = Boot(
            self.spec, self._machine, self._postmortem, self._alarm, self._keys, self._stack
        )
        if self.snapshot is not None:
            self._report = boot.restore(self.snapshot)
        else:
            self._report = boot.boot(save)
            self.snapshot, self.unsaved = boot.snapshot, boot.unsaved
        self._ssh = boot.ssh
        scale = CALIBRATION.scale(self.spec)
        self._liveness = LivenessMonitor(self._ssh.address, scale, self._alarm.trip)
        self._stack.callback(self._liveness.close)
        self._state = State.READY

    # --- using the guest -------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of the guest."""
        if self._state is not State.CLOSED and self._postmortem.failure is not None:
            return State.FAILED
        return self._state

    @property
    def boot(self) -> BootReport:
        """The report of the boot."""
        assert self._report is not None
        return self._report

    @property
    def alive(self) -> bool:
        """Whether commands can run: no failure so far, and QEMU has not ended."""
        return self.state is State.READY and not self._alarm.tripped

    @property
    def factor(self) -> float:
        """Factor for time limits that were written for a fast machine."""
        return CALIBRATION.factor(self.spec)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        on_stdout: Callable[[bytes], None] | None = None,
        terminal: bool = False,
        stdin: bytes | None = None,
        output_limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        """Run a command as root, and return its result.

        :param timeout_s: host seconds. Multiply a limit for a fast machine by :attr:`factor`. A
            command that takes longer is killed, and its result has ``timed_out`` set.
        :param on_stdout: called with output as it arrives.
        :param terminal: whether the command gets a terminal. Its output is line-buffered then,
            and its standard error is part of standard output.
        :param stdin: the command's input; empty by default.
        :param output_limit: bytes that the command may print, and the same again for the console.
            A command that prints more is killed, and its result has ``overflow`` set.
        :raise GuestFailure: the guest ended or hangs; ``partial`` has the command's output.
        :raise TypeError: ``argv`` is not a sequence of strings.
        """
        if isinstance(argv, str) or not all(isinstance(word, str) for word in argv):
            raise TypeError(f'argv is a list of strings, like ["sh", "-c", "true"], not {argv!r}')
        self._check_ready()
        liveness = self._liveness
        assert liveness is not None

        def heard(data: bytes) -> None:
            liveness.heard()
            if on_stdout is not None:
                on_stdout(data)

        with liveness.listening():
            deadline = Deadline(f"command {argv[0]}", timeout_s)
            console = self._machine.console
            before = console.bytes

            def overflow() -> str:
                many = console.bytes - before > output_limit
                return f"more than {as_size(output_limit)} on the console" if many else ""

            probe_s = CALIBRATION.probe(self.spec).seconds
            with self._translated():
                return self._ssh.run(
                    argv,
                    deadline,
                    env=env,
                    on_stdout=heard,
                    stdin=stdin,
                    terminal=terminal,
                    probe_s=probe_s,
                    output_limit=output_limit,
                    overflow=overflow,
                )

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or a folder's contents to ``remote`` in the guest.

        ``remote`` is the place of a folder's contents. A file goes into ``remote`` if that is a
        folder or ends with a slash. Otherwise ``remote`` is its full path.

        :raise GuestError: the guest refused the files, or the copy took too long.
        :raise GuestFailure: the guest ended or hangs.
        """
        self._check_ready()
        deadline = CALIBRATION.deadline(self.spec, "copy of files")
        with self._translated():
            self._ssh.push(local, remote, deadline)

    def fetch(self, remote: str, local: Path, budget: Budget = COPY) -> None:
        """Copy a file, or a folder with its contents, out of the guest.

        :raise FileNotFoundError: the guest has no ``remote``.
        :raise CopyLimitError: it is more than ``budget`` allows. The guest still works.
        :raise GuestFailure: the guest ended or hangs.
        """
        self._check_ready()
        deadline = CALIBRATION.deadline(self.spec, "copy of files")
        with self._translated():
            self._ssh.fetch(remote, local, deadline, budget)

    def splats(self) -> tuple[Splat, ...]:
        """Return the splats so far.

        :raise GuestError: the console could not be read or stored completely.
        """
        if self._machine.console.error is not None:
            raise GuestError(
                f"the console cannot be scanned for splats: {self._machine.console.error}",
                where=self.folder / "console.log",
                hint="free space on the disk, and run again",
            )
        return self._machine.console.splats()

    def excuse(self, known: Callable[[Splat], bool]) -> None:
        """Set the test for known splats, which do not count towards the limit on splats."""
        self._machine.console.excuse(known)

    def console_tail(self, lines: int) -> str:
        """Return the console's last lines."""
        return self._machine.console.tail(lines)

    @property
    def monitor(self) -> Monitor:
        """QEMU's monitor, for tests and for debugging."""
        return self._machine.monitor

    @property
    def ssh_port(self) -> int:
        """The port on 127.0.0.1 that is forwarded to the guest's SSH server."""
        return self._ssh.address[1]

    @property
    def keys(self) -> keys.Keys:
        """The SSH keys of this guest, for another SSH client."""
        return self._keys

    @property
    def reconnects(self) -> int:
        """Number of times that the SSH connection broke between commands and was restored."""
        return self._ssh.reconnects

    @property
    def qemu_aborted(self) -> bool:
        """Whether QEMU ended by an assertion of its own."""
        return self._machine.process.returncode == -signal.SIGABRT

    @property
    def qemu_messages(self) -> str:
        """The end of QEMU's messages."""
        return self._machine.process.stderr_text()[-2000:]

    @property
    def qemu_pid(self) -> int:
        """QEMU's process id."""
        return self._machine.process.pid

    def close(self) -> None:
        """End the guest. Idempotent."""
        self._state = State.CLOSED
        self._stack.close()

    # --- failing ---------------------------------------------------------------------------

    def _check_ready(self) -> None:
        if self._postmortem.failure is not None:
            raise self._postmortem.failure
        if self.state is not State.READY:
            raise GuestError(f"the guest is {self.state.value}", where=self.folder)
        if self._alarm.tripped:
            raise self._postmortem.explain(self._hung)

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        """Turn an error of the SSH connection into the guest's failure."""
        return self._postmortem.translated(self._hung)

    def _hung(self, why: str) -> str | None:
        """Return how the guest hangs, as text; None if it does not hang."""
        gone = "the guest no longer answers"
        if self._liveness is not None and self._liveness.stopped:
            return f"{gone}: {self._liveness.stopped}"
        if self.state is not State.READY:
            return None
        if kernel_answers(self._ssh.address, CALIBRATION.probe(self.spec)):
            return None
        return f"the SSH connection broke, and {gone}: {why}"


@contextlib.contextmanager
def start_guest(
    spec: GuestSpec, folder: Path, *, save: Path | None = None, snapshot: Snapshot | None = None
) -> Iterator[Guest]:
    """Start a guest, yield it when it is ready, and end it in any case.

    If QEMU aborts during a boot, the guest is booted once more: see :func:`_booted`.

    :param folder: gets ``console.log``, ``qemu.sh``, ``qemu.log`` and, after a hang,
        ``diagnosis/``.
    :param save: a file for the guest's state at the end of its boot. Later guests can be restored
        from ``guest.snapshot``, which is None if QEMU could not save the state.
    :param snapshot: the snapshot of an earlier guest with the same ``spec``, to restore instead
        of booting.
    :raise UserError: QEMU refuses the profile's CPU.
    :raise GuestFailure: the guest does not boot, or its CPU differs from the profile.
    :raise GuestError: QEMU cannot be started.
    """
    with contextlib.ExitStack() as stack:
        if snapshot is None:
            guest = _booted(spec, folder, stack, save)
        else:
            guest = Guest(spec, folder, stack, snapshot)
            guest.start()
        try:
            yield guest
        finally:
            guest.close()


def _booted(spec: GuestSpec, folder: Path, stack: contextlib.ExitStack, save: Path | None) -> Guest:
    """Boot a guest, and once more if QEMU aborts meanwhile.

    QEMU 10.0 has a race with a thread for each vCPU, which some thousand boots showed once: a vCPU
    uses a TLB entry that is older than the map of memory, and iotlb_to_section() fails an
    assertion. An abort that a kernel causes comes again.
    """
    guest = Guest(spec, folder, stack)
    try:
        guest.start(save)
    except GuestFailure:
        if not guest.qemu_aborted:
            raise
        stack.close()
        _keep(folder, ABORTED)
        again = Guest(spec, folder, stack)
        again.aborted = guest.qemu_messages.strip().rpartition("\n")[2] or "no message"
        again.start(save)
        return again
    return guest


def _keep(folder: Path, name: str) -> None:
    """Move a guest's logs into a folder in its own, so that another boot does not replace them."""
    kept = folder / name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    for log in ("console.log", "qemu.log"):
        with contextlib.suppress(FileNotFoundError):
            (folder / log).rename(kept / log)
