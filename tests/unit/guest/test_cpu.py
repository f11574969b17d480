"""The guest's CPU against its profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest import cpu
from harness.guest.spec import GuestSpec
from harness.values import CpuProfile, Emulator

MakeSpec = Callable[..., GuestSpec]
MakeQemu = Callable[..., Emulator]


CPUINFO = "processor : 0\nflags\t\t: fpu pku\n\nprocessor : 1\nflags\t\t: fpu pku uintr\n"


def test_cpuid_is_read_from_what_the_guest_prints() -> None:
    text = "noise\n0 00000000 219c07ab 0040069c 00000020\n11 1 2 3 4\n1 00000000 0 0 0\n"
    assert cpu.parse_cpuid(text) == {0: (0, 0x219C07AB, 0x0040069C, 0x20)}


@given(st.text())
def test_parsers_of_the_cpu_never_raise(text: str) -> None:
    cpu.parse_cpuid(text)
    cpu.parse_flags(text)


@pytest.mark.parametrize(
    ("edx", "exposes", "smp", "words"),
    [
        ((0x20, 0x20), True, 2, []),
        ((0x0, 0x0), False, 2, []),
        ((0x20, 0x0), True, 2, ["CPU 1"]),
        ((0x20, 0x0), False, 2, ["CPU 0"]),
        ((0x0,), False, 2, ["1 CPUs answered"]),
        ((), False, 2, ["0 CPUs answered"]),
    ],
)
def test_cpuid_against_the_profile(
    edx: tuple[int, ...], exposes: bool, smp: int, words: list[str]
) -> None:
    text = "".join(f"{n} 00000000 00000000 00000000 {value:08x}\n" for n, value in enumerate(edx))
    profile = CpuProfile(name="x", model="max", exposes_uintr=exposes)
    found = cpu.cpu_differences_in_guest(text, CPUINFO, profile, smp)
    assert len(found) == len(words)
    for line, word in zip(found, words, strict=True):
        assert word in line


def test_flags_against_the_profile() -> None:
    profile = CpuProfile(
        name="x", model="max", exposes_uintr=False, require_flags=("uintr",), forbid_flags=("pku",)
    )
    cpuid = "0 00000000 00000000 00000000 00000000\n1 00000000 00000000 00000000 00000000\n"
    found = cpu.cpu_differences_in_guest(cpuid, CPUINFO, profile, 2)
    assert [line.split(":")[0] for line in found] == ["CPU 0", "CPU 0", "CPU 1"]


@pytest.mark.parametrize(
    ("vendor", "says", "words"),
    [
        (None, "AuthenticAMD", []),
        ("AuthenticAMD", "AuthenticAMD", []),
        ("GenuineIntel", "AuthenticAMD", ["the vendor is AuthenticAMD, not GenuineIntel"]),
    ],
)
def test_the_vendor_against_the_profile(
    vendor: Literal["GenuineIntel", "AuthenticAMD"] | None, says: str, words: list[str]
) -> None:
    profile = CpuProfile(name="x", model="max", exposes_uintr=False, vendor=vendor)
    cpuinfo = f"processor\t: 0\nvendor_id\t: {says}\nflags\t\t: fpu\n"
    cpuid = "0 00000000 00000000 00000000 00000000\n"
    assert cpu.cpu_differences_in_guest(cpuid, cpuinfo, profile, 1) == words


def test_an_unrelated_refusal_is_not_the_users() -> None:
    profile = CpuProfile(name="x", model="max", exposes_uintr=False)
    emulator = Emulator(binary=Path("/qemu"), version="1")
    assert cpu.refusal("qemu: could not load kernel\n", profile, emulator) is None
