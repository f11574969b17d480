"""Generator of random cases: a mostly valid state and steps; the same seed gives the same cases."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import TypeVar

from harness.campaigns.bare_fuzz import case as layout
from harness.campaigns.bare_fuzz.case import MASK64, Breakpoint, Case
from harness.campaigns.bare_fuzz.encode import load, modrm, pop, push, sized

T = TypeVar("T")

_WORDS = struct.Struct(f"<{layout.STACK_WORDS}Q")

_VALUES = (
    *(0, 1, 2, 3, 0x0F, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000),
    *(0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, MASK64 - 1, MASK64),
)
_STATUS = (0x001, 0x004, 0x010, 0x040, 0x080, 0x800)
_TF, _IF, _DF, _IOPL = 0x100, 0x200, 0x400, 0x3000
_NT, _RF, _AC, _ID = 0x4000, 1 << 16, 1 << 18, 1 << 21
_RIGHTS = 7
_NOT_CANONICAL = (1 << 47, (1 << 56) - 64, MASK64 - (1 << 47) - 63)
#: With five levels, those above are canonical, and nothing is there.
_NOT_CANONICAL_57 = (1 << 56, (1 << 63) - 64, MASK64 - (1 << 56) - 63)
_REFUSED = (1 << 56, 1 << 63, (1 << 62) + 64)
_UINV = 0xEC
_VECTORS = (_UINV, _UINV, _UINV, _UINV, 0x20, 0x41, 0xED, 0xFE, 0x03)
#: Registers that steps write to, all but RSP.
_FREE = (0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_NAMES = layout.REGISTERS
_SUFFIX = ("b", "w", "l", "q")
_KINDS = ("add", "or", "adc", "sbb", "and", "sub", "xor", "cmp")
_SHIFTS = ("rol", "ror", "rcl", "rcr", "shl", "shr", None, "sar")
_CONDITIONS = (
    *("o", "no", "b", "ae", "e", "ne", "be", "a"),
    *("s", "ns", "p", "np", "l", "ge", "le", "g"),
)
_MSR = 0x985
#: Consecutive cases with the same mode of the local APIC and of paging.
_MODE = 1000


def generate(seed: int, number: int, attempt: int = 0) -> Case:
    """Return the case of a number; each attempt gives another one."""
    mode = number // _MODE
    random = Random(f"{seed}/{number}/{attempt}")  # noqa: S311 - no secret
    return _Generator(random, x2apic=bool(mode & 1), la57=bool(mode & 2)).case()


class _Generator:
    """A generator of one case."""

    def __init__(self, random: Random, *, x2apic: bool, la57: bool) -> None:
        self._random = random
        self._x2apic = x2apic
        self._la57 = la57
        self._nowhere: tuple[int, ...] = (*_NOT_CANONICAL, *(_NOT_CANONICAL_57 if la57 else ()))
        self._smap = self._chance(0.15)
        self._keyed = self._chance(0.15)
        self._watched = self._chance(0.3)
        self._steps: tuple[tuple[int, Callable[[], str]], ...] = (
            (8, self._arithmetic),
            (2, self._shift),
            (3, self._one_operand),
            (2, self._carry),
            (4, self._look),
            (4, self._look_by_push),
            (2, self._branch),
            (2, self._popf),
            (1, self._interrupt_flag),
            (1, self._memory),
            (1, self._constant),
            (4, lambda: self._prefixed("0f01ed", "testui")),
            (4, lambda: self._prefixed("0f01ee", "clui")),
            (4, lambda: self._prefixed("0f01ef", "stui")),
            (5, self._senduipi),
            (3, self._uiret),
            (4, self._msr),
            (2, self._self_ipi),
            (2, self._iret),
            (3, self._xsave),
            (2 if self._keyed else 0, self._keys),
            (1, lambda: "0f0b ud2"),
        )
        self._weights = [weight for weight, _ in self._steps]

    # --- the state -----------------------------------------------------------------------------

    def case(self) -> Case:
        """Return the case."""
        regs = [self._value() for _ in range(16)]
        regs[4] = self._stack()
        return Case(
            level=0 if self._chance(0.4) else 3,
            x2apic=self._x2apic,
            la57=self._la57,
            uif=self._chance(0.5),
            cr4_uintr=self._chance(0.95),
            cr4_smap=self._smap,
            cr4_pke=self._keyed,
            pkru=self._pkru() if self._keyed else 0,
            keys=self._pick_keys(),
            breakpoints=self._breakpoints(),
            pending=self._pending(),
            rflags=self._rflags(),
            regs=tuple(regs),
            msrs=self._msrs(),
            rights=self._rights(),
            page_end=self._chance(0.2),
            code=self._some(self._random.randint(1, 12), 8 * layout.CODE_WORDS - 3),
            handler=self._handler(),
            stack=self._words(),
            upid=(*self._one_upid(), *([0] * 6), *self._one_upid()),
            uitt=self._table(),
            area=self._area(),
        )

    def _words(self) -> tuple[int, ...]:
        words = list(_WORDS.unpack(self._random.randbytes(_WORDS.size)))
        for _ in range(8):
            words[self._random.randrange(layout.STACK_WORDS)] = self._pick(*_VALUES)
        return tuple(words)

    def _pending(self) -> tuple[int, ...]:
        legal = [vector for vector in _VECTORS if vector >= 16]
        return tuple(self._pick(*legal) for _ in range(self._pick(0, 0, 0, 1, 2)))

    def _rflags(self) -> int:
        flags = 2 | sum(flag for flag in _STATUS if self._chance(0.4))
        flags |= _IF if self._chance(0.8) else 0
        flags |= _TF if self._chance(0.12) else 0
        flags |= _IOPL if self._chance(0.2) else 0
        return flags | sum(flag for flag in (_DF, _NT, _RF, _AC, _ID) if self._chance(0.1))

    def _stack(self) -> int:
        if self._chance(0.04):
            return self._pick(*self._nowhere, layout.page(1), layout.page(11) + 8)
        middle = layout.page(layout.STACK_PAGE + 1)
        return (
            middle
            + 8 * self._random.randint(-12, 20)
            + (self._random.randrange(8) if self._chance(0.1) else 0)
        )

    def _msrs(self) -> tuple[int, ...]:
        requests = sum(1 << self._random.randrange(64) for _ in range(self._pick(0, 0, 0, 1, 2)))
        return (
            requests & MASK64,
            self._address(layout.HANDLER, 1),
            self._adjustment(),
            self._pick(_UINV, _UINV, _UINV, _UINV, 0, 0x41) << 32 | self._pick(7, 7, 7, 3, 8, 200),
            self._address(layout.UPID, 64),
            self._address(layout.UITT, 16) | self._chance(0.95),
        )

    def _adjustment(self) -> int:
        middle = layout.page(layout.STACK_PAGE + 1)
        return self._pick(0, 0, 0, 128, 64, 8, middle | 1, middle + 64 | 15, MASK64 - 127, 1 << 48)

    def _address(self, usual: int, align: int) -> int:
        """Return an address that is valid for an MSR, mostly the usual one."""
        if self._chance(0.93):
            return usual
        return self._pick(*_NOT_CANONICAL, layout.page(1), layout.page(11), 0) & ~(align - 1)

    def _rights(self) -> tuple[int, ...]:
        """Return the rights of each page; code is never writable."""
        data = [self._pick(0, 1, 3, 5) if self._chance(0.05) else _RIGHTS for _ in range(4)]
        # UPIDs and UITT are supervisor pages half of the time.
        data[2:] = [rights & self._pick(7, 3) for rights in data[2:]]
        area = _RIGHTS
        if self._smap:
            # Otherwise most cases at CPL 0 would end at the first push.
            data[:2] = [rights & self._pick(7, 3) for rights in data[:2]]
            area = self._pick(3, 3, 7)
        return (5, 5, *data, area)

    def _pick_keys(self) -> tuple[int, ...]:
        if not self._keyed:
            return (0,) * len(layout.PAGES)
        return tuple(self._pick(0, 0, 1, 2, 3, 15) for _ in layout.PAGES)

    def _pkru(self) -> int:
        """Return PKRU, which mostly restricts one key slightly; key 0 is the player's."""
        forbidden = sum(self._pick(0, 0, 2, 2, 1) << 2 * key for key in (1, 2, 3, 15))
        return forbidden & 0xFFFFFFFC

    def _breakpoints(self) -> tuple[Breakpoint, ...]:
        if not self._watched:
            return ()
        return tuple(self._breakpoint() for _ in range(self._pick(1, 1, 2)))

    def _breakpoint(self) -> Breakpoint:
        if self._chance(0.35):
            # Perhaps the beginning of an instruction.
            place = self._pick(layout.HANDLER, layout.CODE, layout.HANDLER + 4)
            return Breakpoint(address=place + self._random.randrange(24) * self._chance(0.7))
        kind, size = self._pick("write", "access"), self._pick(1, 2, 4, 8)
        stack = range(
            layout.page(layout.STACK_PAGE + 1) - 64, layout.page(layout.STACK_PAGE + 1) + 64, 8
        )
        start = self._pick(
            self._pick(*stack),
            self._pick(*stack),
            self._pick(layout.UPID, layout.UPID + 8),
            layout.UITT + 8 * self._random.randrange(layout.UITT_WORDS),
            # The words of the area that XSAVES writes.
            layout.AREA + 512 + 8 * self._pick(0, 1, 8, 9, 10, 11, 12, 13),
        )
        address = start + self._random.randrange(8)
        return Breakpoint(address=address & -size, size=size, kind=kind)

    def _one_upid(self) -> tuple[int, int]:
        low = self._pick(*_VECTORS) << 16 | self._random.choice((0, 0, 0, 0, 1, 2, 3))
        destination = self._pick(0, 0, 0, 0, 0xFFFFFFFF if self._x2apic else 0xFF, 1)
        right = self._chance(0.95)
        low |= destination << (32 if right == self._x2apic else 40) & MASK64
        if self._chance(0.04):
            low |= 1 << self._pick(2, 7, 8, 15, 24, 31)
        return low, 1 << self._random.randrange(64) if self._chance(0.2) else 0

    def _table(self) -> tuple[int, ...]:
        words: list[int] = []
        for _ in range(layout.UITT_WORDS // 2):
            low = 1 | self._random.randrange(64) << 8
            upid = layout.UPID + self._pick(0, 0, 0, 64)
            if self._chance(0.12):
                low ^= 1 << self._random.randrange(64)
            if self._chance(0.08):
                upid = self._pick(*self._nowhere, layout.page(1), upid + 16, upid | 1)
            words += (low, upid)
        return tuple(words)

    def _area(self) -> tuple[int, ...]:
        """Return header and component of an XSAVE area, mostly valid for XRSTORS."""
        handler, adjust, misc, pd, table = self._msrs()[1:]
        misc &= 0xFFFFFFFF | self._pick(0, 0xFF << 32)
        misc |= self._pick(0, 1 << 63)
        header = [self._pick(0, 1 << 14, 1 << 14, 1 << 14), 1 << 63 | 1 << 14, *([0] * 6)]
        image = [handler, adjust, misc, pd, self._msrs()[0], table]
        if self._chance(0.1):
            header[self._random.randrange(8)] ^= 1 << self._random.randrange(64)
        if self._chance(0.2):
            image[self._random.randrange(6)] ^= 1 << self._random.randrange(64)
        return (*header, *image)

    def _handler(self) -> tuple[str, ...]:
        if self._chance(0.3):
            return self._some(self._random.randint(0, 3), 8 * layout.HANDLER_WORDS - 3)
        size = 8 * layout.HANDLER_WORDS - 12
        steps = self._some(self._random.choice((0, 0, 1, 2)), size)
        return (*steps, "4883c408 add $8,%rsp", "f30f01ec uiret")

    # --- steps ---------------------------------------------------------------------------------

    def _some(self, count: int, room: int) -> tuple[str, ...]:
        steps: list[str] = []
        for _, make in self._random.choices(self._steps, self._weights, k=count):
            step = make()
            room -= len(step.split(" ", 1)[0]) // 2
            if room < 0:
                break
            steps.append(step)
        return tuple(steps)

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

    def _look(self) -> str:
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

    def _look_by_push(self) -> str:
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
            flags &= ~_TF
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
        to = self._pick(0, 1, 2, 3, 5, 6, 7)
        flags = self._rflags()
        if not self._chance(0.15):
            flags &= ~_TF
        name = _NAMES[to]
        setup = f"4889{modrm(4, to):02x}{push(to)}{load(to, flags)}{push(to)}"
        if self._chance(0.08):
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
        vector = self._pick(*(vector for vector in _VECTORS if vector >= 16))
        low = vector.to_bytes(4, "little").hex()
        return f"b93f080000b8{low}ba000000000f30 wrmsr SELF_IPI = {vector:#x}"

    def _iret(self) -> str:
        """Build a frame that returns to the next instruction, at either CPL, and return by IRET."""
        to = self._pick(0, 1, 2, 3, 5, 6, 7)
        flags = self._rflags()
        if not self._chance(0.1):
            flags &= ~_TF
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

    # --- chance --------------------------------------------------------------------------------

    def _register(self) -> int:
        return self._random.choice(_FREE)

    def _value(self) -> int:
        return self._pick(*_VALUES) if self._chance(0.7) else self._random.getrandbits(64)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _pick(self, *these: T) -> T:
        return self._random.choice(these)
