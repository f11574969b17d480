"""Random values that both a state and its steps need."""

from __future__ import annotations

from random import Random
from typing import TypeVar

from harness.campaigns.bare_fuzz import case as layout
from harness.campaigns.bare_fuzz.case import MASK64

T = TypeVar("T")

VALUES = (
    *(0, 1, 2, 3, 0x0F, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000),
    *(0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, MASK64 - 1, MASK64),
)
_STATUS = (0x001, 0x004, 0x010, 0x040, 0x080, 0x800)
TF, IF, DF, IOPL = 0x100, 0x200, 0x400, 0x3000
NT, RF, AC, ID = 0x4000, 1 << 16, 1 << 18, 1 << 21
_NOT_CANONICAL = (1 << 47, (1 << 56) - 64, MASK64 - (1 << 47) - 63)
#: With five levels, those above are canonical, and nothing is there.
_NOT_CANONICAL_57 = (1 << 56, (1 << 63) - 64, MASK64 - (1 << 56) - 63)
UINV = 0xEC
#: Vectors of other interrupts, and those of the 8259.
OTHERS, PIC_VECTORS = (0x20, 0x41, 0xED, 0xFE), (0xE8, 0xE8, 0x20)
#: A vector that the local APIC refuses.
ILLEGAL = 0x03
#: Registers that steps write to, all but RSP.
_FREE = (0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)


class RandomValues:
    """Random values, mostly valid ones."""

    def __init__(self, random: Random, *, x2apic: bool, la57: bool) -> None:
        self._random = random
        self._x2apic = x2apic
        self._la57 = la57
        #: The usual notification vector.
        self._uinv = UINV
        #: Addresses that are not canonical, or where nothing is.
        self._nowhere: tuple[int, ...] = (*_NOT_CANONICAL, *(_NOT_CANONICAL_57 if la57 else ()))

    def _register(self) -> int:
        return self._random.choice(_FREE)

    def _vector(self) -> int:
        """Return a vector that the local APIC accepts."""
        return self._pick(*(self._uinv,) * 4, *OTHERS)

    def _value(self) -> int:
        return self._pick(*VALUES) if self._chance(0.7) else self._random.getrandbits(64)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _pick(self, *these: T) -> T:
        return self._random.choice(these)

    def _rflags(self) -> int:
        flags = 2 | sum(flag for flag in _STATUS if self._chance(0.4))
        flags |= IF if self._chance(0.8) else 0
        flags |= TF if self._chance(0.12) else 0
        flags |= IOPL if self._chance(0.2) else 0
        return flags | sum(flag for flag in (DF, NT, RF, AC, ID) if self._chance(0.1))

    def _stack(self) -> int:
        if self._chance(0.04):
            return self._pick(*self._nowhere, layout.page(1), layout.page(11) + 8)
        middle = layout.page(layout.STACK_PAGE + 1)
        return (
            middle
            + 8 * self._random.randint(-12, 20)
            + (self._random.randrange(8) if self._chance(0.1) else 0)
        )

    def _msrs(self) -> tuple[int, ...]:
        requests = sum(1 << self._random.randrange(64) for _ in range(self._pick(0, 0, 0, 1, 2)))
        return (
            requests & MASK64,
            self._address(layout.HANDLER, 1),
            self._adjustment(),
            self._pick(*(self._uinv,) * 4, 0, 0x41) << 32 | self._pick(7, 7, 7, 3, 8, 200),
            self._address(layout.UPID, 64),
            self._address(layout.UITT, 16) | self._chance(0.95),
        )

    def _adjustment(self) -> int:
        middle = layout.page(layout.STACK_PAGE + 1)
        return self._pick(0, 0, 0, 128, 64, 8, middle | 1, middle + 64 | 15, MASK64 - 127, 1 << 48)

    def _address(self, usual: int, align: int) -> int:
        """Return an address that is valid for an MSR, mostly the usual one."""
        if self._chance(0.93):
            return usual
        return self._pick(*_NOT_CANONICAL, layout.page(1), layout.page(11), 0) & ~(align - 1)

    def _pkru(self) -> int:
        """Return PKRU, which mostly restricts one key slightly; key 0 is the player's."""
        forbidden = sum(self._pick(0, 0, 2, 2, 1) << 2 * key for key in (1, 2, 3, 15))
        return forbidden & 0xFFFFFFFC
