"""HLT, NMIs, and the local APIC of the model."""

from __future__ import annotations

import pytest
from oracle.apic import Apic, UnknownRegister
from oracle.machine import BS, IN_HANDLER, Event
from oracle.processor import GP, IF, NMI, NT, PAGE, RSP, TF, Breakpoint, Processor, Unmodelled

from .test_machine import CODE, DONE, NOP, STACK, STI, UIRET, UPID, iret, play, processor

HLT, CLI = "f4", "fa"
#: MOV of EAX to the address in RDI, and WRMSR.
STORE, WRMSR = "8907", "0f30"
ICR, SELF = 0xFEE00300, 1 << 18


def met(events: list[Event]) -> list[tuple[int, int]]:
    return [(event.vector, event.rip) for event in events]


# --- HLT ---------------------------------------------------------------------------------------


def test_an_interrupt_ends_hlt_behind_it() -> None:
    cpu = processor(STI + HLT + NOP + DONE, cpl=0, rflags=2)
    cpu.apic.irr = {0x41}
    outcome = play(cpu)
    assert outcome.events == [Event(0x41, CODE + 2, 2 | IF, cpu.regs[RSP])]
    assert cpu.rip == CODE + 5
    assert "HALT-2" in cpu.reached


def test_hlt_needs_cpl_0() -> None:
    outcome = play(processor(HLT))
    assert (outcome.vector, outcome.error) == (GP, 0)


@pytest.mark.parametrize("state", [{}, {"rflags": 2}, {"uif": True, "uirr": 1}])
def test_a_hlt_that_nothing_ends_is_not_modelled(state: dict[str, object]) -> None:
    cpu = processor(HLT + DONE, DONE, cpl=0, **state)
    if not cpu.flag(IF):
        cpu.apic.irr = {0x41}
    with pytest.raises(Unmodelled, match="nothing ends"):
        play(cpu)


def test_a_notification_does_not_end_hlt() -> None:
    cpu = processor(STI + HLT + DONE, cpl=0, rflags=2)
    cpu.memory.store(UPID + 8, 8, 1 << 5)
    cpu.apic.irr = {0xEC}
    with pytest.raises(Unmodelled, match="nothing ends"):
        play(cpu)
    assert cpu.uirr == 1 << 5
    cpu = processor(STI + HLT + DONE, cpl=0, rflags=2)
    cpu.apic.irr = {0xEC, 0x41}
    assert met(play(cpu).events) == [(0x41, CODE + 2)]
    assert "NOTIFY-18" in cpu.reached


def test_a_notification_that_faults_ends_hlt() -> None:
    cpu = processor(STI + HLT + DONE, cpl=0, rflags=2, upidaddr=0x90_000)
    cpu.apic.irr = {0xEC}
    outcome = play(cpu)
    assert (outcome.vector, outcome.address, cpu.rip) == (PAGE, 0x90_000, CODE + 2)
    assert "NOTIFY-19" in cpu.reached


def test_the_trap_of_a_step_ends_hlt() -> None:
    for pending in ({0x41}, set()):
        cpu = processor(HLT + DONE, cpl=0, rflags=2 | TF, uinv=0)
        cpu.apic.irr = set(pending)
        cpu.rflags |= IF if pending else 0
        cpu.sti_shadow = True
        outcome = play(cpu)
        assert [(event.vector, event.rip, event.dr6) for event in outcome.events] == [
            (1, CODE + 1, BS),
            *((vector, CODE + 1, 0) for vector in pending),
        ]
        assert cpu.halt_ended_by_step == (not pending)


def test_a_watched_descriptor_ends_hlt() -> None:
    cpu = processor(STI + HLT + DONE, cpl=0, rflags=2)
    cpu.breakpoints = (Breakpoint(0, UPID, 8, on_write=True),)
    cpu.apic.irr = {0xEC}
    assert met(play(cpu).events) == [(1, CODE + 2)]
    assert "HALT-3" in cpu.reached


# --- NMIs ----------------------------------------------------------------------------------------


def test_an_nmi_comes_before_interrupts_and_without_if() -> None:
    cpu = processor(NOP + DONE)
    cpu.apic.nmi, cpu.apic.irr = True, {0x41}
    assert met(play(cpu).events) == [(NMI, CODE), (0x41, CODE)]
    cpu = processor(NOP + DONE, rflags=2)
    cpu.apic.nmi = True
    assert met(play(cpu).events) == [(NMI, CODE)]
    assert not cpu.apic.nmi


def test_one_nmi_waits_for_iret_and_not_for_uiret() -> None:
    cpu = processor(UIRET + NOP + DONE, nmi_blocked=True, uirr=1)
    for place, word in enumerate((CODE + 4, 2 | IF, STACK + 1024)):
        cpu.memory.store(cpu.regs[RSP] + 8 * place, 8, word)
    cpu.apic.nmi = True
    assert play(cpu).events == []
    assert (cpu.apic.nmi, cpu.nmi_blocked, cpu.uirr) == (True, True, 0)
    assert {"NMI-3", "NMI-4"} <= cpu.reached
    cpu = iret(3, 43, 35, nmi_blocked=True)
    cpu.apic.nmi = True
    assert met(play(cpu).events) == [(NMI, CODE + 2)]
    assert not cpu.nmi_blocked


def test_the_handler_of_an_interrupt_ends_the_blocking_too() -> None:
    cpu = processor(NOP + DONE, nmi_blocked=True)
    cpu.apic.nmi, cpu.apic.irr = True, {0x41, 0x42}
    assert met(play(cpu).events) == [(0x42, CODE), (NMI, CODE), (0x41, CODE)]


def test_an_nmi_behind_a_trap_interrupts_its_handler() -> None:
    cpu = processor(WRMSR + NOP + DONE, cpl=0, rflags=2 | TF)
    cpu.apic.x2apic = True
    cpu.regs[0], cpu.regs[1] = 0x400, 0x830
    assert play(cpu).events[:2] == [IN_HANDLER, Event(1, CODE + 2, 2 | TF, cpu.regs[RSP], BS)]


def test_an_nmi_that_is_held_off_does_not_end_hlt() -> None:
    cpu = processor(HLT + DONE, cpl=0, nmi_blocked=True)
    cpu.apic.nmi = True
    with pytest.raises(Unmodelled, match="nothing ends"):
        play(cpu)


def test_an_iret_that_faults_while_an_nmi_waits_is_not_modelled() -> None:
    cpu = iret(3, 43, 35, rflags=2 | NT, nmi_blocked=True)
    assert play(cpu).vector == GP
    cpu = iret(3, 43, 35, rflags=2 | NT, nmi_blocked=True)
    cpu.apic.nmi = True
    with pytest.raises(Unmodelled):
        play(cpu)


# --- the timer -----------------------------------------------------------------------------------

#: A register of IRR to EAX, and again until the bit of vector E2h or ECh is set.
WAIT_E2, WAIT_EC = "8b07a90400000074f7", "8b07a90010000074f7"


def timed(code: str, vector: int, **state: object) -> Processor:
    cpu = processor(code, DONE, cpl=0, **state)
    cpu.apic.store(0x320, vector)
    cpu.apic.store(0x380, 100)
    return cpu


def test_the_timer_ends_hlt_and_a_notification_before_it_does_not() -> None:
    cpu = timed(STI + HLT + NOP + DONE, 0x41, rflags=2)
    cpu.memory.store(UPID + 8, 8, 1 << 5)
    cpu.apic.irr = {0xEC}
    assert met(play(cpu).events) == [(0x41, CODE + 2)]
    assert cpu.uirr == 1 << 5
    assert {"NOTIFY-18", "HALT-2"} <= cpu.reached


@pytest.mark.parametrize(
    ("code", "state", "irr"),
    [
        # Code runs while it counts and interrupts are enabled.
        (NOP + DONE, {}, set()),
        (STI + NOP + HLT + DONE, {"rflags": 2}, set()),
        # The sequence ends, by INT or a fault.
        (DONE, {"rflags": 2}, set()),
        ("0f0b", {"rflags": 2}, set()),
        # Another event ends HLT.
        (STI + HLT + DONE, {"rflags": 2}, {0x42}),
        (HLT + DONE, {"rflags": 2 | TF}, set()),
        (STI + HLT + DONE, {"rflags": 2, "upidaddr": 0x90_000}, {0xEC}),
        # Nothing does, as interrupts are disabled.
        (HLT + DONE, {"rflags": 2}, set()),
    ],
)
def test_a_timer_whose_time_would_matter_is_not_modelled(
    code: str, state: dict[str, object], irr: set[int]
) -> None:
    cpu = timed(code, 0x41, **state)
    cpu.apic.irr = irr
    with pytest.raises(Unmodelled):
        play(cpu)


def test_a_timer_with_uinv_is_a_notification() -> None:
    for uinv, events in ((0xEC, []), (0, [(0xEC, CODE + 10)])):
        cpu = timed(WAIT_EC + STI + NOP + NOP + DONE, 0xEC, rflags=2, uinv=uinv)
        cpu.regs[7] = 0xFEE00270
        cpu.memory.store(UPID + 8, 8, 1 << 5)
        # The shadow of STI: it is taken behind NOP.
        assert met(play(cpu).events) == [(vector, rip + 1) for vector, rip in events]
        assert cpu.uirr == (0 if events else 1 << 5)
        assert ("NOTIFY-25" in cpu.reached) == (not events)
        assert cpu.regs[0] == 1 << 12


def test_who_waits_for_irr_sees_other_vectors_too() -> None:
    cpu = timed(WAIT_E2 + DONE, 0xE2, rflags=2)
    cpu.apic.x2apic = True
    cpu.memory.store(CODE, 2, 0x320F)
    cpu.apic.irr, cpu.regs[1] = {0xE1, 0x41}, 0x827
    play(cpu)
    assert (cpu.regs[0], cpu.regs[2]) == (6, 0)
    assert cpu.apic.irr == {0xE1, 0xE2, 0x41}


def test_a_stepped_wait_for_the_timer_is_not_modelled() -> None:
    for state in (
        {"rflags": 2 | TF},
        {"rflags": 2, "breakpoints": (Breakpoint(0, CODE + 2, 1),)},
    ):
        cpu = timed(WAIT_EC + DONE, 0xEC, **state)
        cpu.regs[7] = 0xFEE00270
        with pytest.raises(Unmodelled, match="stepped"):
            play(cpu)


def test_a_timer_with_a_pending_vector_is_not_modelled() -> None:
    apic = Apic(irr={0x41})
    apic.store(0x320, 0x41)
    with pytest.raises(UnknownRegister):
        apic.store(0x380, 1)
    apic.irr.clear()
    apic.store(0x380, 1)
    for offset, value in ((0x300, SELF | 0x41), (0x320, 0x42), (0x380, 2)):
        with pytest.raises(UnknownRegister):
            apic.store(offset, value)


# --- the 8259 ------------------------------------------------------------------------------------


def test_an_8259_sends_no_notification() -> None:
    for code, state in ((NOP + DONE, {}), (STI + HLT + DONE, {"cpl": 0, "rflags": 2})):
        cpu = processor(code, DONE, pic=0xEC, **state)
        cpu.memory.store(UPID + 8, 8, 1 << 5)
        rip = CODE + 2 if cpu.cpl == 0 else CODE
        assert met(play(cpu).events) == [(0xEC, rip)]
        assert (cpu.pic, cpu.uirr) == (None, 0)
        assert "NOTIFY-26" in cpu.reached


def test_the_8259_and_the_local_apic_come_in_either_order() -> None:
    for first, vectors in ((True, [0x20, 0x41]), (False, [0x41, 0x20])):
        cpu = processor(NOP + DONE, pic=0x20, pic_first=first)
        cpu.apic.irr = {0x41}
        assert [event.vector for event in play(cpu).events] == vectors


def test_what_the_8259_requests_waits_for_if() -> None:
    cpu = processor(NOP + DONE, pic=0x20, rflags=2)
    assert play(cpu).events == []
    assert cpu.pic == 0x20


# --- the registers of the local APIC -------------------------------------------------------------


def test_a_self_ipi_by_icr() -> None:
    cpu = processor(STORE + NOP + DONE, cpl=0)
    cpu.regs[0], cpu.regs[7] = SELF | 0x41, ICR
    assert met(play(cpu).events) == [(0x41, CODE + 2)]
    cpu = processor(WRMSR + NOP + DONE, cpl=0)
    cpu.apic.x2apic = True
    cpu.regs[0], cpu.regs[1] = 0x41, 0x830
    assert met(play(cpu).events) == [(0x41, CODE + 2)]
    cpu.rip, cpu.regs[2] = CODE, 7
    assert play(cpu).events == []


@pytest.mark.parametrize(("destination", "heard"), [(0, True), (0xFF, True), (1, False)])
def test_an_nmi_by_icr_goes_to_its_destination(destination: int, heard: bool) -> None:
    cpu = processor(STORE + NOP + DONE, cpl=0)
    cpu.apic.store(0x310, destination << 24)
    cpu.regs[0], cpu.regs[7] = 0x4400, ICR
    assert met(play(cpu).events) == [(NMI, CODE + 2)] * heard


def test_the_apics_page_is_the_supervisors() -> None:
    cpu = processor(STORE)
    cpu.regs[7] = ICR
    outcome = play(cpu)
    assert (outcome.vector, outcome.error, outcome.address) == (PAGE, 7, ICR)


@pytest.mark.parametrize(
    ("code", "x2apic", "address", "value"),
    [
        (STORE, True, ICR, SELF | 0x41),
        ("48" + STORE, False, ICR, SELF | 0x41),
        (STORE, False, ICR, SELF | 0x400),
        (STORE, False, ICR, SELF | 0x800 | 0x41),
        (STORE, False, ICR, SELF | 0x200 | 0x41),
        (STORE, False, 0xFEE00040, 1),
        (STORE, False, 0xFEE00320, 0x10041),
        (STORE, False, 0xFEE00380, 1),
        ("8b07", False, 0xFEE00300, 0),
        (WRMSR, True, 0x804, 1),
    ],
)
def test_other_accesses_to_the_apic_are_not_modelled(
    code: str, x2apic: bool, address: int, value: int
) -> None:
    cpu = processor(code + DONE, cpl=0)
    cpu.apic.x2apic = x2apic
    cpu.regs[0], cpu.regs[1 if code == WRMSR else 7] = value, address
    with pytest.raises(Unmodelled):
        play(cpu)
