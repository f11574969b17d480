"""A stand-in for a kernel of the later generation, to see its cases pass and fail once.

It traces a program, answers its calls and carries out its instructions, one task at a time, on any
x86-64 machine. It is written from the same statements as the cases, and proves nothing of a kernel.
What it does otherwise on demand is a change of a result (``CALL:FROM:TO``, such as
``wait:EINTR:0``), or a word that stands where it is looked at.

    python -m tests.later_abi.stand_in DEVIATION|none PROGRAM [CASE…]
"""

from __future__ import annotations

import errno
import os
import re
import signal
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.later_abi import ptrace
from tests.later_abi.headers import CALLS, FIRST

Regs = dict[str, int]
#: What a call that was interrupted has in RAX before the kernel decides about its restart.
RESTARTS = {-512, -513, -514, -516}
NR_CLOSE, NR_POLL, NR_IOCTL, NR_SOCKET, NR_RING_ENTER, NR_RING_REGISTER = 3, 7, 16, 41, 426, 427
SOCKET = {"rdi": 1, "rsi": 1 | os.O_CLOEXEC | os.O_NONBLOCK, "rdx": 0}
IOCTLS = {0x7500: "set_target_table", 0x7501: "clear_target_table"}
RING = {31: "ring_register", 32: "ring_unregister"}
#: Bits that count of the arguments, where it is not 64 of the first and 32 of the second.
WIDTHS: dict[str, tuple[int, ...]] = {
    "unregister_handler": (32,),
    "register_sender": (32, 32),
    "unregister_sender": (32, 32),
    "alt_stack": (64, 64, 32),
    "ipi_fd": (32,),
}
INSTRUCTION = re.compile(
    rb"\xf3\x0f\x01(?P<which>[\xec-\xef])|\xf3(?P<rex>[\x40-\x4f]?)\x0f\xc7(?P<reg>[\xf0-\xf7])",
    re.DOTALL,
)


@dataclass(eq=False)
class Receiver:
    """What of a receiving thread outlives its registration, and itself."""

    task: Task | None
    pending: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Task:
    tid: int
    process: int
    receiver: Receiver | None = None
    handler: int = 0
    flags: int = 0
    alt: int = 0
    uif: bool = False
    call: str = ""  #: that it is in; empty in user mode
    before: Regs | None = None  #: a call of ours, as it was made
    result: int | None = None
    made: Target | Table | None = None  #: what the descriptor is for that the call returns


Target = tuple[Receiver, int]
Table = list[Target | None]


class StandIn:
    def __init__(self, deviation: str) -> None:
        self.deviation = deviation
        self.tasks: dict[int, Task] = {}
        self.tables: dict[int, Table] = {}
        self.files: dict[str, Target | Table] = {}
        self.rings: dict[str, Target] = {}

    # --- calls: each returns its result, or None if a call in its place will ---

    def file(self, task: Task, fd: int) -> str:
        try:
            return str(Path(f"/proc/{task.tid}/fd/{fd}").readlink())
        except OSError:
            return ""

    def owner(self, task: Task) -> int:
        return task.tid if self.deviation == "table-of-a-thread" else task.process

    def connect(self, task: Task, target: Target) -> int:
        table = self.tables.setdefault(self.owner(task), [None] * 256)
        if None not in table:
            return -errno.ENOSPC
        index = table.index(None)
        table[index] = target
        return index

    def register_handler(self, task: Task, handler: int, flags: int) -> int:
        if flags & ~0x3000 or not handler:
            return -errno.EINVAL if flags & ~0x3000 else -errno.EFAULT
        if task.handler:
            return -errno.EBUSY
        task.handler, task.flags = handler, flags
        task.receiver = task.receiver or Receiver(task)
        return 0

    def unregister_handler(self, task: Task, flags: int) -> int:
        if flags or not task.handler:
            return -errno.EINVAL
        task.handler = 0
        if self.deviation != "alt-stack-stays":
            task.alt = 0
        if self.deviation == "unregistering-disconnects":
            task.receiver = None
        return 0

    def vector_fd(self, task: Task, vector: int, flags: int) -> int | None:
        if flags or not task.receiver or not task.handler:
            return -errno.EINVAL
        if vector > 63:
            return -errno.ENOSPC
        if self.deviation == "vector-is-busy" and (task.receiver, vector) in self.files.values():
            return -errno.EBUSY
        task.made = (task.receiver, vector)
        return None

    def register_sender(self, task: Task, fd: int, flags: int) -> int:
        if flags:
            return -errno.EINVAL
        target = self.files.get(link := self.file(task, fd))
        if not isinstance(target, tuple):
            return -errno.EOPNOTSUPP if link else -errno.EBADF
        gone = not target[0].task or (
            self.deviation == "unregistered-is-shut-down" and not target[0].task.handler
        )
        if gone:
            return -errno.ESHUTDOWN
        if self.deviation == "connected-once" and target in self.tables.get(self.owner(task), []):
            return -errno.EISCONN
        return self.connect(task, target)

    def unregister_sender(self, task: Task, index: int, flags: int) -> int:
        table = self.tables.get(self.owner(task), [])
        if flags or index >= len(table) or not table[index]:
            return -errno.EINVAL
        if self.deviation != "index-stays":
            table[index] = None
        return 0

    def wait(self, task: Task, usec: int, flags: int) -> int | None:
        if flags or usec > 1_000_000_000:
            return -errno.EINVAL
        return None if task.handler else -errno.EOPNOTSUPP

    def register_self(self, task: Task, vector: int, flags: int) -> int:
        if flags or not task.receiver or not task.handler:
            return -errno.EINVAL
        if self.deviation == "vector-is-cut":
            vector %= 64
        return self.connect(task, (task.receiver, vector)) if vector < 64 else -errno.ENOSPC

    def alt_stack(self, task: Task, sp: int, size: int, flags: int) -> int:
        if flags:
            return -errno.EINVAL
        if not task.handler:
            return -errno.EOPNOTSUPP
        if sp or self.deviation != "null-is-ignored":
            task.alt = sp + (size if self.deviation == "address-is-the-base" else 0)
        return 0

    def ipi_fd(self, task: Task, flags: int) -> int | None:
        if flags:
            return -errno.EINVAL
        task.made = self.tables.setdefault(self.owner(task), [None] * 256)
        return None

    def set_target_table(self, task: Task, fd: int) -> int:
        table = self.files[self.file(task, fd)]
        if self.owner(task) in self.tables:
            return -errno.EBUSY
        if isinstance(table, list) and self.deviation != "table-is-not-given":
            self.tables[self.owner(task)] = table
        return 0

    def clear_target_table(self, task: Task, fd: int) -> int:
        return -errno.EINVAL

    def ring_register(self, task: Task, ring: int, arg: int) -> int:
        (fd,) = struct.unpack("<i", ptrace.read(task.tid, arg, 4))
        target = self.files.get(self.file(task, fd))
        key = f"{task.process}:{ring}"
        if key in self.rings:
            return -errno.EBUSY
        if not isinstance(target, tuple):
            return -errno.EINVAL
        self.rings[key] = target
        return 0

    def ring_unregister(self, task: Task, ring: int, arg: int) -> int:
        return 0 if self.rings.pop(f"{task.process}:{ring}", None) else -errno.ENXIO

    # --- system calls ---

    def enter(self, task: Task, regs: Regs) -> None:
        number, first, second, third = (regs[r] for r in ("orig_rax", "rdi", "rsi", "rdx"))
        args = [first]
        if FIRST <= number < FIRST + len(CALLS):
            name = CALLS[number - FIRST]
            widths = WIDTHS.get(name, (64, 32))
            pairs = zip((first, second, third), widths, strict=False)
            args = [value % (1 << width) for value, width in pairs]
        elif number == NR_IOCTL and second in IOCTLS and self.file(task, first) in self.files:
            name = IOCTLS[second]
        elif number == NR_RING_REGISTER and second in RING:
            name, args = RING[second], [first, third]
        else:
            task.call = str(number)
            if number == NR_CLOSE and self.deviation == "closing-disconnects":
                target = self.files.get(self.file(task, first))
                for table in self.tables.values():
                    table[:] = [None if entry == target else entry for entry in table]
            return
        task.call, task.before = name, dict(regs)
        task.result = getattr(self, name)(task, *args)
        if task.result is not None:
            regs["orig_rax"] = -1
        elif name == "wait":
            regs |= {"orig_rax": NR_POLL, "rdi": 0, "rsi": 0, "rdx": -(-first // 1000)}
        else:
            regs |= {"orig_rax": NR_SOCKET, **SOCKET}

    def leave(self, task: Task, regs: Regs) -> None:
        result = regs["rax"] - (1 << 64 if regs["rax"] >> 63 else 0)
        if task.made is not None and result >= 0:
            self.files[self.file(task, result)] = task.made
        if task.call == str(NR_RING_ENTER) and result > 0:
            target = self.rings.get(f"{task.process}:{regs['rdi']}")
            if target and self.deviation != "ring-is-silent":
                self.post(target)
        if before := task.before:
            result = result if task.result is None else task.result
            regs |= {name: before[name] for name in ("rdi", "rsi", "rdx")}
        due = task.flags and task.uif and task.receiver and task.receiver.pending
        restarts = self.deviation == "calls-are-restarted"
        if result in RESTARTS and (task.call == "wait" or (due and not restarts)):
            result = -errno.EINTR
        regs["rax"] = self.deviate(task.call, result)
        # What the kernel restarts is not over: its registers are not touched.
        task.call = "restart" if result in RESTARTS else ""
        task.before = task.result = task.made = None

    def deviate(self, call: str, result: int) -> int:
        name, _, change = self.deviation.partition(":")
        if name != call:
            return result
        old, new = (-getattr(errno, word, 0) for word in change.split(":"))
        return new if result == old else result

    # --- instructions ---

    def execute(self, task: Task, regs: Regs) -> int:
        """Carry out what raised SIGILL, and return the signal that it raises, or 0."""
        found = INSTRUCTION.match(ptrace.read(task.tid, regs["rip"], 5))
        if not found:
            return signal.SIGILL
        regs["eflags"] &= ~0x10000  # RF, which the fault has set
        match found["which"]:
            case b"\xec":
                stack = ptrace.read(task.tid, regs["rsp"], 24)
                regs["rip"], regs["eflags"], regs["rsp"] = struct.unpack("<3Q", stack)
                task.uif = True
                return 0
            case b"\xed":
                regs["eflags"] = regs["eflags"] & ~0x8D5 | task.uif
            case b"\xee" | b"\xef" as which:
                task.uif = which == b"\xef"
            case _:
                table = self.tables.get(self.owner(task))
                if table is None and self.deviation != "no-table-is-a-bad-index":
                    return signal.SIGILL
                extended = bool(found["rex"]) and found["rex"][0] & 1
                index = regs[ptrace.ENCODED[found["reg"][0] - 0xF0 + 8 * extended]]
                target = table[index] if table and index < 256 else None
                if not target:
                    return signal.SIGSEGV
                self.post(target)
        regs["rip"] += found.end()
        return 0

    def post(self, target: Target) -> None:
        receiver, vector = target
        receiver.pending.add(vector ^ (self.deviation == "another-vector"))
        task = receiver.task
        if not task or not task.handler or not task.uif:
            return
        wakes = bool(task.flags) != (self.deviation == "flags-mean-the-opposite")
        if wakes or not task.call:
            try:
                ptrace.interrupt(task.tid)
            except ProcessLookupError:
                task.receiver = None

    def deliver(self, task: Task, regs: Regs) -> None:
        receiver = task.receiver
        if not (receiver and receiver.pending and task.handler and task.uif) or task.call:
            return
        vector = max(receiver.pending)
        receiver.pending.remove(vector)
        frame = struct.pack("<4Q", vector, regs["rip"], regs["eflags"], regs["rsp"])
        regs["rsp"] = ((task.alt or regs["rsp"] - 128) & ~15) - len(frame)
        ptrace.write(task.tid, regs["rsp"], frame)
        regs["rip"], regs["eflags"] = task.handler, regs["eflags"] & ~0x10100  # RF, TF
        task.uif = False

    # --- tasks ---

    def born(self, tid: int) -> Task:
        status = Path(f"/proc/{tid}/status").read_text()
        process, parent = (
            int(re.findall(rf"^{name}:\t(\d+)$", status, re.MULTILINE)[0])
            for name in ("Tgid", "PPid")
        )
        if process == tid and parent in self.tables and self.deviation != "child-has-no-table":
            self.tables[tid] = self.tables[parent]
        return Task(tid, process)

    def died(self, tid: int) -> None:
        task = self.tasks.pop(tid, None)
        if task and task.receiver:
            task.receiver.task = None
        self.tables.pop(tid, None)

    def stopped(self, tid: int, status: int) -> None:
        task = self.tasks.get(tid) or self.tasks.setdefault(tid, self.born(tid))
        regs, sig = ptrace.get_regs(tid), os.WSTOPSIG(status)
        if sig == ptrace.AT_SYSCALL:
            side, sig = ptrace.syscall_side(tid), 0
            (self.enter if side == ptrace.ENTRY else self.leave)(task, regs)
        elif status >> 16:
            sig = 0
        try:
            if sig == signal.SIGILL:
                sig = self.execute(task, regs)
            if not sig:
                self.deliver(task, regs)
                ptrace.set_regs(tid, regs)
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise
            sig = signal.SIGSEGV  # the stack is no memory
        ptrace.resume(tid, sig)

    def run(self, argv: list[str]) -> int:
        """Run a program to its end and return its exit code."""
        first = ptrace.start(argv)
        while True:
            tid, status = os.waitpid(-1, 0x40000000)  # __WALL
            if os.WIFSTOPPED(status):
                try:
                    self.stopped(tid, status)
                except ProcessLookupError:
                    continue  # killed while it was stopped
            else:
                self.died(tid)
                if tid == first:
                    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(StandIn(sys.argv[1]).run(sys.argv[2:]))
