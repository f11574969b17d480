"""The start of a guest: a boot, phase by phase, or a restore from a snapshot."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from harness.guest import cpu
from harness.guest import snapshot as snapshot_file
from harness.guest.alarm import Alarm
from harness.guest.argv import HOST_IP, NET_ID
from harness.guest.bootreport import BootReport
from harness.guest.machine import Machine
from harness.guest.snapshot import Snapshot
from harness.guest.spec import GuestSpec
from harness.guest.transport.command import Interrupted
from harness.guest.transport.keys import Keys
from harness.guest.transport.portmap import forwarded_port
from harness.guest.transport.qmp import MonitorError
from harness.guest.transport.ssh import ConnectionLost, Ssh
from harness.guest.verdict.deadlines import CALIBRATION
from harness.guest.verdict.failure import FailureCause
from harness.guest.verdict.liveness import ssh_server_answers
from harness.guest.verdict.postmortem import Postmortem
from harness.guest.verdict.stall import wait_for

T = TypeVar("T")


class Boot:
    """The start of one guest.

    :param stack: closes the SSH connection when the guest ends.
    """

    #: The connection to the guest, set by :meth:`boot` and :meth:`restore`.
    ssh: Ssh

    def __init__(
        self,
        spec: GuestSpec,
        machine: Machine,
        postmortem: Postmortem,
        alarm: Alarm,
        keys: Keys,
        stack: contextlib.ExitStack,
    ) -> None:
        self._spec = spec
        self._machine = machine
        self._postmortem = postmortem
        self._alarm = alarm
        self._keys = keys
        self._stack = stack
        #: The snapshot saved at the end of the boot, if any.
        self.snapshot: Snapshot | None = None
        #: Why the guest's state could not be saved, if it could not.
        self.unsaved: str | None = None

    def boot(self, save: Path | None) -> BootReport:
        """Wait until the guest is ready, phase by phase.

        :param save: a file for the guest's state, see :attr:`snapshot`. If QEMU cannot write it,
            :attr:`unsaved` has the reason, and the boot goes on.
        :raise GuestFailure: the guest does not become ready.
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
        report = self._report(restored=False)
        CALIBRATION.remember(self._spec, report.boot_s)
        return report

    def restore(self, snapshot: Snapshot) -> BootReport:
        """Restore the guest from ``snapshot``, and set its clock.

        :raise GuestFailure: the guest cannot be restored.
        """
        self._port = self._examine()
        deadline = CALIBRATION.deadline(self._spec, "restore of the guest")
        try:
            snapshot_file.load(self._machine.monitor, snapshot.state, deadline)
        except MonitorError as error:
            raise self._postmortem.not_restored(error) from error
        self._machine.console.restored(stamped=snapshot.stamped)
        self._ask(lambda: self._machine.monitor.command("cont"))
        self._log_in()
        self._check_cpu(snapshot_file.restored_argv())
        return self._report(restored=True)

    def _examine(self) -> int:
        """Check the CPU over QMP, and return the host's port for the guest's SSH server."""
        port = self._ask(
            lambda: forwarded_port(self._machine.monitor.human("info usernet"), NET_ID)
        )
        differ = self._ask(
            lambda: cpu.cpu_differences_by_qmp(self._machine.monitor, self._spec.cpu)
        )
        if differ:
            raise self._postmortem.mismatch("by QMP", differ)
        return port

    def _save(self, state: Path) -> None:
        phases = dict(self._machine.console.phases)
        began = self._machine.clock()
        try:
            snapshot_file.save(
                self._machine.monitor, state, CALIBRATION.deadline(self._spec, "save of the guest")
            )
        except MonitorError as error:
            if self._machine.process.wait(0):
                raise self._postmortem.explain() from error
            self.unsaved = error.what
            return
        took = self._machine.clock() - began
        stamped = self._machine.console.stamped
        self.snapshot = Snapshot(self._spec, state, self._keys, phases, took, stamped)

    def _report(self, *, restored: bool) -> BootReport:
        phases = self._machine.console.phases
        boot_s = phases["ready"] = self._machine.clock()
        return BootReport(boot_s=boot_s, phases=dict(phases), restored=restored)

    def _wait(self, name: str, until: Callable[[], bool], verdict: FailureCause, what: str) -> None:
        deadline = CALIBRATION.deadline(self._spec, name)
        reason = wait_for(
            until, deadline, self._machine, self._alarm, CALIBRATION.scale(self._spec)
        )
        if self._alarm.tripped:
            raise self._postmortem.explain()
        if until():
            return
        if ssh_server_answers((HOST_IP, self._port), CALIBRATION.probe(self._spec)):
            raise self._postmortem.fail(
                "no-console",
                "the SSH server answers, but the console does not show that it was started",
                hint="check that the kernel has a driver for the serial console "
                "(CONFIG_SERIAL_8250_CONSOLE); without it, splats cannot be seen",
            )
        raise self._postmortem.fail(verdict, f"{what} ({reason})")

    def _log_in(self) -> None:
        deadline = CALIBRATION.deadline(self._spec, "SSH login")
        self.ssh = Ssh((HOST_IP, self._port), self._keys, self._alarm)
        self._stack.callback(self.ssh.close)
        try:
            self.ssh.connect(deadline)
        except Interrupted as error:
            raise self._postmortem.explain() from error
        except ConnectionLost as error:
            raise self._postmortem.fail("no-ssh", f"no SSH login: {error} ({deadline})") from error
        self._machine.console.phases["login"] = self._machine.clock()

    def _check_cpu(self, first: Sequence[str] = ("true",)) -> None:
        """Compare the guest's CPUs with the profile, in the guest's first command.

        :param first: a command to run before the check.
        """
        deadline = CALIBRATION.deadline(self._spec, "SSH login")
        probe_s = CALIBRATION.probe(self._spec).seconds
        with self._postmortem.translated():
            done = self.ssh.run(cpu.cpu_query_command(first), deadline, probe_s=probe_s)
        differ = cpu.cpu_differences_in_output(done, self._spec.cpu, self._spec.smp)
        if differ:
            raise self._postmortem.mismatch("in the guest", differ)

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except MonitorError as error:
            if self._postmortem.died():
                raise self._postmortem.explain() from error
            raise
