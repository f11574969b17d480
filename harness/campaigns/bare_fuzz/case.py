"""A sequence with its initial state, and the layout of the words of its result.

``guest-tests/bare-metal/player/player.h`` has the same layout.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from harness.values import Value

MASK64 = (1 << 64) - 1
PAGE_SIZE = 4096
#: Address of the window of pages, and the numbers of a case's pages in it.
WINDOW = 0x80_0000_0000
CODE_PAGE, HANDLER_PAGE, STACK_PAGE, UPID_PAGE, UITT_PAGE, AREA_PAGE = 2, 5, 8, 12, 15, 18
PAGES = (CODE_PAGE, HANDLER_PAGE, STACK_PAGE, STACK_PAGE + 1, UPID_PAGE, UITT_PAGE, AREA_PAGE)
#: Pages that there are with several CPUs only: the mailbox, and the code of actions.
MAIL_PAGE, ACTIONS_PAGE = 21, 24
CODE_WORDS, HANDLER_WORDS, STACK_WORDS, UPID_WORDS, UITT_WORDS = 64, 16, 64, 16, 16
#: Words of the XSAVE area: its header, at offset 512, and component 14.
AREA_WORDS = 16
#: Words of an action's code.
ACTION_WORDS = 16
MAX_EVENTS, MAX_ACTIONS, MAX_CPUS = 16, 4, 3

#: INT 80h, which ends the code and the handler.
END = bytes.fromhex("cd80")
#: Precedes END, so that the last step has no effect on the flags that END saves.
NOP = b"\x90"
#: JMP to the address in the mailbox, which RSI points to, and a NOP behind it; PAUSE before it.
WAIT, PAUSE = bytes.fromhex("ff2690"), bytes.fromhex("f390")


def page(number: int) -> int:
    """Return the address of a page of the window."""
    return WINDOW + number * PAGE_SIZE


def end_of_page(number: int, words: int) -> int:
    """Return the address of the last ``words`` words of a page, which hold a case's data."""
    return page(number + 1) - 8 * words


CODE = end_of_page(CODE_PAGE, CODE_WORDS)
HANDLER = end_of_page(HANDLER_PAGE, HANDLER_WORDS)
STACK = end_of_page(STACK_PAGE, STACK_WORDS // 2)
UPID = end_of_page(UPID_PAGE, UPID_WORDS)
UITT = end_of_page(UITT_PAGE, UITT_WORDS)
AREA = end_of_page(AREA_PAGE, AREA_WORDS) - 512
#: The words of the mailbox: what CPU 0 asks for, and where it goes on.
REQUEST, GO = page(MAIL_PAGE), page(MAIL_PAGE) + 8
ACTIONS = page(ACTIONS_PAGE)

Hex = Annotated[
    int,
    Field(ge=0, le=MASK64),
    BeforeValidator(lambda value: int(value, 16) if isinstance(value, str) else value),
    PlainSerializer(hex, when_used="json"),
]
Words = Annotated[tuple[Hex, ...], Field(max_length=STACK_WORDS)]
#: Bytes in hexadecimal, a space, and their assembly.
Step = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+( [\x20-\x7e]*)?$")]


class Breakpoint(Value):
    """A breakpoint in DR0 or DR1 with its part of DR7, aligned to its size; for code that is 1."""

    address: Hex
    size: Literal[1, 2, 4, 8] = 1
    kind: Literal["execute", "write", "access"] = "execute"


class Action(Value):
    """Code that another CPU runs at CPL 0 with interrupts off, when CPU 0 asks for it."""

    cpu: Literal[1, 2] = 1
    code: tuple[Step, ...] = ()


class Storm(Value):
    """Rounds in which CPU 0 runs the code repeatedly while each other CPU sends it a vector."""

    rounds: Annotated[int, Field(ge=1, le=1000)]
    #: The senders wait before they send. The wait grows by the stride, below the longest one.
    stride: Annotated[int, Field(ge=1)]
    longest: Annotated[int, Field(ge=1)]


class Case(Value):
    """A sequence and its initial state. The values of the MSRs are valid for WRMSR."""

    level: Literal[0, 3] = 3
    x2apic: bool = False
    #: Whether paging has five levels.
    la57: bool = False
    uif: bool = False
    cr4_uintr: bool = True
    cr4_smap: bool = False
    cr4_pke: bool = False
    pkru: Annotated[Hex, Field(le=0xFFFFFFFF)] = 0
    #: In the order of DR0 and DR1.
    breakpoints: Annotated[tuple[Breakpoint, ...], Field(max_length=2)] = ()
    #: Vectors that the local APIC has pending.
    pending: Annotated[tuple[int, ...], Field(max_length=2)] = ()
    #: Vector that the 8259 has pending, a multiple of 8.
    pic: Annotated[int | None, Field(ge=32, le=248, multiple_of=8)] = None
    #: Whether NMIs are blocked. Then TF and RF must be clear: only IRET could load them.
    nmi_blocked: bool = False
    #: Whether an NMI is pending.
    nmi_pending: bool = False
    rflags: Hex = 2
    #: In the order of their numbers in ModRM.
    regs: Annotated[tuple[Hex, ...], Field(min_length=16, max_length=16)]
    #: In the order of their numbers, from IA32_UINTR_RR.
    msrs: Annotated[tuple[Hex, ...], Field(min_length=6, max_length=6)]
    #: Bits P, W and U of each of :data:`PAGES`.
    rights: Annotated[tuple[int, ...], Field(min_length=7, max_length=7)]
    #: Protection keys of :data:`PAGES`; key 0 is the player's.
    keys: Annotated[tuple[int, ...], Field(min_length=7, max_length=7)] = (0,) * 7
    #: Whether the code ends at the end of its page.
    page_end: bool = False
    code: tuple[Step, ...] = ()
    handler: tuple[Step, ...] = ()
    #: First words of stack, UPIDs and UITT; the rest is 0.
    stack: Words = ()
    upid: Words = ()
    uitt: Words = ()
    #: First words of the XSAVE area, from its header; the rest is 0.
    area: Words = ()
    cpus: Literal[1, 2, 3] = 1
    actions: Annotated[tuple[Action, ...], Field(max_length=MAX_ACTIONS)] = ()
    storm: Storm | None = None


def assemble(steps: Sequence[str]) -> bytes:
    """Return the bytes of steps, followed by :data:`NOP` and :data:`END`."""
    return b"".join(bytes.fromhex(step.split(" ", 1)[0]) for step in steps) + NOP + END


def code_blocks(case: Case) -> tuple[int, bytes, bytes]:
    """Return the address at which a case begins, and its bytes in the code's and handler's pages.

    :raise ValueError: there are too many steps.
    """
    code, handler = assemble(case.code), assemble(case.handler)
    size, room = 8 * CODE_WORDS, 8 * HANDLER_WORDS
    if len(code) > size or len(handler) > room:
        raise ValueError("more steps than a page has room for")
    if case.page_end:
        return CODE + size - len(code), code.rjust(size, NOP), handler.ljust(room, NOP)
    return CODE, code.ljust(size, NOP), handler.ljust(room, NOP)


def action_code(action: Action) -> bytes:
    """Return an action's bytes.

    :raise ValueError: there are too many steps.
    """
    code = assemble(action.code)
    if len(code) > 8 * ACTION_WORDS:
        raise ValueError("more steps than an action has room for")
    return code.ljust(8 * ACTION_WORDS, NOP)


def wait_addresses(case: Case) -> dict[int, int]:
    """Return the addresses in waits and behind them, and the address of each one's wait.

    It depends on time at which of them an event interrupts a wait.
    """
    found: dict[int, int] = {}
    for start, steps in ((code_blocks(case)[0], case.code), (HANDLER, case.handler)):
        at = start
        for step in steps:
            code = bytes.fromhex(step.split(" ", 1)[0])
            at += len(code)
            if code.endswith(WAIT):
                pause = len(PAUSE) * code.endswith(PAUSE + WAIT)
                first = at - len(WAIT) - pause
                found |= dict.fromkeys((first, first + pause, at - len(NOP)), first)
    return found


def needs_threads(case: Case) -> bool:
    """Return whether CPU 0 waits without PAUSE, so that other CPUs have to run beside it."""
    codes = (step.split(" ", 1)[0] for step in (*case.code, *case.handler))
    return case.storm is not None or any(
        code.endswith(WAIT.hex()) and not code.endswith((PAUSE + WAIT).hex()) for code in codes
    )


def _padded(words: Sequence[int], count: int) -> tuple[int, ...]:
    return (*words, *(0 for _ in range(count - len(words))))


_DR7_OFF = 1 << 10
#: R/W and LEN of DR7.
_DR7_KINDS = {"execute": 0, "write": 1, "access": 3}
_DR7_SIZES = {1: 0, 2: 1, 4: 3, 8: 2}


def dr7(breakpoints: Sequence[Breakpoint]) -> int:
    """Return DR7 with breakpoints enabled by their local bits."""
    return _DR7_OFF | sum(
        1 << 2 * number | (_DR7_KINDS[one.kind] | _DR7_SIZES[one.size] << 2) << 16 + 4 * number
        for number, one in enumerate(breakpoints)
    )


_HEAD = struct.Struct("<16Q16Q6Q7Q")
_TAIL = struct.Struct(f"<{STACK_WORDS + UPID_WORDS + UITT_WORDS + AREA_WORDS}Q")
_ACTION = struct.Struct(f"<Q{8 * ACTION_WORDS}s")
_STORM = struct.Struct("<3Q")
CASE_SIZE = (
    _HEAD.size
    + 8 * (CODE_WORDS + HANDLER_WORDS)
    + _TAIL.size
    + MAX_ACTIONS * _ACTION.size
    + _STORM.size
)


def pack(case: Case) -> bytes:
    """Return a case in the player's binary format."""
    rip, code, handler = code_blocks(case)
    head = _HEAD.pack(
        *(case.level, case.uif, case.cr4_uintr, case.cr4_smap, case.cr4_pke, case.pkru),
        *_padded([one.address for one in case.breakpoints], 2),
        dr7(case.breakpoints),
        *_padded(case.pending, 2),
        *(case.pic or 0, case.nmi_blocked, case.nmi_pending),
        *(case.rflags, rip),
        *case.regs,
        *case.msrs,
        *(rights | key << 59 for rights, key in zip(case.rights, case.keys, strict=True)),
    )
    tail = _TAIL.pack(
        *_padded(case.stack, STACK_WORDS),
        *_padded(case.upid, UPID_WORDS),
        *_padded(case.uitt, UITT_WORDS),
        *_padded(case.area, AREA_WORDS),
    )
    actions = b"".join(_ACTION.pack(one.cpu, action_code(one)) for one in case.actions)
    storm = case.storm or Storm.model_construct(rounds=0, stride=0, longest=0)
    return (
        head
        + code
        + handler
        + tail
        + actions.ljust(MAX_ACTIONS * _ACTION.size, b"\0")
        + _STORM.pack(storm.rounds, storm.stride, storm.longest)
    )


# --- results -----------------------------------------------------------------------------------

REGISTERS = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *(f"r{number}" for number in range(8, 16)),
)
MSRS = ("RR", "HANDLER", "STACKADJUST", "MISC", "PD", "TT")
_EVENT = ("vector", "rip", "rflags", "rsp", "dr6")
#: Name of each word of a result.
NAMES = (
    *("vector", "error", "rip", "cpl", "rflags", "cr2"),
    *REGISTERS,
    *MSRS,
    "uif",
    *(f"irr[{number}]" for number in range(4)),
    *("pic", "nmi"),
    "events",
    *(f"event {number} {name}" for number in range(MAX_EVENTS) for name in _EVENT),
    *(f"stack[{number}]" for number in range(STACK_WORDS)),
    *(f"upid[{number}]" for number in range(UPID_WORDS)),
    *(f"uitt[{number}]" for number in range(UITT_WORDS)),
    *(f"area[{number}]" for number in range(AREA_WORDS)),
    *(f"cpu {cpu} irr[{number}]" for cpu in range(1, MAX_CPUS) for number in range(4)),
    *(
        f"action {number} {name}"
        for number in range(MAX_ACTIONS)
        for name in ("count", "vector", "error", "rax")
    ),
    *("late", "arrived"),
)
PLACE: Mapping[str, int] = {name: number for number, name in enumerate(NAMES)}
RESULT = struct.Struct(f"<{len(NAMES)}Q")
