# SPDX-License-Identifier: GPL-2.0-only
"""User interrupts; SDM volume 3A, chapter "User Interrupts", and volume 2."""

from __future__ import annotations

from oracle.processor import (
    AC,
    AF,
    CF,
    DF,
    GP,
    ID,
    IF,
    MASK64,
    NT,
    OF,
    PF,
    RF,
    RSP,
    SF,
    STATUS,
    TF,
    UD,
    ZF,
    Fault,
    Processor,
    canonical,
)

#: Bits of RFLAGS that UIRET loads.
UIRET_FLAGS = CF | PF | AF | ZF | SF | TF | DF | OF | NT | RF | AC | ID
#: Bits of a UITT entry's first half that must be 0. The vector is checked separately.
UITTE_RESERVED = 0xFFFF_FFFF_FFFF_00FE
#: Bits of a UPID's first half that must be 0 for SENDUIPI.
UPID_RESERVED = 0xFF00_FFFC
ON, SN = 1, 2


def enabled(cpu: Processor, *, lock: bool) -> None:
    """Raise #UD if the feature's instructions are not available. The mode is 64-bit mode."""
    if lock:
        cpu.by("INSN-4")
        raise Fault(UD)
    if not cpu.cr4_uintr:
        cpu.by("INSN-3")
        raise Fault(UD)
    cpu.by("INSN-1" if cpu.cpl == 3 else "INSN-2")


def clui(cpu: Processor) -> None:
    """Clear UIF."""
    cpu.by("INSN-17")
    cpu.uif = False


def stui(cpu: Processor) -> None:
    """Set UIF. Unlike STI, it does not inhibit delivery for one instruction (DELIVERY-3)."""
    cpu.by("INSN-17")
    cpu.uif = True


def testui(cpu: Processor) -> None:
    """Copy UIF to CF, and clear the other status flags."""
    cpu.by("INSN-18")
    cpu.rflags &= ~STATUS
    cpu.set_flag(CF, cpu.uif)


def uiret(cpu: Processor) -> None:
    """Return from a user-interrupt handler, which has popped the vector."""
    stack = cpu.regs[RSP]
    try:
        temp_rip = cpu.read(stack, 8, stack=True)
        temp_rflags = cpu.read((stack + 8) & MASK64, 8, stack=True)
        temp_rsp = cpu.read((stack + 16) & MASK64, 8, stack=True)
    except Fault as fault:
        cpu.by("UIRET-6" if fault.address is not None else "UIRET-5")
        raise
    if not canonical(temp_rip, cpu.paging_bits):
        cpu.by("UIRET-4")
        raise Fault(GP)
    cpu.by("UIRET-1")
    cpu.by("UIRET-2")
    if cpu.nmi_blocked:
        cpu.by("NMI-3")
    cpu.rip = temp_rip
    cpu.rflags = cpu.rflags & ~UIRET_FLAGS | temp_rflags & UIRET_FLAGS
    cpu.regs[RSP] = temp_rsp
    if cpu.uiret_uif:
        cpu.by("UIRET-12")
        cpu.uif = bool(temp_rflags & 2)
    else:
        cpu.uif = True


def senduipi(cpu: Processor, index: int) -> None:
    """Post the vector of a UITT entry, and notify the receiver unless ON or SN is set."""
    if not cpu.uitt & 1:
        cpu.by("INSN-9")
        raise Fault(UD)
    if index > cpu.uittsz:
        cpu.by("SEND-7")
        raise Fault(GP)
    low, upid = _read_uitte(cpu, index)
    vector = low >> 8 & 0xFF
    if not low & 1 or low & UITTE_RESERVED or vector > 63:
        cpu.by("SEND-9")
        raise Fault(GP)
    if upid & 0x3F:
        cpu.by("SEND-10")
        raise Fault(GP)
    # One locked access: it must be writable even if the content is then refused.
    try:
        cpu.lock(upid, 16)
    except Fault as fault:
        cpu.by("SEND-10" if fault.address is None else _or_smap(cpu, fault, "SEND-14", "SEND-16"))
        raise
    word = cpu.memory.load(upid, 8)
    if word & UPID_RESERVED:
        cpu.by("SEND-12")
        raise Fault(GP)
    pir = cpu.memory.load(upid + 8, 8)
    notify = not word & (ON | SN)
    cpu.by("SEND-1" if notify else "SEND-4" if word & SN else "SEND-3")
    cpu.memory.store(upid + 8, 8, pir | 1 << vector)
    cpu.memory.store(upid, 8, word | notify)
    if notify:
        _notify(cpu, word)


def _read_uitte(cpu: Processor, index: int) -> tuple[int, int]:
    """Return both halves of a UITT entry."""
    address = ((cpu.uitt & ~0xF) + 16 * index) & MASK64
    try:
        entry = cpu.read(address, 16, supervisor=True)
    except Fault as fault:
        cpu.by("SEND-11" if fault.address is None else _or_smap(cpu, fault, "SEND-14", "SEND-15"))
        raise
    return entry & MASK64, entry >> 64


def _notify(cpu: Processor, word: int) -> None:
    """Send the notification interrupt that a UPID's first half names."""
    vector, ndst = word >> 16 & 0xFF, word >> 32
    cpu.by("SEND-5" if vector >= 16 else "SEND-18")
    cpu.by("SEND-19")
    cpu.apic.fixed(ndst if cpu.apic.x2apic else ndst >> 8 & 0xFF, vector)


def _or_smap(cpu: Processor, fault: Fault, smap: str, other: str) -> str:
    """Return the statement for SMAP if it may be the cause of a fault, else the other one."""
    return smap if cpu.cr4_smap and fault.error & 1 else other


def user_interrupt_notification_identification(cpu: Processor, vector: int, *, local: bool) -> bool:
    """Return true if an interrupt is a notification.

    IA-32e mode is active. The caller has removed the request from the APIC, which stands for EOI.

    :param local: whether it comes from the local APIC.
    """
    if not cpu.cr4_uintr:
        cpu.by("NOTIFY-9")
        return False
    if vector != cpu.uinv:
        cpu.by("NOTIFY-11")
        return False
    if not local:
        cpu.by("NOTIFY-26")
        return False
    cpu.by("NOTIFY-6")
    return True


def user_interrupt_notification_processing(cpu: Processor) -> None:
    """Move the posted requests of the UPID to UIRR."""
    try:
        cpu.lock(cpu.upidaddr, 16, implicit=True)
    except Fault as fault:
        if fault.address is None:
            cpu.by("NOTIFY-17")
            raise Fault(GP, 1) from fault
        cpu.by(_or_smap(cpu, fault, "NOTIFY-15", "NOTIFY-16"))
        raise
    if cpu.nmi_blocked:
        cpu.by("NMI-4")
    word = cpu.memory.load(cpu.upidaddr, 8)
    cpu.memory.store(cpu.upidaddr, 8, word & ~ON)
    pir = cpu.memory.load(cpu.upidaddr + 8, 8)
    cpu.memory.store(cpu.upidaddr + 8, 8, 0)
    cpu.by("NOTIFY-1" if pir else "NOTIFY-3")
    if cpu.uirr and pir:
        cpu.by("NOTIFY-2")
    cpu.uirr |= pir
    cpu.notified = True
    cpu.circumstance("event-after-notification", cpu.traps or cpu.breakpoint_here())


def user_interrupt_deliverable(cpu: Processor) -> bool:
    """Return true if a user interrupt is delivered at this boundary. The mode is 64-bit mode."""
    if not cpu.uirr:
        return False
    if not cpu.cr4_uintr:
        cpu.by("DELIVERY-8")
        return False
    if not cpu.uif:
        cpu.by("DELIVERY-2")
        return False
    if cpu.cpl != 3:
        cpu.by("DELIVERY-6")
        return False
    return True


def user_interrupt_delivery(cpu: Processor) -> None:
    """Push the frame and enter the handler."""
    if cpu.notified:
        cpu.by("DELIVERY-24")
        cpu.circumstance("event-after-notification")
    cpu.circumstance("code-breakpoint-with-interrupt", cpu.breakpoint_here())
    vector = cpu.uirr.bit_length() - 1
    if not canonical(cpu.uihandler, cpu.paging_bits):
        cpu.by("FRAME-13")
        raise Fault(GP)
    temp_rsp = cpu.regs[RSP]
    if cpu.uistackadjust & 1:
        cpu.by("FRAME-4")
        rsp = cpu.uistackadjust
    else:
        cpu.by("FRAME-3")
        rsp = temp_rsp - cpu.uistackadjust
    rsp = rsp & MASK64 & ~0xF
    try:
        for place, value in enumerate((temp_rsp, cpu.rflags, cpu.rip, vector), 1):
            cpu.write((rsp - 8 * place) & MASK64, 8, value, stack=True)
    except Fault as fault:
        cpu.by("FRAME-12" if fault.address is None else "FRAME-10")
        cpu.by("FRAME-14")
        # Words that were stored before the fault may remain.
        cpu.unspecified.append(((rsp - 32) & MASK64, 32))
        raise
    cpu.by("DELIVERY-1" if cpu.flag(IF) else "DELIVERY-4")
    cpu.by("DELIVERY-14")
    if cpu.nmi_blocked:
        cpu.by("NMI-4")
    cpu.regs[RSP] = (rsp - 32) & MASK64
    cpu.uirr &= ~(1 << vector)
    cpu.uif = False
    cpu.set_flag(TF | RF, False)
    cpu.rip = cpu.uihandler
    cpu.circumstance("data-breakpoint-by-delivery", cpu.traps)
    cpu.circumstance("code-breakpoint-with-interrupt", cpu.breakpoint_here())
