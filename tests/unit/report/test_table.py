from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.report.console import LOG_WIDTH, make_console
from harness.report.table import MAX_TROUBLES, ResultsTable, print_report
from harness.results.records import Record
from harness.results.summary import Outcome, fold
from tests.unit.results import make


def report(outcome: Outcome, run: Path) -> str:
    stream = io.StringIO()
    print_report(make_console(stream), outcome, run)
    return stream.getvalue()


def test_the_report_says_all_that_went_wrong(outcome: Outcome, run: Path) -> None:
    text = report(outcome, run)
    lines = [line.rstrip() for line in text.split("\n")]
    at = lines.index(f"FAIL api/open::red_zone  [{make.CELL}]")
    cell = run / "cells" / make.CELL
    assert lines[at + 1 : at + 5] == [
        "     rsp moved",
        "     | # expected 1",
        "     | # got 2",
        f"     console: {cell / 'console.log'}",
    ]
    assert lines[at + 5].startswith(f"     reproduce: {cell / 'reproduce'}/")
    assert any(line.startswith("SPLAT WARNING in uintr_post") for line in lines)
    assert any(line.startswith("GUEST panic") for line in lines)
    assert lines[-3].startswith("FAILED: a guest failed: panic in linux-6.12-hidden-smp4-gcc")
    assert lines[-2] == f"results: {run}"


def test_latencies_are_compared_with_uintr_in_the_same_cell_and_mode(
    outcome: Outcome, run: Path
) -> None:
    lines = [" ".join(line.split()) for line in report(outcome, run).split("\n")]
    at = lines.index("ping-pong")
    assert lines[at + 1] == "uintr 4 1.00 µs 2.00 µs - 4.00 µs 4.00 µs 4.00 µs 1.00x - 400,000"
    assert lines[at + 2].startswith("pipe 3 0 ns 8.00 µs")
    assert " 4.00x - " in lines[at + 2]
    assert "1 of 3 samples are 0" in report(outcome, run)


def test_nothing_that_a_guest_printed_reaches_the_terminal_as_control(
    outcome: Outcome, run: Path
) -> None:
    text = report(outcome, run)
    assert not set(map(chr, range(32))) & set(text.replace("\n", ""))
    assert "\\x1b[2J\\x1b]0;owned\\x07" in text
    assert "[bold]b" in text


@pytest.mark.parametrize("width", [20, 80])
def test_a_narrow_terminal_loses_no_figure(outcome: Outcome, run: Path, width: int) -> None:
    stream = io.StringIO()
    print_report(Console(file=stream, width=width), outcome, run)
    words = " ".join(stream.getvalue().split())
    assert "FAILED" in words
    for figure in ("2.00 µs", "8.00 µs", "4.00 µs", "9.00 µs", "4.00x"):
        assert figure in words


def test_latencies_stay_a_table_on_80_columns(outcome: Outcome, run: Path) -> None:
    stream = io.StringIO()
    print_report(Console(file=stream, width=80), outcome, run)
    lines = stream.getvalue().split("\n")
    at = lines.index("ping-pong")
    assert [line.split()[0] for line in lines[at + 1 : at + 3]] == ["uintr", "pipe"]
    assert lines[at + 1].index("2.00 µs") == lines[at + 2].index("8.00 µs")
    assert all(len(line) <= 80 for line in lines[at - 3 : at + 3])


def test_a_log_is_wide_enough_and_plain(outcome: Outcome, run: Path) -> None:
    text = report(outcome, run)
    table = text[text.index("Cells") :].split("\n")
    assert f"{make.CELL}" in "\n".join(table)
    assert all(len(line) <= LOG_WIDTH for line in table[:8])


def test_many_troubles_are_counted(run: Path) -> None:
    records: list[Record] = [make.case(f"c{n}", "fail") for n in range(MAX_TROUBLES + 5)]
    text = report(fold(records), run)
    assert text.count("FAIL api/open::") == MAX_TROUBLES
    assert "… and 5 more" in text


def test_the_table_tells_how_many_runs_of_a_repeated_program_passed(run: Path) -> None:
    records: list[Record] = [make.boot(), *(make.case("a", attempt=n) for n in range(1, 100))]
    records.append(make.case("a", "fail", attempt=100))
    text = report(fold(records), run)
    assert [make.CELL, "api/open", "100", "99", "1", "0", "a", "(1)"] in [
        line.split() for line in text.split("\n")
    ]
    assert "FLAKY api/open::a (run 100)" in text


def test_a_program_that_never_passed_is_not_flaky(run: Path) -> None:
    records: list[Record] = [make.boot(), *(make.case("a", "fail", attempt=n) for n in (1, 2))]
    records += [make.case("b", attempt=1), make.case("b", "fail", program="api/close")]
    assert "FLAKY" not in report(fold(records), run)


def test_a_good_run_is_short(good: Outcome, run: Path) -> None:
    text = report(good, run)
    assert "PASSED: 1 passed" in text
    assert "FAIL " not in text
    assert "Latency" not in text


def test_colours_follow_the_environment(
    outcome: Outcome, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1;31m" in report(outcome, run)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in report(outcome, run)
    assert "31m" not in report(outcome, run)


def test_an_encoding_that_lacks_a_character_is_no_error(outcome: Outcome, run: Path) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_report(make_console(stream), outcome, run)
    stream.flush()
    assert b"FAILED" in raw.getvalue()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_one_line_per_program_as_it_finishes() -> None:
    said: list[str] = []
    clock = Clock()
    table = ResultsTable(lambda line: said.append(line.plain), clock)
    table.program("cell", "api/open")
    table.case("cell", "pass")
    table.case("cell", "pass")
    table.case("cell", "fail")
    assert said == []
    clock.now = 2.5
    table.program_done("cell")
    table.program("cell", "api/\x1b[2J")
    table.case("cell", "skip")
    table.program_done("cell")
    table.program_done("cell")
    assert said == [
        "FAIL cell  api/open  2 pass, 1 fail  2.5 s",
        "skip cell  api/\\x1b[2J  1 skip  0.0 s",
    ]


def test_the_live_table_shows_cells_and_what_runs_now() -> None:
    clock = Clock()
    table = ResultsTable(now=clock)
    table.cell("one")
    clock.now = 5
    table.program("two", "api/open")
    table.case("two", "pass")
    table.case("two", "fail")
    clock.now = 7
    table.cell_done("one")
    clock.now = 9
    stream = io.StringIO()
    Console(file=stream, width=80).print(table)
    rows = [" ".join(line.split()) for line in stream.getvalue().split("\n")]
    assert "one 0 0 0 done 7.0 s" in rows
    assert "two 1 1 0 api/open 4.0 s" in rows
