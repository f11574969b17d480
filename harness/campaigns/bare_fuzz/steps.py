"""Random steps of a sequence: machine code in hexadecimal, and a text."""

from __future__ import annotations

from harness.campaigns.bare_fuzz import case as layout
from harness.campaigns.bare_fuzz.case import MASK64
from harness.campaigns.bare_fuzz.chance import OTHERS, TF, RandomValues
from harness.campaigns.bare_fuzz.encode import (
    NMI,
    SELF,
    load,
    modrm,
    pop,
    push,
    sized,
    write_apic,
)

_REFUSED = (1 << 56, 1 << 63, (1 << 62) + 64)
_NAMES = layout.REGISTERS
_SUFFIX = ("b", "w", "l", "q")
_KINDS = ("add", "or", "adc", "sbb", "and", "sub", "xor", "cmp")
_SHIFTS = ("rol", "ror", "rcl", "rcr", "shl", "shr", None, "sar")
_CONDITIONS = (
    *("o", "no", "b", "ae", "e", "ne", "be", "a"),
    *("s", "ns", "p", "np", "l", "ge", "le", "g"),
)
_MSR = 0x985


class Steps(RandomValues):
    """Generators of steps, one method per kind."""

    def _arithmetic(self) -> str:
        kind, size = self._random.randrange(8), self._random.randrange(4)
        to, other = self._register(), self._register()
        code = sized(kind << 3, size, to, other)
        return f"{code} {_KINDS[kind]}{_SUFFIX[size]} {_NAMES[other]},{_NAMES[to]}"

    def _shift(self) -> str:
        kind = self._pick(0, 1, 2, 3, 4, 5, 7)
        to, size = self._register(), self._random.randrange(4)
        return f"{sized(0xD0, size, to, kind)} {_SHIFTS[kind]}{_SUFFIX[size]} {_NAMES[to]}"

    def _one_operand(self) -> str:
        opcode, kind, name = self._pick(
            (0xFE, 0, "inc"), (0xFE, 1, "dec"), (0xF6, 2, "not"), (0xF6, 3, "neg")
        )
        to, size = self._register(), self._random.randrange(4)
        return f"{sized(opcode, size, to, kind)} {name}{_SUFFIX[size]} {_NAMES[to]}"

    def _carry(self) -> str:
        return self._pick("f8 clc", "f9 stc", "f5 cmc", "9e sahf", "fc cld", "fd std")

    def _observe(self) -> str:
        kind, code = self._random.randrange(4), self._random.randrange(16)
        to, other = self._register(), self._register()
        if kind == 0:
            return "9f lahf"
        if kind == 1:
            rex = 0x48 | (to > 7) << 2 | (other > 7)
            text = f"cmov{_CONDITIONS[code]} {_NAMES[other]},{_NAMES[to]}"
            return f"{rex:02x}0f{0x40 + code:02x}{modrm(to, other):02x} {text}"
        rex = 0x40 | (to > 7)
        return f"{rex:02x}0f{0x90 + code:02x}{modrm(0, to):02x} set{_CONDITIONS[code]} {_NAMES[to]}"

    def _flags_by_push(self) -> str:
        if self._chance(0.3):
            return "9c pushf"
        to = self._register()
        return f"9c{pop(to)} pushf; pop {_NAMES[to]}"

    def _branch(self) -> str:
        code, to = self._random.randrange(16), self._register()
        rex = 0x48 | (to > 7)
        text = f"j{_CONDITIONS[code]} over; not {_NAMES[to]}; over:"
        return f"{0x70 + code:02x}03{rex:02x}f7{modrm(2, to):02x} {text}"

    def _popf(self) -> str:
        to, flags = self._register(), self._rflags()
        if not self._chance(0.15):
            flags &= ~TF
        return f"{load(to, flags)}{push(to)}9d push ${flags:#x}; popf, by {_NAMES[to]}"

    def _interrupt_flag(self) -> str:
        return self._pick("fa cli", "fb sti")

    def _memory(self) -> str:
        """Return a load or store through a register; only the stack is stored to."""
        pointer, value = self._pick(3, 6, 7, 8, 9, 10, 11), self._register()
        store = self._chance(0.5)
        address = self._stack()
        if not store and self._chance(0.5):
            address = self._pick(layout.UPID, layout.UITT, layout.CODE, *self._nowhere)
        rex = 0x48 | (value > 7) << 2 | (pointer > 7)
        opcode = 0x89 if store else 0x8B
        operands = (_NAMES[value], f"({_NAMES[pointer]})")
        text = "mov " + ",".join(operands if store else reversed(operands))
        modrm = (value & 7) << 3 | pointer & 7
        return f"{load(pointer, address)}{rex:02x}{opcode:02x}{modrm:02x} {text} at {address:#x}"

    def _constant(self) -> str:
        if self._chance(0.3):
            address = self._stack()
            return f"{load(4, address)} mov ${address:#x},rsp"
        to, value = self._register(), self._value()
        return f"{load(to, value)} mov ${value:#x},{_NAMES[to]}"

    def _senduipi(self) -> str:
        register = self._register()
        index = self._random.randrange(8)
        if self._chance(0.08):
            index = self._pick(8, 9, 200, 1 << 32, MASK64)
        code = self._prefixed(f"0fc7{modrm(6, register):02x}", f"senduipi {_NAMES[register]}",
                              base=register > 7)  # fmt: skip
        return f"{load(register, index)}{code} = {index:#x}"

    def _uiret(self) -> str:
        """Build a frame that returns to the next instruction, and return by UIRET."""
        if self._chance(0.08):
            # At the end of the stack's second page, or outside of it, the frame cannot be read.
            stack = self._pick(*self._nowhere, layout.page(10) - 8, layout.page(1), layout.page(12))
            return f"{load(4, stack)}f30f01ec uiret from {stack:#x}"
        return self._uiret_behind(nowhere=0.08)

    def _uiret_behind(self, nowhere: float = 0) -> str:
        """Build a frame that returns to the next instruction, or nowhere, and return by UIRET."""
        to = self._pick(0, 1, 2, 3, 5, 6, 7)
        flags = self._rflags()
        if not self._chance(0.15):
            flags &= ~TF
        # With flexible UIRET this is UIF.
        flags &= ~2 if self._chance(0.2) else MASK64
        name = _NAMES[to]
        setup = f"4889{modrm(4, to):02x}{push(to)}{load(to, flags)}{push(to)}"
        if self._chance(nowhere):
            target = self._pick(*self._nowhere, layout.page(1))
            place, where = load(to, target), hex(target)
        else:
            # This LEA is followed by a push of one byte and UIRET of four.
            place, where = f"488d{to << 3 | 5:02x}05000000", "behind"
        return f"{setup}{place}{push(to)}f30f01ec uiret to {where}, flags {flags:#x}, by {name}"

    def _msr(self) -> str:
        number = _MSR + self._random.randrange(6)
        name = layout.MSRS[number - _MSR]
        select = f"b9{number.to_bytes(4, 'little').hex()}"
        if self._chance(0.35):
            return f"{select}0f32 rdmsr {name}"
        value = self._msrs()[number - _MSR]
        if self._chance(0.15):
            value = self._pick(*self._nowhere, *_REFUSED, value | 1 << self._random.randrange(64))
        low, high = (part.to_bytes(4, "little").hex() for part in (value & 0xFFFFFFFF, value >> 32))
        return f"{select}b8{low}ba{high}0f30 wrmsr {name} = {value:#x}"

    def _self_ipi(self) -> str:
        # QEMU delivers vectors below 16 and ignores reserved bits, which would hide later steps.
        vector = self._vector()
        return f"{self._send(vector)} self-IPI {vector:#x}"

    def _send(self, vector: int) -> str:
        if self._x2apic and self._chance(0.5):
            return write_apic(0x3F0, vector, x2apic=True)
        return write_apic(0x300, vector | SELF, x2apic=self._x2apic)

    def _nmi(self) -> str:
        high = "" if self._x2apic else write_apic(0x310, 0, x2apic=False)
        return f"{high}{write_apic(0x300, NMI, x2apic=self._x2apic)} NMI to itself"

    def _timer(self) -> str:
        """Start the APIC's timer with IF clear, and wait for its end by HLT or by looking at IRR.

        Code that runs while it counts must not depend on when it ends.
        """
        halts = self._chance(0.5)
        # One that is a notification seldom ends HLT.
        vector = self._pick(*OTHERS) if halts else self._vector()
        count = self._pick(20_000, 100_000) if halts else self._pick(1, 100, 5_000)
        code = "fa" + "".join(
            write_apic(offset, value, x2apic=self._x2apic)
            for offset, value in ((0x320, vector), (0x3E0, 0xB), (0x380, count))
        )
        text = f"cli; timer {vector:#x} in {count}"
        if not halts:
            code, text = f"{code}{self._until_requested(vector)}", f"{text}; wait for IRR"
            return f"{code} {text}" if self._chance(0.4) else f"{code}fb {text}; sti"
        if self._chance(0.6):
            code, text = f"{code}{self._send(self._uinv)}", f"{text}; self-IPI {self._uinv:#x}"
        return f"{code}fbf4 {text}; sti; hlt"

    def _until_requested(self, vector: int) -> str:
        """Read a word of IRR to EAX until a vector's bit is set."""
        offset, mask = 0x200 + vector // 32 * 16, 1 << vector % 32
        if self._x2apic:
            start, read = load(1, 0x800 + offset // 16), "0f32"
        else:
            start, read = load(7, 0xFEE00000 + offset), "8b07"
        return f"{start}{read}a9{mask.to_bytes(4, 'little').hex()}74f7"

    def _halt(self) -> str:
        """Halt, mostly with interrupts that were sent while IF was clear."""
        if self._chance(0.1):
            return "f4 hlt"
        vectors = [self._vector() for _ in range(self._pick(1, 1, 2, 2, 3))]
        sends = "".join(self._send(vector) for vector in vectors)
        text = ", ".join(f"{vector:#x}" for vector in vectors)
        return f"fa{sends}fbf4 cli; self-IPIs {text}; sti; hlt"

    def _iret(self) -> str:
        """Build a frame that returns to the next instruction, at either CPL, and return by IRET."""
        to = self._pick(0, 1, 2, 3, 5, 6, 7)
        flags = self._rflags()
        if not self._chance(0.1):
            flags &= ~TF
        cs, ss = self._pick((0x2B, 0x23), (0x2B, 0x23), (0x08, 0x10))
        name = _NAMES[to]
        code = f"4889{modrm(4, to):02x}6a{ss:02x}{push(to)}"
        code += f"{load(to, flags)}{push(to)}6a{cs:02x}"
        # This LEA is followed by a push of one byte and IRETQ of two.
        code += f"488d{to << 3 | 5:02x}03000000{push(to)}48cf"
        return f"{code} iret to CPL {cs & 3}, flags {flags:#x}, by {name}"

    def _xsave(self) -> str:
        kind, name = self._pick((3, "xrstors"), (5, "xsaves"))
        pointer = self._pick(3, 6, 7, 8, 9)
        wanted = self._pick(*(1 << 14,) * 6, 0, 1 << 8, 1 << 14 | 1 << 9)
        area = layout.AREA + (self._pick(8, 32, 1) if self._chance(0.05) else 0)
        rex = 0x48 | (pointer > 7)
        modrm = kind << 3 | pointer & 7
        setup = f"{load(pointer, area)}{load(0, wanted)}{load(2, 0)}"
        return f"{setup}{rex:02x}0fc7{modrm:02x} {name} of {wanted:#x}"

    def _keys(self) -> str:
        if self._chance(0.3):
            return "31c90f01ee rdpkru"
        value = self._pkru()
        return f"31c931d2b8{value.to_bytes(4, 'little').hex()}0f01ef wrpkru {value:#x}"

    def _prefixed(self, code: str, text: str, *, base: bool = False) -> str:
        """Return an instruction with F3, often with prefixes that change nothing, rarely LOCK."""
        prefixes = ["f3"]
        if self._chance(0.2):
            prefixes += self._random.choices(("66", "2e", "3e", "64", "f3"), k=2)
        if self._chance(0.03):
            prefixes.append("f0")
        self._random.shuffle(prefixes)
        if "f3" not in prefixes[-1:] and self._chance(0.5):
            prefixes.append("f3")
        rex = 0x40 | base | (self._random.randrange(8) << 1 if self._chance(0.15) else 0)
        middle = f"{rex:02x}" if base or rex != 0x40 else ""
        return f"{''.join(prefixes)}{middle}{code} {text}"
