"""The contract's statements, what cases claim to check, and what a run made of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from harness import paths
from harness.errors import UserError
from harness.results.contract import (
    Claim,
    Statement,
    check_contract,
    read_claims,
    read_contract,
)
from harness.results.ktap.reader import KtapReader
from tests.unit.results import make

STATEMENTS = read_contract()
CLAIMS = read_claims()


# --- the project's own ---


def test_ids_are_unique() -> None:
    assert [name for name, n in Counter(one.id for one in STATEMENTS).items() if n > 1] == []


def test_a_subject_is_one_section() -> None:
    pairs = {(one.group, one.id.rpartition("-")[0]) for one in STATEMENTS}
    assert len(pairs) == len({group for group, _ in pairs}) == len({name for _, name in pairs})


def test_every_list_item_of_the_contract_is_a_statement() -> None:
    text = (paths.GUEST_TESTS / "CONTRACT.md").read_text()
    assert text.count("\n- **") == len(STATEMENTS) > 300
    assert text.count("reason:") - 1 == sum(bool(one.reason) for one in STATEMENTS)


def test_every_id_that_a_case_names_is_a_statement() -> None:
    known = {one.id for one in STATEMENTS}
    unknown = {
        f"{claim.program}::{claim.case} names {one}"
        for claim in CLAIMS
        for one in claim.checks
        if one not in known
    }
    assert unknown == set()


def test_every_case_names_a_statement_once() -> None:
    assert [claim for claim in CLAIMS if not claim.checks] == []
    assert [claim for claim in CLAIMS if len(set(claim.checks)) < len(claim.checks)] == []


def test_the_cases_of_every_program_that_does_not_measure_are_read() -> None:
    sources = {
        f"{source.parent.name}/{source.stem}": source.read_text()
        for source in paths.GUEST_TESTS.glob("*/*.c")
        if source.parent.name != "latency"
    }
    named: dict[str, list[str]] = {}
    for claim in CLAIMS:
        named.setdefault(claim.program, []).append(claim.case)
    assert named.keys() == sources.keys()
    for program, text in sources.items():
        declared = re.findall(r"^\t(?:KTAP_\w*CASE|TEST\w*)\((\w+)", text, re.MULTILINE)
        assert named[program] == declared
        assert len(set(declared)) == len(declared)
        assert ".name =" not in text


def test_a_statement_has_a_case_or_a_reason_or_is_a_hole() -> None:
    covered = check_contract(STATEMENTS, CLAIMS)
    holes = {one.statement.id for one in covered.holes}
    for one in covered.statements:
        kinds = [bool(one.cases), bool(one.statement.reason), one.statement.id in holes]
        assert kinds.count(True) == 1, f"{one.statement.id}: case, reason, hole: {kinds}"


# --- reading ---


def contract(tmp_path: Path, text: str) -> tuple[Statement, ...]:
    path = tmp_path / "CONTRACT.md"
    path.write_text(text)
    return read_contract(path)


def test_a_statement_is_read(tmp_path: Path) -> None:
    text = (
        "# Title\n\nProse\n- a rule\n\n## Group one\n\n"
        "- **A-1** Some *thing* is\n  so. *SDM; b(2)*\n"
        "- **A-12** Never seen. *RFC*\n  reason: no\n  eyes\n\n## Two\n\n- **B-1** x. *y*\n"
    )
    assert contract(tmp_path, text) == (
        Statement(id="A-1", group="Group one", text="Some *thing* is so.", source="SDM; b(2)"),
        Statement(id="A-12", group="Group one", text="Never seen.", source="RFC", reason="no eyes"),
        Statement(id="B-1", group="Two", text="x.", source="y"),
    )


@pytest.mark.parametrize(
    "item", ["- **A-1** no source", "- **a-1** x. *y*", "- **A-0** x. *y*", "- **A** x. *y*"]
)
def test_a_malformed_statement_is_told_with_its_line(tmp_path: Path, item: str) -> None:
    with pytest.raises(UserError) as caught:
        contract(tmp_path, f"## G\n\n{item}\n")
    assert str(caught.value.where).endswith("CONTRACT.md:3")


def test_no_contract_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contract cannot be read"):
        read_contract(tmp_path / "none")


def program(tmp_path: Path, text: str) -> Path:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "open.c").write_text(text)
    return tmp_path


def test_claims_are_read(tmp_path: Path) -> None:
    text = """
/* KTAP_CASE(of_a_comment, A-1) */
// TEST(of_another, A-1)
static const struct ktap_case cases[] = {
	KTAP_CASE(plain),
	KTAP_CASE(one, A-1),
	KTAP_CASE(two,
		A-1, /* why */
		B-23),
	KTAP_SLOW_CASE(slow, 90, A-2),
	TEST_SMP(many, 3, C-1),
};
"""
    assert read_claims(program(tmp_path, text)) == tuple(
        Claim(program="api/open", case=case, checks=checks)
        for case, checks in (
            ("plain", ()),
            ("one", ("A-1",)),
            ("two", ("A-1", "B-23")),
            ("slow", ("A-2",)),
            ("many", ("C-1",)),
        )
    )


@pytest.mark.parametrize("word", ["a-1", "A_1", "A", '"A-1"', "A-1 A-2"])
def test_what_is_no_id_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(UserError, match="not a statement's id"):
        read_claims(program(tmp_path, f"KTAP_CASE(one, {word}),"))


@pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler")
def test_a_program_prints_what_its_source_claims(tmp_path: Path) -> None:
    """The source and the output are two ways to the same ids."""
    folder = program(
        tmp_path,
        """
#include "ktap.h"

static void fails(void)
{
	ktap_check(false, "of course");
}

static void crashes(void)
{
	abort();
}

static const struct ktap_case cases[] = {
	KTAP_CASE(fails, A-1,
		B-23),
	KTAP_SLOW_CASE(crashes, 5, A-2),
	{ .name = "silent", .fn = fails },
};

KTAP_MAIN(cases, NULL)
""",
    )
    binary = tmp_path / "open"
    include = paths.GUEST_TESTS / "include"
    source = folder / "api" / "open.c"
    subprocess.run(
        ["gcc", "-std=gnu11", "-Werror", "-Wall", "-I", include, "-o", binary, source], check=True
    )
    done = subprocess.run([binary], stdout=subprocess.PIPE, check=False)
    reader = KtapReader()
    cases = [*reader.feed(done.stdout), *reader.close(done.returncode)]
    printed = [(case.name, case.checks) for case in cases]
    assert printed == [
        *((claim.case, claim.checks) for claim in read_claims(folder)),
        ("silent", ()),
    ]
    assert [case.status for case in cases] == ["fail"] * 3
    assert all("checks" not in case.diagnostics for case in cases)


# --- verdicts ---

TWO = (
    Statement(id="A-1", group="g", text="a.", source="s"),
    Statement(id="A-2", group="g", text="b.", source="s"),
)
CELLS = ("one", "two")


def verdicts(*cases: tuple[str, str, str], number: int = 0) -> dict[str, str]:
    records = [
        make.case(f"c{n}", status, cell=cell, checks=(name,))
        for n, (cell, name, status) in enumerate(cases)
    ]
    return dict(check_contract(TWO, (), records, CELLS).statements[number].verdicts)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((), "not run"),
        (("skip",), "skip"),
        (("skip", "pass"), "pass"),
        (("pass", "fail", "skip"), "fail"),
        (("fail", "pass"), "fail"),
    ],
)
def test_the_worst_case_decides(statuses: tuple[str, ...], expected: str) -> None:
    cases = [("one", "A-1", status) for status in statuses]
    assert verdicts(*cases) == {"one": expected, "two": "not run"}
    assert verdicts(*cases, number=1) == {"one": "not run", "two": "not run"}


def test_cells_are_apart() -> None:
    assert verdicts(("one", "A-1", "pass"), ("two", "A-1", "fail")) == {
        "one": "pass",
        "two": "fail",
    }


def test_a_claim_of_the_source_is_no_verdict() -> None:
    claims = [Claim(program="api/open", case="c", checks=("A-1",))]
    covered = check_contract(TWO, claims, [make.case("c", cell="one")], CELLS)
    first, second = covered.statements
    assert (first.cases, first.hole) == (("api/open::c",), False)
    assert first.verdicts == {"one": "not run", "two": "not run"}
    assert second.hole
    assert covered.holes == (second,)


def test_a_reason_is_no_hole() -> None:
    reasoned = TWO[0].model_copy(update={"reason": "nobody can"})
    assert check_contract([reasoned], ()).holes == ()


def test_what_is_not_in_the_contract_is_told() -> None:
    covered = check_contract(TWO, (), [make.case(cell="one", checks=("A-1", "Z-9"))], CELLS)
    assert covered.unknown == ("Z-9",)
