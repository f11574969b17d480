# SPDX-License-Identifier: GPL-2.0-only
"""Locked instructions on eight bytes of memory that a register points to, at CPL 0."""

from __future__ import annotations

from oracle.instruction import Instruction
from oracle.processor import CF, Fault, Unmodelled


def exchange(insn: Instruction) -> None:
    """XCHG with memory, which is locked with and without the prefix."""
    mode, reg, rm = insn.modrm()
    address = _address(insn, mode, rm)
    _lock(insn, address)
    value = insn.cpu.memory.load(address, 8)
    insn.cpu.memory.store(address, 8, insn.cpu.regs[reg])
    insn.cpu.regs[reg] = value


def change_bit(insn: Instruction) -> None:
    """LOCK BTS (/5) and LOCK BTR (/6) of a constant bit. The flags but CF and ZF are undefined."""
    mode, reg, rm = insn.modrm()
    address = _address(insn, mode, rm)
    bit = 1 << (insn.immediate(1) & 63)
    if not insn.lock or reg & 7 not in (5, 6):
        raise Unmodelled("a bit test of another form")
    _lock(insn, address)
    value = insn.cpu.memory.load(address, 8)
    insn.cpu.set_flag(CF, bool(value & bit))
    insn.cpu.memory.store(address, 8, value | bit if reg & 7 == 5 else value & ~bit)


def _address(insn: Instruction, mode: int, rm: int) -> int:
    if insn.cpu.cpl or mode or rm & 7 in (4, 5) or insn.repeat or not insn.rex & 8:
        raise Unmodelled("a locked instruction of another form")
    return insn.cpu.regs[rm]


def _lock(insn: Instruction, address: int) -> None:
    try:
        insn.cpu.lock(address, 8)
    except Fault:
        insn.cpu.circumstance("locked-instruction-faults")
        raise
