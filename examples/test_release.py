"""Tests in Python to start from: ``uintr-harness run --tests examples/test_release.py``.

Each function that takes ``guest`` runs once in each cell.
"""

from __future__ import annotations

from harness.testing import Guest


def test_the_kernel_is_the_one_that_was_built(guest: Guest) -> None:
    done = guest.run(["uname", "-r"], timeout_s=5)
    assert done.returncode == 0
    assert done.stdout.startswith(b"6.12")


def test_all_cpus_are_online(guest: Guest) -> None:
    online = guest.run(["cat", "/sys/devices/system/cpu/online"], timeout_s=5).stdout
    possible = guest.run(["cat", "/sys/devices/system/cpu/possible"], timeout_s=5).stdout
    assert online == possible
