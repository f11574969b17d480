# SPDX-License-Identifier: GPL-2.0-only
"""RDMSR and WRMSR of the six MSRs; SDM volume 3A, chapter "User Interrupts"."""

from __future__ import annotations

from oracle import apic
from oracle.processor import GP, Fault, Processor, Unmodelled, canonical

RR, HANDLER, STACKADJUST, MISC, PD, TT = range(0x985, 0x98B)
#: The MSRs of the local APIC in x2APIC mode.
_APIC = range(apic.MSRS, apic.MSRS + 0x100)
#: MSR → the statement about the values that it takes.
_BY = {number: f"ENUM-{4 + number - RR}" for number in range(RR, TT + 1)}


def rdmsr(cpu: Processor, number: int) -> int:
    """Return the value of an MSR. CR4.UINTR does not matter (ENUM-11)."""
    if cpu.cpl:
        cpu.by("ENUM-3")
        raise Fault(GP)
    if number in _APIC:
        return _read_apic(cpu, (number - apic.MSRS) * 16)
    cpu.by("ENUM-2")
    match number:
        case 0x985:
            return cpu.uirr
        case 0x986:
            return cpu.uihandler
        case 0x987:
            return cpu.uistackadjust
        case 0x988:
            return cpu.uinv << 32 | cpu.uittsz
        case 0x989:
            return cpu.upidaddr
        case 0x98A:
            return cpu.uitt
    raise Unmodelled(f"RDMSR {number:#x}")


def wrmsr(cpu: Processor, number: int, value: int) -> None:
    """Write an MSR, or raise #GP for a value that it does not take."""
    if cpu.cpl:
        cpu.by("ENUM-3")
        raise Fault(GP)
    if number in _APIC:
        _write_apic(cpu, (number - apic.MSRS) * 16, value)
        return
    if not RR <= number <= TT:
        raise Unmodelled(f"WRMSR {number:#x}")
    cpu.by(_BY[number])
    if refused(cpu, number, value):
        raise Fault(GP)
    load(cpu, number, value)


def _write_apic(cpu: Processor, offset: int, value: int) -> None:
    """Write a register of the local APIC. #GP in xAPIC mode, and for a reserved bit."""
    width = {apic.ICR: 64, apic.SELF_IPI: 8}.get(offset, 32)
    if not cpu.apic.x2apic or value >> width:
        raise Fault(GP)
    try:
        cpu.apic.store(offset, value)
    except apic.UnknownRegister as error:
        raise Unmodelled(str(error)) from error


def _read_apic(cpu: Processor, offset: int) -> int:
    if not cpu.apic.x2apic:
        raise Fault(GP)
    try:
        return cpu.apic.load(offset)
    except apic.UnknownRegister as error:
        raise Unmodelled(str(error)) from error


def refused(cpu: Processor, number: int, value: int) -> bool:
    """Return true if WRMSR refuses a value: a reserved bit is set, or it is not canonical."""
    if number == RR:
        return False
    if number == MISC:
        return bool(value >> 40)
    reserved = {PD: 0x3F, TT: 0xE}.get(number, 0)
    return bool(value & reserved) or not canonical(value, cpu.linear_bits)


def load(cpu: Processor, number: int, value: int) -> None:
    """Set the state that an MSR holds, without checks."""
    match number:
        case 0x985:
            cpu.by("DELIVERY-17")
            cpu.uirr = value
        case 0x986:
            cpu.uihandler = value
        case 0x987:
            cpu.uistackadjust = value
        case 0x988:
            cpu.uinv, cpu.uittsz = value >> 32 & 0xFF, value & 0xFFFFFFFF
        case 0x989:
            cpu.upidaddr = value
        case 0x98A:
            cpu.uitt = value
