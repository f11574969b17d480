"""Excuses: the list of known splats."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.guest.verdict.known_splats import KNOWN_SPLATS, find_excuse, load_known_splats
from harness.guest.verdict.splat_report import Splat
from harness.guest.verdict.splats import scan

from .golden_logs import SINGLE, TODAY, lines

ENTRY = """
[[splat]]
match = "{match}"
reason = "known upstream, harmless here"
link = "https://example.org/1"
expires = {expires}
"""


def known(path: Path, match: str, expires: str = "2026-12-31") -> Path:
    path.write_text(ENTRY.format(match=match, expires=expires))
    return path


def splat(kind: str = "warn") -> Splat:
    title = "WARNING: CPU: N PID: N at a.c:1 f+ADDR/ADDR"
    return Splat(kind=kind, title=title, fingerprint=f"{kind}:f|g", first_line=1, excerpt="")


@pytest.mark.parametrize(
    ("match", "excused"), [("warn:f", True), ("warn: WARNING.*a.c", True), ("warn:x", False)]
)
def test_excuses(tmp_path: Path, match: str, excused: bool) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", match), TODAY)
    assert (find_excuse(splat(), entries) is not None) == excused


@pytest.mark.parametrize("kind", ["panic", "storm"])
def test_panics_and_storms_are_never_excused(tmp_path: Path, kind: str) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", "WARNING"), TODAY)
    assert find_excuse(splat(), entries)
    assert find_excuse(splat(kind), entries) is None


def test_an_excuse_lasts_to_its_last_day(tmp_path: Path) -> None:
    load_known_splats(known(tmp_path / "k.toml", "warn", "2026-11-22"), TODAY)
    with pytest.raises(UserError, match="expired"):
        load_known_splats(known(tmp_path / "k.toml", "warn", "2026-11-21"), TODAY)


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "[[other]]\n",
        '[[splat]]\nmatch = "warn"\n',
        ENTRY.format(match="(", expires="2026-12-31"),
        ENTRY.format(match="warn", expires='"soon"'),
        ENTRY.format(match="warn", expires="2026-12-31").replace("https", "see"),
        ENTRY.format(match="warn", expires="2026-12-31") + 'extra = "x"\n',
    ],
)
def test_a_malformed_excuse_is_the_users_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.toml").write_text(text)
    with pytest.raises(UserError):
        load_known_splats(tmp_path / "k.toml", TODAY)


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        load_known_splats(tmp_path / "none.toml", TODAY)


def test_the_repositorys_own_excuses_are_narrow() -> None:
    entries = load_known_splats(KNOWN_SPLATS)
    excused = {
        name for name in SINGLE if all(find_excuse(found, entries) for found in scan(lines(name)))
    }
    assert excused == {"kcsan-virtio"}


def test_a_corrupted_report_is_never_excused(tmp_path: Path) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", "WARNING"), TODAY)
    assert all(find_excuse(found, entries) for found in scan(lines("warn-6.19")))
    assert [find_excuse(found, entries) for found in scan(lines("cut-warn"))] == [None]


def test_an_excuse_may_name_the_first_line(tmp_path: Path) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", "warn: WARNING: kernel/uintr.c"), TODAY)
    assert all(find_excuse(found, entries) for found in scan(lines("warn-6.19")))
