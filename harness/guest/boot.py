"""The way of a guest until it is ready: a boot, phase by phase, or the restore of a saved one."""

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
from harness.guest.verdict.liveness import greets
from harness.guest.verdict.postmortem import Postmortem
from harness.guest.verdict.stall import wait_for

T = TypeVar("T")


class Boot:
    """One way to a guest that is ready; :attr:`ssh` leads into it then.

    :param stack: ends the connection with the guest.
    """

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
        #: What was saved at the end of the boot, if anything was.
        self.snapshot: Snapshot | None = None
        #: Why the guest's state could not be saved, if so.
        self.unsaved: str | None = None

    def boot(self, save: Path | None) -> BootReport:
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
        report = self._report(restored=False)
        CALIBRATION.remember(self._spec, report.boot_s)
        return report

    def restore(self, snapshot: Snapshot) -> BootReport:
        """Go on where the guest of ``snapshot`` was saved, with the time of now.

        :raise GuestFailure: it cannot.
        """
        self._port = self._examine()
        deadline = CALIBRATION.deadline(self._spec, "restore of the guest")
        try:
            snapshot_file.load(self._machine.monitor, snapshot.state, deadline)
        except MonitorError as error:
            raise self._postmortem.not_restored(error) from error
        self._machine.console.phases["restored"] = self._machine.clock()
        self._ask(lambda: self._machine.monitor.command("cont"))
        self._log_in()
        self._check_cpu(snapshot_file.restored_argv())
        return self._report(restored=True)

    def _examine(self) -> int:
        """Ask QEMU whether the CPU is as promised, and which port leads to the guest."""
        port = self._ask(
            lambda: forwarded_port(self._machine.monitor.human("info usernet"), NET_ID)
        )
        differ = self._ask(lambda: cpu.disagreements_by_qmp(self._machine.monitor, self._spec.cpu))
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
        self.snapshot = Snapshot(self._spec, state, self._keys, phases, took)

    def _report(self, *, restored: bool) -> BootReport:
        phases = self._machine.console.phases
        boot_s = phases["ready"] = self._machine.clock()
        return BootReport(boot_s=boot_s, phases=dict(phases), restored=restored)

    def _wait(self, name: str, until: Callable[[], bool], verdict: FailureCause, what: str) -> None:
        deadline = CALIBRATION.deadline(self._spec, name)
        in_vain = wait_for(
            until, deadline, self._machine, self._alarm, CALIBRATION.scale(self._spec)
        )
        if self._alarm.tripped:
            raise self._postmortem.explain()
        if until():
            return
        if greets((HOST_IP, self._port), CALIBRATION.probe(self._spec)):
            raise self._postmortem.fail(
                "no-console",
                "the SSH server answers, but the console does not show that it was started",
                hint="see that the kernel has a driver for the serial console "
                "(CONFIG_SERIAL_8250_CONSOLE); splats could not be seen without it",
            )
        raise self._postmortem.fail(verdict, f"{what} ({in_vain})")

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
        """Compare the guest's CPUs with the profile, in the first command that is run.

        :param first: what has to be done before anything else.
        """
        deadline = CALIBRATION.deadline(self._spec, "SSH login")
        probe_s = CALIBRATION.probe(self._spec).seconds
        with self._postmortem.translated():
            done = self.ssh.run(cpu.question_to_guest(first), deadline, probe_s=probe_s)
        differ = cpu.disagreements_of_answer(done, self._spec.cpu, self._spec.smp)
        if differ:
            raise self._postmortem.mismatch("in the guest", differ)

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except MonitorError as error:
            if self._postmortem.died():
                raise self._postmortem.explain() from error
            raise
