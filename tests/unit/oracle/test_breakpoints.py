"""Breakpoints and protection keys in the model."""

from __future__ import annotations

import pytest
from oracle.machine import BS, Event
from oracle.memory import PRESENT, USER, WRITABLE, Memory, Violation
from oracle.processor import GP, PAGE, RF, TF, UD, Breakpoint, Unmodelled

from .test_machine import (
    CODE,
    DONE,
    HANDLER,
    NOP,
    SENDUIPI_RAX,
    STACK,
    STUI,
    UIRET,
    UITT,
    UPID,
    frame,
    play,
    processor,
)

B0, B1 = 1, 2
POP_RAX_UIRET = "58" + UIRET
RDPKRU, WRPKRU = "0f01ee", "0f01ef"


def on_code(address: int, number: int = 0) -> Breakpoint:
    return Breakpoint(number, address, 1)


def on_data(address: int, size: int = 8, *, reads: bool = True) -> Breakpoint:
    return Breakpoint(0, address, size, on_write=True, on_read=reads)


def events(found: list[Event]) -> list[tuple[int, int, int]]:
    return [(one.vector, one.rip, one.dr6) for one in found]


def test_a_breakpoint_on_an_instruction_comes_before_it_and_once() -> None:
    cpu = processor(NOP + NOP + DONE, breakpoints=(on_code(CODE + 1),))
    outcome = play(cpu)
    assert events(outcome.events) == [(1, CODE + 1, B0)]
    assert outcome.vector == 0x80


def test_rf_holds_it_off_for_one_instruction() -> None:
    both = (on_code(CODE), on_code(CODE + 1, 1))
    cpu = processor(NOP + NOP + DONE, breakpoints=both, rflags=2 | RF)
    assert events(play(cpu).events) == [(1, CODE + 1, B1)]


def test_it_comes_behind_interrupt_and_delivery() -> None:
    cpu = processor(
        NOP + DONE,
        POP_RAX_UIRET,
        uirr=1,
        uif=True,
        breakpoints=(on_code(CODE), on_code(HANDLER, 1)),
    )
    cpu.apic.irr = {0x41}
    assert events(play(cpu).events) == [(0x41, CODE, 0), (1, HANDLER, B1), (1, CODE, B0)]


def test_uiret_restores_rf_of_the_frame() -> None:
    cpu = processor(
        NOP + DONE, POP_RAX_UIRET, uirr=1, uif=True, rflags=2 | RF, breakpoints=(on_code(CODE),)
    )
    outcome = play(cpu)
    assert events(outcome.events) == []
    assert outcome.vector == 0x80


def test_a_step_and_an_access_are_one_trap() -> None:
    cpu = processor("50" + DONE, rflags=2 | TF, breakpoints=(on_data(STACK + 2040),))
    assert events(play(cpu).events) == [(1, CODE + 1, BS | B0)]


@pytest.mark.parametrize("word", range(4))
def test_an_access_of_delivery_traps_at_the_handler(word: int) -> None:
    place = STACK + 2048 - 8 * (word + 1)
    cpu = processor(NOP + DONE, uirr=1, uif=True, breakpoints=(on_data(place, reads=False),))
    outcome = play(cpu)
    assert events(outcome.events) == [(1, HANDLER, B0)]
    assert frame(cpu)[1] == CODE


def test_an_access_of_notification_traps_before_delivery() -> None:
    cpu = processor(NOP + DONE, uif=True, breakpoints=(on_data(UPID),))
    cpu.memory.store(UPID + 8, 8, 1)
    cpu.apic.irr = {0xEC}
    assert events(play(cpu).events) == [(1, CODE, B0)]
    assert frame(cpu)[1] == CODE


@pytest.mark.parametrize(
    ("address", "reads", "count"),
    [(UITT, True, 1), (UITT, False, 0), (UPID + 8, False, 1), (UITT + 16, True, 0)],
)
def test_accesses_of_senduipi_trap_behind_it(address: int, reads: bool, count: int) -> None:
    cpu = processor(SENDUIPI_RAX + DONE, breakpoints=(on_data(address, reads=reads),))
    cpu.memory.store(UPID, 8, 2)
    assert events(play(cpu).events) == [(1, CODE + 4, B0)] * count
    assert cpu.memory.load(UPID + 8, 8) == 1 << 9


@pytest.mark.parametrize(
    ("address", "size", "hit"),
    [(2039, 1, False), (2040, 1, True), (2047, 1, True), (2048, 8, False)],
)
def test_a_breakpoint_waits_for_its_bytes(address: int, size: int, hit: bool) -> None:
    cpu = processor("50" + DONE, breakpoints=(on_data(STACK + address, size),))
    assert bool(play(cpu).events) == hit


def test_nothing_is_said_of_an_access_before_a_fault() -> None:
    cpu = processor(SENDUIPI_RAX, breakpoints=(on_data(UITT),))
    cpu.memory.pages[UPID >> 12] = 0
    with pytest.raises(Unmodelled):
        play(cpu)


# --- protection keys -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rights", "access", "write", "user", "key"),
    [
        (PRESENT | WRITABLE | USER, 1, False, True, True),
        (PRESENT | WRITABLE | USER, 1, False, False, True),
        (PRESENT | WRITABLE | USER, 2, False, True, False),
        (PRESENT | WRITABLE | USER, 2, True, False, True),
        (PRESENT | WRITABLE, 3, True, False, False),
        (PRESENT | WRITABLE | USER, 0, True, True, False),
    ],
)
def test_a_key_forbids(rights: int, access: int, write: bool, user: bool, key: bool) -> None:
    memory = Memory({5: rights}, keys={5: 3})
    found = memory.violation(0x5000, 8, write=write, user=user, pkru=access << 6)
    assert found == (Violation(0x5000, present=True, key=True) if key else None)


def test_the_error_code_tells_of_a_key() -> None:
    cpu = processor(STUI + DONE, uirr=1, cr4_pke=True, pkru=2 << 4)
    cpu.memory.keys[STACK >> 12] = 2
    outcome = play(cpu)
    assert (outcome.vector, outcome.error) == (PAGE, 0x27)
    assert cpu.rip == CODE + 4


def test_a_key_counts_for_senduipi_but_not_for_code() -> None:
    cpu = processor(SENDUIPI_RAX, cr4_pke=True, pkru=1 << 2)
    cpu.memory.keys |= {CODE >> 12: 1, UPID >> 12: 1}
    outcome = play(cpu)
    assert (outcome.vector, outcome.error, outcome.address) == (PAGE, 0x23, UPID)


def test_rdpkru_and_wrpkru() -> None:
    cpu = processor(WRPKRU + RDPKRU + DONE, cr4_pke=True, pkru=8)
    cpu.regs[:3] = 0x55, 0, 0
    play(cpu)
    assert (cpu.pkru, cpu.regs[0], cpu.regs[2]) == (0x55, 0x55, 0)
    assert play(processor(RDPKRU)).vector == UD
    wrong = processor(WRPKRU, cr4_pke=True)
    wrong.regs[1] = 1
    assert play(wrong).vector == GP
