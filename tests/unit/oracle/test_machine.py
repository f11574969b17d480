"""What happens at instruction boundaries, and ordinary arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import ordinary
from oracle.machine import Event, Outcome, run
from oracle.memory import PRESENT, USER, WRITABLE, Memory, OutsideError
from oracle.processor import (
    AF,
    CF,
    GP,
    IF,
    OF,
    PF,
    RF,
    RSP,
    SF,
    STATUS,
    TF,
    UD,
    ZF,
    Processor,
    Unmodelled,
)

CODE, HANDLER, STACK, UPID, UITT = 0x10_000, 0x20_000, 0x30_000, 0x40_000, 0x50_000
STUI, CLUI, TESTUI, UIRET = "f30f01ef", "f30f01ee", "f30f01ed", "f30f01ec"
SENDUIPI_RAX, NOP, DONE, STI = "f30fc7f0", "90", "cd80", "fb"


def processor(code: str, handler: str = DONE, **state: object) -> Processor:
    blocks = {start: bytearray(4096) for start in (CODE, HANDLER, STACK, UPID, UITT)}
    for start, text in ((CODE, code), (HANDLER, handler)):
        data = bytes.fromhex(text.replace(" ", ""))
        blocks[start][: len(data)] = data
    pages = {start >> 12: PRESENT | WRITABLE | USER for start in blocks}
    cpu = Processor(
        Memory(pages, blocks),
        rip=CODE,
        rflags=2 | IF,
        uihandler=HANDLER,
        upidaddr=UPID,
        uitt=UITT | 1,
        uittsz=7,
        uinv=0xEC,
    )
    cpu.regs[RSP] = STACK + 2048
    cpu.memory.store(UPID, 8, 0xEC << 16)
    cpu.memory.store(UITT, 8, 1 | 9 << 8)
    cpu.memory.store(UITT + 8, 8, UPID)
    for name, value in state.items():
        setattr(cpu, name, value)
    return cpu


def play(cpu: Processor) -> Outcome:
    return run(cpu, 100)


def frame(cpu: Processor) -> list[int]:
    """Return vector, RIP, RFLAGS and RSP of the frame at RSP."""
    return [cpu.memory.load(cpu.regs[RSP] + 8 * place, 8) for place in range(4)]


def test_a_request_is_delivered_behind_stui() -> None:
    cpu = processor(STUI + NOP + DONE, uirr=1 << 5)
    play(cpu)
    assert cpu.rip == HANDLER + 2
    assert frame(cpu)[:2] == [5, CODE + 4]


def test_nothing_is_delivered_at_cpl_0_or_without_cr4() -> None:
    for state in ({"cpl": 0, "uif": True}, {"cr4_uintr": False, "uif": True}, {"uif": False}):
        cpu = processor(NOP + DONE, uirr=1, **state)
        play(cpu)
        assert cpu.rip == CODE + 3
        assert cpu.uirr == 1


def test_all_requests_come_the_highest_first() -> None:
    cpu = processor(NOP + DONE, "5959" + DONE, uirr=1 << 63 | 9, uif=True)
    play(cpu)
    assert cpu.uirr == 9
    assert cpu.regs[1] == CODE


def test_a_send_to_oneself_comes_by_notification() -> None:
    cpu = processor(SENDUIPI_RAX + NOP + DONE, uif=True)
    outcome = play(cpu)
    assert frame(cpu)[:2] == [9, CODE + 4]
    assert outcome.events == []
    assert cpu.memory.load(UPID, 16) == 0xEC << 16


def test_without_uinv_it_goes_through_the_idt() -> None:
    cpu = processor(SENDUIPI_RAX + NOP + DONE, uif=True, uinv=0)
    outcome = play(cpu)
    assert outcome.events == [Event(0xEC, CODE + 4, 2 | IF, cpu.regs[RSP])]
    assert cpu.memory.load(UPID + 8, 8) == 1 << 9
    assert cpu.rip == CODE + 7


def test_it_waits_for_if_and_for_the_instruction_behind_sti() -> None:
    cpu = processor(SENDUIPI_RAX + NOP + STI + NOP + NOP + DONE, uinv=0, cpl=0, rflags=2)
    outcome = play(cpu)
    assert [(event.vector, event.rip) for event in outcome.events] == [(0xEC, CODE + 7)]


def test_an_interrupt_comes_before_a_user_interrupt() -> None:
    cpu = processor(NOP + DONE, uirr=1, uif=True)
    cpu.apic.irr = {0x41}
    outcome = play(cpu)
    assert [(event.vector, event.rip) for event in outcome.events] == [(0x41, CODE)]
    assert frame(cpu)[1] == CODE


def test_a_step_comes_before_a_user_interrupt() -> None:
    cpu = processor(STUI + NOP + DONE, uirr=1, rflags=2 | TF)
    outcome = play(cpu)
    assert [(event.vector, event.rip) for event in outcome.events] == [(1, CODE + 4)]
    assert frame(cpu)[2] & TF
    assert not outcome.rflags & TF


@pytest.mark.parametrize("code", ["f0" + STUI, "f3f0" + STUI[2:], "0f0b"])
def test_what_does_not_exist_faults_at_its_first_byte(code: str) -> None:
    cpu = processor(NOP + code)
    outcome = play(cpu)
    assert (outcome.vector, outcome.error, cpu.rip) == (UD, 0, CODE + 1)
    assert outcome.rflags & RF


def test_fifteen_bytes_are_not_too_long() -> None:
    cpu = processor("2e" * 11 + STUI + DONE)
    play(cpu)
    assert cpu.uif
    assert play(processor("2e" * 12 + STUI + DONE)).vector == GP


def test_fetching_faults_with_the_bit_of_a_fetch() -> None:
    cpu = processor(NOP, rip=CODE + 4095)
    cpu.memory.blocks[CODE][4095] = 0x90
    outcome = play(cpu)
    assert (outcome.vector, outcome.error, outcome.address) == (14, 0x14, CODE + 4096)


def test_what_does_not_end_is_not_modelled() -> None:
    with pytest.raises(Unmodelled):
        play(processor("ebfe"))


def test_nothing_is_said_of_what_belongs_to_others() -> None:
    cpu = processor("8b00")
    cpu.memory.unknown_below = CODE
    with pytest.raises(OutsideError):
        play(cpu)


# --- arithmetic, by what the flags mean --------------------------------------------------------

sizes = st.sampled_from([8, 16, 32, 64])


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def meaning(cpu: Processor) -> tuple[bool, ...]:
    return tuple(cpu.flag(flag) for flag in (CF, OF, ZF, SF, PF, AF))


@given(a=st.integers(0), b=st.integers(0), carry=st.integers(0, 1), bits=sizes)
def test_sums_and_differences(a: int, b: int, carry: int, bits: int) -> None:
    a, b = a % (1 << bits), b % (1 << bits)
    limit = range(-(1 << (bits - 1)), 1 << (bits - 1))
    for operation, sign in ((ordinary.add, 1), (ordinary.sub, -1)):
        cpu = processor("")
        result = operation(cpu, a, b, bits, carry)
        exact = a + sign * (b + carry)
        assert result == exact % (1 << bits)
        assert meaning(cpu) == (
            exact != result,
            signed(a, bits) + sign * (signed(b, bits) + carry) not in limit,
            result == 0,
            signed(result, bits) < 0,
            (result & 0xFF).bit_count() % 2 == 0,
            (a % 16) + sign * (b % 16 + carry) not in range(16),
        )


@given(a=st.integers(0), bits=sizes, carry=st.booleans())
def test_inc_and_dec_keep_cf(a: int, bits: int, carry: bool) -> None:
    for operation in (ordinary.increment, ordinary.decrement):
        cpu = processor("", rflags=2 | carry)
        operation(cpu, a % (1 << bits), bits)
        assert cpu.flag(CF) == carry


@given(a=st.integers(0), bits=sizes, flags=st.integers(0, STATUS))
def test_rotates_have_a_way_back(a: int, bits: int, flags: int) -> None:
    a %= 1 << bits
    for there, back in ((0, 1), (1, 0), (2, 3), (3, 2)):
        cpu = processor("", rflags=2 | flags & STATUS)
        result = ordinary.shift_by_one(cpu, there, a, bits)
        assert ordinary.shift_by_one(cpu, back, result, bits) == a
        assert cpu.rflags & (STATUS & ~(CF | OF)) == flags & (STATUS & ~(CF | OF))


@given(a=st.integers(0), bits=sizes)
def test_shifts_double_and_halve(a: int, bits: int) -> None:
    a %= 1 << bits
    top = 1 << (bits - 1)
    for kind, exact, out, overflow in (
        (4, 2 * a, a & top, (a ^ 2 * a) & top),
        (5, a // 2, a & 1, a & top),
        (7, signed(a, bits) // 2, a & 1, 0),
    ):
        cpu = processor("")
        assert ordinary.shift_by_one(cpu, kind, a, bits) == exact % (1 << bits)
        assert (cpu.flag(CF), cpu.flag(OF)) == (bool(out), bool(overflow))


@given(a=st.integers(0, 255), b=st.integers(0, 255))
def test_conditions_compare(a: int, b: int) -> None:
    cpu = processor("")
    ordinary.sub(cpu, a, b, 8)
    x, y = signed(a, 8), signed(b, 8)
    holds = {2: a < b, 4: a == b, 6: a <= b, 12: x < y, 14: x <= y}
    for code, expected in holds.items():
        assert ordinary.condition(cpu, code) == expected
        assert ordinary.condition(cpu, code | 1) != expected


# --- what else decides -------------------------------------------------------------------------


def test_the_interrupt_with_the_highest_vector_comes_first() -> None:
    cpu = processor(NOP + DONE)
    cpu.apic.irr = {0x41, 0xF1, 0x90}
    assert [event.vector for event in play(cpu).events] == [0xF1, 0x90, 0x41]


def test_a_fault_names_the_first_byte_that_is_not_there() -> None:
    cpu = processor("50" + DONE)
    cpu.regs[RSP] = STACK + 4096 + 4
    outcome = play(cpu)
    assert (outcome.vector, outcome.error, outcome.address) == (14, 6, STACK + 4096)


@pytest.mark.parametrize(("cpl", "iopl", "loaded"), [(3, 0, False), (3, 3, True), (0, 0, True)])
def test_popf_loads_if_where_iopl_allows_it(cpl: int, iopl: int, loaded: bool) -> None:
    cpu = processor("9d" + DONE, cpl=cpl, rflags=2 | iopl << 12)
    cpu.memory.store(cpu.regs[RSP], 8, IF | 3 << 12)
    outcome = play(cpu)
    assert bool(outcome.rflags & IF) == loaded
    assert outcome.rflags >> 12 & 3 == (iopl if cpl else 3)


@pytest.mark.parametrize("insn", ["fa", "fb"])
def test_cli_and_sti_need_iopl(insn: str) -> None:
    assert play(processor(insn + DONE)).vector == GP
    assert play(processor(insn + DONE, rflags=2 | 3 << 12)).vector == 0x80


def iret(cpl: int, cs: int, ss: int, flags: int = 2 | IF, **state: object) -> Processor:
    cpu = processor("48cf" + NOP + DONE, cpl=cpl, selectors={(8, 16): 0, (43, 35): 3})
    for name, value in state.items():
        setattr(cpu, name, value)
    for place, word in enumerate((CODE + 2, cs, flags, STACK + 1024, ss)):
        cpu.memory.store(cpu.regs[RSP] + 8 * place, 8, word)
    return cpu


def test_iret_goes_to_user_code_and_there_a_request_comes() -> None:
    cpu = iret(0, 43, 35, uif=True, uirr=1 << 3)
    play(cpu)
    assert cpu.cpl == 3
    assert frame(cpu) == [3, CODE + 2, 2 | IF, STACK + 1024]


def test_a_notification_at_the_same_boundary_puts_no_request_off() -> None:
    cpu = iret(0, 43, 35, uif=True, uirr=1 << 3, rflags=2)
    cpu.memory.store(UPID + 8, 8, 1 << 2)
    cpu.apic.irr = {0xEC}
    play(cpu)
    assert frame(cpu)[:2] == [3, CODE + 2]
    assert cpu.uirr == 1 << 2


def test_iret_never_goes_up() -> None:
    """SDM 2, IRET: a return code segment whose RPL is below CPL raises #GP(selector)."""
    outcome = play(iret(3, 8, 16))
    assert (outcome.vector, outcome.error) == (GP, 8)
    with pytest.raises(Unmodelled, match="IRET"):
        play(iret(3, 24, 16))


def test_iret_faults_with_nt() -> None:
    assert play(iret(0, 43, 35, rflags=2 | 1 << 14)).vector == GP


def test_a_rex_counts_only_next_to_the_opcode() -> None:
    # REX.B in front of F3 is none: the operand is RAX, not R8.
    cpu = processor("41" + SENDUIPI_RAX + DONE)
    cpu.regs[8] = 99
    assert play(cpu).vector == 0x80
    assert play(processor("f3410fc7f0" + DONE, regs=[0] * 8 + [99] * 8)).vector == GP


def test_the_last_index_of_the_table_is_valid() -> None:
    cpu = processor(SENDUIPI_RAX + DONE, uittsz=0, rflags=2)
    assert play(cpu).vector == 0x80
    assert cpu.apic.irr == {0xEC}


@pytest.mark.parametrize(
    ("x2apic", "value", "heard", "end"),
    [
        (True, 0x41, 1, 0x80),
        (True, 0x03, 0, 0x80),
        (True, 0x141, 0, GP),
        (False, 0x41, 0, GP),
    ],
)
def test_a_self_ipi_by_its_msr(x2apic: bool, value: int, heard: int, end: int) -> None:
    cpu = processor("0f30" + NOP + DONE, cpl=0)
    cpu.apic.x2apic = x2apic
    cpu.regs[0], cpu.regs[1] = value, 0x83F
    outcome = play(cpu)
    assert (len(outcome.events), outcome.vector) == (heard, end)
