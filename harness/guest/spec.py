"""The specification of a guest."""

from __future__ import annotations

from pydantic import Field

from harness.values import Accel, CpuProfile, Emulator, ImageArtefact, KernelArtefact, Value


class GuestSpec(Value):
    """Parameters for starting a guest."""

    emulator: Emulator
    kernel: KernelArtefact
    image: ImageArtefact
    cpu: CpuProfile
    smp: int = Field(default=1, ge=1, le=16)
    #: Must have been tested, see :func:`harness.guest.accel.probe_accel`.
    accel: Accel = "tcg"
    memory_mib: int = Field(default=512, ge=64)
    #: Appended to the kernel's command line.
    cmdline: str = ""
    #: Multiplies every deadline; above 1 for a loaded or slow host.
    patience: float = Field(default=1.0, gt=0)
