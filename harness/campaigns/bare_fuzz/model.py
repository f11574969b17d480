"""The expected result of a case, by the model of the architecture."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.apic import Apic
from oracle.machine import Outcome, run
from oracle.memory import Memory, OutsideError
from oracle.processor import DB, NMI, PAGE, RF, TF, Breakpoint, Processor, Unmodelled

from harness.campaigns.bare_fuzz import case as layout
from harness.campaigns.bare_fuzz.case import MAX_EVENTS, NAMES, PAGES, PLACE, Case

#: Instructions after which a sequence counts as endless.
LIMIT = 300
#: CS and SS of the player, and their CPL.
_SELECTORS = {(0x08, 0x10): 0, (0x2B, 0x23): 3}
#: Vectors that the player uses itself; those below 32 are exceptions.
_TAKEN = frozenset((*range(32), 0x40, 0x80, 0xFF))


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


def expect(case: Case, facts: Facts) -> Expectation | None:
    """Return the expected result of a case, or None if the model does not cover it."""
    if case.nmi_blocked and case.rflags & (TF | RF):
        return None
    expected = _run(_processor(case, facts))
    if case.pic is None or expected is None:
        return expected
    # The manual does not say whether the 8259 or the local APIC comes first: it must not matter.
    cpu = _processor(case, facts)
    cpu.pic_first = True
    other = _run(cpu)
    return expected if other and other.words == expected.words else None


def _run(cpu: Processor) -> Expectation | None:
    try:
        outcome = run(cpu, LIMIT)
    except (Unmodelled, OutsideError):
        return None
    if cpu.halt_ended_by_step:
        # QEMU steps over HLT only once an interrupt has ended it.
        return None
    vectors = {event.vector for event in outcome.events} - {DB, NMI} | cpu.apic.irr
    if vectors & _TAKEN:
        return None
    return Expectation(
        words=_words(cpu, outcome),
        open_places=_open_places(cpu, outcome),
        reached=frozenset(cpu.reached),
        circumstances=frozenset(cpu.circumstances),
        instructions=outcome.instructions,
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


def _words(cpu: Processor, outcome: Outcome) -> tuple[int, ...]:
    pending = sum(1 << vector for vector in cpu.apic.irr)
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
        *(pending >> 64 * place & layout.MASK64 for place in range(4)),
        int(cpu.pic is not None),
        int(cpu.apic.nmi),
        len(outcome.events),
        *events,
        *memoryview(blocks[layout.STACK]).cast("Q"),
        *memoryview(blocks[layout.UPID]).cast("Q"),
        *memoryview(blocks[layout.UITT]).cast("Q"),
        *memoryview(blocks[layout.AREA + 512]).cast("Q"),
    )
    assert len(words) == len(NAMES)
    return words


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
