"""Other processors of the model, and locked instructions."""

from __future__ import annotations

import pytest
from oracle.apic import Apic
from oracle.machine import Event, Outcome, run
from oracle.memory import PRESENT, USER, WRITABLE
from oracle.others import DONE as ACTION_DONE
from oracle.others import WAITED_FOR, Others, Schedule
from oracle.processor import CF, GP, IF, PAGE, RDI, RSP, TF, UD, Processor, Unmodelled

from .test_machine import CODE, DONE, NOP, STACK, STI, UITT, UPID, processor

MAIL, ACTION = 0x60_000, 0x70_000
#: MOV of EAX to the address in RDI; JMP to the address in RSI; PAUSE.
ASK, WAIT, PAUSE = "8907", "ff26", "f390"
SENDUIPI_RCX, WRMSR, UD2 = "f30fc7f1", "0f30", "0f0b"
#: Writes of ICR in x2APIC mode, with the destination in EDX.
ICR = "b930080000"
SEND_41, SEND_NMI = f"{ICR}b84100000031d2{WRMSR}", f"{ICR}b80044000031d2{WRMSR}"
AT_WAIT = CODE + len(bytes.fromhex(ASK))


def two(
    code: str, *actions: str, schedule: Schedule | None = None, **state: object
) -> tuple[Processor, Others]:
    """Return a processor that has the address of its wait in the mailbox, and another one."""
    cpu = processor(code, cpl=0)
    for name, value in state.items():
        setattr(cpu, name, value)
    cpu.apic = Apic(x2apic=True)
    for start in (MAIL, ACTION):
        cpu.memory.pages[start >> 12] = PRESENT | WRITABLE | USER
        cpu.memory.blocks[start] = bytearray(4096)
    for number, text in enumerate(actions):
        data = bytes.fromhex(text)
        cpu.memory.blocks[ACTION][64 * number : 64 * number + len(data)] = data
    cpu.memory.store(MAIL + 8, 8, AT_WAIT)
    cpu.regs[RDI], cpu.regs[6] = MAIL, MAIL + 8
    cpu.regs[0] = 1 | 2 << 8
    other = Processor(cpu.memory, cpl=0, apic=Apic(id=1, x2apic=True), uitt=UITT | 1, uittsz=7)
    for one in (cpu, other):
        one.apic.everybody = [cpu.apic, other.apic]
    places = [(ACTION + 64 * number, 1) for number in range(len(actions))]
    return cpu, Others({1: other}, places, MAIL, schedule or Schedule())


def play(these: tuple[Processor, Others]) -> Outcome:
    return run(these[0], 100, these[1])


def test_an_action_ends_the_wait_for_it() -> None:
    cpu, others = two(ASK + WAIT + NOP + DONE, NOP + DONE)
    assert play((cpu, others)).vector == ACTION_DONE
    assert cpu.rip == AT_WAIT + 5
    (result,) = others.results
    assert (result.count, result.vector) == (1, ACTION_DONE)
    assert not others.beside


@pytest.mark.parametrize(
    ("action", "vector", "error"), [(UD2, UD, 0), ("b9ff000000" + SENDUIPI_RCX, GP, 0),
                                    ("488903", PAGE, 2)]
)  # fmt: skip
def test_an_action_ends_at_a_fault(action: str, vector: int, error: int) -> None:
    cpu, others = two(ASK + WAIT + NOP + DONE, action)
    cpu.memory.pages[0] = 0
    play((cpu, others))
    (result,) = others.results
    assert (result.count, result.vector, result.error) == (1, vector, error)


@pytest.mark.parametrize(
    ("schedule", "rip"),
    [(Schedule(), AT_WAIT), (Schedule(fine=True), AT_WAIT), (Schedule(behind=True), AT_WAIT + 2)],
)
def test_what_is_sent_arrives_in_the_wait_or_behind_it(schedule: Schedule, rip: int) -> None:
    cpu, others = two(ASK + WAIT + NOP + DONE, SEND_41 + DONE, schedule=schedule)
    assert play((cpu, others)).events == [Event(0x41, rip, 2 | IF, STACK + 2048)]


def test_an_action_may_begin_before_the_wait() -> None:
    code = ASK + NOP + NOP + WAIT + NOP + DONE
    for delay, place in ((0, 0), (1, 1), (2, 2), (WAITED_FOR, 2)):
        cpu, others = two(code, SEND_41 + DONE, schedule=Schedule(delay))
        cpu.memory.store(MAIL + 8, 8, AT_WAIT + 2)
        assert [one.rip for one in play((cpu, others)).events] == [AT_WAIT + place]
        assert others.beside == (delay > 0)


def test_a_send_from_another_processor_is_delivered() -> None:
    for schedule in (Schedule(), Schedule(fine=True), Schedule(behind=True)):
        code = ASK + WAIT + NOP + DONE
        cpu, others = two(code, SENDUIPI_RCX + DONE, schedule=schedule, cpl=3, uif=True)
        cpu.memory.store(UPID, 8, 0xEC << 16)
        play((cpu, others))
        assert cpu.memory.load(cpu.regs[RSP], 8) == 9
        assert cpu.memory.load(cpu.regs[RSP] + 8, 8) == AT_WAIT + 2 * schedule.behind
        assert (cpu.uirr, cpu.memory.load(UPID, 16)) == (0, 0xEC << 16)


def test_only_the_receiver_gets_an_interrupt() -> None:
    to_one, to_all = (f"{ICR}b841000000ba{dest}{WRMSR}" for dest in ("01000000", "ffffffff"))
    for action, here in ((to_one, False), (to_all, True)):
        cpu, others = two(ASK + WAIT + NOP + DONE, action + DONE, rflags=2)
        play((cpu, others))
        assert (cpu.apic.irr == {0x41}, others.processors[1].apic.irr) == (here, {0x41})


def test_an_action_ends_hlt() -> None:
    # The notification alone does not.
    for first in ("", SENDUIPI_RCX):
        cpu, others = two(ASK + STI + "f4" + DONE, first + SEND_41 + DONE, rflags=2)
        outcome = play((cpu, others))
        assert [(one.vector, one.rip) for one in outcome.events] == [(0x41, AT_WAIT + 2)]
        assert ("NOTIFY-18" in cpu.reached) == bool(first)
    with pytest.raises(Unmodelled, match="nothing ends"):
        play(two(ASK + STI + "f4" + DONE, NOP + DONE, rflags=2))


@pytest.mark.parametrize(("code", "flags"), [(WAIT + DONE, 0), (ASK + WAIT + DONE, TF)])
def test_a_wait_that_nothing_ends_or_each_step_of_which_counts(code: str, flags: int) -> None:
    cpu, others = two(code, NOP + DONE, rflags=2 | flags)
    cpu.memory.store(MAIL + 8, 8, CODE if code.startswith(WAIT) else AT_WAIT)
    with pytest.raises(Unmodelled):
        play((cpu, others))


def test_a_request_for_an_action_that_is_not_there() -> None:
    cpu, others = two(ASK + WAIT + NOP + DONE, NOP + DONE)
    cpu.regs[0] = 2
    with pytest.raises(Unmodelled, match="not there"):
        play((cpu, others))


def test_what_was_asked_for_is_done_at_the_end() -> None:
    cpu, others = two(ASK + DONE, SEND_41 + DONE)
    assert play((cpu, others)).events == []
    assert (others.results[0].count, cpu.apic.irr) == (1, {0x41})


def test_an_nmi_of_another_processor_needs_no_if() -> None:
    cpu, others = two(ASK + WAIT + NOP + DONE, SEND_NMI + DONE, rflags=2)
    assert [one.vector for one in play((cpu, others)).events] == [2]


def test_pause_in_a_wait() -> None:
    cpu, others = two(ASK + PAUSE + WAIT + NOP + DONE, NOP + DONE)
    cpu.regs[0] = 1 | 4 << 8
    play((cpu, others))
    assert cpu.rip == AT_WAIT + 7


@pytest.mark.parametrize(
    ("code", "before", "after", "carry"),
    [("f0480fba2f01", 0, 2, False), ("f0480fba2f01", 3, 3, True), ("f0480fba3701", 3, 1, True)],
)
def test_locked_bits(code: str, before: int, after: int, carry: bool) -> None:
    cpu = processor(code + DONE, cpl=0)
    cpu.regs[RDI] = UPID
    cpu.memory.store(UPID, 8, before)
    assert run(cpu, 10).vector == ACTION_DONE
    assert (cpu.memory.load(UPID, 8), cpu.flag(CF)) == (after, carry)


def test_xchg() -> None:
    cpu = processor("488707" + DONE, cpl=0)
    cpu.regs[0], cpu.regs[RDI] = 5, UPID
    cpu.memory.store(UPID, 8, 7)
    run(cpu, 10)
    assert (cpu.regs[0], cpu.memory.load(UPID, 8)) == (7, 5)
    cpu = processor("488707" + DONE, cpl=0)
    cpu.regs[RDI] = UPID
    cpu.memory.pages[UPID >> 12] = PRESENT
    assert (run(cpu, 10).vector, run(cpu, 10).error) == (PAGE, 3)


@pytest.mark.parametrize("code", ["480fba2f01", "f0480fba2701", "8707", "f0480fba2f01"])
def test_other_locked_forms_are_not_modelled(code: str) -> None:
    cpu = processor(code + DONE, cpl=3 if code == "f0480fba2f01" else 0)
    cpu.regs[RDI] = UPID
    with pytest.raises(Unmodelled):
        run(cpu, 10)
