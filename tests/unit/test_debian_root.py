"""What is carried over from a host into a root of another release."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tools import debian_root
from tools.host_packages import Bind, Carrier, Suite, apt_way, pip_sections, suites_of

TARGETS = """\
Debian|http://mirror.invalid/debian/|bookworm|main
Debian|http://mirror.invalid/debian/|bookworm|contrib
Debian|http://mirror.invalid/debian/|bookworm-updates|main
Debian|http://security.invalid/|bookworm-security|main
Debian|http://security.invalid/|bookworm-security|main
Somebody|http://tools.invalid/|stable|main
Debian|http://mirror.invalid/debian/|sid|main
"""


def test_each_suite_of_the_host_has_one_of_the_release() -> None:
    assert suites_of(TARGETS, "trixie") == [
        Suite("http://mirror.invalid/debian/", "trixie"),
        Suite("http://mirror.invalid/debian/", "trixie-updates"),
        Suite("http://security.invalid/", "trixie-security"),
    ]
    assert suites_of("Somebody|http://tools.invalid/|stable|main\n", "trixie") == []


def test_of_apts_settings_only_the_way_to_the_mirror_counts() -> None:
    dump = """\
APT::Default-Release "bookworm";
Acquire::http::Proxy "http://proxy.invalid:3128";
Acquire::https::CaInfo "/etc/ca.crt";
Acquire::Check-Date "false";
Acquire::GzipIndexes "true";
DPkg::Post-Invoke:: "touch /x";
"""
    assert [line.split()[0] for line in apt_way(dump).splitlines()] == [
        "Acquire::http::Proxy",
        "Acquire::https::CaInfo",
        "Acquire::Check-Date",
    ]


def test_pips_configuration_without_the_environment() -> None:
    listing = """\
:env:.cert='/etc/ca.crt'
global.extra-index-url='file:///a/simple https://b.invalid/simple'
global.index-url="https://x.invalid/it's"
install.find-links='/one\\n/two'
"""
    assert pip_sections(listing) == {
        "global": {
            "extra-index-url": "file:///a/simple https://b.invalid/simple",
            "index-url": "https://x.invalid/it's",
        },
        "install": {"find-links": "/one\n/two"},
    }


def test_files_are_copied_and_folders_are_bound(tmp_path: Path) -> None:
    root, host = tmp_path / "root", tmp_path / "host"
    (host / "pypi/simple").mkdir(parents=True)
    (host / "wheels").mkdir()
    (host / "ca.crt").write_text("certificates")
    carrier = Carrier(root)
    text = f"file://{host}/pypi/simple https://b.invalid{host}/wheels\n{host}/wheels {host}/none"
    assert carrier.carry(text) == text
    assert set(carrier.binds.values()) == {
        Bind(host / "pypi", host / "pypi"),
        Bind(host / "wheels", host / "wheels"),
    }
    inside = f"/etc/carried{host}/ca.crt"
    assert carrier.carry(f'Acquire::https::CaInfo "{host}/ca.crt";') == (
        f'Acquire::https::CaInfo "{inside}";'
    )
    assert (root / inside.lstrip("/")).read_text() == "certificates"


def test_the_reason_why_no_root_can_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setattr(debian_root, "MARK", mark)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert "root rights" in debian_root.why_not()
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian_root.why_not() == "debootstrap is not installed"
    mark.touch()
    assert "already" in debian_root.why_not()


def test_the_folder_of_a_killed_maker_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stale = tmp_path / "uintr-harness-root-stale"
    (stale / "root").mkdir(parents=True)
    with debian_root._locked_folder() as used:
        debian_root.sweep()
        assert used.is_dir()
        assert not stale.exists()
    assert not used.exists()
