"""Generator of random cases: a mostly valid state and steps; the same seed gives the same cases."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Literal

from harness.campaigns.bare_fuzz import case as layout
from harness.campaigns.bare_fuzz.case import MASK64, Breakpoint, Case, Storm
from harness.campaigns.bare_fuzz.chance import ILLEGAL, PIC_VECTORS, RF, TF, UINV, VALUES
from harness.campaigns.bare_fuzz.hand_over import HandOver

_WORDS = struct.Struct(f"<{layout.STACK_WORDS}Q")
_RIGHTS = 7
#: Numbers of CPUs, in turn. One with several takes as long as thirty others.
_CPUS: tuple[Literal[1, 2, 3], ...] = (1, 1, 1, 2, *(1,) * 11, 3)
#: Share of storms among sequences with several CPUs.
_STORMS = 0.08
#: Consecutive cases with the same mode of the local APIC and of paging.
_MODE = 1000


def generate(seed: int, number: int, attempt: int = 0) -> Case:
    """Return the case of a number; each attempt gives another one."""
    mode = number // _MODE
    random = Random(f"{seed}/{number}/{attempt}")  # noqa: S311 - no secret
    cpus = _CPUS[number % len(_CPUS)]
    one = _Generator(random, x2apic=bool(mode & 1), la57=bool(mode & 2), cpus=cpus)
    return one.storm() if cpus > 1 and random.random() < _STORMS else one.case()


class _Generator(HandOver):
    """A generator of one case."""

    def __init__(self, random: Random, *, x2apic: bool, la57: bool, cpus: Literal[1, 2, 3]) -> None:
        super().__init__(random, x2apic=x2apic, la57=la57, cpus=cpus)
        self._case_cpus = cpus
        self._level: Literal[0, 3] = 0 if self._chance(0.4) else 3
        self._smap = self._chance(0.15) and cpus == 1
        self._keyed = self._chance(0.15)
        self._watched = self._chance(0.3)
        self._blocked = self._chance(0.1)
        self._pic = self._pick(*PIC_VECTORS) if self._chance(0.05) else None
        if self._pic and self._chance(0.6):
            self._uinv = self._pic
        self._steps: tuple[tuple[int, Callable[[], str]], ...] = (
            (8, self._arithmetic),
            (2, self._shift),
            (3, self._one_operand),
            (2, self._carry),
            (4, self._observe),
            (4, self._flags_by_push),
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
            (2 + 2 * self._blocked, self._iret),
            # At CPL 3 these fault.
            (1 if self._level else 5, self._halt),
            (0 if self._level else 3, self._timer),
            (0 if self._level else 2 + 2 * self._blocked, self._nmi),
            (3, self._xsave),
            (2 if self._keyed else 0, self._keys),
            (1, lambda: "0f0b ud2"),
            (12 if self._actions else 0, self._hand_over),
            (3 if self._actions and not self._level else 0, self._halt_for_other),
        )
        self._weights = [weight for weight, _ in self._steps]

    # --- the state -----------------------------------------------------------------------------

    def case(self) -> Case:
        """Return the case."""
        regs = [self._value() for _ in range(16)]
        regs[4] = self._stack()
        case = Case(
            level=self._level,
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
            pic=self._pic,
            nmi_blocked=self._blocked,
            nmi_pending=self._chance(0.5 if self._blocked else 0.04),
            rflags=self._rflags() & ~(TF | RF if self._blocked else 0),
            regs=tuple(regs),
            msrs=self._msrs(),
            rights=self._rights(),
            page_end=self._chance(0.2),
            code=self._code(),
            handler=self._handler(),
            stack=self._words(),
            upid=(*self._one_upid(), *([0] * 6), *self._one_upid()),
            uitt=self._table(),
            area=self._area(),
            cpus=self._case_cpus,
            actions=self._actions,
        )
        return self._with_valid_tables(case) if self._actions and self._chance(0.6) else case

    def _with_valid_tables(self, case: Case) -> Case:
        """Return the case with UPID, UITT and MSRs by which another CPU's sends arrive."""
        msrs = (case.msrs[0], layout.HANDLER, 0, self._uinv << 32 | 7, layout.UPID, layout.UITT | 1)
        entries = ((1 | self._random.randrange(64) << 8, layout.UPID) for _ in range(8))
        upid = self._uinv << 16 | self._pick(0, 0, 0, 1, 2), self._pick(0, 0, 1 << 5)
        return case.model_copy(
            update={
                "msrs": msrs,
                "uitt": tuple(word for entry in entries for word in entry),
                "upid": (*upid, *case.upid[2:]),
            }
        )

    def storm(self) -> Case:
        """Return a storm: its code leaves UIRR, UINV, the UPID and RSP alone."""
        self._steps = (
            (3, self._arithmetic),
            (2, self._flags_by_push),
            (1, self._branch),
            (2, self._popf),
            (2, self._interrupt_flag),
            (8, self._ui_flag),
            (5, self._uiret_behind),
            (3, self._self_ipi),
            (6, self._iret),
            (0 if self._level else 3, self._halt),
            (0 if self._level else 2, self._nmi),
        )
        self._weights = [weight for weight, _ in self._steps]
        regs = [self._value() for _ in range(16)]
        regs[4] = layout.page(layout.STACK_PAGE + 1) + 8 * self._random.randint(-12, 20)
        return Case(
            level=self._level,
            x2apic=self._x2apic,
            la57=self._la57,
            uif=self._chance(0.5),
            rflags=self._rflags(),
            regs=tuple(regs),
            msrs=(0, layout.HANDLER, 0, UINV << 32 | 7, layout.UPID, layout.UITT | 1),
            rights=(5, 5, *(_RIGHTS,) * 5),
            page_end=self._chance(0.2),
            code=self._some(self._random.randint(1, 10), 8 * layout.CODE_WORDS - 3),
            handler=("4883c408 add $8,%rsp", "f30f01ec uiret"),
            cpus=self._case_cpus,
            storm=Storm(
                rounds=self._random.randint(5, 25),
                stride=self._random.randint(1, 100),
                longest=self._pick(50, 300, 1500),
            ),
        )

    def _words(self) -> tuple[int, ...]:
        words = list(_WORDS.unpack(self._random.randbytes(_WORDS.size)))
        for _ in range(8):
            words[self._random.randrange(layout.STACK_WORDS)] = self._pick(*VALUES)
        return tuple(words)

    def _pending(self) -> tuple[int, ...]:
        return tuple(self._vector() for _ in range(self._pick(0, 0, 0, 1, 2)))

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
        vector = ILLEGAL if self._chance(0.1) else self._vector()
        low = vector << 16 | self._random.choice((0, 0, 0, 0, 1, 2, 3))
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

    def _code(self) -> tuple[str, ...]:
        room = 8 * layout.CODE_WORDS - 3
        if not self._actions:
            return self._some(self._random.randint(1, 12), room)
        before = self._some(self._pick(0, 0, 1, 1, 2, 3), room // 4)
        ask = self._hand_over() if self._level or self._chance(0.4) else self._halt_for_other()
        return (*before, ask, *self._some(self._random.randint(0, 6), room // 2))

    def _handler(self) -> tuple[str, ...]:
        if self._chance(0.3):
            return self._some(self._random.randint(0, 3), 8 * layout.HANDLER_WORDS - 3)
        size = 8 * layout.HANDLER_WORDS - 12
        steps = self._some(self._random.choice((0, 0, 1, 2)), size)
        return (*steps, "4883c408 add $8,%rsp", "f30f01ec uiret")

    def _some(self, count: int, room: int) -> tuple[str, ...]:
        steps: list[str] = []
        for _, make in self._random.choices(self._steps, self._weights, k=count):
            step = make()
            room -= len(step.split(" ", 1)[0]) // 2
            if room < 0:
                break
            steps.append(step)
        return tuple(steps)
