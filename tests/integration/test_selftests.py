"""The kernel's own selftests for XSTATE and signal frames on a CPU that exposes user interrupts.

They are the other users of what the series for QEMU adds to XSAVE, and of what the one for Linux
changes in it. ``tools/selftests.py`` runs all of them, on a kernel without a series,
and compares with a QEMU without one.
"""

from __future__ import annotations

import pytest

from harness.artefacts.emulator.choice import build_emulator
from harness.artefacts.image import build_image
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.store import Store
from harness.names import DEFAULT_KERNEL
from harness.progress import Silent
from harness.request.profiles import load_cpu, load_kernel
from tools.selftests import Boot, archive_of, boot, build

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600, func_only=True)]

NAMES = (
    "check_initial_reg_state_64",
    "corrupt_xstate_header_64",
    "pkey_sighandler_tests",
    "sigaltstack_64",
    "sigreturn_64",
    "syscall_nt_64",
)


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Boot:
    store = Store.open()
    profile = load_kernel(DEFAULT_KERNEL)
    kernel = build_kernel(profile, store, Silent())
    folder = tmp_path_factory.mktemp("selftests")
    programs = build(profile, kernel, store, Silent(), tmp_path_factory.mktemp("tree"), NAMES)
    archive = archive_of(build_image(store, Silent()), programs)
    emulator = build_emulator(store, Silent())
    return boot(emulator, load_cpu("exposed"), kernel.bzimage, archive, folder)


def test_linux_uses_the_compacted_format(booted: Boot) -> None:
    assert "xsaves" in booted.flags
    assert "'compacted' format" in booted.xstate


@pytest.mark.parametrize("name", NAMES)
def test_selftest(booted: Boot, name: str) -> None:
    outcome = booted.outcomes[name]
    assert (outcome.code, outcome.counts.get("FAIL", 0)) == (0, 0), outcome
    assert outcome.counts["OK"] >= 1
