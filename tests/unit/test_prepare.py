"""Which accelerator a plan gets; what runs with it is asked of the emulator, which is faked."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.guest.accel import AccelChoice
from harness.request.plan import make_plan
from harness.run import prepare
from harness.values import CpuProfile, Emulator, Plan
from tests.unit.runs import cell

EMULATOR = Emulator(binary=Path("/qemu"), version="1")
HIDDEN = CpuProfile(name="hidden", model="max", exposes_uintr=False)
EXPOSED = CpuProfile(name="exposed", model="max", features=("+uintr",), exposes_uintr=True)


def plan(*cpus: CpuProfile, accel: str = "auto") -> Plan:
    return make_plan([cell().kernel], cpus, [1], ["gcc"], accel=accel)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def a_host_with_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    """KVM runs guests here, but virtualises no user interrupts."""

    def probe(emulator: Emulator, wanted: str, why: str = "asked for") -> AccelChoice:
        return AccelChoice(accel="tcg" if wanted == "tcg" else "kvm", reason=why)

    def check(emulator: Emulator, cpu: CpuProfile, accel: str) -> None:
        if cpu.exposes_uintr and accel == "kvm":
            raise UserError("the accelerator lacks features", detail="CPUID.07H:EDX.uintr")

    monkeypatch.setattr(prepare, "probe_accel", probe)
    monkeypatch.setattr(prepare, "check_cpu", check)


def test_kvm_where_nothing_is_exposed() -> None:
    assert prepare.choose_accel(EMULATOR, plan(HIDDEN)).accel == "kvm"


def test_tcg_for_all_cells_as_soon_as_one_exposes() -> None:
    choice = prepare.choose_accel(EMULATOR, plan(HIDDEN, EXPOSED))
    assert choice.accel == "tcg"
    assert "KVM cannot show cpu exposed (CPUID.07H:EDX.uintr)" in choice.reason


def test_what_was_asked_for_is_not_replaced() -> None:
    assert prepare.choose_accel(EMULATOR, plan(EXPOSED, accel="kvm")).accel == "kvm"


def test_tcg_where_kvm_lacks_part_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CpuProfile(name="hidden-new", model="Newest", exposes_uintr=False)

    def check(emulator: Emulator, cpu: CpuProfile, accel: str) -> None:
        if cpu.model == "Newest" and accel == "kvm":
            raise UserError("the accelerator lacks features", detail="CPUID.07H:EBX.avx2")

    monkeypatch.setattr(prepare, "check_cpu", check)
    choice = prepare.choose_accel(EMULATOR, plan(HIDDEN, model))
    assert choice.accel == "tcg"
    assert "KVM cannot show cpu hidden-new (CPUID.07H:EBX.avx2)" in choice.reason
