from __future__ import annotations

import json
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.lib.text import clean, clean_line, excerpt, without_commands


def test_escape_sequences_are_shown() -> None:
    text = "a\x1b[2Jb\x9b1mc\rd\x07\x00\n\te\x7f\u202ef"
    assert clean(text) == "a\\x1b[2Jb\\u009b1mc\\x0dd\\x07\\x00\n    e\\u007f\\u202ef"
    assert clean_line(text) == "a\\x1b[2Jb\\u009b1mc\\x0dd\\x07\\x00\\n e\\u007f\\u202ef"
    assert clean("tag \U000e0041, \ud800") == "tag \\udb40\\udc41, \\ud800"


def test_every_invisible_character_is_escaped() -> None:
    unsafe = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    left = [c for c in clean(every) if unicodedata.category(c) in unsafe]
    assert left == ["\n"]
    # Cn: what an old Python does not know yet.
    visible = "".join(c for c in every if unicodedata.category(c) not in {*unsafe, "Cn"})
    assert clean(visible) == visible


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_json_text_stays_the_same_value(value: object) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only, indent=2)
        assert json.loads(clean(text)) == value
        assert json.loads(without_commands(clean(text))) == value


@given(st.text(st.sampled_from(":# [\n\r\ta"), max_size=30))
def test_no_line_is_a_command_of_github(text: str) -> None:
    for line in re.split(r"[\r\n]", without_commands(text)):
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


@pytest.mark.parametrize("text", ["std::move", "# x", "##", "a ## [b]", "api/open::case", ": :"])
def test_what_is_no_command_stays(text: str) -> None:
    assert without_commands(text) == text


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
