"""A test that a cell boots the kernel that was built."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.run.cellguest import CellGuest


def test_boot(guest: CellGuest) -> None:
    """The guest runs the kernel of its cell."""
    done = guest.run(["uname", "-r"], timeout_s=10)
    assert done.stdout.decode().strip() == guest.setup.kernel.release
