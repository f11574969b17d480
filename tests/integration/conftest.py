"""Real guests of the default profile's kernel, built if it is not in the store yet.

Where ``$UINTR_HARNESS_TEST_KERNEL`` names a bzImage, they boot that one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.artefacts.emulator.choice import find_emulator
from harness.artefacts.image import build_image
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.store import Store
from harness.guest.snapshot import Snapshot
from harness.guest.spec import GuestSpec
from harness.guest.vm import Guest, start_guest
from harness.names import DEFAULT_KERNEL
from harness.progress import Silent
from harness.request.profiles import load_kernel
from harness.results.folder import RunFolder
from harness.values import CpuProfile, Emulator, ImageArtefact, KernelArtefact
from tests.integration.runs import LIMIT_S, Run

HIDDEN = CpuProfile(name="hidden", model="max", exposes_uintr=False)


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return find_emulator()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> KernelArtefact:
    named = os.environ.get("UINTR_HARNESS_TEST_KERNEL")
    if not named:
        return build_kernel(load_kernel(DEFAULT_KERNEL), Store.open(), Silent())
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "bzImage").symlink_to(Path(named).resolve())
    return KernelArtefact(key="0" * 64, path=folder, release="test")


@pytest.fixture(scope="module")
def image() -> ImageArtefact:
    return build_image(Store.open(), Silent())


@pytest.fixture(scope="module")
def spec(emulator: Emulator, kernel: KernelArtefact, image: ImageArtefact) -> GuestSpec:
    return GuestSpec(emulator=emulator, kernel=kernel, image=image, cpu=HIDDEN)


@pytest.fixture(scope="module")
def guest(spec: GuestSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    folder = tmp_path_factory.mktemp("shared")
    with start_guest(spec, folder, save=folder / "state") as guest:
        yield guest


@pytest.fixture(scope="module")
def snapshot(guest: Guest) -> Snapshot:
    assert guest.unsaved is None
    assert guest.snapshot is not None
    return guest.snapshot


@pytest.fixture
def fresh(spec: GuestSpec, snapshot: Snapshot, tmp_path: Path) -> Iterator[Guest]:
    with start_guest(spec, tmp_path / "cell", snapshot=snapshot) as guest:
        yield guest


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Start ``uintr-harness run`` in a folder of its own, as a user does."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "run", "--out", str(tmp_path / "out"), *args],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        print(done.stdout)
        print(done.stderr, file=sys.stderr)
        return done

    return run


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "out")
