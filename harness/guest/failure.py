"""What can go wrong with a guest, as verdicts that a script can tell apart."""

from __future__ import annotations

from typing import Literal

from harness.errors import GuestError
from harness.values import Value

Verdict = Literal[
    "silent",  # QEMU runs, the kernel printed nothing
    "panic-before-init",  # the kernel panicked or reset before user space ran
    "panic",  # ... after that
    "hang-in-init",  # the kernel started, but the SSH server did not
    "no-ssh",  # the SSH server says that it listens, but cannot be talked to
    "hang",  # a running guest stopped answering
    "qemu-died",  # QEMU ended and the guest had not panicked
    "connection-lost",  # QEMU and the kernel run, the SSH connection broke
    "cpu-mismatch",  # the guest's CPU is not what the profile promised
]


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


class GuestFailure(GuestError):  # noqa: N818 - the contract's name
    """A guest that cannot go on, with what was known and collected by then.

    :param verdict: what happened, in one word.
    :param phase: the last boot phase that was reached (``firmware``, ``kernel``, ``init``,
        ``sshd``, ``ready``).
    :param console_tail: the console's last lines.
    :param partial: what the command that was running had given.
    """

    def __init__(
        self,
        verdict: Verdict,
        what: str,
        *,
        phase: str,
        console_tail: str = "",
        where: str | None = None,
        hint: str | None = None,
        partial: Completed | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint, detail=console_tail or None)
        self.verdict: Verdict = verdict
        self.phase = phase
        self.console_tail = console_tail
        self.partial = partial
