# SPDX-License-Identifier: GPL-2.0-only
"""Memory: pages, their access rights, and blocks with known content."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

PAGE_SIZE = 4096
PRESENT, WRITABLE, USER = 1, 2, 4


class OutsideError(Exception):
    """An access to bytes whose content is unknown."""


class Violation(NamedTuple):
    """A page fault's cause."""

    #: The first byte that must not be accessed.
    address: int
    #: Whether the page is present.
    present: bool
    #: Whether the page's protection key forbids it.
    key: bool


@dataclass
class Memory:
    """Linear memory with CR0.WP set. A page that is not in ``pages`` is not mapped."""

    #: Page number → bits of its page-table entry.
    pages: dict[int, int] = field(default_factory=dict)
    #: Address → known bytes from there on.
    blocks: dict[int, bytearray] = field(default_factory=dict)
    #: The content of memory below this address is unknown.
    unknown_below: int = 0
    #: Page number → protection key; 0 for other pages.
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
        """Return why an access causes a page fault; None if it is allowed.

        :param smap: whether SMAP forbids access to user pages.
        :param pkru: PKRU if it is a data access and CR4.PKE is set, else 0.
        :raise OutsideError: the content at the address is unknown.
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

    def has_restricting_key(self, address: int, size: int, pkru: int, *, user_pages: bool) -> bool:
        """Return whether PKRU has a bit set for the key of a page.

        :param user_pages: whether the user's pages count, besides the supervisor's.
        """
        pages = range(address // PAGE_SIZE, (address + size - 1) // PAGE_SIZE + 1)
        return any(
            pkru >> 2 * self.keys.get(page, 0) & 3
            and (user_pages or not self.pages.get(page, 0) & USER)
            for page in pages
        )

    def load(self, address: int, size: int) -> int:
        """Return the value at an address.

        :raise OutsideError: the content at the address is unknown.
        """
        block, offset = self._find(address, size)
        return int.from_bytes(block[offset : offset + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Store the low ``size`` bytes of a value.

        :raise OutsideError: the content at the address is unknown.
        """
        block, offset = self._find(address, size)
        block[offset : offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def _find(self, address: int, size: int) -> tuple[bytearray, int]:
        for start, block in self.blocks.items():
            if start <= address and address + size <= start + len(block):
                return block, address - start
        raise OutsideError(hex(address))


def _forbidden(rights: int, access: int, write: bool) -> bool:
    """Return whether a protection key forbids an access (SDM 3A, "Protection Keys").

    Keys apply to user pages, also when the supervisor accesses them.

    :param access: the bits AD and WD of PKRU for the page's key.
    """
    user_page = rights & (PRESENT | USER) == PRESENT | USER
    return user_page and bool(access & 1 or (access & 2 and write))
