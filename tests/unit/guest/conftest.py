"""A fake QEMU, and guests made of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.guest.spec import GuestSpec
from harness.guest.verdict.deadlines import LIMITS_S
from harness.values import CpuProfile, Emulator, ImageArtefact, KernelArtefact

FAKE = Path(__file__).parent / "fake_qemu.py"
MakeSpec = Callable[..., GuestSpec]


@pytest.fixture(autouse=True)
def quick_and_in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runtime folders of the test's own, and no waiting for what a fake has said at once."""
    monkeypatch.setattr("harness.guest.verdict.diagnose.QUIET_S", 0.06)
    monkeypatch.setattr("harness.guest.verdict.diagnose.BETWEEN_READS_S", 0.0)
    monkeypatch.setattr("harness.guest.verdict.postmortem.SETTLE_S", 0.5)
    # A fake is at its next phase at once; each of these waits is one for nothing.
    monkeypatch.setitem(LIMITS_S, "start of the init", LIMITS_S["first console output"])
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.fixture
def fake_qemu(tmp_path: Path) -> Callable[..., Emulator]:
    """Make a QEMU that plays a script; see fake_qemu.py for its keys."""

    def make(**script: object) -> Emulator:
        binary = tmp_path / "qemu-fake"
        script_file = tmp_path / "script.json"
        # Nothing of the environment reaches a QEMU.
        binary.write_text(
            f'#!/bin/sh\nFAKE_QEMU={script_file} exec {sys.executable} -S {FAKE} "$@"\n'
        )
        binary.chmod(0o755)
        script_file.write_text(json.dumps(script))
        return Emulator(binary=binary, version="7.2.0")

    return make


@pytest.fixture
def make_spec(tmp_path: Path, fake_qemu: Callable[..., Emulator]) -> MakeSpec:
    """Make the spec of a guest on such a QEMU."""

    def make(
        *, cpu: CpuProfile | None = None, patience: float = 1.0, **script: object
    ) -> GuestSpec:
        folder = tmp_path / "artefacts"
        folder.mkdir(exist_ok=True)
        (folder / "bzImage").write_bytes(b"kernel")
        (folder / "initramfs.cpio.gz").write_bytes(b"image")
        return GuestSpec(
            emulator=fake_qemu(**script),
            kernel=KernelArtefact(key="a" * 64, path=folder, release="6.12.0"),
            image=ImageArtefact(key="b" * 64, path=folder),
            cpu=cpu or CpuProfile(name="hidden", model="max", exposes_uintr=False),
            patience=patience,
        )

    return make
