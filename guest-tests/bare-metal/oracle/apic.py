# SPDX-License-Identifier: GPL-2.0-only
"""The local APIC, reduced to IPIs and a timer that counts once; SDM volume 3A, chapter "APIC"."""

from __future__ import annotations

from dataclasses import dataclass, field

#: The page of its registers in xAPIC mode, and the first of their MSRs in x2APIC mode.
PAGE, MSRS = 0xFEE00, 0x800
#: Offsets of registers in the page. The MSR of a register is ``MSRS + offset // 16``.
ICR, SELF_IPI = 0x300, 0x3F0
ICR_HIGH = 0x310
IRR = range(0x200, 0x280, 0x10)
LVT_TIMER, INITIAL_COUNT, DIVIDE = 0x320, 0x380, 0x3E0
#: Delivery modes, and a destination shorthand.
_FIXED, _NMI = 0, 4
_SHORTHAND_SELF = 1
#: Bits of ICR beside vector, delivery mode, assert, shorthand and destination. They must be 0 here.
_ICR_OTHERS = 0xFFF3_B800


class UnknownRegister(Exception):  # noqa: N818 - not an error
    """The model does not cover an access to a register."""


@dataclass
class Apic:
    """A local APIC. What is sent arrives at the receiver's next instruction boundary, or later."""

    id: int = 0
    x2apic: bool = False
    #: Requested vectors.
    irr: set[int] = field(default_factory=set)
    #: Whether an NMI is pending.
    nmi: bool = False
    #: The upper half of ICR in xAPIC mode.
    icr_high: int = 0
    #: The timer's vector. It counts down once.
    lvt_timer: int = 0
    #: Vector of the timer while it counts. It ends at an unknown time.
    counting: int | None = None
    #: Vectors of :attr:`irr` that the timer requested.
    timed: set[int] = field(default_factory=set)
    #: The local APICs of all processors; empty if this is the only one.
    everybody: list[Apic] = field(default_factory=list, repr=False)
    #: Whether what others send is on the way until :meth:`arrive`.
    waits: bool = False
    #: Delivery modes and vectors of what others sent.
    on_the_way: list[tuple[int, int]] = field(default_factory=list)

    def fixed(self, destination: int, vector: int) -> None:
        """Send a fixed interrupt in physical mode."""
        # A vector below 16 is an error of the local APIC (SDM 3A, "Error handling").
        if vector >= 16:
            for one in self._receivers(destination):
                one._get(self, _FIXED, vector)

    def arrive(self, number: int) -> None:
        """Accept what was sent as the given one of those on the way."""
        self._accept(*self.on_the_way.pop(number))

    def _get(self, sender: Apic, mode: int, vector: int) -> None:
        if self.waits and sender is not self:
            self.on_the_way.append((mode, vector))
        else:
            self._accept(mode, vector)

    def _accept(self, mode: int, vector: int) -> None:
        if mode == _NMI:
            self.nmi = True
            return
        if vector == self.counting:
            raise UnknownRegister("an interrupt with the vector of a timer that counts")
        self.irr.add(vector)

    def store(self, offset: int, value: int) -> None:
        """Write a register, by MOV or WRMSR.

        :param value: 64 bits for ICR in x2APIC mode, else 32.
        :raise UnknownRegister: the model does not cover it.
        """
        if offset == ICR:
            self._send(value)
        elif offset == ICR_HIGH and not self.x2apic:
            self.icr_high = value
        elif offset == SELF_IPI and self.x2apic:
            self.fixed(self.id, value)
        elif offset in (LVT_TIMER, INITIAL_COUNT, DIVIDE) and self.counting is None:
            self._set_timer(offset, value)
        else:
            raise UnknownRegister(f"a store to register {offset:#x}")

    def load(self, offset: int) -> int:
        """Read a register of IRR.

        The word of the timer's vector is read in a loop until the timer has ended.

        :raise UnknownRegister: the model does not cover it.
        """
        if offset not in IRR:
            raise UnknownRegister(f"a load from register {offset:#x}")
        first = (offset - IRR.start) * 2
        if self.counting is not None and first <= self.counting < first + 32:
            self.end_count()
        return sum(1 << vector - first for vector in self.irr if first <= vector < first + 32)

    def end_count(self) -> None:
        """Request the interrupt of the timer that counts."""
        assert self.counting is not None
        self.irr.add(self.counting)
        self.timed.add(self.counting)
        self.counting = None

    def take(self) -> int:
        """Return the highest vector of IRR, which is no longer requested."""
        vector = max(self.irr)
        self.irr.discard(vector)
        return vector

    def _set_timer(self, offset: int, value: int) -> None:
        if offset == LVT_TIMER:
            if value >> 8 or value < 16:
                raise UnknownRegister(f"a timer with {value:#x}")
            self.lvt_timer = value
        elif offset == INITIAL_COUNT:
            if not value or not self.lvt_timer or self.lvt_timer in self.irr:
                raise UnknownRegister("a timer that does not count, or whose vector is pending")
            self.counting = self.lvt_timer

    def _send(self, command: int) -> None:
        vector, mode, shorthand = command & 0xFF, command >> 8 & 7, command >> 18 & 3
        destination = command >> 32 if self.x2apic else self.icr_high >> 24
        if command & _ICR_OTHERS:
            raise UnknownRegister(f"ICR {command:#x}")
        if mode == _FIXED and shorthand in (0, _SHORTHAND_SELF):
            self.fixed(self.id if shorthand else destination, vector)
        elif mode == _NMI and not shorthand:
            for one in self._receivers(destination):
                one._get(self, _NMI, vector)
        else:
            raise UnknownRegister(f"ICR {command:#x}")

    def _receivers(self, destination: int) -> list[Apic]:
        broadcast = 0xFFFFFFFF if self.x2apic else 0xFF
        return [one for one in self.everybody or [self] if destination in (one.id, broadcast)]
