from __future__ import annotations

import io

import pytest
from markdown_it import MarkdownIt

from harness.report.comparison import comparison_markdown, print_comparison
from harness.report.console import make_console
from harness.results.compare.comparison import Comparison, compare
from tests.unit.report.conftest import HOSTILE
from tests.unit.results.test_comparison import CELL, cell, measured, side


@pytest.fixture
def found() -> Comparison:
    long = "ping-pong-blocked-fair-same-cpu-64-senders"
    base = side(
        cell(cases={"api/a::one": "pass"}),
        latencies=(measured(), measured(mechanism="signalfd", mode=long)),
    )
    new = side(
        cell(cases={"api/a::one": "fail", HOSTILE: "pass"}),
        latencies=(measured(1.5), measured(mechanism="signalfd", mode=long)),
        run=HOSTILE,
    )
    return compare([base], new)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_terminal_gets_every_figure(
    found: Comparison, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    print_comparison(make_console(stream), found)
    text = stream.getvalue()
    assert "\x1b" not in text
    for words in ("worse in", "5.00 µs", "7.50 µs", "1.50x", "signalfd", "WORSE: 1 latency worse"):
        assert words in " ".join(text.split())
    tables = text[: text.index("WORSE")]
    assert max(map(len, tables.split("\n"))) <= width


def test_markdown_is_literal(found: Comparison) -> None:
    text = comparison_markdown(found)
    assert text.startswith("### ❌ worse: <code>1 latency worse and 1 newly failing</code>")
    assert f"| worse in {CELL} | uintr | ping-pong | 5.00 µs | 7.50 µs | 1.50x |" in text
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    assert "<script" not in page
    assert "\x1b" not in page
