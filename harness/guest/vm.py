"""A guest: from QEMU's start over the boot to commands, and always to its end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TypeVar

from harness.errors import GuestError
from harness.guest import cpu
from harness.guest import snapshot as snapshot_file
from harness.guest.alarm import Alarm
from harness.guest.argv import HOST_IP, NET_ID
from harness.guest.bootreport import BootReport
from harness.guest.limits import COPY, Budget, as_size
from harness.guest.machine import Machine
from harness.guest.snapshot import Snapshot
from harness.guest.spec import GuestSpec
from harness.guest.transport import keys
from harness.guest.transport.command import Interrupted
from harness.guest.transport.portmap import forwarded_port
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.guest.transport.ssh import ConnectionLost, Ssh, Unresponsive
from harness.guest.verdict.deadlines import CALIBRATION, Deadline
from harness.guest.verdict.failure import Completed, GuestFailure, Verdict
from harness.guest.verdict.liveness import Heart, greets, has_pulse
from harness.guest.verdict.postmortem import Postmortem
from harness.guest.verdict.splats import Splat
from harness.guest.verdict.stall import wait_for
from harness.values import OUTPUT_LIMIT

T = TypeVar("T")


class State(Enum):
    """Where a guest is in its life; it only goes forward."""

    STARTING = "starting"
    BOOTING = "booting"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


class Guest:
    """The one mutable thing: made by :func:`start_guest`, which see."""

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
        self._boot: BootReport | None = None
        self._heart: Heart | None = None
        #: Why the guest's state could not be saved, if so.
        self.unsaved: str | None = None
        #: What it was restored from, or else what it saved at the end of its boot.
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

    # --- start and boot --------------------------------------------------------------------

    def boot_up(self, save: Path | None = None) -> None:
        """Wait until the guest is ready, phase by phase.

        :param save: a file for the state of the guest, see :attr:`snapshot`. Why QEMU could not
            write it is in :attr:`unsaved`; the guest is as good without.
        :raise GuestFailure: it will not be ready.
        """
        self._port = self._examine()
        phases = self._machine.console.phases
        self._wait(
            "first console output",
            lambda: bool(phases.keys() - {"firmware"}),
            "silent",
            "QEMU runs, but the kernel printed nothing",
        )
        self._wait(
            "start of the init",
            lambda: "init" in phases,
            "hang-in-init",
            "the kernel started, but its first program did not",
        )
        self._wait(
            "start of the SSH server",
            lambda: "sshd" in phases,
            "hang-in-init",
            "user space started, but the SSH server did not",
        )
        if save is not None:
            self._save(save)
        self._log_in()
        self._check_cpu()
        self._report(restored=False)
        CALIBRATION.remember(self.spec, self.boot.boot_s)

    def resume(self, snapshot: Snapshot) -> None:
        """Go on where the guest of ``snapshot`` was saved, with the time of now.

        :raise GuestFailure: it cannot.
        """
        self._port = self._examine()
        deadline = CALIBRATION.deadline(self.spec, "restore of the guest")
        try:
            snapshot_file.load(self._machine.monitor, snapshot.state, deadline)
        except MonitorError as error:
            raise self._postmortem.not_restored(error) from error
        self._machine.console.phases["restored"] = self._machine.clock()
        self._ask(lambda: self._machine.monitor.command("cont"))
        self._log_in()
        self._check_cpu(snapshot_file.restored_argv())
        self._report(restored=True)

    def _examine(self) -> int:
        """Ask QEMU whether the CPU is as promised, and which port leads to the guest."""
        port = self._ask(
            lambda: forwarded_port(self._machine.monitor.human("info usernet"), NET_ID)
        )
        differ = self._ask(lambda: cpu.disagreements_by_qmp(self._machine.monitor, self.spec.cpu))
        if differ:
            raise self._postmortem.mismatch("by QMP", differ)
        return port

    def _save(self, state: Path) -> None:
        phases = dict(self._machine.console.phases)
        began = self._machine.clock()
        try:
            snapshot_file.save(
                self._machine.monitor, state, CALIBRATION.deadline(self.spec, "save of the guest")
            )
        except MonitorError as error:
            if self._machine.process.wait(0):
                raise self._explain() from error
            self.unsaved = error.what
            return
        took = self._machine.clock() - began
        self.snapshot = Snapshot(self.spec, state, self._keys, phases, took)

    def _report(self, *, restored: bool) -> None:
        phases = self._machine.console.phases
        boot_s = phases["ready"] = self._machine.clock()
        self._boot = BootReport(boot_s=boot_s, phases=dict(phases), restored=restored)
        self._heart = Heart(self._ssh.address, CALIBRATION.scale(self.spec), self._alarm.trip)
        self._stack.callback(self._heart.close)
        self._state = State.READY

    def _wait(self, name: str, until: Callable[[], bool], verdict: Verdict, what: str) -> None:
        deadline = CALIBRATION.deadline(self.spec, name)
        in_vain = wait_for(
            until, deadline, self._machine, self._alarm, CALIBRATION.scale(self.spec)
        )
        if self._alarm.tripped:
            raise self._explain()
        if until():
            return
        if greets((HOST_IP, self._port), CALIBRATION.probe(self.spec)):
            raise self._postmortem.fail(
                "no-console",
                "the SSH server answers, but the console does not show that it was started",
                hint="see that the kernel has a driver for the serial console "
                "(CONFIG_SERIAL_8250_CONSOLE); splats could not be seen without it",
            )
        raise self._postmortem.fail(verdict, f"{what} ({in_vain})")

    def _log_in(self) -> None:
        deadline = CALIBRATION.deadline(self.spec, "SSH login")
        address = (HOST_IP, self._port)
        self._ssh = Ssh(address, self._keys, self._alarm)
        self._stack.callback(self._ssh.close)
        try:
            self._ssh.connect(deadline)
        except Interrupted as error:
            raise self._explain() from error
        except ConnectionLost as error:
            raise self._postmortem.fail("no-ssh", f"no SSH login: {error} ({deadline})") from error
        self._machine.console.phases["login"] = self._machine.clock()

    def _check_cpu(self, first: Sequence[str] = ("true",)) -> None:
        """Compare the guest's CPUs with the profile, in the first command that is run.

        :param first: what has to be done before anything else.
        """
        deadline = CALIBRATION.deadline(self.spec, "SSH login")
        done = self._run(cpu.question_to_guest(first), deadline)
        differ = cpu.disagreements_of_answer(done, self.spec.cpu, self.spec.smp)
        if differ:
            raise self._postmortem.mismatch("in the guest", differ)

    # --- what a guest is for ---------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the guest is in its life."""
        if self._state is not State.CLOSED and self._postmortem.failure is not None:
            return State.FAILED
        return self._state

    @property
    def boot(self) -> BootReport:
        """How the boot went."""
        assert self._boot is not None
        return self._boot

    @property
    def alive(self) -> bool:
        """Whether commands can run: no failure so far, and QEMU has not ended."""
        return self.state is State.READY and not self._alarm.tripped

    @property
    def factor(self) -> float:
        """By how much to stretch a limit that was written for a fast machine."""
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
        """Run a command as root, and return what it gave.

        :param timeout_s: real seconds; multiply one for a fast machine by :attr:`factor`. A
            command that takes longer is killed and comes back ``timed_out``.
        :param on_stdout: takes output as it comes.
        :param terminal: whether it gets a terminal, so that it says each line when it is complete;
            what it says on either output is standard output's then.
        :param stdin: what it can read; without any it finds its input at the end.
        :param output_limit: bytes that it may print, and as many on the console; one that goes
            beyond is killed and comes back with ``overflow`` set.
        :raise GuestFailure: the guest ended or hangs; ``partial`` has what the command gave.
        """
        self._must_be_ready()
        heart = self._heart
        assert heart is not None

        def heard(data: bytes) -> None:
            heart.heard()
            if on_stdout is not None:
                on_stdout(data)

        with heart.listening():
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
        """Copy a file, or what is in a folder, into the guest's folder ``remote``.

        :raise GuestFailure: it could not be done.
        """
        self._must_be_ready()
        deadline = CALIBRATION.deadline(self.spec, "copy of files")
        with self._translated():
            self._ssh.push(local, remote, deadline)

    def fetch(self, remote: str, local: Path, budget: Budget = COPY) -> None:
        """Copy a file, or a folder and all that is in it, out of the guest.

        :raise FileNotFoundError: the guest has no ``remote``.
        :raise TooMuch: it is more than ``budget`` allows; the guest is well.
        :raise GuestFailure: it could not be done.
        """
        self._must_be_ready()
        deadline = CALIBRATION.deadline(self.spec, "copy of files")
        with self._translated():
            self._ssh.fetch(remote, local, deadline, budget)

    def splats(self) -> tuple[Splat, ...]:
        """Return what the kernel complained of so far.

        :raise GuestError: the console was not read or kept in full, so nobody can tell.
        """
        if self._machine.console.error is not None:
            raise GuestError(
                f"the console cannot be scanned for splats: {self._machine.console.error}",
                where=self.folder / "console.log",
                hint="free space on the disk, and run again",
            )
        return self._machine.console.splats()

    def excuse(self, known: Callable[[Splat], bool]) -> None:
        """Tell which complaints are known: those do not count towards the limit of all."""
        self._machine.console.excuse(known)

    def console_tail(self, lines: int) -> str:
        """Return the console's last lines."""
        return self._machine.console.tail(lines)

    @property
    def monitor(self) -> Monitor:
        """QEMU's monitor, for tests and for whoever debugs a guest."""
        return self._machine.monitor

    @property
    def ssh_port(self) -> int:
        """The port of 127.0.0.1 that leads to the guest's SSH server."""
        return self._ssh.address[1]

    @property
    def keys(self) -> keys.Keys:
        """The SSH keys of this guest, for a client beside the harness."""
        return self._keys

    @property
    def reconnects(self) -> int:
        """How often the SSH connection broke between two commands and was made again."""
        return self._ssh.reconnects

    @property
    def qemu_pid(self) -> int:
        """QEMU's process id."""
        return self._machine.process.pid

    def close(self) -> None:
        """End the guest; twice is as good as once."""
        self._state = State.CLOSED
        self._stack.close()

    # --- failing ---------------------------------------------------------------------------

    def _must_be_ready(self) -> None:
        if self._postmortem.failure is not None:
            raise self._postmortem.failure
        if self.state is not State.READY:
            raise GuestError(f"the guest is {self.state.value}", where=self.folder)
        if self._alarm.tripped:
            raise self._explain()

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except MonitorError as error:
            if self._postmortem.died():
                raise self._explain() from error
            raise

    def _run(self, argv: Sequence[str], deadline: Deadline) -> Completed:
        probe_s = CALIBRATION.probe(self.spec).seconds
        with self._translated():
            return self._ssh.run(argv, deadline, probe_s=probe_s)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what SSH says into what happened to the guest."""
        try:
            yield
        except Interrupted as error:
            raise self._explain(error.partial) from error
        except Unresponsive as error:
            if self._alarm.tripped:
                raise self._explain(error.partial) from error
            raise self._postmortem.fail(
                "hang", "the guest does not answer any more", partial=error.partial
            ) from error
        except ConnectionLost as error:
            raise self._explain(why=str(error)) from error

    def _explain(self, partial: Completed | None = None, why: str = "it broke") -> GuestFailure:
        return self._postmortem.explain(lambda: self._hung(why), partial, why)

    def _hung(self, why: str) -> str | None:
        """Return how a guest that had an SSH server hangs, None if it does not."""
        gone = "the guest does not answer any more"
        if self._heart is not None and self._heart.stopped:
            return f"{gone}: {self._heart.stopped}"
        if self.state is not State.READY:
            return None
        if has_pulse(self._ssh.address, CALIBRATION.probe(self.spec)):
            return None
        return f"the SSH connection broke, and {gone}: {why}"


@contextlib.contextmanager
def start_guest(
    spec: GuestSpec, folder: Path, *, save: Path | None = None, snapshot: Snapshot | None = None
) -> Iterator[Guest]:
    """Start a guest, give it once it is ready, and end it, whatever happens.

    :param folder: gets ``console.log``, ``qemu.sh``, ``qemu.log`` and, after a hang,
        ``diagnosis/``.
    :param save: a file that takes the guest's state at the end of its boot; ``guest.snapshot`` is
        what later guests can be restored from, None if QEMU could not save it.
    :param snapshot: that of an earlier guest of the same ``spec``: this one does not boot, but
        goes on from there.
    :raise UserError: QEMU refuses the CPU that the profile asks for.
    :raise GuestFailure: it does not boot, or its CPU is not as promised.
    :raise GuestError: QEMU cannot be started.
    """
    with contextlib.ExitStack() as stack:
        guest = Guest(spec, folder, stack, snapshot)
        if snapshot is not None:
            guest.resume(snapshot)
        else:
            guest.boot_up(save)
        try:
            yield guest
        finally:
            guest.close()
