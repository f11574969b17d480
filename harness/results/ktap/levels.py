"""The open documents of a KTAP stream, and the cases that wait for an ancestor's name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from harness.results.ktap.lines import Status


class Draft(NamedTuple):
    """A case whose name lacks the ancestors that are not known yet."""

    path: tuple[str, ...]
    status: Status
    message: str
    lines: list[str]
    synthetic: bool = False


@dataclass
class Level:
    """An open document: the root's, or that of a subtest whose parent has no result yet."""

    indent: int
    name: str | None = None
    header: bool = False
    plan: int | None = None
    skip: str | None = None
    number: int = 0
    seen: int = 0
    failed: int = 0
    #: A name that ``# Subtest:`` gave to the document that will open below this one.
    child: str | None = None
    lines: list[str] = field(default_factory=list)
    held: list[Draft] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def touched(self) -> bool:
        """Whether anything was said on this level."""
        return bool(self.header or self.seen or self.plan is not None or self.complaints)

    def plan_complaint(self) -> list[str]:
        """Return how the plan was not kept; nothing where it was, or there is none."""
        if self.plan is None or self.plan == self.seen:
            return []
        return [f"planned {cases(self.plan)}, saw {self.seen}"]

    def all_complaints(self) -> list[str]:
        """Return everything that makes this document's parent a failure."""
        return [*self.complaints, *self.plan_complaint()]


def cases(count: int) -> str:
    """Return ``1 case``, ``2 cases``."""
    return f"{count} case" if count == 1 else f"{count} cases"
