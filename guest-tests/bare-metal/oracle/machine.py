# SPDX-License-Identifier: GPL-2.0-only
"""Instruction boundaries: what is taken there and in which order, until a sequence ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from oracle.decode import Done, execute
from oracle.processor import DB, IF, RF, RSP, TF, Fault, Processor, Unmodelled
from oracle.uintr import (
    user_interrupt_deliverable,
    user_interrupt_delivery,
    user_interrupt_notification_identification,
    user_interrupt_notification_processing,
)

#: The software interrupt that ends a sequence.
DONE = 0x80
#: In DR6: a single step.
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


@dataclass
class Outcome:
    """The end of a sequence: vector, error code and CR2 of the event, and the events before it."""

    vector: int
    error: int = 0
    address: int | None = None
    #: RFLAGS as the last event stored them.
    rflags: int = 2
    events: list[Event] = field(default_factory=list)
    instructions: int = 0


def run(cpu: Processor, limit: int) -> Outcome:
    """Run until INT 80h or a fault.

    Debug exceptions and interrupts go to handlers that return at once; interrupts are ended at the
    local APIC by theirs, and that of a breakpoint on an instruction sets RF.

    :param limit: of instructions.
    :raise Unmodelled: the sequence does not end, or does what is not modelled.
    """
    outcome = Outcome(DONE)
    try:
        while outcome.instructions < limit:
            if cpu.traps:
                dr6, cpu.traps = cpu.traps, 0
                cpu.by("DELIVERY-10")
                _through_idt(cpu, outcome, DB, dr6)
            if _interrupt(cpu, outcome):
                continue
            if user_interrupt_deliverable(cpu):
                user_interrupt_delivery(cpu)
                continue
            if hit := cpu.breakpoint_here():
                _through_idt(cpu, outcome, DB, hit)
                cpu.set_flag(RF, True)
                continue
            outcome.instructions += 1
            _instruction(cpu)
    except Fault as fault:
        if cpu.traps:
            raise Unmodelled("a fault behind an access with a breakpoint on it") from fault
        outcome.vector, outcome.error = fault.vector, fault.error
        outcome.address = fault.address
        # SDM 3B, "Instruction-breakpoint exception condition": RF is set in a fault's image.
        outcome.rflags = cpu.rflags | RF
        return outcome
    except Done:
        outcome.rflags = cpu.rflags
        return outcome
    raise Unmodelled("it does not end")


def _instruction(cpu: Processor) -> None:
    """Execute one, which a trap of a single step may follow."""
    stepped, shadow = cpu.flag(TF), cpu.sti_shadow
    # Only what loads it leaves it set (SDM 3B, "RF flag").
    cpu.set_flag(RF, False)
    execute(cpu)
    if shadow:
        cpu.sti_shadow = False
    cpu.traps |= BS if stepped else 0


def _interrupt(cpu: Processor, outcome: Outcome) -> bool:
    """Take the interrupt with the highest vector, if one can be taken."""
    if not cpu.apic.irr or not cpu.flag(IF) or cpu.sti_shadow:
        return False
    vector = max(cpu.apic.irr)
    cpu.apic.irr.discard(vector)
    if user_interrupt_notification_identification(cpu, vector):
        user_interrupt_notification_processing(cpu)
    else:
        _through_idt(cpu, outcome, vector)
    return True


def _through_idt(cpu: Processor, outcome: Outcome, vector: int, dr6: int = 0) -> None:
    """Enter and leave a handler: IRET ends the shadow of STI."""
    outcome.events.append(Event(vector, cpu.rip, cpu.rflags, cpu.regs[RSP], dr6))
    cpu.sti_shadow = False
