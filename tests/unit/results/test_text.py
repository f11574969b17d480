from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from harness.lib.text import clean, clean_line, excerpt


def test_escape_sequences_are_shown() -> None:
    text = "a\x1b[2Jb\x9b1mc\rd\x07\x00\n\te\x7f\u202ef"
    assert clean(text) == "a\\x1b[2Jb\\x9b1mc\\x0dd\\x07\\x00\n    e\\x7f\\u202ef"
    assert clean_line(text) == "a\\x1b[2Jb\\x9b1mc\\x0dd\\x07\\x00\\n e\\x7f\\u202ef"


@given(st.text())
def test_nothing_unsafe_is_left(text: str) -> None:
    assert not [c for c in clean(text) if unicodedata.category(c) == "Cc" and c != "\n"]
    assert clean_line(text).splitlines() in ([clean_line(text)], [])


@given(st.text(), st.integers(3, 20))
def test_an_excerpt_has_its_limits(text: str, lines: int) -> None:
    found = excerpt(text, lines, width=40)
    assert len(found) <= lines
    assert all(len(line) <= 40 for line in found)


def test_an_excerpt_has_both_ends() -> None:
    text = "\n".join(str(number) for number in range(20)) + "\n"
    assert excerpt(text, 6) == ["0", "1", "… 15 more lines …", "17", "18", "19"]
    assert excerpt("a\nb", 6) == ["a", "b"]
    assert excerpt(" \n", 6) == []
