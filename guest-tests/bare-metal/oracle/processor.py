# SPDX-License-Identifier: GPL-2.0-only
"""One logical processor in IA-32e mode: state, memory accesses, faults."""

from __future__ import annotations

from dataclasses import dataclass, field

from oracle.apic import PAGE as APIC_PAGE
from oracle.apic import Apic, UnknownRegister
from oracle.memory import PAGE_SIZE, Memory

MASK64 = (1 << 64) - 1

CF, PF, AF, ZF, SF, TF, IF, DF, OF = (1 << bit for bit in (0, 2, 4, 6, 7, 8, 9, 10, 11))
IOPL, NT, RF, AC, ID = 3 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 21
STATUS = CF | PF | AF | ZF | SF | OF

DB, NMI, UD, NM, SS, GP, PAGE = 1, 2, 6, 7, 12, 13, 14
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)


class Fault(Exception):  # noqa: N818 - the architecture's word
    """A fault-class exception.

    :param vector: number of the exception.
    :param error: error code; 0 for an exception without one.
    :param address: new value of CR2 for a page fault, else None.
    """

    def __init__(self, vector: int, error: int = 0, address: int | None = None) -> None:
        super().__init__(vector, error, address)
        self.vector = vector
        self.error = error
        self.address = address


@dataclass(frozen=True)
class Breakpoint:
    """An enabled breakpoint, one of DR0 to DR3. Without ``on_write`` it is a code breakpoint."""

    number: int
    address: int
    size: int
    on_write: bool = False
    on_read: bool = False

    def hit_by(self, address: int, size: int, *, write: bool, read: bool) -> bool:
        """Return true if a data access meets the breakpoint's condition."""
        wanted = (write and self.on_write) or (read and self.on_read)
        return wanted and address < self.address + self.size and self.address < address + size


class Unmodelled(Exception):  # noqa: N818 - not an error: such a case is left out
    """The model does not cover an instruction or an event."""


#: What decides nothing here, but is known to be wrong in an emulator; its deviations refer to it.
CIRCUMSTANCES = {
    "event-after-notification": "an event at the instruction boundary of a notification, after it",
    "code-breakpoint-with-interrupt": "an interrupt, and a breakpoint on the instruction that it "
    "interrupts or on the first one of a user interrupt's handler",
    "data-breakpoint-by-delivery": "a data breakpoint on the frame of a user interrupt",
    "request-at-iret-that-clears-if": "an IRET to CPL 3 that clears RFLAGS.IF, before a delivery",
    "key-for-supervisor": "an access with the supervisor's rights to a page with a restricting key",
    "key-of-supervisor-page": "an access with the user's rights to a page of the supervisor with a "
    "restricting key",
    "locked-instruction-faults": "a page fault of a locked instruction, user interrupts apart",
    "smap-in-spite-of-ac": "a page fault where SMAP applies although RFLAGS.AC is set",
    "initial-state-with-uinv": "XRSTORS of the initial configuration while UINV is not 0",
    "initial-state-beside-a-breakpoint": "XRSTORS of the initial configuration, and a breakpoint "
    "on what would be the image",
    "initial-state-with-requests": "XRSTORS of the initial configuration while UIRR is not 0",
}


def canonical(address: int, bits: int) -> bool:
    """Return true if bits 63 to ``bits - 1`` of an address are equal (SDM 1, 3.3.7.1)."""
    high = address >> (bits - 1)
    return high in (0, (1 << (65 - bits)) - 1)


@dataclass
class Processor:
    """One logical processor that runs 64-bit code."""

    memory: Memory
    regs: list[int] = field(default_factory=lambda: [0] * 16)
    rip: int = 0
    rflags: int = 2
    cpl: int = 3
    apic: Apic = field(default_factory=Apic)

    #: Vector that an 8259 requests.
    pic: int | None = None
    #: Whether it is taken before an interrupt of the local APIC. The manual does not say.
    pic_first: bool = False

    cr4_uintr: bool = True
    cr4_smap: bool = False
    cr4_pke: bool = False
    pkru: int = 0
    breakpoints: tuple[Breakpoint, ...] = ()
    #: Bits of DR6 for a debug trap at the next instruction boundary.
    traps: int = 0
    #: From CPUID: width of linear addresses, and whether UIRET loads UIF from the frame.
    linear_bits: int = 57
    uiret_uif: bool = False
    #: Width of linear addresses in the current paging mode.
    paging_bits: int = 48

    uif: bool = False
    uirr: int = 0
    uihandler: int = 0
    uistackadjust: int = 0
    uinv: int = 0
    uittsz: int = 0
    upidaddr: int = 0
    #: IA32_UINTR_TT: the table's address, and in bit 0 whether SENDUIPI is enabled.
    uitt: int = 0

    #: Whether HLT has stopped execution.
    halted: bool = False
    #: Whether NMIs are held off until the next IRET.
    nmi_blocked: bool = False
    #: Whether nothing but the trap of a single step has ended a HLT.
    halt_ended_by_step: bool = False
    #: Whether the last instruction was a JMP that waits for another processor.
    waiting: bool = False
    #: Whether STI inhibits interrupts for one more instruction.
    sti_shadow: bool = False
    #: (CS, SS) → CPL. IRET is modelled only with these selectors.
    selectors: dict[tuple[int, int], int] = field(default_factory=dict)
    #: Whether state component 14, except UINV, is unspecified after a fault.
    component_open: bool = False
    #: Whether it is unspecified which byte of an area CR2 holds.
    cr2_open: bool = False
    #: Ids of the contract's statements that decided something.
    reached: set[str] = field(default_factory=set)
    #: Those of :data:`CIRCUMSTANCES` that there were.
    circumstances: set[str] = field(default_factory=set)
    #: Whether there was a notification at this instruction boundary.
    notified: bool = False
    #: Address and size of memory whose content is unspecified.
    unspecified: list[tuple[int, int]] = field(default_factory=list)

    def by(self, statement: str) -> None:
        """Record that a statement of the contract has decided something."""
        self.reached.add(statement)

    def circumstance(self, name: str, applies: object = True) -> None:
        """Record one of :data:`CIRCUMSTANCES`, if it applies."""
        if applies:
            assert name in CIRCUMSTANCES
            self.circumstances.add(name)

    def flag(self, mask: int) -> bool:
        """Return true if one of the bits is set in RFLAGS."""
        return bool(self.rflags & mask)

    def set_flag(self, mask: int, value: bool) -> None:
        """Set or clear bits of RFLAGS."""
        self.rflags = self.rflags | mask if value else self.rflags & ~mask

    # --- memory --------------------------------------------------------------------------------

    def read(
        self, address: int, size: int, *, supervisor: bool = False, stack: bool = False
    ) -> int:
        """Return the value at a linear address.

        :param supervisor: access with the supervisor's rights, whatever the CPL is.
        :param stack: raise #SS instead of #GP for an address that is not canonical.
        """
        if address // PAGE_SIZE == APIC_PAGE:
            return self._load_from_apic(address, size, user=self.cpl == 3 and not supervisor)
        self._check(address, size, stack)
        self._translate(address, size, write=False, user=self.cpl == 3 and not supervisor)
        self._watch(address, size, read=True)
        return self.memory.load(address, size)

    def write(self, address: int, size: int, value: int, *, stack: bool = False) -> None:
        """Store a value at a linear address. ``stack`` is as in :meth:`read`."""
        if address // PAGE_SIZE == APIC_PAGE:
            self._store_to_apic(address, size, value)
            return
        self._check(address, size, stack)
        self._translate(address, size, write=True, user=self.cpl == 3)
        self._watch(address, size, write=True)
        self.memory.store(address, size, value)

    def _store_to_apic(self, address: int, size: int, value: int) -> None:
        """Store to a register of the local APIC, which is in a page of the supervisor."""
        self._check_apic(address, size, write=True, user=self.cpl == 3)
        try:
            self.apic.store(address % PAGE_SIZE, value)
        except UnknownRegister as error:
            raise Unmodelled(str(error)) from error

    def _load_from_apic(self, address: int, size: int, *, user: bool) -> int:
        self._check_apic(address, size, write=False, user=user)
        try:
            return self.apic.load(address % PAGE_SIZE)
        except UnknownRegister as error:
            raise Unmodelled(str(error)) from error

    def _check_apic(self, address: int, size: int, *, write: bool, user: bool) -> None:
        if user:
            raise Fault(PAGE, 5 | write << 1, address)
        if self.apic.x2apic or size != 4:
            raise Unmodelled("an access to the APIC's page of another size, or in x2APIC mode")

    def fetch(self, address: int) -> int:
        """Return a byte of code."""
        self._check(address, 1, stack=False)
        if bad := self.memory.violation(address, 1, write=False, user=self.cpl == 3):
            raise Fault(PAGE, 0x10 | (self.cpl == 3) << 2 | bad.present, bad.address)
        return self.memory.load(address, 1)

    def lock(self, address: int, size: int, *, implicit: bool = False) -> None:
        """Check a locked access with the supervisor's rights. The access goes to :attr:`memory`.

        :param implicit: whether SMAP applies even if RFLAGS.AC is set.
        """
        self._check(address, size, stack=False)
        self._translate(address, size, write=True, user=False, implicit=implicit)
        self._watch(address, size, write=True, read=True)

    def breakpoint_here(self) -> int:
        """Return the bits of DR6 for code breakpoints at RIP; 0 if RF is set."""
        if self.flag(RF):
            return 0
        these = (one for one in self.breakpoints if not one.on_write and one.address == self.rip)
        return sum(1 << one.number for one in these)

    def has_code_breakpoints(self) -> bool:
        """Return whether a code breakpoint is enabled."""
        return any(not one.on_write for one in self.breakpoints)

    def _watch(self, address: int, size: int, *, write: bool = False, read: bool = False) -> None:
        for one in self.breakpoints:
            if one.hit_by(address, size, write=write, read=read):
                self.traps |= 1 << one.number

    def _check(self, address: int, size: int, stack: bool) -> None:
        ends = (address, (address + size - 1) & MASK64)
        if not all(canonical(end, self.paging_bits) for end in ends):
            raise Fault(SS if stack else GP)

    def _translate(
        self, address: int, size: int, *, write: bool, user: bool, implicit: bool = False
    ) -> None:
        # SDM 3A, "Determination of access rights": AC waives SMAP for explicit accesses at CPL 0.
        waived = self.cpl < 3 and self.flag(AC) and not implicit
        smap = self.cr4_smap and not user and not waived
        pkru = self.pkru if self.cr4_pke else 0
        if pkru and self.memory.has_restricting_key(address, size, pkru, user_pages=not user):
            self.circumstance("key-of-supervisor-page" if user else "key-for-supervisor")
        bad = self.memory.violation(address, size, write=write, user=user, smap=smap, pkru=pkru)
        if bad:
            self.circumstance("smap-in-spite-of-ac", smap and self.flag(AC))
            error = bad.key << 5 | user << 2 | write << 1 | bad.present
            raise Fault(PAGE, error, bad.address)

    # --- the stack -----------------------------------------------------------------------------

    def push(self, value: int) -> None:
        """Push eight bytes. A fault leaves RSP unchanged."""
        address = (self.regs[RSP] - 8) & MASK64
        self.write(address, 8, value, stack=True)
        self.regs[RSP] = address

    def pop(self) -> int:
        """Pop eight bytes."""
        value = self.read(self.regs[RSP], 8, stack=True)
        self.regs[RSP] = (self.regs[RSP] + 8) & MASK64
        return value
