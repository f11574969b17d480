from __future__ import annotations

import pytest

from harness.report.charts import WIDEST, boot_charts, latency_charts, style_of
from harness.report.matrix import matrix
from harness.results.records import Record
from harness.results.summary import Outcome, RatioSummary, fold
from tests.unit.results import make


def compared(*ratios: tuple[str, float, float, float]) -> Outcome:
    outcome = fold([make.latency(), *(make.latency(name) for name, *_ in ratios)])
    found = {name: RatioSummary(ratio=r, low=low, high=high) for name, r, low, high in ratios}
    rows = tuple(
        row.model_copy(update={"to_uintr": found.get(row.mechanism)})
        for row in outcome.summary.latency
    )
    return outcome.model_copy(
        update={"summary": outcome.summary.model_copy(update={"latency": rows})}
    )


def test_bars_lie_where_their_ratios_do() -> None:
    (cell,) = latency_charts(compared(("pipe", 2, 1.9, 2.1), ("shm", 0.5, 0.4, 0.6)))
    (mode,) = cell.bars
    pipe, shm = mode.bars
    assert (pipe.mechanism, shm.mechanism, mode.base) == ("pipe", "shm", "2.00 µs")
    assert shm.low < shm.at < shm.high < shm.one == pipe.one < pipe.low < pipe.at < pipe.high
    # Twice as slow is as far from 1 as twice as fast.
    assert pipe.at - pipe.one == pytest.approx(shm.one - shm.at)
    assert pipe.text == "2.00x (1.90x…2.10x)"


def test_a_ratio_of_thousands_leaves_the_others_visible() -> None:
    (cell,) = latency_charts(compared(("pipe", 2, 1.9, 2.1), ("shm", 5000, 4000, 6000)))
    pipe, shm = cell.bars[0].bars
    assert shm.at == 100
    assert pipe.at - pipe.one > 15
    assert WIDEST < 5000


def test_curves_rise_from_the_fastest_to_the_slowest() -> None:
    (cell,) = latency_charts(fold([make.latency(values=list(range(100, 10_000)))]))
    (chart,) = cell.curves
    points = [tuple(map(float, point.split(","))) for point in chart.curves[0].points.split()]
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys, reverse=True)
    assert (xs[0], ys[0]) == (0, 96)
    assert [mark.name for mark in chart.rows] == ["100 ns", "1 µs", "10 µs"]
    assert [mark.name for mark in chart.columns] == ["50 %", "90 %", "99 %", "99.9 %"]


def test_a_distribution_of_one_value_and_zeros_can_be_drawn() -> None:
    records: list[Record] = [make.latency(values=[0]), make.latency("pipe", values=[7] * 3)]
    (cell,) = latency_charts(fold(records))
    assert len(cell.curves[0].curves) == 2
    assert cell.bars == ()


def test_mechanisms_keep_their_styles_and_later_ones_get_some() -> None:
    names = ("uintr", "eventfd", "pipe", "signal", "signalfd", "futex", "unix", "shm")
    assert len({style_of(name) for name in names}) == len(names)
    assert 0 <= style_of("pigeon") < 8


def test_a_boot_is_cut_where_phases_began() -> None:
    long = make.boot(boot_s=4.0, phases={"init": 3.0, "kernel": 1.0})
    short = make.boot(boot_s=2.0, phases={})
    first, second = boot_charts([long, short])
    assert [(p.name, p.begin, p.width, p.time) for p in first.phases] == [
        ("start", 0, 25, "1.0 s"),
        ("kernel", 25, 50, "2.0 s"),
        ("init", 75, 25, "1.0 s"),
    ]
    assert second.phases == ()
    assert boot_charts([]) == []


def test_programs_by_cells() -> None:
    other = make.cell(2).name
    records: list[Record] = [
        make.case("a", program="z/good"),
        make.case("a", program="a/good", cell=other),
        make.case("b", "skip", program="a/good", cell=other),
        make.case("a", "skip", program="m/none"),
        make.case("a", "fail", program="x/bad"),
        make.case("b", program="x/bad"),
    ]
    found = matrix(fold(records))
    assert found.cells == (make.CELL, other)
    assert [(program, [tuple(e) for e in entries]) for program, entries in found.rows] == [
        ("x/bad", [("failed", "1 of 2"), ("", "-")]),
        ("a/good", [("", "-"), ("passed", "1, 1 skipped")]),
        ("m/none", [("skipped", "skipped"), ("", "-")]),
        ("z/good", [("passed", "1"), ("", "-")]),
    ]
