"""Cases that do not apply to their cells: who decides it, and where they are counted."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from harness.errors import ExitCode
from harness.report.html import html
from harness.report.junit import render_junit
from harness.report.markdown import markdown
from harness.report.matrix import matrix
from harness.report.table import ResultsTable, print_report
from harness.results.compare.baseline import Baseline, make_baseline
from harness.results.compare.comparison import compare
from harness.results.ktap.reader import CaseResult, KtapReader
from harness.results.needs import NEEDS, settle
from harness.results.records import CaseRecord, Record
from harness.results.summary import fold
from harness.run.known import known_of
from tests.unit.results import make
from tests.unit.runs import prepared

SAID = "needs cpu:uintr: the CPU has no user interrupts"
CREATE, VECTOR = "#define __NR_uintr_create_fd 482\n", "#define __NR_uintr_vector_fd 481\n"


def skipped(message: str) -> CaseResult:
    return CaseResult(name="a", status="skip", message=message)


def test_a_need_that_the_cell_lacks_by_its_plan_is_no_skip() -> None:
    case = settle(skipped(SAID), {"cpu:uintr": False})
    assert (case.status, case.lacks) == ("skip", "cpu:uintr")
    assert case.message == "the CPU has no user interrupts"


def test_a_program_that_contradicts_the_plan_fails() -> None:
    case = settle(skipped(SAID), {"cpu:uintr": True})
    assert (case.status, case.lacks) == ("fail", "")
    assert "the CPU has no user interrupts" in case.message


@pytest.mark.parametrize(
    "message",
    [
        "the CPU has no user interrupts",  # as programs of earlier versions say
        "the program needs cpu:uintr: no",
        "needs cpu:sse9: a need that nobody defined",
        "needs abi:rfc: of which nothing is known here",
        "needs more CPUs",
    ],
)
def test_any_other_skip_stays_one(message: str) -> None:
    assert settle(skipped(message), {"cpu:uintr": False}) == skipped(message)


@pytest.mark.parametrize("status", ["pass", "fail"])
def test_a_verdict_is_never_taken_away(status: str) -> None:
    case = CaseResult(name="a", status=status, message=SAID)
    assert settle(case, {"cpu:uintr": False}) == case


def test_a_whole_program_can_say_it() -> None:
    reader = KtapReader()
    reader.feed(f"KTAP version 1\n1..0 # SKIP {SAID}\n".encode())
    (case,) = reader.close(4)
    assert settle(case, {"cpu:uintr": False}).lacks == "cpu:uintr"


@pytest.mark.parametrize(
    ("header", "rfc"),
    [(CREATE, True), (VECTOR, False), (CREATE + VECTOR, True), ("", None), (None, None)],
)
def test_what_is_known_of_a_cell(tmp_path: Path, header: str | None, rfc: bool | None) -> None:
    (setup,) = prepared(tmp_path, {"api/a": ""}).read_artefacts().cells
    if header is not None:
        (setup.kernel.headers / "asm").mkdir(parents=True)
        (setup.kernel.headers / "asm" / "unistd_64.h").write_text(header)
    known = known_of(setup)
    assert known["cpu:uintr"] is False
    assert known.get("abi:rfc") is rfc
    assert known.get("abi:later") is (None if rfc is None else not rfc)
    assert known.keys() <= NEEDS.keys()


def elsewhere(number: int = 3, **more: str) -> list[CaseRecord]:
    return [
        make.case(
            f"e{n}", "skip", program="bare-metal/x", lacks="cpu:uintr", message="no UINTR", **more
        )
        for n in range(number)
    ]


RECORDS: list[Record] = [make.boot(), make.case("a"), make.case("b", "skip"), *elsewhere()]
LINE = f"not counted in {make.CELL}: 3 for CPUs with user interrupts"


def test_they_are_counted_apart() -> None:
    outcome = fold(RECORDS)
    (cell,) = outcome.summary.cells
    assert (cell.passed, cell.skip, cell.elsewhere) == (1, 1, {"cpu:uintr": 3})
    totals = outcome.summary.totals
    assert (totals.passed, totals.skip, totals.elsewhere) == (1, 1, 3)
    assert '"elsewhere": 3' in outcome.summary.to_json()
    assert "elsewhere" not in fold([make.boot(), make.case("a")]).summary.to_json()
    assert outcome.exit_code == ExitCode.PASSED
    entries = {program: own[0] for program, own in matrix(outcome).rows}
    assert entries["bare-metal/x"] == ("", "for other cells")
    assert entries["api/open"].text == "1, 1 skipped"


def test_a_run_without_any_other_case_has_tested_nothing() -> None:
    outcome = fold([make.boot(), *elsewhere()])
    assert outcome.exit_code == ExitCode.TESTS_FAILED
    assert outcome.reason == "all 3 cases are for other cells, so nothing was tested"


def test_the_terminal_lists_them_when_asked(tmp_path: Path) -> None:
    for verbose in (False, True):
        stream = io.StringIO()
        console = Console(file=stream, width=120)
        print_report(console, fold(RECORDS), tmp_path, verbose=verbose)
        assert LINE in stream.getvalue()
        assert ("bare-metal/x::e2" in stream.getvalue()) is verbose


def test_markdown_and_the_page_tell_how_many(tmp_path: Path) -> None:
    outcome = fold(RECORDS)
    assert LINE in markdown(outcome, tmp_path)
    page = html(outcome, tmp_path)
    assert LINE in page
    assert "bare-metal/x::e2" in page


def test_junit_has_a_property_and_no_test_case() -> None:
    (suite,) = ET.fromstring("".join(render_junit(RECORDS)))
    assert (suite.get("tests"), suite.get("skipped")) == ("2", "1")
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert properties["not_for_cell.cpu:uintr"] == "3"


def baseline(records: list[Record]) -> Baseline:
    return make_baseline("r", fold(records), (), environment=None, made_of={}, clocks={})


def test_a_run_of_an_earlier_version_compares_with_one_of_this() -> None:
    def earlier(case: Record) -> Record:
        return case.model_copy(update={"lacks": ""})

    old = [earlier(one) if isinstance(one, CaseRecord) else one for one in RECORDS]
    assert fold(old).summary.totals.skip == 4
    found = compare([baseline(old)], baseline(RECORDS))
    assert (found.cases, found.exit_code) == ((), 0)


def test_a_case_that_passed_and_no_longer_applies_is_a_finding() -> None:
    old: list[Record] = [make.boot(), make.case("a"), make.case("e0", program="bare-metal/x")]
    new: list[Record] = [make.boot(), make.case("a"), *elsewhere(1)]
    assert compare([baseline(old)], baseline(new)).exit_code == 1


def test_the_line_of_a_program_names_them() -> None:
    said: list[str] = []
    table = ResultsTable(say=lambda text: said.append(text.plain), now=lambda: 0.0)
    for statuses in (("pass", "elsewhere"), ("elsewhere", "elsewhere"), ("skip", "elsewhere")):
        table.program("cell", "bare-metal/x")
        for status in statuses:
            table.case("cell", status)
        table.program_done("cell")
    assert [line.split("  ")[::2][0][:4] for line in said] == ["pass", "none", "skip"]
    assert "2 for other cells" in said[1]
