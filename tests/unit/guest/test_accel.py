"""The choice of the accelerator."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from harness.errors import GuestError, UserError
from harness.guest import accel, probe_guest
from harness.guest.spec import GuestSpec
from harness.values import Emulator

MakeSpec = Callable[..., GuestSpec]
MakeQemu = Callable[..., Emulator]


@pytest.fixture
def kvm_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accel, "KVM", device)
    return device


MSR = "qemu: error: failed to set MSR 0x10a to 0x69\nqemu: Assertion `ret == x' failed.\n"


def test_kvm_that_does_not_run_a_guest(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    emulator = fake_qemu(refuse=MSR)
    choice = accel.probe_accel(emulator, "auto")
    assert choice.accel == "tcg"
    assert "failed to set MSR 0x10a to 0x69" in choice.reason
    assert "five times" in choice.reason
    with pytest.raises(UserError) as caught:
        accel.probe_accel(emulator, "kvm")
    assert "failed to set MSR" in (caught.value.detail or "")


def test_kvm_that_runs_a_guest(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    assert accel.probe_accel(fake_qemu(), "auto").accel == "kvm"


def test_kvm_whose_cpu_stops(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    with pytest.raises(UserError):
        accel.probe_accel(fake_qemu(running=False), "kvm")


def test_kvm_that_interprets(
    fake_qemu: MakeQemu, kvm_device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "PROBE_S", {"kvm": 0.2, "tcg": 30.0})
    with pytest.raises(UserError) as caught:
        accel.probe_accel(fake_qemu(halts=False), "kvm")
    assert "did not finish within" in (caught.value.detail or "")


def test_the_probe_guest_is_what_its_source_says(tmp_path: Path) -> None:
    source = Path(probe_guest.__file__).with_suffix(".S")
    made = tmp_path / "probe.o"
    subprocess.run(["gcc", "-c", source, "-o", made], check=True, timeout=60)
    with made.open("rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        assert text is not None
        assert text.data() == probe_guest.CODE
    elf = ELFFile(io.BytesIO(probe_guest.image()))
    (load,) = [one for one in elf.iter_segments() if one["p_type"] == "PT_LOAD"]
    assert load.data() == probe_guest.CODE
    assert (load["p_vaddr"], elf["e_entry"]) == (probe_guest.LOAD, probe_guest.LOAD)


def test_no_kvm(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    kvm_device.unlink()
    choice = accel.probe_accel(fake_qemu(), "auto")
    assert choice.accel == "tcg"
    assert "there is no" in choice.reason


def test_a_qemu_that_runs_nothing(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    with pytest.raises(GuestError):
        accel.probe_accel(fake_qemu(running=False), "auto")


def test_tcg_is_taken_without_a_look_at_kvm(fake_qemu: MakeQemu, kvm_device: Path) -> None:
    assert accel.probe_accel(fake_qemu(), "tcg").accel == "tcg"
