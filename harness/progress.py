"""How a stage tells what it is doing; who shows it is the command line's business."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from typing_extensions import override


class Step(Protocol):
    """One thing being done now."""

    def update(
        self, text: str | None = None, *, done: float | None = None, total: float | None = None
    ) -> None:
        """Say how far it is: a short text, and units done of a total where both are known."""


class Progress(Protocol):
    """Where steps are announced."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Open a step; it ends when the context is left, badly if by an exception."""

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
