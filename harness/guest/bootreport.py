"""How a boot went: what a run records of it."""

from __future__ import annotations

from harness.values import Value


class BootReport(Value):
    """How a boot went."""

    #: Seconds from QEMU's start to the end of the first SSH command.
    boot_s: float
    #: Phase → seconds from QEMU's start to its mark: firmware (first byte on the console),
    #: decompress, kernel (first printk), init, sshd, login, ready (first command done); of a
    #: restored guest: restored, login, ready.
    phases: dict[str, float]
    #: Whether the guest was restored from the state that another one had saved after its boot.
    restored: bool = False
