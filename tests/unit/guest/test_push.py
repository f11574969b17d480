"""Where a file that is copied into a guest ends up: the shell scripts for the guest, run here."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from harness.guest.transport.ssh import _PUSH_FILE


def push(remote: str) -> int:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("tool")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"new"))
    argv = ["sh", "-c", _PUSH_FILE, "sh", remote, "tool"]
    return subprocess.run(argv, input=stream.getvalue(), capture_output=True).returncode


@pytest.mark.parametrize(
    ("remote", "place"),
    [
        ("there", "there/tool"),
        ("there/", "there/tool"),
        ("absent/", "absent/tool"),
        ("absent", "absent"),
        ("a/b/name", "a/b/name"),
        ("there/old", "there/old"),
        ("with blank/the name", "with blank/the name"),
    ],
)
def test_a_file_goes_where_scp_would_put_it(tmp_path: Path, remote: str, place: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old").write_text("old")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert push(f"{tmp_path}/{remote}") == 0
    assert (tmp_path / place).read_text() == "new"
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert after - before == {tmp_path / place} - before


def test_what_lies_beside_it_stays(tmp_path: Path) -> None:
    tmp_path /= "guest"
    (tmp_path / "name.part").mkdir(parents=True)
    (tmp_path / "name.part" / "tool").write_text("half")
    assert push(f"{tmp_path}/name") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["name", "name.part"]
    assert (tmp_path / "name.part" / "tool").read_text() == "half"


def test_a_copy_that_fails_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert push(f"{tmp_path}/file/below") != 0
