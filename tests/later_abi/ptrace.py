"""The few requests of ptrace(2) that the stand-in makes, for x86-64."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: TRACESYSGOOD; FORK, VFORK and CLONE, so that births are traced; EXEC; EXITKILL
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x100000
_GETREGS, _SETREGS, _SYSCALL, _SEIZE, _INTERRUPT, _SYSCALL_INFO = 12, 13, 24, 0x4206, 0x4207, 0x420E

#: The signal of a stop at a system call, and the side of it that is its entry.
AT_SYSCALL = 0x85
ENTRY = 1

_NAMES = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss"
    " fs_base gs_base ds es fs gs"
)
#: Numbers of general registers, as instructions encode them.
ENCODED = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Regs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in _NAMES.split()]


def _ptrace(request: int, tid: int, address: int, data: int) -> None:
    if _libc.ptrace(request, tid, address, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def get_regs(tid: int) -> dict[str, int]:
    """Return the registers of a stopped task by name."""
    regs = _Regs()
    _ptrace(_GETREGS, tid, 0, ctypes.addressof(regs))
    return {name: getattr(regs, name) for name in _NAMES.split()}


def set_regs(tid: int, values: dict[str, int]) -> None:
    """Set the registers of a stopped task; numbers may be negative."""
    regs = _Regs(**{name: value % (1 << 64) for name, value in values.items()})
    _ptrace(_SETREGS, tid, 0, ctypes.addressof(regs))


def syscall_side(tid: int) -> int:
    """Return at which side of a system call a task has stopped."""
    info = ctypes.create_string_buffer(88)
    _ptrace(_SYSCALL_INFO, tid, len(info), ctypes.addressof(info))
    return info.raw[0]


def resume(tid: int, signal: int) -> None:
    """Let a task go on to its next system call, with this signal if it is not 0."""
    _ptrace(_SYSCALL, tid, 0, signal)


def interrupt(tid: int) -> None:
    """Stop a task, also out of a system call."""
    _ptrace(_INTERRUPT, tid, 0, 0)


def start(argv: list[str]) -> int:
    """Start a program that is traced, with all that it gives birth to, and return its pid."""
    mine, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(mine, 1)
        os.execv(argv[0], argv)
    _ptrace(_SEIZE, pid, 0, _OPTIONS)
    os.write(its, b"g")
    os.close(mine)
    os.close(its)
    return pid


def read(tid: int, address: int, size: int) -> bytes:
    """Return memory of a task."""
    with Path(f"/proc/{tid}/mem").open("rb", buffering=0) as mem:
        mem.seek(address)
        return mem.read(size)


def write(tid: int, address: int, data: bytes) -> None:
    """Change memory of a task."""
    with Path(f"/proc/{tid}/mem").open("r+b", buffering=0) as mem:
        mem.seek(address)
        mem.write(data)
