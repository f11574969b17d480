# SPDX-License-Identifier: GPL-2.0-only
"""The parts of an instruction: prefixes, ModRM, immediates, registers as operands."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.processor import GP, MASK64, Fault, Processor, Unmodelled

_LIMIT = 15
_SEGMENTS = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65))


@dataclass
class Instruction:
    """An instruction, as far as it has been read."""

    cpu: Processor
    #: Address of the next byte.
    at: int
    length: int = 0
    lock: bool = False
    #: 66h, and the last of F2h and F3h.
    operand_size: bool = False
    repeat: int = 0
    rex: int = 0
    byte: int = 0

    def next(self) -> int:
        """Read a byte; the sixteenth raises #GP."""
        if self.length == _LIMIT:
            self.cpu.by("INSN-15")
            raise Fault(GP)
        value = self.cpu.fetch(self.at)
        self.at = (self.at + 1) & MASK64
        self.length += 1
        return value

    def prefixes(self) -> int:
        """Read prefixes, of which a REX counts only as the last; return the opcode's first byte."""
        while True:
            value = self.next()
            if value & 0xF0 == 0x40:
                self.rex = value
                continue
            if value == 0xF0:
                self.lock = True
            elif value in (0xF2, 0xF3):
                self.repeat = value
            elif value == 0x66:
                self.operand_size = True
            elif value not in _SEGMENTS:
                return value
            self.rex = 0

    def immediate(self, size: int) -> int:
        """Read an immediate, without its sign."""
        return sum(self.next() << 8 * place for place in range(size))

    def signed(self, size: int) -> int:
        """Read an immediate, extended to 64 bits."""
        value = self.immediate(size)
        return (value - (1 << 8 * size) if value >> (8 * size - 1) else value) & MASK64

    @property
    def bits(self) -> int:
        """Operand size of an instruction that is not of bytes."""
        return 64 if self.rex & 8 else 16 if self.operand_size else 32

    def modrm(self) -> tuple[int, int, int]:
        """Read ModRM; return its mode, and its fields reg and rm with what REX adds."""
        value = self.next()
        reg = (value >> 3 & 7) | (8 if self.rex & 4 else 0)
        return value >> 6, reg, (value & 7) | (8 if self.rex & 1 else 0)

    def registers(self) -> tuple[int, int]:
        """Read ModRM of a form with two registers."""
        mode, reg, rm = self.modrm()
        if mode != 3:
            raise Unmodelled("an operand in memory")
        return reg, rm

    def get(self, register: int, bits: int) -> int:
        """Return a register's low bits; without REX, bytes 4 to 7 are AH to BH."""
        if bits == 8 and not self.rex and 4 <= register < 8:
            return self.cpu.regs[register - 4] >> 8 & 0xFF
        return self.cpu.regs[register] & ((1 << bits) - 1)

    def put(self, register: int, bits: int, value: int) -> None:
        """Write a register: 32 bits clear the upper half, less leaves the rest."""
        regs = self.cpu.regs
        if bits == 8 and not self.rex and 4 <= register < 8:
            regs[register - 4] = regs[register - 4] & ~0xFF00 | value << 8
        elif bits < 32:
            regs[register] = regs[register] & ~((1 << bits) - 1) | value
        else:
            regs[register] = value
