from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from harness.report.console import LOG_WIDTH, make_console
from harness.report.table import MAX_TROUBLES, LatencyDetail, ResultsTable, print_report
from harness.results.records import HostLoad, Record
from harness.results.summary import LatencySummary, Outcome, RatioSummary, fold
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


def many(*hosts: HostLoad) -> Outcome:
    """Return the outcome of a cell with more latencies than are shown in full."""
    records: list[Record] = [make.boot(), make.case("a")]
    for name, value in (("uintr", 2590), ("eventfd", 103_700), ("pipe", 129_800)):
        for mode in ("ping-pong-talk", "ping-pong-fair", "sender", "return", "one-way"):
            latency = make.latency(name, mode=mode, values=[value] * 300)
            host = hosts[0] if hosts and (name, mode) == ("eventfd", "ping-pong-talk") else None
            records.append(latency.model_copy(update={"host": host}))
    outcome = fold(records, [make.cell()])
    rows = tuple(row.model_copy(update={"to_uintr": ratio(row)}) for row in outcome.summary.latency)
    summary = outcome.summary.model_copy(update={"latency": rows})
    return outcome.model_copy(update={"summary": summary})


def ratio(row: LatencySummary) -> RatioSummary | None:
    value = row.p50 / 2590
    return None if row.mechanism == "uintr" else RatioSummary(ratio=value, low=value, high=value)


CALM = HostLoad(seconds=1, load=0.5, steal_percent=0, waited_percent=1)
BUSY = HostLoad(seconds=1, load=5, steal_percent=0, waited_percent=36)


def test_many_latencies_are_one_table_of_round_trips(run: Path) -> None:
    text = report(many(CALM), run)
    rows = [line.split() for line in text.split("\n")]
    assert ["published,", "on", "a", "processor", "1", "9.70x", "14.8x", "16.3x", "17.3x"] in rows
    assert [make.CELL, "2.59", "µs", "40.0x", "-", "50.1x", "-"] in rows
    assert f"all 15 latencies: uintr-harness report --latency full {run}" in text
    assert "note" not in text
    assert len(text.split("\n")) < 40


def test_a_figure_that_the_host_disturbed_has_one_digit(run: Path) -> None:
    text = report(many(BUSY), run)
    rows = [line.split() for line in text.split("\n")]
    assert [make.CELL, "2.59", "µs", "~40x", "-", "50.1x", "-"] in rows
    assert "note: 1 of 15 latencies: other load on the host disturbed the measurement (~)" in text


@pytest.mark.parametrize(("detail", "tables"), [("full", 2), ("summary", 1), ("none", 0)])
def test_the_user_chooses_how_much_of_the_latencies_is_shown(
    run: Path, detail: LatencyDetail, tables: int
) -> None:
    stream = io.StringIO()
    print_report(make_console(stream), many(), run, detail)
    shown = [title in stream.getvalue() for title in ("Round trips", "Latency in")]
    assert sum(shown) == tables
    assert ("eventfd" in stream.getvalue()) == (detail != "none")


def test_few_latencies_are_shown_in_full(outcome: Outcome, run: Path) -> None:
    assert "Latency in" in report(outcome, run)


def test_latencies_without_the_published_form_are_counted(run: Path) -> None:
    records: list[Record] = [
        make.latency("uintr", mode=f"one-way-{n}", unit="insn") for n in range(20)
    ]
    text = report(fold(records, [make.cell()]), run)
    assert "Round trips" not in text
    assert "all 20 latencies: " in text


def test_a_boot_that_took_a_second_qemu_is_said(run: Path) -> None:
    note = "QEMU aborted during a first boot: an assertion failed"
    text = report(fold([make.boot(note=note), make.case("a")], [make.cell()]), run)
    assert f"note: {make.CELL}: {note}" in text
    assert "PASSED" in text


def run_of(cells: int, modes: int, mechanisms: Sequence[str]) -> Outcome:
    """Return a passed run that measured, on a busy host, with cases that do not apply."""
    records: list[Record] = []
    for number in range(cells):
        name = f"linux-6.12-{'hidden' if number % 2 else 'exposed'}-smp{number + 1}-gcc"
        records += [make.boot(cell=name), make.case(cell=name)]
        records.append(make.case("other", "skip", cell=name, lacks="cpu:uintr"))
        for mode in ("ping-pong-talk", *(f"sender-{n}" for n in range(1, modes))):
            for mechanism in mechanisms:
                more = {"cell": name, "mode": mode, "host": BUSY, "program": f"latency/{mode}"}
                records.append(make.latency(mechanism).model_copy(update=more))
    return fold(records)


@pytest.mark.parametrize(
    ("cells", "modes", "mechanisms"),
    [
        (1, 1, ("uintr",)),
        (1, 5, ("uintr",)),
        (1, 6, ("uintr",)),
        (1, 12, ("uintr",)),
        (1, 3, ("uintr", "eventfd", "pipe", "signal")),
        (4, 3, ("uintr",)),
        (8, 9, ("uintr", "eventfd", "pipe", "signal", "unix")),
    ],
)
def test_the_end_of_a_good_run_fits_a_screen(
    cells: int, modes: int, mechanisms: Sequence[str]
) -> None:
    stream = io.StringIO()
    folder = Path("/home/somebody/linux/runs/20261201-052215-6b3596")
    print_report(Console(file=stream, width=80), run_of(cells, modes, mechanisms), folder)
    lines = stream.getvalue().rstrip("\n").split("\n")
    assert sum(max(1, math.ceil(len(line.rstrip()) / 80)) for line in lines) <= 40
    assert lines[-2:] == [f"PASSED: {cells} passed", f"results: {folder}"]


def test_a_table_that_is_too_wide_becomes_a_list(run: Path) -> None:
    stream = io.StringIO()
    outcome = run_of(1, 2, ("uintr", "pipe"))
    print_report(Console(file=stream, width=80), outcome, run, "full")
    text = stream.getvalue()
    part = text[text.index("Round trips as multiples") :].split("\n")
    assert part[1:3] == [
        "uintr",
        "  spins: published 1.00x, the same form 2.00 µs, of the published -, fair form ",
    ]
