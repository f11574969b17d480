"""The open documents of a KTAP stream, and the cases that wait for an ancestor's name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.lib.kept import Lines, cut
from harness.results.ktap.lines import CaseStatus

#: Complaints about one document that are kept, and characters of each.
MAX_COMPLAINTS, MAX_COMPLAINT = 20, 500


class Draft(NamedTuple):
    """A case whose name lacks the ancestors that are not known yet."""

    path: tuple[str, ...]
    status: CaseStatus
    message: str
    lines: Iterable[str]
    synthetic: bool = False


class Complaints(list[str]):
    """What is wrong with a document; the first few, each once and cut."""

    def append(self, text: str) -> None:
        """Add a complaint."""
        text = cut(text, MAX_COMPLAINT)
        if len(self) < MAX_COMPLAINTS and text not in self:
            super().append(text)

    def extend(self, texts: Iterable[str]) -> None:
        """Add several."""
        for text in texts:
            self.append(text)


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
    lines: Lines = field(default_factory=Lines)
    held: list[Draft] = field(default_factory=list)
    complaints: Complaints = field(default_factory=Complaints)

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
