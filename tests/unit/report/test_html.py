from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from harness.report.html import html, write_html
from harness.results.environment import finish, observe
from harness.results.summary import Outcome
from tests.unit.results import make


class Page(HTMLParser):
    """Checks that tags are balanced, and keeps tags, links and text."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in {"href", "src"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_all_and_loads_nothing(outcome: Outcome, run: Path) -> None:
    path = write_html(outcome, run, finish(observe({"qemu": ["/no/such/qemu"]})))
    assert path == run / "report.html"
    page = Page(path.read_text())
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    for link in page.links:
        assert (run / link).exists()
    assert len(page.links) >= 4
    for words in ("Failed: a guest failed", "rsp moved", "# got 2", "4.00x", "not found"):
        assert words in page.text


def test_guests_text_is_only_text(outcome: Outcome, run: Path) -> None:
    text = html(outcome, run)
    page = Page(text)
    assert "<script>alert(1)</script>" in page.text
    assert "<script" not in text
    assert "\x1b" not in text


def test_it_reads_in_light_and_dark(good: Outcome, run: Path) -> None:
    text = html(good, run)
    assert "prefers-color-scheme: dark" in text
    page = Page(text)
    assert "Passed: 1 passed" in page.text
    assert "What went wrong" not in page.text
    assert make.CELL in page.text
