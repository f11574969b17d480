"""The contract: numbered statements, the cases that check them, and the results.

``guest-tests/CONTRACT.md`` has the statements. A case names the statements that it checks as
arguments of the macro that declares it. The program prints them with the case's result, from which
the verdicts are made. The source only shows which statements have no case.
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
from harness.results.ktap.lines import CaseStatus
from harness.results.records import CaseRecord
from harness.values import Value

CONTRACT_FILE = "CONTRACT.md"

StatementVerdict = Literal["pass", "fail", "skip", "not run"]

_ITEM = re.compile(r"- \*\*(?P<id>[^*]+)\*\* (?P<rest>.*)")
_STATEMENT = re.compile(r"(?P<text>.+?) \*(?P<source>[^*]+)\*(?: reason: (?P<reason>.+))?")
_ID = re.compile(r"[A-Z]+-[1-9]\d*")
_CASE = re.compile(
    r"\b(?:KTAP_CASE|KTAP_SLOW_CASE|TEST|TEST_ANYWHERE|TEST_SMP)\(\s*(\w+)\s*(?:,([^()]*))?\)"
)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


class Statement(Value):
    """A numbered statement of the contract."""

    #: ``SUBJECT-NUMBER``. It never changes.
    id: str
    #: The heading above it.
    group: str
    text: str
    source: str
    #: Why no case can check it; empty if one can.
    reason: str = ""


class Claim(Value):
    """A case in the source, and the ids of the statements that it checks."""

    program: str
    case: str
    checks: tuple[str, ...]


class Checked(Value):
    """A statement, its cases, and their verdicts."""

    statement: Statement
    #: ``SUBJECT/PROGRAM::CASE`` of the cases in the source that name it.
    cases: tuple[str, ...]
    #: Cell → worst verdict of the cases that name it; ``skip`` only if all were skipped.
    verdicts: dict[str, StatementVerdict]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hole(self) -> bool:
        """Whether no case checks it and no reason for that is given."""
        ran = any(verdict != "not run" for verdict in self.verdicts.values())
        return not (self.cases or ran or self.statement.reason)


class CheckedContract(Document):
    """All statements, in the contract's order. ``contract --json`` prints it."""

    cells: tuple[str, ...]
    statements: tuple[Checked, ...]
    #: Ids that cases of the run named and the contract lacks.
    unknown: tuple[str, ...] = ()

    @property
    def holes(self) -> tuple[Checked, ...]:
        """The statements that no case checks, without a reason."""
        return tuple(one for one in self.statements if one.hole)


def read_contract(path: Path = paths.GUEST_TESTS / CONTRACT_FILE) -> tuple[Statement, ...]:
    """Return the statements of a contract.

    :raise UserError: the file cannot be read, or an item of it is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"the contract cannot be read: {error.strerror}", where=path) from error
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
                f"{found['id']} is not a valid statement",
                where=f"{path}:{number}",
                hint="write - **SUBJECT-NUMBER** TEXT *SOURCE*, optionally with reason: TEXT",
            )
        yield Statement(
            id=found["id"],
            group=group,
            text=said["text"],
            source=said["source"],
            reason=said["reason"] or "",
        )


def _items(text: str) -> list[tuple[int, str]]:
    """Return headings and list items with their line numbers. Continued lines are joined."""
    items: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("  ") and items:
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
        else:
            items.append((number, line.strip()))
    return items


def read_claims(tests: Path = paths.GUEST_TESTS) -> tuple[Claim, ...]:
    """Return the cases in the sources of all programs, with the statements that they name.

    :raise UserError: a case names something that is not an id.
    """
    claims = []
    for source in sorted(tests.glob("*/*.c")):
        program = f"{source.parent.name}/{source.stem}"
        for case, arguments in _CASE.findall(_COMMENT.sub("", source.read_text(encoding="utf-8"))):
            words = [word.strip() for word in arguments.split(",")]
            # A number is a time-out or a number of CPUs.
            ids = tuple(word for word in words if word and not word.isdecimal())
            for word in ids:
                if not _ID.fullmatch(word):
                    raise UserError(
                        f"{case} checks {word!r}, which is not a statement's id",
                        where=source,
                        hint=f"ids are like FRAME-1, as in {CONTRACT_FILE}",
                    )
            claims.append(Claim(program=program, case=case, checks=ids))
    return tuple(claims)


def check_contract(
    statements: Sequence[Statement],
    claims: Iterable[Claim],
    cases: Iterable[CaseRecord] = (),
    cells: Sequence[str] = (),
) -> CheckedContract:
    """Return the verdicts on all statements, from the cases that named them when they ran.

    :param cells: the cells of the run; one in which nothing ran has ``not run`` throughout.
    """
    named: dict[str, list[str]] = {}
    for claim in claims:
        for one in claim.checks:
            named.setdefault(one, []).append(f"{claim.program}::{claim.case}")
    ran: dict[str, dict[str, set[CaseStatus]]] = {}
    for case in cases:
        for one in case.checks:
            ran.setdefault(one, {}).setdefault(case.cell, set()).add(case.status)
    known = {statement.id for statement in statements}
    return CheckedContract(
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


def _verdicts(
    ran: Mapping[str, set[CaseStatus]], cells: Sequence[str]
) -> dict[str, StatementVerdict]:
    order: tuple[CaseStatus, ...] = ("fail", "pass", "skip")
    return {
        cell: next((status for status in order if status in ran.get(cell, ())), "not run")
        for cell in cells
    }
