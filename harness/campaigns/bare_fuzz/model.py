"""The expected result of a case, by the model of the architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from oracle.apic import Apic
from oracle.machine import Outcome, run
from oracle.memory import Memory, OutsideError
from oracle.others import Others, Schedule
from oracle.processor import DB, NMI, PAGE, RF, TF, Breakpoint, Processor, Unmodelled

from harness.campaigns.bare_fuzz import case as layout
from harness.campaigns.bare_fuzz.case import (
    MAX_ACTIONS,
    MAX_CPUS,
    MAX_EVENTS,
    NAMES,
    PAGES,
    PLACE,
    Case,
)
from harness.campaigns.bare_fuzz.orders import USUAL, USUAL_BESIDE, random_orders

#: Instructions after which a sequence counts as endless.
LIMIT = 300
#: CS and SS of the player, and their CPL.
_SELECTORS = {(0x08, 0x10): 0, (0x2B, 0x23): 3}
#: Vectors that the player uses itself; those below 32 are exceptions.
_TAKEN = frozenset((*range(32), 0x40, 0x80, 0xFF))
#: Vectors of a sender in a storm, and the words of its result that are compared.
_VECTORS = 8
_OF_STORM = ("late", "arrived", "RR", "upid[0]", "upid[1]")


@dataclass(frozen=True)
class Facts:
    """Properties of the machine's CPU that the model depends on."""

    linear_bits: int = 57
    uiret_uif: bool = False


@dataclass(frozen=True)
class Expectation:
    """Expected result of a case."""

    words: tuple[int, ...]
    #: Indices of ``words`` that the manual does not specify.
    open_places: frozenset[int]
    #: Statements of the contract that applied.
    reached: frozenset[str]
    #: What happened that emulators are known to get wrong.
    circumstances: frozenset[str]
    instructions: int
    #: Words that mean the same as another one.
    same: dict[int, int] = field(default_factory=dict)


def expect(case: Case, facts: Facts) -> Expectation | None:
    """Return the expected result of a case, or None if the model does not cover it."""
    if case.nmi_blocked and case.rflags & (TF | RF):
        return None
    if case.storm:
        return _expect_storm(case, facts)
    if case.cpus > 1:
        return _expect_in_any_order(case, facts)
    expected = _run(_processor(case, facts))
    if case.pic is None or expected is None:
        return expected
    # The manual does not say whether the 8259 or the local APIC comes first: it must not matter.
    cpu = _processor(case, facts)
    cpu.pic_first = True
    other = _run(cpu)
    return expected if other and other.words == expected.words else None


def agrees_in_some_order(
    case: Case, facts: Facts, agrees: Callable[[Expectation], bool], orders: int
) -> bool:
    """Return whether a result agrees with the model in one of many random orders of the CPUs.

    The orders that :func:`expect` tries are few, so some sequences seem not to depend on the order
    that do. If the model does not cover an order, any result may be that of this order.

    :param agrees: returns whether it agrees with what the model expects in an order.
    :param orders: number of orders to try.
    """
    if case.cpus == 1 or case.storm:
        return False
    same = layout.wait_addresses(case)
    for order in random_orders(orders):
        for pic_first in (False,) if case.pic is None else (False, True):
            one = _expect_in_order(case, facts, order, pic_first=pic_first, same=same)[0]
            if one is None or agrees(one):
                return True
    return False


def _expect_storm(case: Case, facts: Facts) -> Expectation | None:
    """Return what all rounds of a storm together must have led to."""
    alone = _run(_processor(case, facts))
    if case.storm is None or alone is None:
        return None
    words = [0] * len(NAMES)
    words[PLACE["arrived"]] = case.storm.rounds * (case.cpus - 1) * _VECTORS
    return Expectation(
        words=tuple(words),
        open_places=frozenset(range(len(NAMES))) - {PLACE[name] for name in _OF_STORM},
        reached=frozenset(("DELIVERY-24", "SEND-25" if case.cpus == 2 else "SEND-28")),
        circumstances=frozenset(),
        instructions=alone.instructions,
    )


def _expect_in_any_order(case: Case, facts: Facts) -> Expectation | None:
    """Return the expected result if it is the same in each order, else None."""
    same = layout.wait_addresses(case)
    if any(one.kind == "execute" and one.address in same for one in case.breakpoints):
        # It would be met each time that a wait goes around.
        return None
    found: list[Expectation] = []
    orders = list(USUAL)
    for order in orders:
        for pic_first in (False,) if case.pic is None else (False, True):
            one, beside = _expect_in_order(case, facts, order, pic_first=pic_first, same=same)
            if one is None or (found and one.words != found[0].words):
                return None
            found.append(one)
        if order == USUAL[0] and (beside or found[0].words[PLACE["events"]]):
            orders += USUAL_BESIDE
    return replace(
        found[0],
        open_places=frozenset[int]().union(*(one.open_places for one in found)),
        circumstances=frozenset[str]().union(*(one.circumstances for one in found)),
    )


def _expect_in_order(
    case: Case, facts: Facts, order: Schedule, *, pic_first: bool, same: Mapping[int, int]
) -> tuple[Expectation | None, bool]:
    """Return the result in an order, and whether the first CPU did something beside an action."""
    cpu = _processor(case, facts)
    cpu.pic_first = pic_first
    others = _others(case, facts, cpu, order)
    return _run(cpu, others, same), others.beside


def _others(case: Case, facts: Facts, first: Processor, order: Schedule) -> Others:
    """Return the other processors; all share the first one's memory."""
    memory = first.memory
    for page, rights in ((layout.MAIL_PAGE, 7), (layout.ACTIONS_PAGE, 1)):
        memory.pages[layout.page(page) // layout.PAGE_SIZE] = rights
    memory.blocks[layout.REQUEST] = bytearray(16)
    code = b"".join(layout.action_code(action) for action in case.actions)
    memory.blocks[layout.ACTIONS] = bytearray(code)
    processors = {
        number: Processor(
            memory=memory,
            cpl=0,
            apic=Apic(id=number, x2apic=case.x2apic),
            linear_bits=facts.linear_bits,
            paging_bits=first.paging_bits,
            uiret_uif=facts.uiret_uif,
            uittsz=first.uittsz,
            uitt=first.uitt,
            reached=first.reached,
            circumstances=first.circumstances,
        )
        for number in range(1, case.cpus)
    }
    everybody = [first.apic, *(one.apic for one in processors.values())]
    for apic in everybody:
        apic.everybody = everybody
    size = 8 * layout.ACTION_WORDS
    actions = [
        (layout.ACTIONS + size * number, action.cpu) for number, action in enumerate(case.actions)
    ]
    return Others(processors, actions, layout.REQUEST, order)


def _run(
    cpu: Processor,
    others: Others | None = None,
    same: Mapping[int, int] = MappingProxyType({}),
) -> Expectation | None:
    try:
        outcome = run(cpu, LIMIT, others)
    except (Unmodelled, OutsideError):
        return None
    if cpu.halt_ended_by_step:
        # Bochs stays halted.
        return None
    vectors = {event.vector for event in outcome.events} - {DB, NMI} | cpu.apic.irr
    for other in others.processors.values() if others else ():
        vectors |= other.apic.irr
        if other.apic.nmi:
            return None
    if vectors & _TAKEN:
        return None
    return Expectation(
        words=tuple(same.get(word, word) for word in _words(cpu, outcome, others)),
        open_places=_open_places(cpu, outcome),
        reached=frozenset(cpu.reached),
        circumstances=frozenset(cpu.circumstances),
        instructions=outcome.instructions,
        same=dict(same),
    )


def _processor(case: Case, facts: Facts) -> Processor:
    rip, code, handler = layout.code_blocks(case)
    pages = {layout.page(number) // layout.PAGE_SIZE: rights for number, rights in
             zip(PAGES, case.rights, strict=True)}  # fmt: skip
    blocks = {
        layout.CODE: bytearray(code),
        layout.HANDLER: bytearray(handler),
        layout.STACK: _block(case.stack, layout.STACK_WORDS),
        layout.UPID: _block(case.upid, layout.UPID_WORDS),
        layout.UITT: _block(case.uitt, layout.UITT_WORDS),
        layout.AREA + 512: _block(case.area, layout.AREA_WORDS),
    }
    keys = {layout.page(number) // layout.PAGE_SIZE: key for number, key in
            zip(PAGES, case.keys, strict=True)}  # fmt: skip
    breakpoints = tuple(
        Breakpoint(
            number=number,
            address=one.address,
            size=one.size,
            on_write=one.kind != "execute",
            on_read=one.kind == "access",
        )
        for number, one in enumerate(case.breakpoints)
    )
    misc = case.msrs[3]
    return Processor(
        memory=Memory(pages, blocks, unknown_below=layout.WINDOW, keys=keys),
        regs=list(case.regs),
        rip=rip,
        rflags=case.rflags,
        cpl=case.level,
        apic=Apic(x2apic=case.x2apic, irr=set(case.pending), nmi=case.nmi_pending),
        pic=case.pic,
        nmi_blocked=case.nmi_blocked,
        selectors=_SELECTORS,
        cr4_uintr=case.cr4_uintr,
        cr4_smap=case.cr4_smap,
        cr4_pke=case.cr4_pke,
        pkru=case.pkru,
        breakpoints=breakpoints,
        linear_bits=facts.linear_bits,
        paging_bits=57 if case.la57 else 48,
        uiret_uif=facts.uiret_uif,
        uif=case.uif,
        uirr=case.msrs[0],
        uihandler=case.msrs[1],
        uistackadjust=case.msrs[2],
        uinv=misc >> 32,
        uittsz=misc & 0xFFFFFFFF,
        upidaddr=case.msrs[4],
        uitt=case.msrs[5],
    )


def _block(words: tuple[int, ...], count: int) -> bytearray:
    return bytearray(b"".join(word.to_bytes(8, "little") for word in words).ljust(8 * count, b"\0"))


def _words(cpu: Processor, outcome: Outcome, others: Others | None) -> tuple[int, ...]:
    events = [0] * 5 * MAX_EVENTS
    for place, event in enumerate(outcome.events[:MAX_EVENTS]):
        one = (event.vector, event.rip, event.rflags, event.rsp, event.dr6)
        events[5 * place : 5 * place + 5] = one
    blocks = cpu.memory.blocks
    words = (
        *(outcome.vector, outcome.error, cpu.rip, cpu.cpl, outcome.rflags),
        outcome.address or 0,
        *cpu.regs,
        *(cpu.uirr, cpu.uihandler, cpu.uistackadjust, cpu.uinv << 32 | cpu.uittsz),
        *(cpu.upidaddr, cpu.uitt),
        int(cpu.uif),
        *_irr(cpu.apic),
        int(cpu.pic is not None),
        int(cpu.apic.nmi),
        len(outcome.events),
        *events,
        *memoryview(blocks[layout.STACK]).cast("Q"),
        *memoryview(blocks[layout.UPID]).cast("Q"),
        *memoryview(blocks[layout.UITT]).cast("Q"),
        *memoryview(blocks[layout.AREA + 512]).cast("Q"),
        *_words_of_others(others),
        *(0, 0),
    )
    assert len(words) == len(NAMES)
    return words


def _irr(apic: Apic) -> tuple[int, ...]:
    pending = sum(1 << vector for vector in apic.irr)
    return tuple(pending >> 64 * place & layout.MASK64 for place in range(4))


def _words_of_others(others: Others | None) -> tuple[int, ...]:
    processors = others.processors if others else {}
    results = others.results if others else []
    words: list[int] = []
    for number in range(1, MAX_CPUS):
        words += _irr(processors[number].apic) if number in processors else (0,) * 4
    for one in results:
        words += (one.count, one.vector, one.error, one.rax)
    return (*words, *(0,) * 4 * (MAX_ACTIONS - len(results)))


def _open_places(cpu: Processor, outcome: Outcome) -> frozenset[int]:
    """Return the places that are not specified: CR2 without a page fault, and lost frames."""
    told = outcome.vector == PAGE and not cpu.cr2_open
    places = set() if told else {PLACE["cr2"]}
    if cpu.component_open:
        places |= {PLACE[name] for name in ("RR", "HANDLER", "STACKADJUST", "PD", "TT", "uif")}
    blocks = (
        ("stack", layout.STACK, layout.STACK_WORDS),
        ("upid", layout.UPID, layout.UPID_WORDS),
        ("uitt", layout.UITT, layout.UITT_WORDS),
    )
    for address, size in cpu.unspecified:
        for name, start, words in blocks:
            first = (address - start) // 8
            places |= {
                PLACE[f"{name}[{number}]"]
                for number in range(first, first + size // 8)
                if 0 <= number < words
            }
    return frozenset(places)
