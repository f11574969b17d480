"""State component 14: what must hold whatever the state is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import msrs, xsave
from oracle.memory import PRESENT, WRITABLE, Memory
from oracle.processor import GP, Fault, Processor, Unmodelled

AREA = 0x10_000
COMPONENT = 1 << 14
FIELDS = ("uihandler", "uistackadjust", "uittsz", "upidaddr", "uirr", "uitt", "uif")

#: What the MSRs take.
states = st.fixed_dictionaries(
    {
        "uihandler": st.integers(0, (1 << 56) - 1),
        "uistackadjust": st.integers(0, (1 << 56) - 1),
        "uittsz": st.integers(0, (1 << 32) - 1),
        "upidaddr": st.integers(0, (1 << 50) - 1).map(lambda number: number * 64),
        "uirr": st.integers(0, (1 << 64) - 1),
        "uitt": st.integers(0, (1 << 52) - 1).map(lambda number: number * 16 + number % 2),
        "uif": st.booleans(),
        "uinv": st.integers(0, 255),
    }
)


def processor(**state: object) -> Processor:
    memory = Memory({AREA >> 12: PRESENT | WRITABLE}, {AREA: bytearray(4096)})
    cpu = Processor(memory, cpl=0)
    for name, value in state.items():
        setattr(cpu, name, value)
    return cpu


def fields(cpu: Processor, *more: str) -> dict[str, object]:
    return {name: getattr(cpu, name) for name in (*FIELDS, *more)}


def header(cpu: Processor, *words: int) -> None:
    for place, word in enumerate(words):
        cpu.memory.store(AREA + 512 + 8 * place, 8, word)


@given(state=states)
def test_what_was_saved_comes_back(state: dict[str, object]) -> None:
    cpu = processor(**state)
    before = fields(cpu, "uinv")
    xsave.xsaves(cpu, COMPONENT, AREA)
    assert fields(cpu) == {name: before[name] for name in FIELDS}
    # What is 0 as a whole is not saved, and UINV was 0 then.
    assert cpu.uinv == 0
    for name in FIELDS:
        setattr(cpu, name, 1)
    xsave.xrstors(cpu, COMPONENT, AREA)
    assert fields(cpu, "uinv") == before


@given(state=states, wanted=st.sampled_from([0, 1 << 8, 1 << 63]))
def test_what_is_not_asked_for_stays(state: dict[str, object], wanted: int) -> None:
    cpu = processor(**state)
    before = fields(cpu, "uinv")
    xsave.xsaves(cpu, wanted, AREA)
    assert cpu.memory.load(AREA + 512, 8) == 0
    xsave.xrstors(cpu, wanted, AREA)
    assert fields(cpu, "uinv") == before


@given(state=states.filter(lambda state: state["uinv"] != 0), initial=st.booleans())
def test_a_live_uinv_refuses(state: dict[str, object], initial: bool) -> None:
    cpu = processor(**state)
    before = fields(cpu, "uinv")
    header(cpu, 0 if initial else COMPONENT, 1 << 63 | COMPONENT)
    with pytest.raises(Fault) as caught:
        xsave.xrstors(cpu, COMPONENT, AREA)
    assert (caught.value.vector, caught.value.error) == (GP, 0)
    assert fields(cpu, "uinv") == before


@given(state=states)
def test_the_initial_configuration_is_zero(state: dict[str, object]) -> None:
    cpu = processor(**state | {"uinv": 0})
    header(cpu, 0, 1 << 63 | COMPONENT)
    xsave.xrstors(cpu, COMPONENT, AREA)
    assert not any(fields(cpu, "uinv").values())


@pytest.mark.parametrize(
    "words",
    [
        (COMPONENT, COMPONENT),
        (COMPONENT, 1 << 63),
        (1 << 13, 1 << 63 | 1 << 13),
        *((0, 1 << 63 | COMPONENT, *([0] * place), 1) for place in range(6)),
    ],
)
def test_a_wrong_header_is_refused(words: tuple[int, ...]) -> None:
    cpu = processor()
    header(cpu, *words)
    with pytest.raises(Fault) as caught:
        xsave.xrstors(cpu, COMPONENT, AREA)
    assert caught.value.vector == GP


@pytest.mark.parametrize(
    ("place", "word"),
    [
        (0, 1 << 56),
        (1, 1 << 56),
        *((2, 1 << bit) for bit in range(40, 63)),
        *((3, 1 << bit) for bit in range(6)),
        *((5, 1 << bit) for bit in (1, 2, 3, 56)),
    ],
)
def test_a_word_that_its_msr_refuses(place: int, word: int) -> None:
    cpu = processor()
    header(cpu, COMPONENT, 1 << 63 | COMPONENT)
    cpu.memory.store(AREA + 576 + 8 * place, 8, word)
    with pytest.raises(Fault):
        xsave.xrstors(cpu, COMPONENT, AREA)
    assert cpu.uinv == 0
    assert cpu.component_open


@pytest.mark.parametrize("operation", [xsave.xsaves, xsave.xrstors])
def test_who_may_not(operation: object) -> None:
    for cpl, area in ((3, AREA), (0, AREA + 8)):
        with pytest.raises(Fault) as caught:
            operation(processor(cpl=cpl), COMPONENT, area)  # type: ignore[operator]
        assert caught.value.vector == GP
    with pytest.raises(Unmodelled):
        operation(processor(), 1, AREA)  # type: ignore[operator]


def test_the_image_has_the_order_of_the_manual() -> None:
    cpu = processor(uihandler=1, uistackadjust=2, uittsz=3, uinv=4, uif=True, upidaddr=64, uirr=5)
    msrs.wrmsr(cpu, msrs.TT, 0x31)
    xsave.xsaves(cpu, COMPONENT, AREA)
    image = [cpu.memory.load(AREA + 576 + 8 * place, 8) for place in range(6)]
    assert image == [1, 2, 3 | 4 << 32 | 1 << 63, 64, 5, 0x31]
