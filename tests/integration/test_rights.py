"""What the QEMU of a real guest may do on the host, by what /proc shows of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.artefacts.emulator.choice import find_emulator
from harness.guest import bare_metal, counted, query
from harness.guest.accel import run_probe
from harness.guest.argv import base_argv
from harness.guest.bare_metal import BareMetalSpec, run_bare_metal
from harness.guest.confined import PASSED_ON, knows_sandbox, may_drop_capabilities
from harness.guest.counted import run_counted
from harness.guest.query import monitored
from harness.guest.spec import GuestSpec
from harness.guest.vm import Guest
from harness.values import CpuProfile
from tests.integration.test_bare_metal_guests import ENDS, compiled

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600, func_only=True)]

#: ``Seccomp:`` of a process with a filter, by proc(5).
FILTERED = 2
#: Its sets of capabilities, but for the bounding set.
SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")


class Rights:
    """What /proc shows of a QEMU that answers on its monitor."""

    def __init__(self, pid: int) -> None:
        proc = Path(f"/proc/{pid}")
        lines = (proc / "status").read_text().splitlines()
        self.status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        words = (proc / "environ").read_bytes().decode().split("\0")
        self.environment = dict(word.split("=", 1) for word in words if word)

    def check(self) -> None:
        for name in SETS:
            assert int(self.status[name], 16) == 0, name
        if may_drop_capabilities():
            assert int(self.status["CapBnd"], 16) == 0
        assert self.status["NoNewPrivs"] == "1"
        assert int(self.status["Seccomp"]) == FILTERED
        assert set(self.environment) <= set(PASSED_ON)


@pytest.fixture(autouse=True)
def a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    assert knows_sandbox(str(find_emulator().binary))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Rights]:
    """The rights of each QEMU that is started with a monitor, when its monitor answers."""
    found: list[Rights] = []

    def watch(real: Callable[..., Any]) -> Callable[..., Any]:
        def start(*args: Any, **more: Any) -> Any:
            process, monitor = real(*args, **more)
            found.append(Rights(process.pid))
            return process, monitor

        return start

    for module in (query, counted, bare_metal):
        monkeypatch.setattr(module, "start", watch(query.start))
    return found


def test_a_guest_with_ssh(guest: Guest) -> None:
    Rights(guest.qemu_pid).check()
    assert "-sandbox" in (guest.folder / "qemu.sh").read_text().partition("exec")[0]


def test_a_guest_that_counts_instructions(
    spec: GuestSpec, tmp_path: Path, started: list[Rights]
) -> None:
    program = tmp_path / "true"
    program.write_text("#!/bin/sh\nexit 0\n")
    done = run_counted(
        spec, program, tmp_path, tmp_path / "samples", timeout_s=300, on_stdout=lambda _: None
    )
    assert done.done.returncode == 0
    started[-1].check()


def test_a_bare_metal_program(tmp_path: Path, started: list[Rights]) -> None:
    spec = BareMetalSpec(
        emulator=find_emulator(),
        cpu=CpuProfile(name="hidden", model="max", exposes_uintr=False),
        smp=1,
        accel="tcg",
        program=compiled(tmp_path, {"passes": ENDS["passes"]})["passes"],
        factor=1.0,
    )
    done, _ = run_bare_metal(spec, tmp_path / "out", timeout_s=60, on_stdout=lambda _: None)
    assert done.returncode == 0
    started[-1].check()


def test_the_probes(started: list[Rights]) -> None:
    assert run_probe(find_emulator(), "tcg") is None
    with monitored([*base_argv(find_emulator()), "-machine", "none", "-S"]):
        pass
    assert len(started) == 2
    for rights in started:
        rights.check()
