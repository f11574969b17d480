"""The pytest plugin: cells as parameters, guests as a fixture, programs as items.

``Guest`` is the type of the fixture ``guest``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.run.cellguest import CellGuest as Guest

__all__ = ["Guest"]


def __getattr__(name: str) -> object:
    # pytest imports this package in each project, and the guest imports paramiko.
    if name == "Guest":
        from harness.run.cellguest import CellGuest

        return CellGuest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
