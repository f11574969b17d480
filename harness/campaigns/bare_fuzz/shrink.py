"""Shrinking of a failed case: steps are removed, then the state made plain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.campaigns.bare_fuzz import case as layout
from harness.campaigns.bare_fuzz.case import Case

#: Function that returns, for each of some cases, whether it fails.
Fails = Callable[[Sequence[Case]], Sequence[bool]]

#: A valid UPID, and valid UITT entries for it.
_UPID = (0xEC << 16, 0)
_UITT = tuple(word for vector in range(8) for word in (1 | vector << 8, layout.UPID))
_PLAIN: dict[str, Any] = {
    "x2apic": False,
    "la57": False,
    "uif": False,
    "cr4_uintr": True,
    "cr4_smap": False,
    "cr4_pke": False,
    "pkru": 0,
    "keys": (0,) * len(layout.PAGES),
    "breakpoints": (),
    "pending": (),
    "pic": None,
    "nmi_blocked": False,
    "nmi_pending": False,
    "level": 3,
    "rflags": 0x202,
    "rights": (5, 5, 7, 7, 7, 7, 7),
    "page_end": False,
    "stack": (),
    "upid": _UPID,
    "uitt": _UITT,
    "area": (),
    "cpus": 1,
}
_MSRS = (0, layout.HANDLER, 0, 0xEC << 32 | 7, layout.UPID, layout.UITT | 1)
_RSP = layout.page(layout.STACK_PAGE + 1)


def shrink(case: Case, fails: Fails, in_time: Callable[[], bool]) -> Case:
    """Return the smallest case that was found to fail.

    :param case: a case that fails.
    :param in_time: returns whether there is time for more; if not, the smallest so far is returned.
    """
    for ways in (_with_steps_removed, _simplified, _with_steps_removed):
        while in_time():
            candidates = list(ways(case))
            verdicts = fails(candidates) if candidates else ()
            smaller = next(
                (one for one, bad in zip(candidates, verdicts, strict=True) if bad), None
            )
            if smaller is None:
                break
            case = smaller
    return case


def _with_steps_removed(case: Case) -> Iterator[Case]:
    """Yield the case without each group of consecutive steps, the largest groups first."""
    for field in ("code", "handler"):
        steps: tuple[str, ...] = getattr(case, field)
        size = len(steps)
        while size:
            for start in range(0, len(steps), size):
                yield _with(case, field, (*steps[:start], *steps[start + size :]))
            size //= 2
    for place, action in enumerate(case.actions):
        for step in range(len(action.code)):
            code = (*action.code[:step], *action.code[step + 1 :])
            smaller = action.model_copy(update={"code": code})
            actions = (*case.actions[:place], smaller, *case.actions[place + 1 :])
            yield _with(case, "actions", actions)


def _simplified(case: Case) -> Iterator[Case]:
    """Yield copies of the case with one part made plainer. No change can be undone by another."""
    for field, plain in _PLAIN.items():
        if getattr(case, field) != plain:
            yield _with(case, field, plain)
    yield from _simpler(case)
    for place, plain in enumerate(_MSRS):
        if case.msrs[place] != plain:
            yield _with(case, "msrs", _replaced(case.msrs, place, plain))
    zeros = (*(0,) * 4, _RSP, *(0,) * 11)
    if case.regs != zeros:
        yield _with(case, "regs", zeros)
    for place, plain in enumerate(zeros):
        if case.regs[place] != plain:
            yield _with(case, "regs", _replaced(case.regs, place, plain))


def _simpler(case: Case) -> Iterator[Case]:
    """Give the case with one breakpoint or one flag less."""
    for place in range(len(case.breakpoints)):
        rest = (*case.breakpoints[:place], *case.breakpoints[place + 1 :])
        yield _with(case, "breakpoints", rest)
    for flag in range(32):
        if case.rflags & ~0x202 & 1 << flag:
            yield _with(case, "rflags", case.rflags & ~(1 << flag))


def _replaced(words: tuple[int, ...], place: int, word: int) -> tuple[int, ...]:
    return (*words[:place], word, *words[place + 1 :])


def _with(case: Case, field: str, value: object) -> Case:
    return case.model_copy(update={field: value})
