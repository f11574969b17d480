from __future__ import annotations

from pathlib import Path

import pytest

from harness.report import contract
from harness.report.html import html
from harness.results.contract import Claim, Statement, check_contract, read_contract
from harness.results.summary import fold
from tests.unit.report.test_html import Page
from tests.unit.results import make

STATEMENTS = (
    Statement(id="A-1", group="first", text="One.", source="s"),
    Statement(id="A-2", group="first", text="Two.", source="s", reason="nobody can"),
    Statement(id="B-1", group="second", text="Three.", source="s"),
    Statement(id="B-2", group="second", text="Four.", source="s"),
)
CLAIMS = (
    Claim(program="api/open", case="a", checks=("A-1", "B-2")),
    Claim(program="api/open", case="b", checks=("A-1",)),
)
CELLS = ("k-6.12-exposed-smp2-gcc", "k-6.12-hidden-smp2-gcc")
COVERED = check_contract(
    STATEMENTS,
    CLAIMS,
    [
        make.case("a", "fail", cell=CELLS[0], checks=("A-1",)),
        make.case("a", "skip", cell=CELLS[1], checks=("A-1", "Z-9")),
    ],
    CELLS,
)


def test_the_matrix_tells_what_ran_and_what_nobody_checks() -> None:
    sheet = contract.matrix(COVERED)
    assert [column.title for column in sheet.columns][1:] == [
        *("id", "statement", "exposed", "hidden"),
    ]
    assert sheet.rows == (
        ("first", "A-1", "One.", "FAIL", "skipped"),
        ("first", "A-2", "Two. (not testable: nobody can)", "-", "-"),
        ("second", "B-1", "Three.", "no case", "no case"),
        ("second", "B-2", "Four.", "not run", "not run"),
    )


def test_the_cases_stand_under_their_statement() -> None:
    assert contract.by_cases(COVERED).rows == (
        ("A-1: One.", "api/open::a"),
        ("A-1: One.", "api/open::b"),
        ("A-2: Two.", "not testable: nobody can"),
        ("B-1: Three.", "no case"),
        ("B-2: Four.", "api/open::a"),
    )


def test_the_totals_add_up() -> None:
    assert [row[1:] for row in contract.totals(COVERED).rows] == [
        ("0", "1", "0", "1", "1", "1"),
        ("0", "0", "1", "1", "1", "1"),
    ]


def test_the_sentence_names_the_holes() -> None:
    assert contract.sentence(COVERED) == (
        "4 statements: 2 checked, 1 not testable, 1 without a case (1 of 'second'); "
        "not in the contract: Z-9"
    )


@pytest.mark.parametrize(
    ("names", "short"),
    [
        ((), ()),
        (("a-b",), ("a-b",)),
        (("k-a-gcc", "k-b-gcc"), ("a", "b")),
        (("k-a-smp1", "k-a-smp2"), ("smp1", "smp2")),
        (("k-a", "k-a-b"), ("a", "a-b")),
        (("a", "b"), ("a", "b")),
        (("k-a-a", "k-a-b-a"), ("a", "b-a")),
    ],
)
def test_names_lose_what_they_share(names: tuple[str, ...], short: tuple[str, ...]) -> None:
    assert contract.short_names(names) == short


def test_the_page_has_the_matrix_of_a_run_that_asked(run: Path) -> None:
    named = read_contract()[0]
    outcome = fold([make.boot(), make.case("a", "fail", checks=(named.id,))])
    page = Page(html(outcome, run))
    assert "Contract" in page.text
    for statement in read_contract():
        assert statement.id in page.text
    assert "no case" in page.text
    text = html(outcome, run)
    row = text[text.index(f'id="{named.id}"') :].partition("</tr>")[0]
    assert 'class="verdict failed">FAIL<' in row


def test_the_page_of_another_run_has_none(run: Path) -> None:
    assert "Contract" not in Page(html(fold([make.boot(), make.case("a")]), run)).text
