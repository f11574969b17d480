"""Shrinking of a failed script: steps are removed, then arguments made plain."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from harness.campaigns.fuzz.script import Script

#: Function that returns, for each of some scripts, whether it fails.
Fails = Callable[[Sequence[Script]], Sequence[bool]]

_NUMBER = re.compile(r"\d+|0x[0-9a-f]+")


def shrink(script: Script, fails: Fails, in_time: Callable[[], bool]) -> Script:
    """Return the smallest script that was found to fail.

    Candidates are passed to ``fails`` in groups, because a guest plays many as fast as one.

    :param script: a script that fails.
    :param in_time: returns whether there is time for more; if not, the smallest so far is returned.
    """
    size = len(script.steps)
    while size and in_time():
        smaller = _first(list(_with_steps_removed(script, size)), fails)
        if smaller is None:
            size //= 2
        else:
            script = smaller
            size = min(size, len(script.steps))
    while in_time():
        plainer = _first(list(_simplified(script)), fails)
        if plainer is None:
            break
        script = plainer
    return script


def _first(candidates: Sequence[Script], fails: Fails) -> Script | None:
    verdicts = fails(candidates) if candidates else ()
    return next((one for one, bad in zip(candidates, verdicts, strict=True) if bad), None)


def _with_steps_removed(script: Script, size: int) -> Iterator[Script]:
    """Yield the script without each group of ``size`` consecutive steps, the last group first."""
    for start in reversed(range(0, len(script.steps), size)):
        yield _with(script, (*script.steps[:start], *script.steps[start + size :]))


def _simplified(script: Script) -> Iterator[Script]:
    """Yield copies of the script with one part made plainer. No change can be undone by another."""
    used = max((int(step[0]) for step in script.steps), default=0) + 1
    if used < len(script.ways):
        yield script.model_copy(update={"ways": script.ways[:used]})
    for place, way in enumerate(script.ways):
        if way != "blocked":
            ways = (*script.ways[:place], "blocked", *script.ways[place + 1 :])
            yield script.model_copy(update={"ways": ways})
    for place, step in enumerate(script.steps):
        for plain in _simpler_steps(step):
            yield _with(script, (*script.steps[:place], plain, *script.steps[place + 1 :]))


def _simpler_steps(step: str) -> Iterator[str]:
    thread, operation, *words = step.split(" ")
    if operation == "child":
        children = " ".join(words).split(" ; ")
        for place in range(len(children) if len(children) > 1 else 0):
            left = " ; ".join(children[:place] + children[place + 1 :])
            yield f"{thread} child {left}"
        if len(children) == 1:
            yield f"{thread} {children[0]}"
        return
    for place, word in enumerate(words):
        if _NUMBER.fullmatch(word) and word != "0":
            yield " ".join([thread, operation, *words[:place], "0", *words[place + 1 :]])
    if operation == "register" and words[0] in {"nest", "send", "leave"}:
        yield " ".join([thread, operation, "log", *words[1:]])


def _with(script: Script, steps: tuple[str, ...]) -> Script:
    return script.model_copy(update={"steps": steps})
