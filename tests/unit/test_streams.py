"""The limits of one program's records."""

from __future__ import annotations

import pytest

from harness.lib.kept import HALF
from harness.results.ktap.reader import MAX_CASES, MAX_SAID, CaseResult, KtapReader
from harness.results.ktap.selftest import SelftestReader


@pytest.mark.parametrize("reader", [KtapReader(), SelftestReader()], ids=["ktap", "selftest"])
def test_cases_have_a_limit(reader: KtapReader | SelftestReader) -> None:
    given = 0
    for number in range(1, MAX_CASES + 100):
        text = f"ok {number} c{number}\n" if number > 1 else "KTAP version 1\nok 1 c1\n"
        given += len(reader.feed(text.encode()))
    assert given <= MAX_CASES + 1
    assert reader.full == f"more than {MAX_CASES} cases"
    (*_, last) = reader.close(None, reason=f"too much output: {reader.full}")
    assert last.status == "fail"
    assert last.message.startswith("too much output: more than 10000 cases")


def test_diagnostics_keep_both_ends() -> None:
    reader = KtapReader()
    cases: list[CaseResult] = reader.feed(b"KTAP version 1\n")
    for number in range(5000):
        cases += reader.feed(b"# line %d, and some more text\n" % number)
    cases += reader.feed(b"ok 1 a\n")
    (case,) = cases
    assert len(case.diagnostics) < 3 * HALF
    assert case.diagnostics.startswith("# line 0,")
    assert case.diagnostics.endswith("# line 4999, and some more text")
    assert "lines left out" in case.diagnostics


def test_all_diagnostics_together_have_a_limit() -> None:
    reader = KtapReader()
    cases: list[CaseResult] = reader.feed(b"KTAP version 1\n")
    for number in range(1, 2001):
        cases += reader.feed(b"# a line that says something\n" * 500 + b"ok %d\n" % number)
    assert len(cases) == 2000
    assert sum(len(case.diagnostics) for case in cases) < 2 * MAX_SAID


def test_errors_on_one_line_are_cut() -> None:
    reader = KtapReader()
    (case,) = reader.close(None, reason="too much output", stderr=b"x" * (1 << 22))
    assert len(case.diagnostics) < 3 * HALF
