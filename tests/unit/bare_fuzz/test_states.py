"""Cases with HLT, NMIs and an 8259 that are played, and those that are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from oracle import machine, ordinary, uintr
from oracle.machine import Outcome
from oracle.processor import DB, Processor

from harness.campaigns.bare_fuzz.batch import Batch, make_batch
from harness.campaigns.bare_fuzz.case import PLACE, UPID
from harness.campaigns.bare_fuzz.model import Facts, expect

from .cases import TESTUI, expected, plain


def test_a_hlt_that_a_step_alone_ends_is_left_out() -> None:
    stepped = plain("fa cli", "f4 hlt", level=0, rflags=0x302)
    assert expect(stepped, Facts()) is None
    assert expect(stepped.model_copy(update={"rflags": 0x202, "code": ("fa cli",)}), Facts())


def test_the_8259_is_played_with_what_comes_in_any_order() -> None:
    case = plain(TESTUI, level=0, rflags=0x202, pic=0x20)
    assert expected(case).words[PLACE["event 0 vector"]] == 0x20
    assert expect(case.model_copy(update={"pending": (0x41,)}), Facts()) is None
    # A notification leaves no trace of the order.
    notified = {"pending": (0xEC,), "msrs": (0, 0, 0, 0xEC << 32, UPID, 0), "cr4_uintr": True}
    assert expect(case.model_copy(update=notified), Facts())
    waits = case.model_copy(update={"rflags": 2})
    assert expected(waits).words[PLACE["pic"]] == 1


def test_only_iret_enters_with_tf_or_rf() -> None:
    blocked = plain(TESTUI, nmi_blocked=True)
    assert expect(blocked, Facts())
    for flag in (0x100, 0x10000):
        assert expect(blocked.model_copy(update={"rflags": 2 | flag}), Facts()) is None


# --- a wrong model differs in some of the cases ------------------------------------------------


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Return cases in both modes of the local APIC."""
    return make_batch(5, range(600, 1600), Facts())


Patch = Callable[[pytest.MonkeyPatch], None]


def uiret_unblocks(patch: pytest.MonkeyPatch) -> None:
    right = uintr.uiret

    def wrong(cpu: Processor) -> None:
        right(cpu)
        cpu.nmi_blocked = False

    patch.setattr(uintr, "uiret", wrong)


def iret_does_not_unblock(patch: pytest.MonkeyPatch) -> None:
    right = ordinary.iret

    def wrong(cpu: Processor) -> None:
        blocked = cpu.nmi_blocked
        right(cpu)
        cpu.nmi_blocked = blocked

    patch.setattr(ordinary, "iret", wrong)


def interrupts_come_before_nmis(patch: pytest.MonkeyPatch) -> None:
    right = machine._nmi

    def wrong(cpu: Processor, outcome: Outcome) -> None:
        if not machine._interrupt(cpu, outcome):
            right(cpu, outcome)

    patch.setattr(machine, "_nmi", wrong)


def nmis_come_before_traps(patch: pytest.MonkeyPatch) -> None:
    right = machine._through_idt

    def wrong(cpu: Processor, outcome: Outcome, vector: int, dr6: int = 0) -> None:
        if vector == DB and cpu.apic.nmi and not cpu.nmi_blocked:
            machine._nmi(cpu, outcome)
        right(cpu, outcome, vector, dr6)

    patch.setattr(machine, "_through_idt", wrong)


def blocking_holds_user_interrupts(patch: pytest.MonkeyPatch) -> None:
    right = uintr.user_interrupt_deliverable
    patch.setattr(
        machine,
        "user_interrupt_deliverable",
        lambda cpu: not cpu.nmi_blocked and right(cpu),
    )


def an_8259_notifies(patch: pytest.MonkeyPatch) -> None:
    right = machine._interrupt

    def wrong(cpu: Processor, outcome: Outcome) -> bool:
        if cpu.pic is not None and machine._takes_interrupts(cpu):
            cpu.apic.irr.add(cpu.pic)
            cpu.pic = None
        return right(cpu, outcome)

    patch.setattr(machine, "_interrupt", wrong)


def a_notification_ends_hlt(patch: pytest.MonkeyPatch) -> None:
    right = uintr.user_interrupt_notification_processing

    def wrong(cpu: Processor) -> None:
        right(cpu)
        cpu.halted = False

    patch.setattr(machine, "user_interrupt_notification_processing", wrong)
    patch.setattr(machine, "_no_timer", lambda cpu: None)


def a_timer_does_not_notify(patch: pytest.MonkeyPatch) -> None:
    right = uintr.user_interrupt_notification_identification
    patch.setattr(
        machine,
        "user_interrupt_notification_identification",
        lambda cpu, vector, *, local: (
            vector != cpu.apic.lvt_timer and right(cpu, vector, local=local)
        ),
    )


def hlt_is_restarted(patch: pytest.MonkeyPatch) -> None:
    right = machine._through_idt

    def wrong(cpu: Processor, outcome: Outcome, vector: int, dr6: int = 0) -> None:
        halted, rip = cpu.halted, cpu.rip
        cpu.rip -= halted
        right(cpu, outcome, vector, dr6)
        cpu.rip = rip

    patch.setattr(machine, "_through_idt", wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        uiret_unblocks,
        iret_does_not_unblock,
        interrupts_come_before_nmis,
        nmis_come_before_traps,
        blocking_holds_user_interrupts,
        an_8259_notifies,
        a_notification_ends_hlt,
        a_timer_does_not_notify,
        hlt_is_restarted,
    ],
)
def test_some_cases_tell_a_wrong_model_apart(
    wrong: Patch, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch)
    found = [expect(case, Facts()) for case in batch.cases]
    assert any(
        one and one.words != right.words for one, right in zip(found, batch.expected, strict=True)
    )
