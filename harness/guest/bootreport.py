"""The report of a guest's boot, for a run's records."""

from __future__ import annotations

from harness.values import Value


class BootReport(Value):
    """Duration and phases of a boot or a restore."""

    #: Seconds from QEMU's start to the end of the first SSH command.
    boot_s: float
    #: Phase → seconds from QEMU's start. A boot has firmware (first byte on the console),
    #: decompress, kernel (first printk), init, sshd, login, ready (first command done). A
    #: restored guest has restored, login, ready.
    phases: dict[str, float]
    #: Whether the guest was restored from a snapshot.
    restored: bool = False
