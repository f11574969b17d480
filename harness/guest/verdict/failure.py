"""The ways in which a guest can fail, as verdicts for scripts."""

from __future__ import annotations

import signal
from typing import Literal

from harness.errors import GuestError
from harness.values import Value

FailureCause = Literal[
    "silent",  # QEMU runs, but the kernel printed nothing
    "panic-before-init",  # the kernel panicked or reset before user space ran
    "panic",  # the kernel panicked or reset after that
    "hang-in-init",  # the kernel started, but the SSH server did not
    "not-restored",  # QEMU refused the state that it had saved
    "no-ssh",  # the SSH server was started, but no login was possible
    "hang",  # a running guest stopped answering
    "no-console",  # the SSH server answers, but the console does not show its start
    "powered-off",  # the guest powered itself off, probably on purpose
    "rebooted",  # the guest rebooted, probably on purpose
    "qemu-died",  # QEMU ended without a panic of the guest
    "connection-lost",  # QEMU and the kernel run, but the SSH connection broke
    "cpu-mismatch",  # the guest's CPU differs from the profile
]

#: Verdicts on what is no failure of a guest: QEMU did not start or its monitor failed; the host.
QEMU_FAILED, HOST_FAILED = "qemu-failed", "host-failed"


class GuestEnd(Value):
    """Why a guest, or the connection to it, ended."""

    verdict: FailureCause
    what: str
    hint: str | None = None


def ending(
    *,
    panic: str | None,
    in_user_space: bool,
    ended: bool,
    returncode: int | None,
    shutdown: str,
    why: str,
    shutdown_message: str | None = None,
) -> GuestEnd:
    """Return the verdict on a guest whose connection was lost.

    :param panic: the panic's line on the console, if there was one.
    :param in_user_space: whether the init had started.
    :param ended: whether QEMU has ended, with ``returncode`` (negative for a signal).
    :param shutdown: QEMU's reason for its end (``ShutdownCause``), empty if it gave none.
    :param why: the error of the connection.
    :param shutdown_message: the kernel's last message if user space told it to end.
    """
    crashed: FailureCause = "panic" if in_user_space else "panic-before-init"
    if panic is not None:
        return GuestEnd(verdict=crashed, what=panic)
    if not ended:
        what = f"the SSH connection broke, while QEMU and the kernel run: {why}"
        return GuestEnd(verdict="connection-lost", what=what)
    if shutdown == "guest-reset" and shutdown_message is not None:
        return GuestEnd(
            verdict="rebooted", what=f"the guest was told to reboot: {shutdown_message}"
        )
    if shutdown == "guest-reset":
        what = "the guest reset itself without a message (triple fault?)"
        return GuestEnd(verdict=crashed, what=what)
    if shutdown == "guest-shutdown":
        said = f": {shutdown_message}" if shutdown_message else ""
        return GuestEnd(verdict="powered-off", what=f"the guest switched itself off{said}")
    if returncode is not None and returncode < 0:
        name = signal.Signals(-returncode).name
        hint = "the host may be short of memory: see its kernel log"
        return GuestEnd(
            verdict="qemu-died",
            what=f"QEMU was killed by {name}",
            hint=hint if name == "SIGKILL" else None,
        )
    return GuestEnd(verdict="qemu-died", what=f"QEMU ended with exit code {returncode}")


class Completed(Value):
    """The result of a command in the guest, complete or partial."""

    #: None if a signal ended it, if the harness ended it, or if the server did not report it.
    returncode: int | None
    #: The signal's name without ``SIG``, if a signal ended it.
    signal: str | None
    #: A long output is shortened: its first and last part, with a line between them.
    stdout: bytes
    stderr: bytes
    seconds: float
    #: Whether the command was killed at its deadline. The guest still works.
    timed_out: bool = False
    #: Why the command was killed because of its output; empty if it was not.
    overflow: str = ""
    #: The limit that it was given and how it was stretched, if it was killed at its deadline.
    limit: str = ""

    def within(self, timeout_s: float, factor: float) -> Completed:
        """Return the same with its limit as text, if it was killed at its deadline.

        :param timeout_s: the limit in seconds, as it was asked for.
        :param factor: what it was multiplied by.
        """
        if not self.timed_out or factor == 1:
            return self
        limit = f"{timeout_s:g} s, stretched {round(factor, 1):g} times for this host"
        return self.model_copy(update={"limit": limit})

    @property
    def cut_short(self) -> str | None:
        """Why the harness ended the command; None if it ended by itself."""
        if self.overflow:
            return f"too much output: {self.overflow}"
        if not self.timed_out:
            return None
        limit = f" ({self.limit})" if self.limit else ""
        return f"timed out after {self.seconds:.0f} s{limit}"


class GuestFailure(GuestError):  # noqa: N818 - named like its record
    """A failure of a guest, which cannot be used after it.

    :param verdict: what happened.
    :param phase: the last boot phase that was reached (``firmware``, ``kernel``, ``init``,
        ``sshd``, ``ready``).
    :param console_tail: the console's last lines.
    :param detail: lines to show instead of the console's last lines.
    :param partial: the result so far of the command that was running.
    """

    def __init__(
        self,
        verdict: FailureCause,
        what: str,
        *,
        phase: str,
        console_tail: str = "",
        where: str | None = None,
        hint: str | None = None,
        partial: Completed | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(what, where=where, hint=hint, detail=detail or console_tail or None)
        self.verdict: FailureCause = verdict
        self.phase = phase
        self.console_tail = console_tail
        self.partial = partial
