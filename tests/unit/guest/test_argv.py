"""QEMU's command line, by value."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.guest import argv
from harness.guest.spec import GuestSpec
from harness.values import CpuProfile, Emulator

MakeSpec = Callable[..., GuestSpec]
MakeQemu = Callable[..., Emulator]


@pytest.mark.parametrize(
    ("features", "exposes", "knows", "expected"),
    [
        ((), False, False, "max,enforce"),
        ((), False, True, "max,uintr=off,enforce"),
        (("+uintr",), True, True, "max,+uintr,enforce"),
        (("-pku", "phys-bits=40"), False, False, "max,-pku,phys-bits=40,enforce"),
    ],
)
def test_cpu_argument(features: tuple[str, ...], exposes: bool, knows: bool, expected: str) -> None:
    profile = CpuProfile(name="x", model="max", features=features, exposes_uintr=exposes)
    assert argv.cpu_argument(profile, knows_uintr=knows) == expected


def test_command_line(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec()
    parts = argv.guest_argv(spec, argv.Runtime(tmp_path / "initrd", 7, tmp_path / "pid"))
    assert parts[0] == str(spec.emulator.binary)
    for option, value in [
        ("-accel", "tcg,thread=multi"),
        ("-cpu", "max,enforce"),
        ("-smp", "1"),
        ("-m", "512M"),
        ("-initrd", str(tmp_path / "initrd")),
        ("-mon", "chardev=qmp,mode=control"),
        ("-display", "none"),
    ]:
        assert parts[parts.index(option) + 1] == value
    assert "-no-reboot" in parts
    assert "hostfwd=tcp:127.0.0.1:0-" in parts[parts.index("-netdev") + 1]
    kvm = argv.machine_argv(spec.cpu, "kvm", knows_uintr=False, memory_mib=32)
    assert kvm[kvm.index("-accel") + 1] == "kvm"


def test_kernel_command_line_ends_with_the_users(make_spec: MakeSpec) -> None:
    spec = make_spec().model_copy(update={"cmdline": "uintr=off"})
    words = argv.kernel_cmdline(spec).split()
    assert words[-1] == "uintr=off"
    assert {"panic=-1", "no_timer_check"} <= set(words)
    assert "quiet" not in words


def test_script_is_a_script(make_spec: MakeSpec) -> None:
    spec = make_spec().model_copy(update={"cmdline": "a='b c'"})
    text = argv.as_script(spec, ["qemu", "-x", "it's"])
    assert text.startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n"], input=text.encode(), check=True)
