"""How a bare-metal program is started, and what its end means."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.guest.bare_metal import (
    BareMetalSpec,
    as_script,
    bare_metal_argv,
    decode_status,
    limit_of,
)
from harness.testing.bare_metal import wanted_rounds
from harness.values import CpuProfile, Emulator

SPEC = BareMetalSpec(
    emulator=Emulator(binary=Path("/q/bin/qemu"), version="10", firmware=(Path("/q/share"),)),
    cpu=CpuProfile(name="hidden", model="max", exposes_uintr=False),
    smp=4,
    accel="tcg",
    program=Path("/programs/frame"),
    factor=6.2,
)


def test_the_command_line() -> None:
    argv = bare_metal_argv(SPEC, knows_uintr=True)
    assert argv[:4] == ["/q/bin/qemu", "-L", "/q/share", "-nodefaults"]
    assert argv[argv.index("-kernel") + 1] == "/programs/frame"
    # The program's limits are stretched by a whole number, and it learns whom it runs on.
    assert argv[argv.index("-append") + 1] == "smp=4 scale=7 modelled=1"
    assert argv[argv.index("-cpu") + 1] == "max,uintr=off,enforce"
    assert argv[argv.index("-smp") + 1] == "4"
    assert "-no-reboot" in argv  # a triple fault ends QEMU
    assert "isa-debug-exit,iobase=0xf4,iosize=0x04" in argv


def test_a_long_run() -> None:
    argv = bare_metal_argv(SPEC.model_copy(update={"rounds": 100_000}), knows_uintr=True)
    assert argv[argv.index("-append") + 1] == "smp=4 scale=7 modelled=1 rounds=100000"


def test_rounds_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UINTR_HARNESS_ROUNDS", raising=False)
    assert wanted_rounds() == 0
    monkeypatch.setenv("UINTR_HARNESS_ROUNDS", "100000")
    assert wanted_rounds() == 100_000
    monkeypatch.setenv("UINTR_HARNESS_ROUNDS", "many")
    with pytest.raises(UserError, match="not a number of rounds: 'many'"):
        wanted_rounds()


def test_a_qemu_without_the_feature() -> None:
    argv = bare_metal_argv(SPEC, knows_uintr=False)
    assert argv[argv.index("-cpu") + 1] == "max,enforce"
    assert argv[argv.index("-append") + 1].endswith("modelled=0")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (1, (0, None, None)),
        (3, (1, None, None)),
        (9, (4, None, None)),
        (-9, (None, "KILL", None)),
    ],
)
def test_ends(status: int, expected: tuple[int | None, str | None, str | None]) -> None:
    assert decode_status(status) == expected


def test_an_even_status_is_not_the_programs_own_end() -> None:
    code, by, why = decode_status(0)
    assert code is None
    assert by is None
    assert "triple fault" in (why or "")


def test_the_script_is_the_command() -> None:
    script = as_script(["qemu", "-append", "a b"], 35.2)
    first, limit, command = script.splitlines()
    assert (first, command) == ("#!/bin/sh", "exec qemu -append 'a b' \"$@\"")
    assert limit.startswith("# ")
    assert limit_of(script) == 36


@pytest.mark.parametrize("said", ["", "x", "-1", "9" * 40, "٣", "3\n# more"])
def test_a_script_of_somebody_else_has_a_usable_limit_or_none(said: str) -> None:
    script = as_script(["qemu"], 36).replace("36", said)
    assert limit_of(script) == (3 if said.startswith("3") else None)
    assert limit_of("#!/bin/sh\nexec qemu\n") is None
