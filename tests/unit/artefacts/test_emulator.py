"""Finding QEMU: a path, the environment, the PATH; and what is wrong with each."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.artefacts.emulator import find_emulator
from harness.errors import UserError

from .conftest import MakeStub

SAYS = 'test "$1" = --version && echo "QEMU emulator version 7.2.22 (Debian)"; echo Copyright'


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UINTR_HARNESS_QEMU", raising=False)


def test_the_one_on_the_path(stub: MakeStub) -> None:
    binary = stub("qemu-system-x86_64", SAYS)
    emulator = find_emulator()
    assert emulator.binary == binary
    assert emulator.version == "7.2.22 (Debian)"


def test_a_named_one_comes_first(stub: MakeStub, monkeypatch: pytest.MonkeyPatch) -> None:
    stub("qemu-system-x86_64", SAYS)
    ours, mine = stub("ours", SAYS), stub("mine", SAYS)
    monkeypatch.setenv("UINTR_HARNESS_QEMU", str(ours))
    assert find_emulator().binary == ours
    assert find_emulator(mine).binary == mine


def test_none_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such emulator") as caught:
        find_emulator(tmp_path / "qemu")
    assert caught.value.where == str(tmp_path / "qemu")
    assert "UINTR_HARNESS_QEMU" in (caught.value.hint or "")
    (tmp_path / "plain").write_text("not executable")
    monkeypatch.setenv("UINTR_HARNESS_QEMU", str(tmp_path / "plain"))
    with pytest.raises(UserError, match="no such emulator"):
        find_emulator()


def test_something_that_is_no_qemu(stub: MakeStub) -> None:
    with pytest.raises(UserError, match="no QEMU: --version ended with 0"):
        find_emulator(stub("other", "echo hello"))
    with pytest.raises(UserError, match="ended with 127") as caught:
        find_emulator(stub("broken", "echo 'libslirp.so.0: not found' >&2; exit 127"))
    assert caught.value.detail == "libslirp.so.0: not found"
