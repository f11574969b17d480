"""The reason why a guest, or the connection to it, ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError
from harness.guest import cpu
from harness.guest.alarm import Alarm
from harness.guest.machine import Machine
from harness.guest.spec import GuestSpec
from harness.guest.transport.command import Interrupted
from harness.guest.transport.qmp import MonitorError
from harness.guest.transport.ssh import ConnectionLost, Unresponsive
from harness.guest.verdict.deadlines import Deadline
from harness.guest.verdict.diagnose import diagnose
from harness.guest.verdict.failure import Completed, FailureCause, GuestFailure, ending

#: Console lines in an error.
TAIL = 30
#: Seconds to wait for QEMU's end after a panic, and for the cause of a broken connection.
SETTLE_S = 3.0
#: Verdicts on a guest that still runs, so that its registers and stacks can be collected.
ASKED: frozenset[FailureCause] = frozenset({"silent", "hang-in-init", "no-ssh", "hang"})


class Postmortem:
    """Finds out why a guest failed, and returns the error for the caller to raise.

    :param folder: gets ``diagnosis/`` if the guest hangs.
    """

    def __init__(self, spec: GuestSpec, folder: Path, machine: Machine, alarm: Alarm) -> None:
        self._spec = spec
        self._folder = folder
        self._machine = machine
        self._alarm = alarm
        self._diagnosed = False
        #: The last failure, None if there was none.
        self.failure: GuestFailure | None = None

    def fail(
        self,
        verdict: FailureCause,
        what: str,
        *,
        partial: Completed | None = None,
        detail: str = "",
        hint: str | None = None,
    ) -> GuestFailure:
        """Return a failure with the console's last lines. Diagnose a guest that hangs first."""
        machine = self._machine
        tail = machine.console.tail(TAIL)
        phase = machine.console.phase
        if verdict in ASKED and not self._diagnosed:
            self._diagnosed = True
            diagnose(self._folder / "diagnosis", machine.monitor, machine.process, machine.console)
            hint = hint or f"the guest's state is in {self._folder / 'diagnosis'}"
        self.failure = GuestFailure(
            verdict,
            f"{verdict}: {what}",
            phase=phase,
            console_tail=tail,
            detail=detail,
            where=str(self._folder / "console.log"),
            hint=hint,
            partial=partial,
        )
        return self.failure

    def died(self) -> bool:
        """Wait briefly for QEMU's end. Return true if it has ended."""
        return self._machine.process.wait(SETTLE_S)

    def explain(
        self,
        hung: Callable[[str], str | None] = lambda _why: None,
        partial: Completed | None = None,
        why: str = "it broke",
    ) -> GuestFailure:
        """Return why the guest, or the connection to it, ended.

        :param hung: takes ``why`` and returns how the guest hangs, None if it does not hang.
            Called if QEMU runs and the guest has not panicked.
        :param partial: the result so far of the command that was running.
        :param why: the error of the connection.
        """
        machine = self._machine
        self._alarm.wait(lambda: self._alarm.tripped, Deadline("explanation", SETTLE_S))
        if machine.console.panic is not None:
            machine.process.wait(SETTLE_S)  # the panic may still be printing
        if machine.process.ended.is_set():
            machine.console.settle()
        elif machine.console.panic is None and (how := hung(why)) is not None:
            last = machine.console.shutdown_message
            how = f"{how}; its kernel was told to end: {last}" if last else how
            return self.fail("hang", how, partial=partial)
        shutdown = machine.monitor.event("SHUTDOWN") or {}
        end = ending(
            panic=machine.console.panic,
            in_user_space=not machine.console.phases.keys().isdisjoint({"init", "restored"}),
            ended=machine.process.ended.is_set(),
            returncode=machine.process.returncode,
            shutdown=shutdown.get("data", {}).get("reason", ""),
            why=why,
            shutdown_message=machine.console.shutdown_message,
        )
        said = self._qemu_messages() if end.verdict == "qemu-died" else ""
        return self.fail(end.verdict, end.what, partial=partial, detail=said, hint=end.hint)

    @contextmanager
    def translated(self, hung: Callable[[str], str | None] = lambda _why: None) -> Iterator[None]:
        """Turn an error of the SSH connection into the guest's failure.

        :param hung: as for :meth:`explain`.
        :raise GuestFailure: the connection broke, or the guest ended or hangs.
        """
        try:
            yield
        except Interrupted as error:
            raise self.explain(hung, error.partial) from error
        except Unresponsive as error:
            if self._alarm.tripped:
                raise self.explain(hung, error.partial) from error
            raise self.fail("hang", "the guest no longer answers", partial=error.partial) from error
        except ConnectionLost as error:
            raise self.explain(hung, why=str(error)) from error

    def refused(self, error: MonitorError) -> HarnessError:
        """Return why QEMU did not start. If it refuses the CPU, that is a :exc:`UserError`."""
        process = self._machine.process
        process.wait(1.0)
        user = cpu.refusal(process.stderr_text(), self._spec.cpu, self._spec.emulator)
        if user is not None:
            return user
        code = process.returncode
        end = f"ended with exit code {code}" if code is not None else error.what
        return self.fail("qemu-died", f"QEMU did not start: {end}", detail=self._qemu_messages())

    def not_restored(self, error: MonitorError) -> GuestFailure:
        """Return why QEMU refused a saved state."""
        self._machine.process.wait(SETTLE_S)  # QEMU prints more when it ends
        return self.fail("not-restored", error.what, detail=self._qemu_messages())

    def mismatch(self, where: str, differ: list[str]) -> GuestFailure:
        """Return the failure for a CPU that differs from its profile.

        :param where: where the difference was found: ``by QMP`` or ``in the guest``.
        """
        return self.fail(
            "cpu-mismatch",
            f"the CPU {self._spec.cpu.name!r} differs from its profile, as seen {where}",
            detail="\n".join(differ),
            hint="correct the CPU profile, or use a QEMU that has these features",
        )

    def _qemu_messages(self) -> str:
        """Return the end of QEMU's messages."""
        return self._machine.process.stderr_text()[-2000:]
