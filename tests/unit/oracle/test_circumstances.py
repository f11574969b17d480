"""The circumstances that known deviations of emulators refer to."""

from __future__ import annotations

import pytest
from oracle.memory import PRESENT, WRITABLE
from oracle.processor import AC, CIRCUMSTANCES, RF, Breakpoint, Fault, Processor
from oracle.xsave import xrstors

from .test_machine import (
    CODE,
    DONE,
    HANDLER,
    NOP,
    SENDUIPI_RAX,
    STACK,
    STI,
    STUI,
    UPID,
    iret,
    play,
    processor,
)

ON_CODE, ON_HANDLER = Breakpoint(0, CODE, 1), Breakpoint(0, HANDLER, 1)
ON_UPID, ON_FRAME = (
    Breakpoint(0, address, 8, on_write=True) for address in (UPID, STACK + 2048 - 8)
)
PUSH_RAX = "50"


def notified(code: str = NOP + DONE, **state: object) -> Processor:
    """Return a processor with a notification pending."""
    cpu = processor(code, DONE, **state)
    cpu.apic.irr.add(0xEC)
    return cpu


def supervisors(cpu: Processor, page: int) -> Processor:
    """Make a page the supervisor's, with key 1, which PKRU restricts."""
    cpu.memory.pages[page >> 12] = PRESENT | WRITABLE
    cpu.memory.keys[page >> 12] = 1
    cpu.cr4_pke, cpu.pkru = True, 2 << 2
    return cpu


def users(cpu: Processor, page: int) -> Processor:
    """Give a page of the user's the key 1, which PKRU restricts."""
    cpu.memory.keys[page >> 12] = 1
    cpu.cr4_pke, cpu.pkru = True, 2 << 2
    return cpu


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        (notified(uirr=1, uif=True), "event-after-notification"),
        (notified(breakpoints=(ON_UPID,)), "event-after-notification"),
        (notified(breakpoints=(ON_CODE,)), "event-after-notification"),
        (processor(NOP + DONE, uirr=1, uif=True, breakpoints=(ON_CODE,)),
         "code-breakpoint-with-interrupt"),
        (processor(NOP + DONE, uirr=1, uif=True, breakpoints=(ON_HANDLER,)),
         "code-breakpoint-with-interrupt"),
        (processor(NOP + DONE, uirr=1, uif=True, breakpoints=(ON_FRAME,)),
         "data-breakpoint-by-delivery"),
        (iret(0, 43, 35, flags=2, uif=True, uirr=1),
         "request-at-iret-that-clears-if"),
        (supervisors(processor(SENDUIPI_RAX + DONE), UPID), "key-for-supervisor"),
        (users(processor(SENDUIPI_RAX + DONE), UPID), "key-for-supervisor"),
        (supervisors(processor(PUSH_RAX + DONE), STACK), "key-of-supervisor-page"),
        (processor(SENDUIPI_RAX + DONE, cr4_smap=True, rflags=2 | AC), "smap-in-spite-of-ac"),
    ],
)  # fmt: skip
def test_a_circumstance_is_recorded(cpu: Processor, name: str) -> None:
    play(cpu)
    assert name in CIRCUMSTANCES
    assert name in cpu.circumstances


def test_an_nmi_has_the_circumstances_of_an_interrupt() -> None:
    cpu = processor(NOP + DONE, breakpoints=(ON_CODE,))
    cpu.apic.nmi = True
    play(cpu)
    assert cpu.circumstances == {"code-breakpoint-with-interrupt"}


def test_another_interrupt_may_follow_a_notification() -> None:
    cpu = notified()
    cpu.apic.irr.add(0x41)
    play(cpu)
    assert cpu.circumstances == {"event-after-notification"}


@pytest.mark.parametrize(
    "cpu",
    [
        notified(),
        notified(STUI + NOP + DONE, uirr=1),
        notified(uirr=1),
        notified(STI + NOP + DONE, rflags=2, cpl=0),
        notified(breakpoints=(ON_CODE,), rflags=0x202 | RF),
        processor(NOP + DONE, breakpoints=(ON_CODE, ON_FRAME)),
        processor(NOP + DONE, uirr=1, uif=True, breakpoints=(ON_UPID,)),
        users(processor(PUSH_RAX + DONE), STACK),
        processor(SENDUIPI_RAX + DONE, cr4_smap=True),
        processor(SENDUIPI_RAX + DONE, rflags=2 | AC),
        supervisors(processor(SENDUIPI_RAX + DONE), STACK),
        iret(0, 43, 35, uif=True, uirr=1),
        iret(0, 43, 35, flags=2, uirr=1),
        iret(0, 43, 35, flags=2, uif=True),
        iret(0, 43, 35, flags=2, rflags=2, uif=True, uirr=1),
        processor(NOP + DONE, uirr=1, uif=True, rflags=2),
    ],
)
def test_it_is_not_recorded_elsewhere(cpu: Processor) -> None:
    play(cpu)
    assert cpu.circumstances == set()


@pytest.mark.parametrize(("uinv", "bit", "there"), [(0xEC, 0, True), (0, 0, False),
                                                   (0xEC, 1 << 14, False)])  # fmt: skip
def test_the_initial_state_with_uinv(uinv: int, bit: int, there: bool) -> None:
    cpu = processor("", uinv=uinv, cpl=0)
    cpu.memory.store(STACK + 512, 8, bit)
    cpu.memory.store(STACK + 520, 8, 1 << 63 | 1 << 14)
    try:
        xrstors(cpu, 1 << 14, STACK)
    except Fault:
        assert uinv
    assert ("initial-state-with-uinv" in cpu.circumstances) is there


@pytest.mark.parametrize(("uirr", "bit", "there"), [(2, 0, True), (0, 0, False),
                                                   (2, 1 << 14, False)])  # fmt: skip
def test_the_initial_state_with_requests(uirr: int, bit: int, there: bool) -> None:
    cpu = processor("", uinv=0, cpl=0, uirr=uirr)
    cpu.memory.store(STACK + 512, 8, bit)
    cpu.memory.store(STACK + 520, 8, 1 << 63 | 1 << 14)
    xrstors(cpu, 1 << 14, STACK)
    assert ("initial-state-with-requests" in cpu.circumstances) is there
