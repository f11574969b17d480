"""What a guest is made of."""

from __future__ import annotations

from pydantic import Field

from harness.values import Accel, CpuProfile, Emulator, ImageArtefact, KernelArtefact, Value


class GuestSpec(Value):
    """All that decides how a guest is started."""

    emulator: Emulator
    kernel: KernelArtefact
    image: ImageArtefact
    cpu: CpuProfile
    smp: int = Field(default=1, ge=1, le=16)
    #: Already probed: see :func:`harness.guest.accel.probe_accel`.
    accel: Accel = "tcg"
    memory_mib: int = Field(default=512, ge=64)
    #: Added to the kernel's command line, last.
    cmdline: str = ""
    #: Multiplies every deadline; above 1 for a loaded or slow host.
    patience: float = Field(default=1.0, gt=0)
