# SPDX-License-Identifier: GPL-2.0-only
"""Pages, the rights to them, and the parts of them that have known bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

PAGE_SIZE = 4096
PRESENT, WRITABLE, USER = 1, 2, 4


class OutsideError(Exception):
    """An access to bytes of a page of which nothing is known."""


class Violation(NamedTuple):
    """An access that is not allowed."""

    #: The first byte of it.
    address: int
    #: Whether the page is there.
    present: bool
    #: Whether the page's protection key forbids it.
    key: bool


@dataclass
class Memory:
    """Linear memory: what is neither in ``pages`` nor unknown is not mapped. CR0.WP is set."""

    #: Rights by the number of the page.
    pages: dict[int, int] = field(default_factory=dict)
    #: Known bytes, by the address of the first.
    blocks: dict[int, bytearray] = field(default_factory=dict)
    #: Addresses below this one belong to others.
    unknown_below: int = 0
    #: Protection keys by the number of the page; 0 for the others.
    keys: dict[int, int] = field(default_factory=dict)

    def violation(
        self,
        address: int,
        size: int,
        *,
        write: bool,
        user: bool,
        smap: bool = False,
        pkru: int = 0,
    ) -> Violation | None:
        """Return the violation of an access, if it is one.

        :param smap: whether pages of the user may not be accessed.
        :param pkru: PKRU if the access is one of data and CR4.PKE is set, else 0.
        :raise OutsideError: nothing is known of it.
        """
        if address < self.unknown_below:
            raise OutsideError(hex(address))
        first = address // PAGE_SIZE
        for page in range(first, (address + size - 1) // PAGE_SIZE + 1):
            rights = self.pages.get(page, 0)
            wanted = PRESENT | (WRITABLE if write else 0) | (USER if user else 0)
            key = _forbidden(rights, pkru >> 2 * self.keys.get(page, 0) & 3, write)
            if rights & wanted != wanted or (smap and rights & USER) or key:
                place = address if page == first else page * PAGE_SIZE
                return Violation(place, bool(rights & PRESENT), key)
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


def _forbidden(rights: int, access: int, write: bool) -> bool:
    """Return whether a protection key forbids an access (SDM 3A, "Protection Keys").

    Keys are for the user's pages, and for the supervisor's accesses to them, too.

    :param access: AD and WD of the page's key.
    """
    user_page = rights & (PRESENT | USER) == PRESENT | USER
    return user_page and bool(access & 1 or (access & 2 and write))
