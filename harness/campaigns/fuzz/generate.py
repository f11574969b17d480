"""Generator of random scripts; the same seed gives the same scripts.

Most steps are valid, so that interrupts are delivered, with some arguments at and beyond the
limits. Left out is what may differ between the two kinds of CPU by
``Documentation/arch/x86/uintr.rst``: a debugger's steps, restartable sequences, 32-bit code. Also
left out is what the architecture leaves open: prefixes 67 and F2, a step over SENDUIPI to oneself,
alignment checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random

from harness.campaigns.fuzz.script import Script, Way

_SLOTS = 8
_FLAGS = ("0x1", "0x1000", "0x2000", "0x3000", "0x4000", "0x80000000", "0xffffffff")
_WAITING = ("0x1000", "0x2000", "0x3000")
_NO_HANDLERS = ("0", "0xffffffff80000000", "0x8000000000000000", "0xffffffffffffffff")
_NO_VECTORS = ("64", "65", "255", "0x100000000", "0x100000005", "0xffffffffffffffff")
_NO_INDICES = ("2", "7", "63", "255", "256", "0x80000000", "0x100000000", "0xffffffffffffffff")
_NO_FDS = ("-1", "9999")
_PREFIXES = ("66", "2e", "36", "3e", "26", "64", "65", "f3")
_STUI, _CLUI, _TESTUI, _UIRET = "0f01ef", "0f01ee", "0f01ed", "0f01ec"
#: SENDUIPI with each register but RSP, the stack pointer.
_SENDUIPI = tuple(f"0fc7{0xF0 + register:02x}" for register in range(8) if register != 4)
#: CF, PF, AF, ZF, SF, DF, OF, NT, ID; and flags that UIRET does not load: IF, IOPL, VIF.
_RFLAGS = (0x1, 0x4, 0x10, 0x40, 0x80, 0x400, 0x800, 0x4000, 0x200000, 0x200, 0x3000, 0x80000)
_TF, _RF = 0x100, 0x10000

#: Relative frequency of each operation.
_WEIGHTS = {
    "register": 6,
    "unregister": 3,
    "create": 8,
    "connect": 9,
    "disconnect": 4,
    "close": 4,
    "dup": 2,
    "eventfd": 2,
    "pipe": 1,
    "attach": 4,
    "write": 4,
    "read": 3,
    "wait": 6,
    "pause": 2,
    "signal": 4,
    "senduipi": 22,
    "stui": 10,
    "clui": 5,
    "stui_on": 2,
    "insn": 5,
    "step": 2,
    "uiret": 4,
    "arm": 3,
    "move": 2,
    "yield": 1,
    "child": 3,
    "renew": 2,
}
_BLOCKING = {"wait", "pause", "read"}
_POSTING = {"senduipi", "insn", "write", "attach"}
_NOT_IN_A_CHILD = {*_BLOCKING, "child", "renew", "signal", "move", "arm"}


def generate(seed: int, number: int) -> Script:
    """Return the script with a number."""
    return _Writer(Random(f"{seed}/{number}")).script()  # noqa: S311 - chance, not secrecy


class _Writer:
    """A writer of one script, which tracks the likely content of its slots."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._steps: list[str] = []
        self._ways = self._choose_ways()
        self._vectors: list[str] = []
        self._events: list[str] = []
        #: The slots that each thread has connected to, and whether it has a handler.
        self._connected: list[list[str]] = [[] for _ in self._ways]
        self._receives = [False] * len(self._ways)
        #: Threads that are likely to be blocked.
        self._asleep: set[int] = set()
        self._arguments: dict[str, Callable[[int], list[str]]] = {
            "register": self._register,
            "unregister": lambda _: [self._flags()],
            "create": self._create,
            "connect": self._connect,
            "disconnect": lambda _: [self._fd(self._vectors), self._flags()],
            "close": self._close,
            "dup": lambda _: [self._fd(self._vectors), self._slot()],
            "eventfd": lambda _: [self._pick("0", "0", "1", "3"), self._into(self._events)],
            "pipe": lambda _: [self._slot()],
            "attach": self._attach,
            "write": lambda _: [
                self._fd(self._events),
                self._pick("1", "1", "1", "2", "0", "0xffffffffffffffff"),
            ],
            "read": lambda _: [self._fd(self._events)],
            "wait": lambda _: [self._flags()],
            "signal": lambda _: [str(self._thread()), self._pick("1", "2")],
            "senduipi": lambda thread: [self._index(thread)],
            "stui_on": lambda _: [self._pick("unmapped", "readonly", "noncanonical")],
            "insn": self._insn,
            "step": lambda _: [self._pick(*(f"f3{code}" for code in (_STUI, _CLUI, _TESTUI))), "0"],
            "uiret": self._uiret,
            "arm": lambda thread: [self._index(thread)],
            "move": lambda _: [self._pick("0", "1")],
            "child": self._child,
        }

    def script(self) -> Script:
        """Return the script."""
        if not self._chance(0.15):
            self._add_setup()
        for _ in range(self._random.randint(4, 30)):
            self._go_on()
        return Script(ways=tuple(self._ways), steps=tuple(self._steps))

    def _choose_ways(self) -> list[Way]:
        """Return how each thread waits. At most one spins: two would take turns on one CPU."""
        count = self._random.choice((1, 2, 2, 2, 3))
        ways: list[Way] = ["far" if self._chance(0.15) else "blocked" for _ in range(count)]
        if self._chance(0.1):
            ways[self._random.randrange(count)] = "spin"
        return ways

    def _go_on(self) -> None:
        """Add a step; a blocked thread is soon woken."""
        awake = [thread for thread in range(len(self._ways)) if thread not in self._asleep]
        if self._asleep and awake and self._chance(0.35):
            sleeper = self._random.choice(sorted(self._asleep))
            self._asleep.discard(sleeper)
            thread = self._random.choice(awake)
            if self._connected[thread] and self._chance(0.6):
                self._add(thread, "senduipi")
            else:
                self._steps.append(f"{thread} signal {sleeper} {self._pick('1', '2')}")
            return
        thread = self._random.choice(awake) if awake and self._chance(0.95) else self._thread()
        self._add(thread, self._with_prerequisite(thread, self._operation()))

    def _with_prerequisite(self, thread: int, operation: str) -> str:
        """Return the operation, or mostly a missing one that it depends on."""
        if operation in _BLOCKING and len(self._ways) == 1 and self._chance(0.8):
            operation = "senduipi"
        if self._chance(0.15):
            return operation
        if operation in {"senduipi", "arm", "disconnect"} and not self._connected[thread]:
            operation = "connect"
        if operation == "connect" and set(self._vectors) <= set(self._connected[thread]):
            operation = "senduipi" if self._connected[thread] else "create"
        if operation in {"read", "write"} and not self._events:
            operation = "eventfd"
        if operation in {"connect", "disconnect", "dup", "attach"} and not self._vectors:
            operation = "create"
        if operation == "attach" and not self._events:
            operation = "eventfd"
        if operation in {"create", "wait", "unregister"} and not self._receives[thread]:
            operation = "register"
        return operation

    def _add_setup(self) -> None:
        """Add the steps that register a receiver and connect senders to it."""
        receiver = self._thread()
        self._add(receiver, "register")
        for _ in range(self._random.randint(1, 3)):
            self._add(receiver, "create")
        for thread in range(len(self._ways)):
            for _ in range(self._random.randint(0, 3)):
                self._add(thread, "connect")
        if self._chance(0.5):
            self._add(receiver, "stui")

    def _add(self, thread: int, operation: str) -> None:
        if operation in _BLOCKING:
            self._asleep.add(thread)
        elif operation in {"register", "unregister"}:
            self._receives[thread] = operation == "register"
        elif operation == "renew":
            self._receives[thread], self._connected[thread] = False, []
        self._steps.append(f"{thread} {self._words(thread, operation)}")

    def _words(self, thread: int, operation: str) -> str:
        arguments = self._arguments.get(operation)
        return " ".join([operation, *(arguments(thread) if arguments else ())])

    # --- choices -----------------------------------------------------------------------------

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _pick(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _thread(self) -> int:
        return self._random.randrange(len(self._ways))

    def _operation(self, leave_out: Sequence[str] | set[str] = ()) -> str:
        weights = {name: weight for name, weight in _WEIGHTS.items() if name not in leave_out}
        return self._random.choices(list(weights), list(weights.values()))[0]

    def _flags(self) -> str:
        return self._pick(*_FLAGS) if self._chance(0.08) else "0"

    def _slot(self) -> str:
        return f"f{self._random.randrange(_SLOTS)}"

    def _into(self, kind: list[str]) -> str:
        """Choose a slot for a new descriptor, and record it."""
        used = {*self._vectors, *self._events}
        free = [slot for slot in (f"f{place}" for place in range(_SLOTS)) if slot not in used]
        slot = self._pick(*free) if free else self._slot()
        for slots in (self._vectors, self._events):
            if slot in slots:
                slots.remove(slot)
        kind.append(slot)
        return slot

    def _fd(self, likely: Sequence[str]) -> str:
        if likely and not self._chance(0.1):
            return self._pick(*likely)
        return self._pick(self._slot(), self._slot(), *_NO_FDS)

    def _vector(self) -> str:
        return self._pick("0", "1", "5", "31", "32", "62", "63", str(self._random.randrange(64)))

    def _index(self, thread: int) -> str:
        if self._connected[thread] and not self._chance(0.1):
            index = self._random.randrange(len(self._connected[thread]))
            # An index that differs only in its upper half must be another one.
            return str(index) if self._chance(0.93) else f"{1 << 32 | index:#x}"
        return self._pick("0", "1", *_NO_INDICES)

    # --- arguments of one operation ----------------------------------------------------------

    def _register(self, _thread: int) -> list[str]:
        if self._chance(0.07):
            return [self._pick(*_NO_HANDLERS), self._flags()]
        names = ("log", "nest", "send", "leave", "unmapped")
        name = self._random.choices(names, (50, 20, 18, 7, 5))[0]
        return [name, self._pick(*_WAITING) if self._chance(0.35) else self._flags()]

    def _create(self, _thread: int) -> list[str]:
        if self._chance(0.12):
            wrong = self._chance(0.5)
            vector = self._pick(*_NO_VECTORS) if wrong else self._vector()
            return [vector, "0" if wrong else self._pick(*_FLAGS), self._slot()]
        return [self._vector(), "0", self._into(self._vectors)]

    def _connect(self, thread: int) -> list[str]:
        connected = self._connected[thread]
        new = [slot for slot in self._vectors if slot not in connected]
        if new and self._chance(0.85):
            connected.append(self._pick(*new))
            return [connected[-1], "0"]
        return [self._fd(self._vectors), self._flags()]

    def _close(self, _thread: int) -> list[str]:
        slot = self._fd(self._vectors + self._events)
        for slots in (self._vectors, self._events):
            if slot in slots:
                slots.remove(slot)
        return [slot]

    def _attach(self, _thread: int) -> list[str]:
        event = "-1" if self._chance(0.25) else self._fd(self._events)
        return [self._fd(self._vectors), event]

    def _insn(self, thread: int) -> list[str]:
        prefixes = [*self._random.choices(_PREFIXES, k=self._random.randint(0, 5)), "f3"]
        if self._chance(0.1):
            prefixes.append("f0")
        self._random.shuffle(prefixes)
        if self._chance(0.1):
            prefixes = ["3e"] * self._random.randint(8, 12) + prefixes
        rex, code = "", self._pick(_STUI, _CLUI, _TESTUI, _UIRET, *_SENDUIPI)
        if self._chance(0.4):
            rex = f"{0x40 + self._random.randrange(16):02x}"
        flags = 0x202 | sum(flag for flag in _RFLAGS[:5] if self._chance(0.3))
        return ["".join(prefixes) + rex + code, self._index(thread), f"{flags:#x}"]

    def _uiret(self, _thread: int) -> list[str]:
        flags = 0x202 | sum(flag for flag in _RFLAGS if self._chance(0.2))
        flags |= _TF if self._chance(0.1) else 0
        flags |= _RF if self._chance(0.1) else 0
        where = self._pick("ok", "ok", "ok", "ok", "rip", "unmapped", "noncanonical")
        return [f"{flags:#x}", where]

    def _child(self, thread: int) -> list[str]:
        """Choose a child's operations, which do not change the state of the parent.

        A child posts once, because whether a second post of a vector merges with the first depends
        on timing.
        """
        kept = deepcopy((self._vectors, self._events, self._connected))
        leave_out, words = _NOT_IN_A_CHILD, []
        for _ in range(self._random.randint(1, 3)):
            operation = self._operation(leave_out)
            words.append(self._words(thread, operation))
            if operation in _POSTING:
                leave_out = leave_out | _POSTING
        self._vectors[:], self._events[:], self._connected[:] = kept
        return [" ; ".join(words)]
