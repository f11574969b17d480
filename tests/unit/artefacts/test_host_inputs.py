"""What a build finds on its host is a part of its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.artefacts.host_inputs import fingerprint, include_folders, library_folders


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("CPATH", "sys/capability.h"),
        ("C_INCLUDE_PATH", "numa.h"),
        ("LIBRARY_PATH", "libcap.a"),
        ("LIBRARY_PATH", "libcap.so"),
        ("PKG_CONFIG_PATH", "mount.pc"),
    ],
)
def test_what_is_installed_removed_and_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    without = fingerprint("gcc")
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("1\n")
    installed = fingerprint("gcc")
    assert installed != without
    assert fingerprint("gcc") == installed
    file.write_text("22\n")
    assert fingerprint("gcc") not in {installed, without}
    file.unlink()
    assert fingerprint("gcc") == without


def test_what_cannot_be_linked_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIBRARY_PATH", str(tmp_path))
    before = fingerprint("gcc")
    (tmp_path / "libcap.so.2").touch()
    (tmp_path / "README").touch()
    assert fingerprint("gcc") == before


def test_another_place_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PKG_CONFIG_PATH", raising=False)
    before = fingerprint("gcc")
    monkeypatch.setenv("PKG_CONFIG_PATH", str(tmp_path))
    assert fingerprint("gcc") != before


def test_the_compiler_says_where_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "de")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert Path("/usr/include") in include_folders("gcc")
    assert any(any(path.glob("libc.a")) for path in library_folders("gcc"))
