"""Random actions of other CPUs, and steps by which CPU 0 asks for one."""

from __future__ import annotations

from random import Random

from harness.campaigns.bare_fuzz import case as layout
from harness.campaigns.bare_fuzz.case import PAUSE, WAIT, Action
from harness.campaigns.bare_fuzz.chance import OTHERS
from harness.campaigns.bare_fuzz.encode import NMI, load, write_apic
from harness.campaigns.bare_fuzz.steps import Steps

#: Opcodes of LOCK BTS and LOCK BTR at [RBX]; the bit number follows.
_CHANGES = (("f0480fba2b", "lock bts"), ("f0480fba33", "lock btr"))
_WORDS = {layout.UPID: "upid", layout.UPID + 64: "upid+64"}


class HandOver(Steps):
    """Generators of actions, and of steps that ask for one.

    :param cpus: number of CPUs.
    """

    def __init__(self, random: Random, *, x2apic: bool, la57: bool, cpus: int) -> None:
        super().__init__(random, x2apic=x2apic, la57=la57)
        self._cpus = cpus
        #: Whether waits have PAUSE.
        self._pausing = cpus > 1 and self._chance(0.6)
        #: Whether each action may end HLT.
        self._wakes: tuple[bool, ...] = ()
        self._actions = self._some_actions() if cpus > 1 else ()

    def _some_actions(self) -> tuple[Action, ...]:
        self._wakes = tuple(
            self._chance(0.4) for _ in range(self._pick(1, 2, 2, 3, layout.MAX_ACTIONS))
        )
        return tuple(
            Action(
                cpu=1 if self._cpus == 2 else self._pick(1, 2),
                code=self._wake() if wakes else self._action(),
            )
            for wakes in self._wakes
        )

    def _action(self) -> tuple[str, ...]:
        makes = self._random.choices(
            (self._send_there, self._ipi_there, self._nmi_there, self._change, self._exchange),
            (8, 4, 2, 4, 2),
            k=self._pick(1, 1, 1, 2, 3),
        )
        return tuple(make() for make in makes)

    def _wake(self) -> tuple[str, ...]:
        """Notify several times, which does not end HLT; let some time pass; send what ends it."""
        count, vector = self._pick(1, 2, 4, 8), self._pick(*OTHERS)
        if self._x2apic:
            start, send = f"{load(1, 0x830)}{load(2, 0)}", f"{load(0, self._uinv)}0f30"
            reads = f"{load(1, 0x820)}{'0f32' * 4}"
        else:
            start = f"{write_apic(0x310, 0, x2apic=False)}{load(7, 0xFEE00300)}"
            send, reads = f"{load(0, self._uinv)}8907", f"{load(7, 0xFEE00200)}{'8b07' * 4}"
        first = (
            f"{start}{send * count} {count} ipis {self._uinv:#x}"
            if self._chance(0.7)
            else self._send_there()
        )
        return first, f"{reads} read irr", f"{self._icr(vector, 0)} ipi {vector:#x}"

    def _send_there(self) -> str:
        index = self._pick(*range(8), *range(8), 8, 200)
        return f"{load(1, index)}f30fc7f1 senduipi {index}"

    def _ipi_there(self) -> str:
        vector = self._vector()
        if self._chance(0.1):
            everybody = 0xFFFFFFFF if self._x2apic else 0xFF
            return f"{self._icr(vector, everybody)} ipi {vector:#x} to all"
        return f"{self._icr(vector, 0)} ipi {vector:#x}"

    def _nmi_there(self) -> str:
        return f"{self._icr(NMI, 0)} nmi"

    def _icr(self, command: int, destination: int) -> str:
        """Write ICR."""
        if self._x2apic:
            return f"{load(1, 0x830)}{load(0, command)}{load(2, destination)}0f30"
        high = write_apic(0x310, destination << 24, x2apic=False)
        return f"{high}{write_apic(0x300, command, x2apic=False)}"

    def _change(self) -> str:
        """Set or clear a bit of a UPID (ON, SN, a reserved one) or of a UITT entry (V)."""
        code, name = self._pick(*_CHANGES)
        if self._chance(0.2):
            index = self._random.randrange(layout.UITT_WORDS // 2)
            return f"{load(3, layout.UITT + 16 * index)}{code}00 {name} v of uitt[{index}]"
        address, bit = self._pick(*_WORDS), self._pick(0, 0, 0, 1, 1, 1, 7)
        return f"{load(3, address)}{code}{bit:02x} {name} ${bit},{_WORDS[address]}"

    def _exchange(self) -> str:
        """Take the requests of a UPID, and leave others."""
        address = self._pick(*_WORDS)
        value = self._pick(0, 0, 1 << self._random.randrange(64))
        code = f"{load(3, address + 8)}{load(0, value)}488703"
        return f"{code} xchg {value:#x},pir of {_WORDS[address]}"

    # --- steps ---------------------------------------------------------------------------------

    def _hand_over(self) -> str:
        """Ask for an action, and wait for its end."""
        number = 1 + self._random.randrange(len(self._actions))
        first = "fa" if self._chance(0.25) else ""
        between, text = "", ""
        if self._chance(0.25):
            step = self._pick(self._arithmetic, self._observe, self._ui_flag, self._iret)()
            between, _, text = step.partition(" ")
            text = f" {text};"
        point = load(6, layout.GO)
        wait = (PAUSE if self._pausing else b"").hex() + WAIT.hex()
        request = number | (len(wait) // 2 - 1) << 8
        ask = f"{load(7, layout.REQUEST)}{load(0, request)}8907"
        # This LEA is of the wait.
        distance = len(f"488906{ask}{between}{point if between else ''}") // 2
        lea = f"488d05{distance.to_bytes(4, 'little').hex()}488906"
        code = f"{first}{point}{lea}{ask}{between}{point if between else ''}{wait}"
        return f"{code} {'cli; ' if first else ''}ask for action {number - 1};{text} wait"

    def _ui_flag(self) -> str:
        return self._pick("f30f01ed testui", "f30f01ee clui", "f30f01ef stui")

    def _halt_for_other(self) -> str:
        """Ask for an action with IF clear, and halt."""
        wakes = [number for number, wakes in enumerate(self._wakes, 1) if wakes]
        number = self._pick(*wakes or range(1, len(self._actions) + 1))
        ask = f"{load(7, layout.REQUEST)}{load(0, number)}8907"
        return f"fa{ask}fbf4 cli; ask for action {number - 1}; sti; hlt"
