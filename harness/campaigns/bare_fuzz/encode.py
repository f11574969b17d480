"""Encoding of instructions, in hexadecimal."""

from __future__ import annotations


def sized(opcode: int, size: int, rm: int, reg: int) -> str:
    """Return the code of an instruction on two registers.

    :param size: 0, 1, 2 or 3 for 8, 16, 32 or 64 bits.
    """
    prefix = "66" if size == 1 else ""
    rex = 0x40 | (size == 3) << 3 | (reg > 7) << 2 | (rm > 7)
    middle = f"{rex:02x}" if size == 0 or rex != 0x40 else ""
    return f"{prefix}{middle}{opcode | (size > 0):02x}{modrm(reg, rm):02x}"


def modrm(reg: int, rm: int) -> int:
    """Return the ModRM byte for two registers."""
    return 0xC0 | (reg & 7) << 3 | rm & 7


def load(register: int, value: int) -> str:
    """MOV of a constant to a register, with 32 bits if they are enough."""
    if value >> 32:
        prefix = f"{0x48 | (register > 7):02x}{0xB8 | register & 7:02x}"
        return prefix + value.to_bytes(8, "little").hex()
    prefix = "41" if register > 7 else ""
    return f"{prefix}{0xB8 | register & 7:02x}" + value.to_bytes(4, "little").hex()


def push(register: int) -> str:
    """PUSH of a register."""
    return f"41{0x50 | register & 7:02x}" if register > 7 else f"{0x50 | register:02x}"


def pop(register: int) -> str:
    """POP of a register."""
    return f"41{0x58 | register & 7:02x}" if register > 7 else f"{0x58 | register:02x}"


#: Commands for ICR: a fixed interrupt to this CPU by shorthand, and an NMI to APIC ID 0.
SELF, NMI = 1 << 18 | 1 << 14, 4 << 8 | 1 << 14


def write_apic(offset: int, value: int, *, x2apic: bool) -> str:
    """Write a register of the local APIC: by WRMSR, or by MOV of EAX to the address in RDI."""
    if x2apic:
        return f"{load(1, 0x800 + offset // 16)}{load(0, value)}{load(2, 0)}0f30"
    return f"{load(7, 0xFEE00000 + offset)}{load(0, value)}8907"
