# SPDX-License-Identifier: GPL-2.0-only
"""Other processors, which run pieces of code ("actions") when the first one asks them to.

The first one stores the number of an action, from 1, to the mailbox. It may wait for the end of it
by a JMP to the address in the mailbox's second word, at first its own: the second byte of what it
stores is the number of bytes by which that address is moved at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from oracle.apic import Apic, UnknownRegister
from oracle.decode import Done, execute
from oracle.memory import Memory, OutsideError
from oracle.processor import Fault, Processor, Unmodelled

#: The software interrupt that ends an action.
DONE = 0x80
#: Instructions after which an action counts as endless.
_LIMIT = 100
#: A delay that never ends by itself.
WAITED_FOR = 1 << 30


@dataclass(frozen=True)
class Schedule:
    """One of the orders in which the processors may execute instructions."""

    #: Instruction boundaries of the first processor between its request and the action's begin. The
    #: action begins earlier if the first one cannot go on.
    delay: int = WAITED_FOR
    #: Whether the first one goes on after each instruction of an action, not at its end.
    fine: bool = False
    #: Whether an action goes on only where the first one cannot.
    lazy: bool = False
    #: Seed by which actions begin and go on at random boundaries.
    seed: int | None = None
    #: Share of boundaries at which they do.
    share: float = 0.3
    #: Share of an action's instructions after which the next one follows at once: the first
    #: processor may be slower than another.
    burst: float = 0
    #: Whether a timer for which the first processor halts ends before an action goes on.
    timer_first: bool = False
    #: Whether what an action sends arrives behind the wait for it.
    behind: bool = False
    #: Share of boundaries of the first processor at which an interrupt arrives that another one
    #: sent. The architecture orders interrupts neither with stores nor with each other.
    arrivals: float = 1


@dataclass
class Result:
    """What an action did: how often it ran, and its last end."""

    count: int = 0
    vector: int = 0
    error: int = 0
    rax: int = 0


@dataclass
class Others:
    """The other processors, with one of the orders in which they run.

    :param processors: APIC ID → processor.
    :param actions: the address and the APIC ID of each action.
    :param mailbox: the address of its first word.
    """

    processors: dict[int, Processor]
    actions: Sequence[tuple[int, int]]
    mailbox: int
    schedule: Schedule = field(default_factory=Schedule)
    results: list[Result] = field(default_factory=list)
    #: Whether the first processor executed something beside an action, or ended before it did.
    beside: bool = False
    #: APIC ID → the request of the action that it runs.
    _running: dict[int, int] = field(default_factory=dict)
    _waited: int = 0
    _random: Random = field(default_factory=Random)

    def __post_init__(self) -> None:
        self.results = [Result() for _ in self.actions]
        self._random.seed(self.schedule.seed)
        if self.schedule.arrivals < 1:
            self._first.waits = True

    @property
    def behind(self) -> bool:
        """Whether the first processor executes one more JMP before it takes what was sent."""
        return self.schedule.behind and not self._running

    def at_boundary(self) -> None:
        """Go on if the schedule says so, at an instruction boundary of the first processor."""
        if self._first.on_the_way and self._random.random() < self.schedule.arrivals:
            self._arrive()
        if not self._running and not self._request:
            return
        self.beside |= self._waited > 0
        if self._goes_on:
            self._run()
            while self._running and self._random.random() < self.schedule.burst:
                self._run()
        self._waited += 1

    @property
    def _goes_on(self) -> bool:
        if self.schedule.seed is not None:
            return self._random.random() < self.schedule.share
        if self._running:
            return not self.schedule.lazy
        return self._waited >= self.schedule.delay

    def go_on(self) -> bool:
        """Run an action or a part of it, or let an interrupt arrive. Return false without both."""
        if self._running or self._request:
            self._run()
        elif self._first.on_the_way:
            self._arrive()
        else:
            return False
        return True

    def finish(self) -> None:
        """Run what was asked for to its end."""
        self.beside |= bool(self._running or self._request)
        while self.go_on():
            pass

    @property
    def _first(self) -> Apic:
        """The local APIC of the first processor."""
        return next(iter(self.processors.values())).apic.everybody[0]

    def _arrive(self) -> None:
        try:
            self._first.arrive(self._random.randrange(len(self._first.on_the_way)))
        except UnknownRegister as error:
            raise Unmodelled(str(error)) from error

    @property
    def _request(self) -> int:
        return self._memory.load(self.mailbox, 8)

    @property
    def _memory(self) -> Memory:
        return next(iter(self.processors.values())).memory

    def _run(self) -> None:
        try:
            self._accept()
            for one in list(self._running):
                self._execute(one)
        except (UnknownRegister, OutsideError) as error:
            raise Unmodelled(str(error)) from error

    def _accept(self) -> None:
        """Begin what is asked for, unless the processor that it is for runs another action."""
        request = self._request
        if not request:
            return
        if not 1 <= request & 0xFF <= len(self.actions):
            raise Unmodelled("a request for an action that is not there")
        address, number = self.actions[(request & 0xFF) - 1]
        if number in self._running:
            return
        self._memory.store(self.mailbox, 8, 0)
        cpu = self.processors[number]
        cpu.regs, cpu.rip, cpu.rflags = [0] * 16, address, 2
        self._running[number] = request
        self._waited = 0

    def _execute(self, number: int) -> None:
        cpu = self.processors[number]
        result = self.results[(self._running[number] & 0xFF) - 1]
        try:
            for _ in range(1 if self.schedule.fine else _LIMIT):
                execute(cpu)
        except Fault as fault:
            result.vector, result.error = fault.vector, fault.error
        except Done:
            result.vector, result.error = DONE, 0
        else:
            return
        result.count += 1
        result.rax = cpu.regs[0]
        length = self._running.pop(number) >> 8
        go = self.mailbox + 8
        self._memory.store(go, 8, self._memory.load(go, 8) + length)
