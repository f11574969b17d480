# SPDX-License-Identifier: GPL-2.0-only
"""Pages, the rights to them, and the parts of them that have known bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

PAGE_SIZE = 4096
PRESENT, WRITABLE, USER = 1, 2, 4


class OutsideError(Exception):
    """An access to bytes of a page of which nothing is known."""


@dataclass
class Memory:
    """Linear memory: what is neither in ``pages`` nor unknown is not mapped. CR0.WP is set."""

    #: Rights by the number of the page.
    pages: dict[int, int] = field(default_factory=dict)
    #: Known bytes, by the address of the first.
    blocks: dict[int, bytearray] = field(default_factory=dict)
    #: Addresses below this one belong to others.
    unknown_below: int = 0

    def violation(
        self, address: int, size: int, *, write: bool, user: bool, smap: bool = False
    ) -> tuple[int, bool] | None:
        """Return the first byte that may not be accessed so, and whether its page is present.

        :param smap: whether pages of the user may not be accessed.
        :raise OutsideError: nothing is known of it.
        """
        if address < self.unknown_below:
            raise OutsideError(hex(address))
        first = address // PAGE_SIZE
        for page in range(first, (address + size - 1) // PAGE_SIZE + 1):
            rights = self.pages.get(page, 0)
            wanted = PRESENT | (WRITABLE if write else 0) | (USER if user else 0)
            if rights & wanted != wanted or (smap and rights & USER):
                place = address if page == first else page * PAGE_SIZE
                return place, bool(rights & PRESENT)
        return None

    def load(self, address: int, size: int) -> int:
        """Return what is at an address.

        :raise OutsideError: nothing is known of it.
        """
        block, offset = self._find(address, size)
        return int.from_bytes(block[offset : offset + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Store the low ``size`` bytes of a value; see :meth:`load`."""
        block, offset = self._find(address, size)
        block[offset : offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def _find(self, address: int, size: int) -> tuple[bytearray, int]:
        for start, block in self.blocks.items():
            if start <= address and address + size <= start + len(block):
                return block, address - start
        raise OutsideError(hex(address))
