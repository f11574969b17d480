# SPDX-License-Identifier: GPL-2.0-only
"""Decoding and dispatch of instructions in 64-bit mode. Most operands are registers."""

from __future__ import annotations

from collections.abc import Callable

from oracle import locked, msrs, ordinary, uintr, xsave
from oracle.instruction import Instruction
from oracle.processor import (
    CF,
    DF,
    GP,
    MASK64,
    RAX,
    RCX,
    RDX,
    UD,
    Fault,
    Processor,
    Unmodelled,
)


class Done(Exception):  # noqa: N818 - the end of a sequence
    """Raised by INT 80h, which ends a sequence."""


def execute(cpu: Processor) -> None:
    """Execute the instruction at RIP. A fault leaves RIP unchanged.

    :raise Fault: the instruction faults.
    :raise Done: the sequence ends.
    :raise Unmodelled: the model does not cover the instruction.
    """
    cpu.notified = cpu.waiting = False
    insn = Instruction(cpu, cpu.rip)
    opcode = insn.prefixes()
    handler = _ONE.get(opcode)
    if opcode == 0x0F:
        opcode = insn.next()
        handler = _TWO.get(opcode)
    if handler is None:
        raise Unmodelled(f"opcode {opcode:#x}")
    insn.byte = opcode
    if not handler(insn):
        cpu.rip = insn.at


#: Executes an instruction. Returns true if it has set RIP.
Handler = Callable[[Instruction], bool | None]


def _plain(insn: Instruction) -> None:
    """Refuse LOCK, F2 and F3, which are not modelled for ordinary instructions."""
    if insn.lock or insn.repeat:
        raise Unmodelled("a prefix of an ordinary instruction")


# --- ordinary instructions ---------------------------------------------------------------------


def _arithmetic(insn: Instruction) -> None:
    _plain(insn)
    reg, rm = insn.registers()
    bits = insn.bits if insn.byte & 1 else 8
    to, other = (reg, rm) if insn.byte & 2 else (rm, reg)
    _operate(insn, insn.byte >> 3, to, insn.get(other, bits), bits)


def _arithmetic_immediate(insn: Instruction) -> None:
    _plain(insn)
    kind, rm = insn.registers()
    bits = 8 if insn.byte == 0x80 else insn.bits
    size = min(bits // 8, 4) if insn.byte == 0x81 else 1
    _operate(insn, kind & 7, rm, insn.signed(size) & ((1 << bits) - 1), bits)


def _operate(insn: Instruction, kind: int, to: int, operand: int, bits: int) -> None:
    result = ordinary.ARITHMETIC[kind](insn.cpu, insn.get(to, bits), operand, bits)
    if kind != ordinary.CMP:
        insn.put(to, bits, result)


def _test(insn: Instruction) -> None:
    _plain(insn)
    reg, rm = insn.registers()
    bits = insn.bits if insn.byte & 1 else 8
    ordinary.ARITHMETIC[ordinary.AND](insn.cpu, insn.get(rm, bits), insn.get(reg, bits), bits)


def _test_accumulator(insn: Instruction) -> None:
    _plain(insn)
    value = insn.signed(min(insn.bits // 8, 4)) & ((1 << insn.bits) - 1)
    ordinary.ARITHMETIC[ordinary.AND](insn.cpu, insn.get(RAX, insn.bits), value, insn.bits)


def _unary(insn: Instruction) -> None:
    """INC and DEC (FE, FF), NOT and NEG (F6, F7)."""
    _plain(insn)
    kind, rm = insn.registers()
    kind &= 7
    bits = insn.bits if insn.byte & 1 else 8
    value, cpu = insn.get(rm, bits), insn.cpu
    if insn.byte >= 0xFE and kind < 2:
        step = ordinary.increment if kind == 0 else ordinary.decrement
        insn.put(rm, bits, step(cpu, value, bits))
    elif insn.byte < 0xFE and kind == 2:
        insn.put(rm, bits, ~value & ((1 << bits) - 1))
    elif insn.byte < 0xFE and kind == 3:
        insn.put(rm, bits, ordinary.sub(cpu, 0, value, bits))
    else:
        raise Unmodelled(f"opcode {insn.byte:#x} /{kind}")


def _shift(insn: Instruction) -> None:
    _plain(insn)
    kind, rm = insn.registers()
    if kind & 7 == 6:
        raise Unmodelled("a shift that the manual does not list")
    bits = insn.bits if insn.byte & 1 else 8
    insn.put(rm, bits, ordinary.shift_by_one(insn.cpu, kind & 7, insn.get(rm, bits), bits))


def _mov(insn: Instruction) -> None:
    """MOV between registers, or between a register and memory that a register points to."""
    _plain(insn)
    mode, reg, rm = insn.modrm()
    bits = insn.bits if insn.byte & 1 else 8
    load = insn.byte & 2
    if mode == 3:
        to, other = (reg, rm) if load else (rm, reg)
        insn.put(to, bits, insn.get(other, bits))
        return
    if mode or rm & 7 in (4, 5):
        raise Unmodelled("a memory operand with more than a register")
    address = insn.cpu.regs[rm]
    if load:
        insn.put(reg, bits, insn.cpu.read(address, bits // 8))
    else:
        insn.cpu.write(address, bits // 8, insn.get(reg, bits))


def _lea(insn: Instruction) -> None:
    """LEA of a RIP-relative address."""
    _plain(insn)
    mode, reg, rm = insn.modrm()
    if mode or rm & 7 != 5 or insn.bits != 64:
        raise Unmodelled("LEA of another form")
    offset = insn.signed(4)
    insn.put(reg, 64, (insn.at + offset) & MASK64)


def _mov_immediate(insn: Instruction) -> None:
    _plain(insn)
    bits = insn.bits if insn.byte & 8 else 8
    register = (insn.byte & 7) | (8 if insn.rex & 1 else 0)
    insn.put(register, bits, insn.immediate(bits // 8))


def _push(insn: Instruction) -> None:
    _plain(insn)
    insn.cpu.push(insn.cpu.regs[(insn.byte & 7) | (8 if insn.rex & 1 else 0)])


def _push_immediate(insn: Instruction) -> None:
    _plain(insn)
    insn.cpu.push(insn.signed(1))


def _pop(insn: Instruction) -> None:
    _plain(insn)
    value = insn.cpu.pop()
    insn.cpu.regs[(insn.byte & 7) | (8 if insn.rex & 1 else 0)] = value


def _flags(insn: Instruction) -> None:
    """Instructions without operands that read or change RFLAGS."""
    _plain(insn)
    cpu = insn.cpu
    match insn.byte:
        case 0x9C:
            ordinary.pushf(cpu)
        case 0x9D:
            ordinary.popf(cpu)
        case 0x9E:
            ordinary.sahf(cpu, cpu.regs[RAX] >> 8 & 0xFF)
        case 0x9F:
            cpu.regs[RAX] = cpu.regs[RAX] & ~0xFF00 | ordinary.lahf(cpu) << 8
        case 0xF5:
            cpu.rflags ^= CF
        case 0xF8 | 0xF9:
            cpu.set_flag(CF, insn.byte == 0xF9)
        case 0xFA:
            ordinary.cli(cpu)
        case 0xFB:
            ordinary.sti(cpu)
        case 0xFC | 0xFD:
            cpu.set_flag(DF, insn.byte == 0xFD)


def _halt(insn: Instruction) -> None:
    _plain(insn)
    ordinary.hlt(insn.cpu)


def _nop(insn: Instruction) -> None:
    """NOP, and PAUSE with F3."""
    if insn.lock or insn.repeat == 0xF2 or insn.rex:
        raise Unmodelled("XCHG, or a prefix of NOP")


def _jump(insn: Instruction) -> bool:
    _plain(insn)
    offset = insn.signed(1)
    taken = insn.byte == 0xEB or ordinary.condition(insn.cpu, insn.byte & 15)
    insn.cpu.rip = (insn.at + offset) & MASK64 if taken else insn.at
    return True


def _group_5(insn: Instruction) -> bool:
    """FF: JMP to the address in memory that a register points to, if it goes not forward.

    Only another processor can end such a loop. The other operations are those of FE.
    """
    start = insn.cpu.rip
    if insn.cpu.fetch(insn.at) & 0xF8 != 0x20:
        _unary(insn)
        return False
    _plain(insn)
    _, _, rm = insn.modrm()
    if rm & 7 in (4, 5):
        raise Unmodelled("a memory operand with more than a register")
    target = insn.cpu.read(insn.cpu.regs[rm], 8)
    insn.cpu.waiting = target <= start
    insn.cpu.rip = target
    return True


def _set(insn: Instruction) -> None:
    _plain(insn)
    _, rm = insn.registers()
    insn.put(rm, 8, ordinary.condition(insn.cpu, insn.byte & 15))


def _move_if(insn: Instruction) -> None:
    """CMOVcc. With 32 bits the upper half is cleared even if the condition is false."""
    _plain(insn)
    reg, rm = insn.registers()
    source = rm if ordinary.condition(insn.cpu, insn.byte & 15) else reg
    insn.put(reg, insn.bits, insn.get(source, insn.bits))


def _undefined(_insn: Instruction) -> None:
    raise Fault(UD)


def _interrupt(insn: Instruction) -> None:
    _plain(insn)
    if insn.next() != 0x80:
        raise Unmodelled("INT")
    insn.cpu.rip = insn.at
    raise Done


def _iret(insn: Instruction) -> bool:
    _plain(insn)
    if not insn.rex & 8:
        raise Unmodelled("IRET of another size")
    ordinary.iret(insn.cpu)
    return True


def _rdmsr(insn: Instruction) -> None:
    _plain(insn)
    regs = insn.cpu.regs
    value = msrs.rdmsr(insn.cpu, regs[RCX] & 0xFFFFFFFF)
    regs[RAX], regs[RDX] = value & 0xFFFFFFFF, value >> 32


def _wrmsr(insn: Instruction) -> None:
    _plain(insn)
    regs = insn.cpu.regs
    value = regs[RDX] << 32 & MASK64 | regs[RAX] & 0xFFFFFFFF
    msrs.wrmsr(insn.cpu, regs[RCX] & 0xFFFFFFFF, value)


# --- user interrupts ---------------------------------------------------------------------------


def _pkru(insn: Instruction, modrm: int) -> None:
    """RDPKRU and WRPKRU: 0F 01 EE and EF without a prefix (SDM 2)."""
    _plain(insn)
    cpu, regs = insn.cpu, insn.cpu.regs
    if insn.operand_size:
        raise Unmodelled("a prefix of an ordinary instruction")
    if not cpu.cr4_pke:
        raise Fault(UD)
    if regs[RCX] & 0xFFFFFFFF or (modrm == 0xEF and regs[RDX] & 0xFFFFFFFF):
        raise Fault(GP)
    if modrm == 0xEF:
        cpu.pkru = regs[RAX] & 0xFFFFFFFF
    else:
        regs[RAX], regs[RDX] = cpu.pkru, 0


def _group_7(insn: Instruction) -> bool:
    """0F 01: UIRET, TESTUI, CLUI and STUI are F3 with ModRM EC to EF."""
    modrm = insn.next()
    if modrm in (0xEE, 0xEF) and not insn.repeat:
        insn.cpu.by("INSN-23")
        _pkru(insn, modrm)
        return False
    if not 0xEC <= modrm <= 0xEF or insn.repeat != 0xF3:
        raise Unmodelled(f"0F 01 {modrm:02X}")
    cpu = insn.cpu
    uintr.enabled(cpu, lock=insn.lock)
    _note_prefixes(insn)
    if modrm == 0xEC:
        uintr.uiret(cpu)
        return True
    {0xED: uintr.testui, 0xEE: uintr.clui, 0xEF: uintr.stui}[modrm](cpu)
    return False


def _group_9(insn: Instruction) -> None:
    """0F C7: SENDUIPI is F3 /6 of a register, always with 64 bits; XRSTORS is /3, XSAVES /5."""
    mode, reg, rm = insn.modrm()
    if mode == 0 and reg & 7 in (3, 5) and rm & 7 not in (4, 5):
        _plain(insn)
        operation = xsave.xrstors if reg & 7 == 3 else xsave.xsaves
        # The manual does not say which byte of the area a fault reports.
        insn.cpu.cr2_open = True
        try:
            operation(insn.cpu, xsave.mask(insn.cpu), insn.cpu.regs[rm])
        except Fault as fault:
            if any(one.on_write for one in insn.cpu.breakpoints):
                raise Unmodelled("data breakpoints on an area whose access faults") from fault
            raise
        insn.cpu.cr2_open = False
        return
    if mode != 3 or reg & 7 != 6 or insn.repeat != 0xF3:
        raise Unmodelled("0F C7")
    uintr.enabled(insn.cpu, lock=insn.lock)
    _note_prefixes(insn)
    insn.cpu.by("INSN-14")
    uintr.senduipi(insn.cpu, insn.cpu.regs[rm])


def _note_prefixes(insn: Instruction) -> None:
    if insn.operand_size:
        insn.cpu.by("INSN-12")
    if insn.rex:
        insn.cpu.by("INSN-13")


def _table() -> tuple[dict[int, Handler], dict[int, Handler]]:
    """Return the handlers of the one-byte opcodes, and of those behind 0F."""
    one: dict[int, Handler] = dict.fromkeys(
        (0x9C, 0x9D, 0x9E, 0x9F, 0xF5, *range(0xF8, 0xFE)), _flags
    )
    one |= {kind << 3 | form: _arithmetic for kind in range(8) for form in range(4)}
    one |= dict.fromkeys((0x80, 0x81, 0x83), _arithmetic_immediate)
    one |= dict.fromkeys((0x84, 0x85), _test) | dict.fromkeys(range(0x88, 0x8C), _mov)
    one |= dict.fromkeys(range(0x50, 0x58), _push) | dict.fromkeys(range(0x58, 0x60), _pop)
    one |= dict.fromkeys(range(0xB0, 0xC0), _mov_immediate)
    one |= dict.fromkeys((0xFE, 0xF6, 0xF7), _unary) | dict.fromkeys((0xD0, 0xD1), _shift)
    one |= dict.fromkeys((*range(0x70, 0x80), 0xEB), _jump)
    one |= {
        0x6A: _push_immediate,
        0x87: locked.exchange,
        0x8D: _lea,
        0x90: _nop,
        0xA9: _test_accumulator,
        0xCD: _interrupt,
        0xCF: _iret,
        0xF4: _halt,
        0xFF: _group_5,
    }
    two: dict[int, Handler] = {0x0B: _undefined, 0x30: _wrmsr, 0x32: _rdmsr}
    two |= dict.fromkeys(range(0x90, 0xA0), _set) | dict.fromkeys(range(0x40, 0x50), _move_if)
    two |= {0x01: _group_7, 0xBA: locked.change_bit, 0xC7: _group_9}
    return one, two


_ONE, _TWO = _table()
