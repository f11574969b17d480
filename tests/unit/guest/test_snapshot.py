"""A guest's state goes through a pipe: QEMU starts no program for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.guest import snapshot
from harness.guest.transport.qmp import MonitorError
from harness.guest.verdict.deadlines import Deadline

STATE = os.urandom(3 << 20) + b"end"  # larger than a pipe


class Qemu:
    """A monitor whose QEMU writes a state, or reads one."""

    def __init__(self, *, refuses: str = "", status: str = "completed") -> None:
        self.refuses = refuses
        self.status = status
        self.read = b""
        self.commands: list[str] = []
        self._descriptor = -1

    def give(self, descriptor: int, name: str) -> None:
        if self.refuses == "getfd":
            raise MonitorError("no")
        assert name == "state"
        self._descriptor = os.dup(descriptor)

    def command(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        self.commands.append(name)
        if name == self.refuses:
            raise MonitorError("no")
        if name in {"migrate", "migrate-incoming"}:
            assert arguments == {"uri": "fd:state"}
            work = self._save if name == "migrate" else self._load
            self._thread = threading.Thread(target=work)
            self._thread.start()
        if name == "query-migrate":
            self._thread.join(60)
            return {"status": self.status, "error-desc": "broken"}
        if name == "closefd":
            os.close(self._descriptor)
        return {}

    def _save(self) -> None:
        try:
            with os.fdopen(self._descriptor, "wb") as file:
                file.write(STATE)
        except BrokenPipeError:
            self.status = "failed"

    def _load(self) -> None:
        with os.fdopen(self._descriptor, "rb") as file:
            self.read = file.read() if self.status == "completed" else file.read(10)


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    before = set(Path("/proc/self/fd").iterdir())
    yield
    for thread in threading.enumerate():
        if thread.name == "snapshot":
            thread.join(30)
    assert len(set(Path("/proc/self/fd").iterdir())) == len(before)


def save(qemu: Qemu, state: Path) -> None:
    snapshot.save(qemu, state, Deadline("save", 60))  # type: ignore[arg-type]


def load(qemu: Qemu, state: Path) -> None:
    snapshot.load(qemu, state, Deadline("load", 60))  # type: ignore[arg-type]


def test_a_state_is_saved_and_read_back(tmp_path: Path) -> None:
    qemu = Qemu()
    save(qemu, tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == STATE
    assert qemu.commands[0] == "stop"
    assert qemu.commands[-1] == "cont"
    load(qemu, tmp_path / "state")
    assert qemu.read == STATE


def test_a_disk_that_is_full_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to("/dev/full")
    qemu = Qemu()
    with pytest.raises(MonitorError, match=r"could not save the guest: .*No space left"):
        save(qemu, tmp_path / "state")
    assert qemu.commands[-2:] == ["migrate_cancel", "cont"]
    assert not (tmp_path / "state").is_symlink()


@pytest.mark.parametrize("name", ["getfd", "migrate"])
def test_a_qemu_that_refuses(tmp_path: Path, name: str) -> None:
    with pytest.raises(MonitorError, match="no"):
        save(Qemu(refuses=name), tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_state_that_is_not_there_or_refused(tmp_path: Path) -> None:
    with pytest.raises(MonitorError, match="could not restore the guest: No such file"):
        load(Qemu(), tmp_path / "none")
    (tmp_path / "state").write_bytes(STATE)
    with pytest.raises(MonitorError, match="could not restore the guest: broken"):
        load(Qemu(status="failed"), tmp_path / "state")
