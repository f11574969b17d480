"""Signals that end a process in the same way as Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Treat a cancelled CI job and a closed terminal like Ctrl-C: raise ``KeyboardInterrupt``.

    Only the first signal counts, because a second one would interrupt the clean-up. Without effect
    outside of the main thread, which alone can set handlers.
    """

    def interrupt(_number: int, _frame: object) -> NoReturn:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        for number, handler in before.items():
            # An ignored signal stays ignored: nohup depends on that.
            if handler != signal.SIG_IGN:
                signal.signal(number, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
