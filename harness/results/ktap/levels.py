"""Open documents of a KTAP stream, and cases that wait for the name of a parent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.lib.kept import Lines, cut
from harness.results.ktap.lines import CaseStatus

#: Limits for the complaints that are kept about one document, and for the characters of each.
MAX_COMPLAINTS, MAX_COMPLAINT = 20, 500


class Draft(NamedTuple):
    """A case whose full name is not known yet."""

    path: tuple[str, ...]
    status: CaseStatus
    message: str
    lines: Iterable[str]
    synthetic: bool = False


class Complaints(list[str]):
    """Errors in a document: the first few, each once, and shortened."""

    def append(self, text: str) -> None:
        """Add a complaint."""
        text = cut(text, MAX_COMPLAINT)
        if len(self) < MAX_COMPLAINTS and text not in self:
            super().append(text)

    def extend(self, texts: Iterable[str]) -> None:
        """Add several complaints."""
        for text in texts:
            self.append(text)


@dataclass
class Level:
    """An open document: the root, or a subtest whose result line was not seen yet."""

    indent: int
    name: str | None = None
    header: bool = False
    plan: int | None = None
    skip: str | None = None
    number: int = 0
    seen: int = 0
    failed: int = 0
    #: The name in a ``# Subtest:`` line for the next document below this one.
    child: str | None = None
    lines: Lines = field(default_factory=Lines)
    held: list[Draft] = field(default_factory=list)
    complaints: Complaints = field(default_factory=Complaints)

    @property
    def touched(self) -> bool:
        """Whether anything was reported on this level."""
        return bool(self.header or self.seen or self.plan is not None or self.complaints)

    def plan_complaint(self) -> list[str]:
        """Return the complaint about a plan that was not kept; empty if there is none."""
        if self.plan is None or self.plan == self.seen:
            return []
        return [f"planned {cases(self.plan)}, saw {self.seen}"]

    def all_complaints(self) -> list[str]:
        """Return all complaints that make this document's parent fail."""
        return [*self.complaints, *self.plan_complaint()]


def cases(count: int) -> str:
    """Return a number of cases as text: ``1 case``, ``2 cases``."""
    return f"{count} case" if count == 1 else f"{count} cases"
