from __future__ import annotations

import re
from pathlib import Path

from markdown_it import MarkdownIt

from harness.report.markdown import MAX_TROUBLES, markdown
from harness.results.records import Record
from harness.results.summary import Outcome, fold
from tests.unit.results import make


def test_tables_and_troubles(outcome: Outcome, run: Path) -> None:
    text = markdown(outcome, run)
    assert text.startswith("### ❌ failed: ")
    assert f"| {make.CELL} | 5.5 s | 1 | 2 | 0 | 1 | failed |" in text
    assert "<b>FAIL</b> <code>api/open::red&#95;zone</code>" in text
    assert str(run) not in text
    assert "| ping-pong | pipe | 3 | 0 ns | 8.00 µs | - | 9.00 µs |" in text


def test_guests_text_is_literal(outcome: Outcome, run: Path) -> None:
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown(outcome, run))
    assert "<script" not in page
    assert "<a " not in page
    assert "\x1b" not in page
    outside = re.sub(r"<(code|pre)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert "@" not in outside
    assert "owned" not in outside


def test_a_good_run(good: Outcome, run: Path) -> None:
    text = markdown(good, run)
    assert text.startswith("### ✅ passed: <code>1 passed</code>")
    assert "went wrong" not in text


def test_many_troubles_are_counted(run: Path) -> None:
    records: list[Record] = [make.case(f"c{n}", "fail") for n in range(MAX_TROUBLES + 5)]
    text = markdown(fold(records), run)
    assert "… and 5 more." in text
    assert text.count("<details>") == MAX_TROUBLES


def test_backticks_do_not_end_a_block(run: Path) -> None:
    records: list[Record] = [make.case("c", "fail", diagnostics="a\n````\n<script>b</script>")]
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(
        markdown(fold(records), run)
    )
    assert "<script" not in page
