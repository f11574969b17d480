"""The contract: numbered statements, the cases that check them, and how those came out.

``guest-tests/CONTRACT.md`` has the statements. A case names those that it checks as arguments of
the macro that declares it. The program prints them with the case's result, and only that counts as
a verdict; the source says besides which statements no case is there for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import computed_field

from harness import paths
from harness.errors import UserError
from harness.results.document import Document
from harness.results.ktap.lines import Status
from harness.results.records import CaseRecord
from harness.values import Value

CONTRACT_FILE = "CONTRACT.md"

Verdict = Literal["pass", "fail", "skip", "not run"]

_ITEM = re.compile(r"- \*\*(?P<id>[^*]+)\*\* (?P<rest>.*)")
_STATEMENT = re.compile(r"(?P<text>.+?) \*(?P<source>[^*]+)\*(?: reason: (?P<reason>.+))?")
_ID = re.compile(r"[A-Z]+-[1-9]\d*")
_CASE = re.compile(
    r"\b(?:KTAP_CASE|KTAP_SLOW_CASE|TEST|TEST_ANYWHERE|TEST_SMP)\(\s*(\w+)\s*(?:,([^()]*))?\)"
)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


class Statement(Value):
    """One thing that is promised."""

    #: ``SUBJECT-NUMBER``; for ever the same.
    id: str
    #: The heading that it stands under.
    group: str
    text: str
    source: str
    #: Why no case can check it; empty where one can.
    reason: str = ""


class Claim(Value):
    """A case in the source, and the ids that it names."""

    program: str
    case: str
    checks: tuple[str, ...]


class Checked(Value):
    """A statement, who checks it, and what came of that."""

    statement: Statement
    #: ``SUBJECT/PROGRAM::CASE`` of the cases in the source that name it.
    cases: tuple[str, ...]
    #: By cell: of the cases that name it the worst verdict, and ``skip`` only if all were skipped.
    verdicts: dict[str, Verdict]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hole(self) -> bool:
        """Whether nobody checks it, although nobody says why not."""
        ran = any(verdict != "not run" for verdict in self.verdicts.values())
        return not (self.cases or ran or self.statement.reason)


class Coverage(Document):
    """All statements, in the contract's order; also what ``contract --json`` prints."""

    cells: tuple[str, ...]
    statements: tuple[Checked, ...]
    #: Ids that cases of the run named and the contract does not have.
    unknown: tuple[str, ...] = ()

    @property
    def holes(self) -> tuple[Checked, ...]:
        """Return the statements that nobody checks, without a reason."""
        return tuple(one for one in self.statements if one.hole)


def read_contract(path: Path = paths.GUEST_TESTS / CONTRACT_FILE) -> tuple[Statement, ...]:
    """Read the statements.

    :raise UserError: the file cannot be read, or an item of it is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"there is no contract: {error.strerror}", where=path) from error
    return tuple(_statements(text, path))


def _statements(text: str, path: Path) -> Iterable[Statement]:
    group = ""
    for number, item in _items(text):
        if item.startswith("## "):
            group = item.removeprefix("## ")
            continue
        found = _ITEM.fullmatch(item)
        if not found:
            continue
        said = _STATEMENT.fullmatch(found["rest"])
        if not said or not _ID.fullmatch(found["id"]):
            raise UserError(
                f"{found['id']} is no statement",
                where=f"{path}:{number}",
                hint="write - **SUBJECT-NUMBER** TEXT *SOURCE*, and reason: TEXT if need be",
            )
        yield Statement(
            id=found["id"],
            group=group,
            text=said["text"],
            source=said["source"],
            reason=said["reason"] or "",
        )


def _items(text: str) -> list[tuple[int, str]]:
    """Return headings and list items with their lines' numbers, each joined to one line."""
    items: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("  ") and items:
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
        else:
            items.append((number, line.strip()))
    return items


def read_claims(tests: Path = paths.GUEST_TESTS) -> tuple[Claim, ...]:
    """Read from the sources of all programs which case names which statements.

    :raise UserError: a case names what is no id.
    """
    claims = []
    for source in sorted(tests.glob("*/*.c")):
        program = f"{source.parent.name}/{source.stem}"
        for case, arguments in _CASE.findall(_COMMENT.sub("", source.read_text(encoding="utf-8"))):
            words = [word.strip() for word in arguments.split(",")]
            # A number is a time-out or that of the CPUs.
            ids = tuple(word for word in words if word and not word.isdecimal())
            for word in ids:
                if not _ID.fullmatch(word):
                    raise UserError(
                        f"{case} checks {word!r}, which is no statement's id",
                        where=source,
                        hint=f"ids are like FRAME-1, as in {CONTRACT_FILE}",
                    )
            claims.append(Claim(program=program, case=case, checks=ids))
    return tuple(claims)


def coverage(
    statements: Sequence[Statement],
    claims: Iterable[Claim],
    cases: Iterable[CaseRecord] = (),
    cells: Sequence[str] = (),
) -> Coverage:
    """Return what cases came to, by the statements that they named when they ran.

    :param cells: those of the run; one in which nothing ran has ``not run`` throughout.
    """
    named: dict[str, list[str]] = {}
    for claim in claims:
        for one in claim.checks:
            named.setdefault(one, []).append(f"{claim.program}::{claim.case}")
    ran: dict[str, dict[str, set[Status]]] = {}
    for case in cases:
        for one in case.checks:
            ran.setdefault(one, {}).setdefault(case.cell, set()).add(case.status)
    known = {statement.id for statement in statements}
    return Coverage(
        cells=tuple(cells),
        statements=tuple(
            Checked(
                statement=statement,
                cases=tuple(named.get(statement.id, ())),
                verdicts=_verdicts(ran.get(statement.id, {}), cells),
            )
            for statement in statements
        ),
        unknown=tuple(sorted(ran.keys() - known)),
    )


def _verdicts(ran: Mapping[str, set[Status]], cells: Sequence[str]) -> dict[str, Verdict]:
    order: tuple[Status, ...] = ("fail", "pass", "skip")
    return {
        cell: next((status for status in order if status in ran.get(cell, ())), "not run")
        for cell in cells
    }
