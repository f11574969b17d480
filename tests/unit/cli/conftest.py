"""A store for each test, and programs in fake guests."""

from __future__ import annotations

from pathlib import Path

import pytest

# Imported here although unused: see ../testing/conftest.py.
import harness.results.latency
import harness.testing.plugin  # noqa: F401
from harness.errors import BuildError
from harness.guest import vm
from harness.results.folder import RunArtefacts
from harness.run import engine
from harness.run.prepare import Preparation
from harness.values import Emulator, Plan
from tests.unit import fake_guest
from tests.unit.cli.calls import Fake
from tests.unit.runs import prepared

Scripts = dict[str, str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a store and a current folder of its own."""
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Let `run` find these scripts as its programs, in fake guests."""

    def fake(scripts: Scripts, *failures: BuildError, cmdline: str = "") -> None:
        artefacts = prepared(tmp_path, scripts).read_artefacts().cells[0]

        def prepare(plan: Plan, *_: object, **__: object) -> Preparation:
            cells = [
                artefacts.model_copy(
                    update={
                        "cell": cell.model_copy(
                            update={"kernel": cell.kernel.model_copy(update={"cmdline": cmdline})}
                        ),
                        "options": ("--cpu", cell.cpu.name),
                    }
                )
                for cell in plan.cells
            ]
            return Preparation(RunArtefacts(cells=tuple(cells)), failures)

        monkeypatch.setattr(engine, "choose_qemu", lambda *_: FakeQemu())
        monkeypatch.setattr(engine, "prepare", prepare)
        monkeypatch.setattr(vm, "start_guest", fake_guest.start_guest)

    return fake


class FakeQemu:
    emulator = Emulator(binary=Path("/bin/true"), version="0")
