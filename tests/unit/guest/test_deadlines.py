"""Deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.guest.spec import GuestSpec
from harness.guest.verdict import deadlines
from harness.guest.verdict.deadlines import Calibration, Deadline
from harness.values import Emulator

MakeSpec = Callable[..., GuestSpec]
MakeQemu = Callable[..., Emulator]


def test_deadlines_stretch_with_accelerator_boot_and_patience(make_spec: MakeSpec) -> None:
    calibration, spec = Calibration(), make_spec()
    kvm = spec.model_copy(update={"accel": "kvm"})
    assert calibration.factor(kvm) == 1
    assert calibration.factor(spec) == deadlines.ACCEL_FACTOR["tcg"]
    calibration.remember(spec, 20.0)
    calibration.remember(spec, 10.0)
    assert calibration.factor(spec) == 20
    assert calibration.factor(kvm) == 1
    assert calibration.factor(spec.model_copy(update={"patience": 2.0})) == 40
    calibration.remember(spec, 1e9)
    assert calibration.factor(spec) == deadlines.MAX_FACTOR
    assert "SSH login" in str(calibration.deadline(spec, "SSH login"))


def test_a_deadline_ends() -> None:
    assert Deadline("x", 0).expired
    assert not Deadline("x", 100).expired
    assert Deadline("x", 10, since=time.monotonic() - 100).remaining == 0
