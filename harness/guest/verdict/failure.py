"""What can go wrong with a guest, as verdicts that a script can tell apart."""

from __future__ import annotations

import signal
from typing import Literal

from harness.errors import GuestError
from harness.values import Value

FailureCause = Literal[
    "silent",  # QEMU runs, the kernel printed nothing
    "panic-before-init",  # the kernel panicked or reset before user space ran
    "panic",  # ... after that
    "hang-in-init",  # the kernel started, but the SSH server did not
    "not-restored",  # QEMU did not take the state that it had saved
    "no-ssh",  # the SSH server says that it listens, but cannot be talked to
    "hang",  # a running guest stopped answering
    "no-console",  # the SSH server answers, but the console shows nothing of it
    "powered-off",  # the guest ended itself, on purpose as it seems
    "rebooted",  # the guest started anew, on purpose as it seems
    "qemu-died",  # QEMU ended and the guest had not panicked
    "connection-lost",  # QEMU and the kernel run, the SSH connection broke
    "cpu-mismatch",  # the guest's CPU is not what the profile promised
]


class Ending(Value):
    """Why a guest, or the way to it, ended."""

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
    farewell: str | None = None,
) -> Ending:
    """Return the verdict on a guest that cannot be talked to any more.

    :param panic: the panic's line, if the console had one.
    :param in_user_space: whether the init had started.
    :param ended: whether QEMU has ended, with ``returncode`` (negative for a signal).
    :param shutdown: the cause that QEMU gave for its end (``ShutdownCause``), empty without one.
    :param why: what the connection's end said.
    :param farewell: the console's line by which a kernel says that it was told to end.
    """
    crashed: FailureCause = "panic" if in_user_space else "panic-before-init"
    if panic is not None:
        return Ending(verdict=crashed, what=panic)
    if not ended:
        what = f"the SSH connection broke, while QEMU and the kernel run: {why}"
        return Ending(verdict="connection-lost", what=what)
    if shutdown == "guest-reset" and farewell is not None:
        return Ending(verdict="rebooted", what=f"the guest was told to reboot: {farewell}")
    if shutdown == "guest-reset":
        what = "the guest reset itself without a word (triple fault?)"
        return Ending(verdict=crashed, what=what)
    if shutdown == "guest-shutdown":
        said = f": {farewell}" if farewell else ""
        return Ending(verdict="powered-off", what=f"the guest switched itself off{said}")
    if returncode is not None and returncode < 0:
        name = signal.Signals(-returncode).name
        hint = "the host may be short of memory: its kernel log tells"
        return Ending(
            verdict="qemu-died",
            what=f"QEMU was killed by {name}",
            hint=hint if name == "SIGKILL" else None,
        )
    return Ending(verdict="qemu-died", what=f"QEMU ended with exit code {returncode}")


class Completed(Value):
    """A command that ran in the guest, or as much of it as there was."""

    #: ``None`` if a signal ended it, if it was cut short, or if the server did not say.
    returncode: int | None
    #: The signal's name without ``SIG``, if one ended it.
    signal: str | None
    #: Bounded: of a long output the first and the last part, with a line between them.
    stdout: bytes
    stderr: bytes
    seconds: float
    #: The deadline passed; the command was killed, and the guest is well.
    timed_out: bool = False
    #: Why the command was ended before its end for what it printed; empty if it was not.
    overflow: str = ""

    @property
    def cut_short(self) -> str | None:
        """Why the harness ended the command; None if it ended by itself."""
        if self.overflow:
            return f"too much output: {self.overflow}"
        return f"timed out after {self.seconds:.0f} s" if self.timed_out else None


class GuestFailure(GuestError):  # noqa: N818 - the contract's name
    """A guest that cannot go on, with what was known and collected by then.

    :param verdict: what happened, in one word.
    :param phase: the last boot phase that was reached (``firmware``, ``kernel``, ``init``,
        ``sshd``, ``ready``).
    :param console_tail: the console's last lines.
    :param detail: lines that tell more than the console does, and are shown in its place.
    :param partial: what the command that was running had given.
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
