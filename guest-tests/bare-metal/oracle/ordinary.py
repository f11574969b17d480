# SPDX-License-Identifier: GPL-2.0-only
"""Ordinary instructions that read or change RFLAGS; SDM volume 2.

Forms that leave a flag undefined are not modelled. The exceptions are logical operations and
shifts: they leave AF undefined, and processors clear it.
"""

from __future__ import annotations

from collections.abc import Callable

from oracle.processor import (
    AC,
    AF,
    CF,
    DF,
    GP,
    ID,
    IF,
    IOPL,
    MASK64,
    NT,
    OF,
    PF,
    RF,
    RSP,
    SF,
    STATUS,
    TF,
    ZF,
    Fault,
    Processor,
    Unmodelled,
    canonical,
)

_PARITY = tuple(PF if byte.bit_count() % 2 == 0 else 0 for byte in range(256))
#: Flags that POPF loads at any CPL.
_POPF = STATUS | TF | DF | NT | AC | ID


def _result_flags(result: int, bits: int) -> int:
    sign = SF if result >> (bits - 1) & 1 else 0
    return _PARITY[result & 0xFF] | sign | (0 if result else ZF)


def _set_status(cpu: Processor, flags: int, mask: int = STATUS) -> None:
    cpu.rflags = cpu.rflags & ~mask | flags & mask


def add(cpu: Processor, a: int, b: int, bits: int, carry: int = 0) -> int:
    """Return a sum, and set the status flags."""
    total = a + b + carry
    result = total & ((1 << bits) - 1)
    flags = _result_flags(result, bits)
    flags |= CF if total >> bits else 0
    flags |= AF if (a ^ b ^ result) & 0x10 else 0
    flags |= OF if ~(a ^ b) & (a ^ result) & 1 << (bits - 1) else 0
    _set_status(cpu, flags)
    return result


def sub(cpu: Processor, a: int, b: int, bits: int, borrow: int = 0) -> int:
    """Return a difference, and set the status flags."""
    total = a - b - borrow
    result = total & ((1 << bits) - 1)
    flags = _result_flags(result, bits)
    flags |= CF if total < 0 else 0
    flags |= AF if (a ^ b ^ result) & 0x10 else 0
    flags |= OF if (a ^ b) & (a ^ result) & 1 << (bits - 1) else 0
    _set_status(cpu, flags)
    return result


def _logic(cpu: Processor, result: int, bits: int) -> int:
    _set_status(cpu, _result_flags(result, bits))
    return result


#: ADD, OR, ADC, SBB, AND, SUB, XOR, CMP by their number in the opcode.
ARITHMETIC: tuple[Callable[[Processor, int, int, int], int], ...] = (
    add,
    lambda cpu, a, b, bits: _logic(cpu, a | b, bits),
    lambda cpu, a, b, bits: add(cpu, a, b, bits, cpu.rflags & CF),
    lambda cpu, a, b, bits: sub(cpu, a, b, bits, cpu.rflags & CF),
    lambda cpu, a, b, bits: _logic(cpu, a & b, bits),
    sub,
    lambda cpu, a, b, bits: _logic(cpu, a ^ b, bits),
    sub,
)
AND, CMP = 4, 7


def increment(cpu: Processor, a: int, bits: int) -> int:
    """INC: add 1, and set all status flags except CF."""
    carry = cpu.rflags & CF
    result = add(cpu, a, 1, bits)
    _set_status(cpu, carry, CF)
    return result


def decrement(cpu: Processor, a: int, bits: int) -> int:
    """DEC: subtract 1, and set all status flags except CF."""
    carry = cpu.rflags & CF
    result = sub(cpu, a, 1, bits)
    _set_status(cpu, carry, CF)
    return result


def shift_by_one(cpu: Processor, kind: int, a: int, bits: int) -> int:
    """Rotate or shift by one bit.

    :param kind: ModRM.reg: ROL, ROR, RCL, RCR, SHL, SHR are 0 to 5, SAR is 7.
    """
    top, bottom = a >> (bits - 1) & 1, a & 1
    mask = (1 << bits) - 1
    carry = cpu.rflags & CF
    left = kind in (0, 2, 4)
    into = {0: top, 1: bottom, 2: carry, 3: carry, 7: top}.get(kind, 0)
    result = a << 1 & mask | into if left else a >> 1 | into << (bits - 1)
    out = top if left else bottom
    high = result >> (bits - 1) & 1
    if left:
        overflow = high ^ out
    elif kind == 7:
        overflow = 0
    else:
        overflow = high ^ (result >> (bits - 2) & 1)
    flags = (CF if out else 0) | (OF if overflow else 0)
    if kind < 4:
        _set_status(cpu, flags, CF | OF)
    else:
        _set_status(cpu, flags | _result_flags(result, bits))
    return result


def condition(cpu: Processor, code: int) -> bool:
    """Return true if a condition of Jcc, SETcc and CMOVcc is met."""
    less = cpu.flag(SF) != cpu.flag(OF)
    holds = (
        cpu.flag(OF),
        cpu.flag(CF),
        cpu.flag(ZF),
        cpu.flag(CF | ZF),
        cpu.flag(SF),
        cpu.flag(PF),
        less,
        cpu.flag(ZF) or less,
    )[code >> 1]
    return holds != bool(code & 1)


def pushf(cpu: Processor) -> None:
    """Push RFLAGS with RF clear."""
    cpu.push(cpu.rflags & ~RF)


def popf(cpu: Processor) -> None:
    """POPF: load the flags that CPL and IOPL allow."""
    value = cpu.pop()
    mask = _POPF | (IF if cpu.cpl <= _iopl(cpu) else 0) | (0 if cpu.cpl else IOPL)
    cpu.rflags = cpu.rflags & ~(mask | RF) | value & mask


def iret(cpu: Processor) -> None:
    """IRETQ: return to the same privilege level or to a less privileged one."""
    try:
        if cpu.flag(NT):
            raise Fault(GP)
        stack = cpu.regs[RSP]
        rip, cs, flags, rsp, ss = (
            cpu.read((stack + 8 * place) & MASK64, 8, stack=True) for place in range(5)
        )
        if cs & 3 < cpu.cpl and cs in {known for known, _ in cpu.selectors}:
            raise Fault(GP, cs & ~3)
    except Fault as fault:
        if cpu.apic.nmi:
            raise Unmodelled("an IRET that faults while an NMI is held off") from fault
        raise
    cpl = cpu.selectors.get((cs, ss))
    if cpl is None or cpl < cpu.cpl or not canonical(rip, cpu.paging_bits) or flags & 7 << 17 & ~AC:
        raise Unmodelled("IRET with other selectors, a RIP that is not canonical, or VM or VIF set")
    cleared = cpu.flag(IF) and not flags & IF
    requested = cpu.cpl != cpl and cpu.uirr and cpu.uif
    cpu.circumstance("request-at-iret-that-clears-if", cleared and requested)
    mask = _POPF | RF | (IF if cpu.cpl <= _iopl(cpu) else 0) | (0 if cpu.cpl else IOPL)
    cpu.rip, cpu.regs[RSP], cpu.cpl = rip, rsp, cpl
    if cpu.nmi_blocked:
        cpu.by("NMI-2")
        cpu.nmi_blocked = False
    cpu.rflags = cpu.rflags & ~mask | flags & mask


def lahf(cpu: Processor) -> int:
    """LAHF: return the value for AH."""
    return cpu.rflags & (SF | ZF | AF | PF | CF) | 2


def sahf(cpu: Processor, value: int) -> None:
    """SAHF: load flags from AH."""
    _set_status(cpu, value, SF | ZF | AF | PF | CF)


def cli(cpu: Processor) -> None:
    """CLI: clear IF, or raise #GP if IOPL forbids it."""
    _need_iopl(cpu)
    cpu.set_flag(IF, False)


def sti(cpu: Processor) -> None:
    """STI: set IF, or raise #GP if IOPL forbids it. Interrupts are held off for one instruction."""
    _need_iopl(cpu)
    cpu.sti_shadow = not cpu.flag(IF)
    cpu.set_flag(IF, True)


def hlt(cpu: Processor) -> None:
    """HLT: stop until an event, or raise #GP outside of CPL 0."""
    if cpu.cpl:
        cpu.by("HALT-1")
        raise Fault(GP)
    cpu.halted = True


def _iopl(cpu: Processor) -> int:
    return cpu.rflags >> 12 & 3


def _need_iopl(cpu: Processor) -> None:
    if cpu.cpl > _iopl(cpu):
        raise Fault(GP)
