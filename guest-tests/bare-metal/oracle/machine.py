# SPDX-License-Identifier: GPL-2.0-only
"""Instruction boundaries: the events that are taken there, and their order."""

from __future__ import annotations

from dataclasses import dataclass, field

from oracle.decode import Done, execute
from oracle.others import Others
from oracle.processor import DB, IF, NMI, RF, RSP, TF, Fault, Processor, Unmodelled
from oracle.uintr import (
    user_interrupt_deliverable,
    user_interrupt_delivery,
    user_interrupt_notification_identification,
    user_interrupt_notification_processing,
)

#: The software interrupt that ends a sequence.
DONE = 0x80
#: Bit of DR6: single step.
BS = 1 << 14


@dataclass(frozen=True)
class Event:
    """An event that went through the IDT to a handler that returns."""

    vector: int
    rip: int
    rflags: int
    rsp: int
    #: BS and B0 to B3, of a debug exception.
    dr6: int = 0


#: The event of an NMI that interrupts a handler. The handler's registers are not known.
IN_HANDLER = Event(NMI, 0, 0, 0)


@dataclass
class Outcome:
    """The end of a sequence: the event that ended it, and the events before."""

    vector: int
    error: int = 0
    address: int | None = None
    #: RFLAGS as the last event stored them.
    rflags: int = 2
    events: list[Event] = field(default_factory=list)
    instructions: int = 0


def run(cpu: Processor, limit: int, others: Others | None = None) -> Outcome:
    """Run until INT 80h or a fault.

    Debug exceptions and interrupts go to handlers that return at once. The handler of an interrupt
    writes EOI to the local APIC; that of a code breakpoint sets RF in the frame.

    :param limit: largest number of instructions.
    :param others: other processors.
    :raise Unmodelled: the sequence does not end, or the model does not cover it.
    """
    outcome = Outcome(DONE)
    try:
        while outcome.instructions < limit:
            if others:
                others.at_boundary()
            if not _event(cpu, outcome, others):
                outcome.instructions += 1
                _instruction(cpu, others)
    except Fault as fault:
        _no_timer(cpu)
        if cpu.traps:
            raise Unmodelled("a fault after an access that hit a data breakpoint") from fault
        outcome.vector, outcome.error = fault.vector, fault.error
        outcome.address = fault.address
        # SDM 3B, "Instruction-breakpoint exception condition": a fault pushes RFLAGS with RF set.
        outcome.rflags = cpu.rflags | RF
        return outcome
    except Done:
        _no_timer(cpu)
        outcome.rflags = cpu.rflags
        return outcome
    finally:
        if others:
            others.finish()
    raise Unmodelled("a sequence that does not end")


def _event(cpu: Processor, outcome: Outcome, others: Others | None) -> bool:
    """Take the first event of this boundary, in the order of priority. Return whether there is one.

    :raise Unmodelled: the processor is halted, and there is none.
    """
    if cpu.flag(IF) and not cpu.sti_shadow and not cpu.halted:
        _no_timer(cpu)
    if cpu.traps:
        dr6, cpu.traps = cpu.traps, 0
        if cpu.halted:
            cpu.by("HALT-3")
            cpu.halt_ended_by_step |= bool(dr6 & BS) and not _takes_interrupts(cpu)
        cpu.by("DELIVERY-10")
        _through_idt(cpu, outcome, DB, dr6)
        return True
    if cpu.apic.nmi and not cpu.nmi_blocked:
        _nmi(cpu, outcome)
        return True
    if _interrupt(cpu, outcome):
        return True
    if cpu.halted:
        _stay_halted(cpu, others)
        return True
    if user_interrupt_deliverable(cpu):
        user_interrupt_delivery(cpu)
        return True
    if hit := cpu.breakpoint_here():
        _through_idt(cpu, outcome, DB, hit)
        cpu.set_flag(RF, True)
        return True
    return False


def _stay_halted(cpu: Processor, others: Others | None) -> None:
    """Let others go on, or the timer end."""
    timer = cpu.apic.counting is not None and cpu.flag(IF)
    if others and not (timer and others.schedule.timer_first) and others.go_on():
        return
    if not timer:
        raise Unmodelled("a halt that nothing ends")
    cpu.apic.end_count()


def _no_timer(cpu: Processor) -> None:
    """Refuse a timer that counts where the time of its end would make a difference."""
    if cpu.apic.counting is not None:
        raise Unmodelled("a timer that may end here or later")


def _instruction(cpu: Processor, others: Others | None) -> None:
    """Execute one instruction, and note its single-step trap if TF was set."""
    stepped, shadow = cpu.flag(TF), cpu.sti_shadow
    # RF stays set only if the instruction loads it (SDM 3B, "RF flag").
    cpu.set_flag(RF, False)
    counting = cpu.apic.counting
    execute(cpu)
    ended = counting is not None and cpu.apic.counting is None
    if ended and (stepped or cpu.has_code_breakpoints()):
        raise Unmodelled("a stepped loop that waits for the timer")
    if shadow:
        cpu.sti_shadow = False
    cpu.traps |= BS if stepped else 0
    if cpu.waiting and (stepped or not (others and others.go_on())):
        raise Unmodelled("a wait that nothing ends, or of which each step is a trap")
    if cpu.waiting and others and others.behind:
        execute(cpu)


def _nmi(cpu: Processor, outcome: Outcome) -> None:
    """Take the pending NMI. The IRET of its handler ends the blocking that it begins."""
    _at_interrupt(cpu)
    cpu.by("NMI-1")
    cpu.apic.nmi = False
    _through_idt(cpu, outcome, NMI)


def _at_interrupt(cpu: Processor) -> None:
    """Record the circumstances of an interrupt."""
    cpu.circumstance("event-after-notification", cpu.notified)
    cpu.circumstance("code-breakpoint-with-interrupt", cpu.breakpoint_here())


def _takes_interrupts(cpu: Processor) -> bool:
    """Return whether an interrupt is pending that nothing holds off."""
    pending = bool(cpu.apic.irr) or cpu.pic is not None
    return pending and cpu.flag(IF) and not cpu.sti_shadow


def _interrupt(cpu: Processor, outcome: Outcome) -> bool:
    """Take an interrupt: the one of the 8259, or that with the highest vector of the local APIC.

    Return whether one was taken.
    """
    if not _takes_interrupts(cpu):
        return False
    _at_interrupt(cpu)
    if cpu.pic is not None and (cpu.pic_first or not cpu.apic.irr):
        vector, cpu.pic = cpu.pic, None
        local = timed = False
    else:
        vector, local = cpu.apic.take(), True
        timed = vector in cpu.apic.timed
        cpu.apic.timed.discard(vector)
    if not user_interrupt_notification_identification(cpu, vector, local=local):
        _through_idt(cpu, outcome, vector)
        return True
    if timed:
        cpu.by("NOTIFY-25")
    try:
        user_interrupt_notification_processing(cpu)
    except Fault:
        if cpu.halted:
            cpu.by("NOTIFY-19")
            if cpu.uirr:
                cpu.by("DELIVERY-19")
        raise
    if cpu.halted:
        cpu.by("NOTIFY-18")
    return True


def _through_idt(cpu: Processor, outcome: Outcome, vector: int, dr6: int = 0) -> None:
    """Record an event whose handler returns.

    The handler's IRET ends the shadow of STI, and the blocking of NMIs. An NMI that is pending and
    not held off comes at the first instruction of a debug trap's handler.
    """
    if vector == DB and cpu.apic.nmi and not cpu.nmi_blocked:
        cpu.by("NMI-1")
        cpu.apic.nmi = False
        outcome.events.append(IN_HANDLER)
    if cpu.halted:
        _no_timer(cpu)
    if cpu.halted and vector != DB:
        cpu.by("HALT-2")
        if cpu.uirr:
            cpu.by("DELIVERY-19")
    outcome.events.append(Event(vector, cpu.rip, cpu.rflags, cpu.regs[RSP], dr6))
    cpu.halted = cpu.sti_shadow = cpu.nmi_blocked = False
