# SPDX-License-Identifier: GPL-2.0-only
"""The parts of an instruction: prefixes, ModRM, immediates, registers as operands."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.processor import GP, MASK64, Fault, Processor, Unmodelled

_LIMIT = 15
_SEGMENTS = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65))


@dataclass
class Instruction:
    """An instruction that is being read."""

    cpu: Processor
    #: Address of the next byte.
    at: int
    length: int = 0
    lock: bool = False
    #: Whether there is a prefix 66h.
    operand_size: bool = False
    #: The last prefix F2h or F3h; 0 without one.
    repeat: int = 0
    rex: int = 0
    #: The last byte of the opcode.
    byte: int = 0

    def next(self) -> int:
        """Read a byte. The sixteenth raises #GP."""
        if self.length == _LIMIT:
            self.cpu.by("INSN-15")
            raise Fault(GP)
        value = self.cpu.fetch(self.at)
        self.at = (self.at + 1) & MASK64
        self.length += 1
        return value

    def prefixes(self) -> int:
        """Read prefixes, and return the opcode's first byte. REX counts only as the last prefix."""
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
        """Read an immediate without sign extension."""
        return sum(self.next() << 8 * place for place in range(size))

    def signed(self, size: int) -> int:
        """Read an immediate, and sign-extend it to 64 bits."""
        value = self.immediate(size)
        return (value - (1 << 8 * size) if value >> (8 * size - 1) else value) & MASK64

    @property
    def bits(self) -> int:
        """Operand size in bits, for opcodes whose operands are not bytes."""
        return 64 if self.rex & 8 else 16 if self.operand_size else 32

    def modrm(self) -> tuple[int, int, int]:
        """Read ModRM, and return mod, reg and rm; reg and rm are extended by REX."""
        value = self.next()
        reg = (value >> 3 & 7) | (8 if self.rex & 4 else 0)
        return value >> 6, reg, (value & 7) | (8 if self.rex & 1 else 0)

    def registers(self) -> tuple[int, int]:
        """Read ModRM with two register operands, and return reg and rm."""
        mode, reg, rm = self.modrm()
        if mode != 3:
            raise Unmodelled("an operand in memory")
        return reg, rm

    def get(self, register: int, bits: int) -> int:
        """Return a register's low bits. Without REX, byte registers 4 to 7 are AH to BH."""
        if bits == 8 and not self.rex and 4 <= register < 8:
            return self.cpu.regs[register - 4] >> 8 & 0xFF
        return self.cpu.regs[register] & ((1 << bits) - 1)

    def put(self, register: int, bits: int, value: int) -> None:
        """Write a register. A 32-bit write clears the upper half; a smaller one keeps the rest."""
        regs = self.cpu.regs
        if bits == 8 and not self.rex and 4 <= register < 8:
            regs[register - 4] = regs[register - 4] & ~0xFF00 | value << 8
        elif bits < 32:
            regs[register] = regs[register] & ~((1 << bits) - 1) | value
        else:
            regs[register] = value
