"""The model of user interrupts: what must hold whatever the state is."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import msrs, uintr
from oracle.memory import PRESENT, USER, WRITABLE, Memory
from oracle.processor import AC, CF, GP, IF, PAGE, RSP, SS, STATUS, TF, UD, Fault, Processor

from harness import paths
from harness.results.contract import read_contract

STACK, UPID, UITT, LOST = 0x10_000, 0x20_000, 0x30_000, 0x40_000
ALL = PRESENT | WRITABLE | USER
words = st.integers(0, (1 << 64) - 1)
flags = words.map(lambda word: word & 0x254FD5 | 2)


def processor(**state: object) -> Processor:
    memory = Memory(
        pages=dict.fromkeys((STACK >> 12, UPID >> 12, UITT >> 12), ALL),
        blocks={start: bytearray(4096) for start in (STACK, UPID, UITT)},
    )
    cpu = Processor(memory, upidaddr=UPID, uitt=UITT | 1, uittsz=7, uinv=0xEC, uihandler=0x1000)
    cpu.regs[RSP] = STACK + 2048
    for name, value in state.items():
        setattr(cpu, name, value)
    return cpu


def post(cpu: Processor, low: int, pir: int) -> None:
    cpu.memory.store(UPID, 8, low)
    cpu.memory.store(UPID + 8, 8, pir)


def entry(cpu: Processor, index: int, low: int, upid: int = UPID) -> None:
    cpu.memory.store(UITT + 16 * index, 8, low)
    cpu.memory.store(UITT + 16 * index + 8, 8, upid)


def state(cpu: Processor) -> dict[str, object]:
    """Return all that a fault must leave alone."""
    kept = copy.deepcopy(vars(cpu))
    for name in ("reached", "circumstances", "unspecified"):
        del kept[name]
    return kept


@given(rflags=flags, uif=st.booleans())
def test_testui_gives_uif_and_nothing_else(rflags: int, uif: bool) -> None:
    cpu = processor(rflags=rflags, uif=uif)
    uintr.testui(cpu)
    assert cpu.rflags & STATUS == (CF if uif else 0)
    assert cpu.rflags & ~STATUS == rflags & ~STATUS
    assert cpu.uif == uif


@given(rflags=flags, uif=st.booleans())
def test_clui_and_stui_change_uif_alone(rflags: int, uif: bool) -> None:
    for operation, after in ((uintr.clui, False), (uintr.stui, True)):
        cpu = processor(rflags=rflags, uif=uif)
        before = state(cpu)
        operation(cpu)
        assert state(cpu) == before | {"uif": after}


@given(
    rflags=flags,
    uirr=words.filter(bool),
    down=st.integers(0, 512),
    adjust=st.sampled_from([0, 8, 128, 256, (STACK + 1024) | 1, (STACK + 1024) | 0xF]),
)
def test_a_handler_that_only_returns_leaves_no_trace(
    rflags: int, uirr: int, down: int, adjust: int
) -> None:
    cpu = processor(rflags=rflags, uirr=uirr, uif=True, uistackadjust=adjust, rip=0x777)
    rsp = cpu.regs[RSP] = cpu.regs[RSP] - down
    uintr.user_interrupt_delivery(cpu)
    vector = cpu.memory.load(cpu.regs[RSP], 8)
    assert cpu.regs[RSP] % 16 == 0
    assert not cpu.uif
    assert not cpu.flag(TF)
    assert uirr >> vector == 1
    assert cpu.uirr | 1 << vector == uirr
    assert cpu.uirr != uirr
    assert (adjust & 1) or cpu.regs[RSP] + 32 <= rsp - adjust
    cpu.regs[RSP] += 8
    uintr.uiret(cpu)
    assert (cpu.rip, cpu.regs[RSP], cpu.rflags, cpu.uif) == (0x777, rsp, rflags, True)


@given(image=words, rflags=flags)
def test_uiret_leaves_if_and_iopl_alone(image: int, rflags: int) -> None:
    cpu = processor(rflags=rflags)
    for place, word in enumerate((0x5000, image, 0x6000)):
        cpu.memory.store(cpu.regs[RSP] + 8 * place, 8, word)
    uintr.uiret(cpu)
    assert cpu.rflags & (IF | 3 << 12 | 1 << 17) == rflags & (IF | 3 << 12 | 1 << 17)
    assert cpu.rflags & 0x254DD5 == image & 0x254DD5
    assert (cpu.rip, cpu.regs[RSP], cpu.uif) == (0x5000, 0x6000, True)


@given(image=words)
def test_flexible_uiret_takes_uif_from_bit_1(image: int) -> None:
    cpu = processor(uiret_uif=True)
    cpu.memory.store(cpu.regs[RSP] + 8, 8, image)
    uintr.uiret(cpu)
    assert cpu.uif == bool(image & 2)


def run(cpu: Processor, operation: object, *arguments: object) -> Fault:
    """Return the fault of an operation that must have changed nothing."""
    before = state(cpu)
    with pytest.raises(Fault) as caught:
        operation(cpu, *arguments)  # type: ignore[operator]
    assert state(cpu) == before
    return caught.value


@pytest.mark.parametrize(
    ("stack", "vector", "error"),
    [(1 << 47, SS, 0), (LOST, PAGE, 4), (STACK + 4096 - 16, PAGE, 4), (STACK + 4096 - 4, PAGE, 4)],
)
def test_uiret_from_a_bad_stack(stack: int, vector: int, error: int) -> None:
    cpu = processor()
    cpu.regs[RSP] = stack
    fault = run(cpu, uintr.uiret)
    assert (fault.vector, fault.error) == (vector, error)


@given(rip=st.integers(1 << 47, (1 << 64) - (1 << 47) - 1))
def test_uiret_to_nowhere(rip: int) -> None:
    cpu = processor()
    cpu.memory.store(cpu.regs[RSP], 8, rip)
    assert run(cpu, uintr.uiret).vector == GP


@given(
    vector=st.integers(0, 63),
    pir=words,
    bits=st.integers(0, 3),
    nv=st.integers(16, 255),
    destination=st.integers(0, 255),
)
def test_a_send_posts_and_notifies_once(
    vector: int, pir: int, bits: int, nv: int, destination: int
) -> None:
    cpu = processor()
    entry(cpu, 3, 1 | vector << 8)
    low = bits | nv << 16 | destination << 40
    post(cpu, low, pir)
    uintr.senduipi(cpu, 3)
    assert cpu.memory.load(UPID + 8, 8) == pir | 1 << vector
    assert cpu.memory.load(UPID, 8) == low | (1 if bits == 0 else 0)
    heard = {nv} if bits == 0 and destination in (0, 0xFF) else set()
    assert cpu.apic.irr == heard


@given(index=words.filter(lambda word: word > 7))
def test_an_index_above_the_limit(index: int) -> None:
    fault = run(processor(), uintr.senduipi, index)
    assert (fault.vector, fault.error) == (GP, 0)


@pytest.mark.parametrize("bit", [0, *range(1, 8), 14, 15, *range(16, 64)])
def test_each_bit_of_an_entry_that_must_not_be_so(bit: int) -> None:
    cpu = processor()
    entry(cpu, 0, (1 | 5 << 8) ^ 1 << bit)
    assert run(cpu, uintr.senduipi, 0).vector == GP


@pytest.mark.parametrize("bit", [*range(2, 16), *range(24, 32)])
def test_each_reserved_bit_of_a_upid(bit: int) -> None:
    cpu = processor()
    entry(cpu, 0, 1)
    post(cpu, 1 << bit, 0)
    assert run(cpu, uintr.senduipi, 0).vector == GP


@pytest.mark.parametrize(
    ("upid", "vector", "error"),
    [(UPID + 8, GP, 0), (1 << 47, GP, 0), (LOST, PAGE, 2), (STACK, PAGE, 3)],
)
def test_where_a_upid_may_not_be(upid: int, vector: int, error: int) -> None:
    cpu = processor()
    cpu.memory.pages[STACK >> 12] = PRESENT
    entry(cpu, 0, 1, upid)
    fault = run(cpu, uintr.senduipi, 0)
    assert (fault.vector, fault.error) == (vector, error)


def test_tables_are_the_supervisors() -> None:
    cpu = processor(cpl=3)
    cpu.memory.pages |= dict.fromkeys((UPID >> 12, UITT >> 12), PRESENT | WRITABLE)
    entry(cpu, 0, 1)
    uintr.senduipi(cpu, 0)
    uintr.user_interrupt_notification_processing(cpu)
    assert cpu.uirr == 1


@pytest.mark.parametrize("page", [UPID, UITT])
@pytest.mark.parametrize(("cpl", "ac", "faults"), [(3, 0, 1), (3, AC, 1), (0, 0, 1), (0, AC, 0)])
def test_smap_keeps_senduipi_off_pages_of_the_user(
    page: int, cpl: int, ac: int, faults: int
) -> None:
    cpu = processor(cpl=cpl, rflags=2 | ac, cr4_smap=True)
    cpu.memory.pages |= dict.fromkeys((UPID >> 12, UITT >> 12), PRESENT | WRITABLE)
    cpu.memory.pages[page >> 12] |= USER
    entry(cpu, 0, 1)
    if faults:
        fault = run(cpu, uintr.senduipi, 0)
        assert (fault.vector, fault.error) == (PAGE, 3 if page == UPID else 1)
    else:
        uintr.senduipi(cpu, 0)


@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize("ac", [0, AC])
def test_smap_keeps_a_notification_off_whatever_ac_is(cpl: int, ac: int) -> None:
    cpu = processor(cpl=cpl, rflags=2 | ac, cr4_smap=True)
    fault = run(cpu, uintr.user_interrupt_notification_processing)
    assert (fault.vector, fault.error) == (PAGE, 3)
    cpu.memory.pages[UPID >> 12] &= ~USER
    uintr.user_interrupt_notification_processing(cpu)


def test_without_the_enable_bit_there_is_no_senduipi() -> None:
    assert run(processor(uitt=UITT), uintr.senduipi, 99).vector == UD


@given(low=words, pir=words, uirr=words)
def test_a_notification_loses_no_request(low: int, pir: int, uirr: int) -> None:
    cpu = processor(uirr=uirr)
    post(cpu, low, pir)
    uintr.user_interrupt_notification_processing(cpu)
    assert cpu.uirr == uirr | pir
    assert cpu.memory.load(UPID + 8, 8) == 0
    assert cpu.memory.load(UPID, 8) == low & ~1


@pytest.mark.parametrize(
    ("address", "vector", "error"), [(1 << 47, GP, 1), (LOST, PAGE, 2), (STACK, PAGE, 3)]
)
def test_a_notification_that_faults(address: int, vector: int, error: int) -> None:
    cpu = processor(upidaddr=address)
    cpu.memory.pages[STACK >> 12] = PRESENT | USER
    fault = run(cpu, uintr.user_interrupt_notification_processing)
    assert (fault.vector, fault.error) == (vector, error)


@pytest.mark.parametrize(
    ("changed", "vector", "error"),
    [
        ({"uihandler": 1 << 47}, GP, 0),
        ({"uistackadjust": 1 << 47 | 65}, SS, 0),
        ({"uistackadjust": LOST | 1}, PAGE, 6),
        ({"uistackadjust": UPID + 4096 | 1}, PAGE, 7),
    ],
)
def test_a_delivery_that_faults_stays_pending(
    changed: dict[str, int], vector: int, error: int
) -> None:
    cpu = processor(uirr=1 << 9, uif=True, **changed)
    cpu.memory.pages[UPID >> 12] = PRESENT | WRITABLE
    fault = run(cpu, uintr.user_interrupt_delivery)
    assert (fault.vector, fault.error) == (vector, error)


def test_a_frame_that_was_cut_off_is_left_open() -> None:
    cpu = processor(uirr=1, uif=True, uistackadjust=STACK + 16 | 1)
    with pytest.raises(Fault):
        uintr.user_interrupt_delivery(cpu)
    assert cpu.unspecified == [(STACK - 16, 32)]


@given(
    number=st.sampled_from(range(0x985, 0x98B)),
    value=st.one_of(words, st.integers(0, 63).map(lambda bit: 1 << bit)),
    bits=st.sampled_from([48, 57]),
)
def test_an_msr_keeps_what_it_takes(number: int, value: int, bits: int) -> None:
    cpu = processor(cpl=0, linear_bits=bits)
    before = [msrs.rdmsr(cpu, other) for other in range(0x985, 0x98B)]
    taken = [*before[: number - 0x985], value, *before[number - 0x984 :]]
    if msrs.refused(cpu, number, value):
        assert run(cpu, msrs.wrmsr, number, value).vector == GP
        taken = before
    else:
        msrs.wrmsr(cpu, number, value)
    assert [msrs.rdmsr(cpu, other) for other in range(0x985, 0x98B)] == taken


@pytest.mark.parametrize(
    ("number", "bits"),
    [
        (0x985, 0),
        (0x986, 0xFF00_0000_0000_0000),
        (0x987, 0xFF00_0000_0000_0000),
        (0x988, 0xFFFF_FF00_0000_0000),
        (0x989, 0xFF00_0000_0000_003F),
        (0x98A, 0xFF00_0000_0000_000E),
    ],
)
def test_the_bits_that_an_msr_refuses_by_themselves(number: int, bits: int) -> None:
    cpu = processor()
    refused = sum(1 << bit for bit in range(64) if msrs.refused(cpu, number, 1 << bit))
    assert refused == bits


@pytest.mark.parametrize("number", range(0x985, 0x98B))
def test_the_msrs_are_the_supervisors(number: int) -> None:
    assert run(processor(), msrs.rdmsr, number).vector == GP
    assert run(processor(), msrs.wrmsr, number, 0).vector == GP


def test_each_statement_is_in_the_contract() -> None:
    folder = paths.GUEST_TESTS / "bare-metal" / "oracle"
    named = {
        found
        for path in Path(folder).glob("*.py")
        for found in re.findall(r'"([A-Z]+-\d+)"', path.read_text(encoding="utf-8"))
    }
    assert len(named) > 40
    known = {statement.id for statement in read_contract()}
    assert named | {f"ENUM-{number}" for number in range(4, 10)} <= known
