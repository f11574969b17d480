"""The interface by which a stage reports its progress; the command line displays it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from typing_extensions import override


class Step(Protocol):
    """A step that is under way."""

    def update(
        self, text: str | None = None, *, done: float | None = None, total: float | None = None
    ) -> None:
        """Report the progress: a short text, and units done of a total if both are known."""


class Progress(Protocol):
    """A receiver of steps and notes."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Begin a step. It ends with the context, and has failed if an exception left it."""

    def note(self, text: str) -> None:
        """Print one line that stays: a decision, a fall-back, a cache hit."""


class Silent(Progress, Step):
    """A progress that shows nothing; for libraries and tests."""

    def update(
        self, text: str | None = None, *, done: float | None = None, total: float | None = None
    ) -> None:
        """Show nothing."""

    @override
    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show nothing."""
        yield self

    def note(self, text: str) -> None:
        """Show nothing."""
