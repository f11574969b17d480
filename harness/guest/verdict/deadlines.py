"""How long the harness waits, for what, and why that long.

Limits are written for a guest under KVM. They are stretched by the accelerator, and, once a
guest of the same making has booted in this process, by what that boot took: a kernel with KASAN
or a loaded host shows itself there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.guest.spec import GuestSpec
from harness.values import Accel

#: Seconds under KVM, by the name of the wait. Each is several times what it takes.
LIMITS_S: dict[str, float] = {
    "first console output": 5.0,
    "start of the init": 15.0,
    "start of the SSH server": 5.0,
    "SSH login": 5.0,
    "save of the guest": 5.0,
    "restore of the guest": 5.0,
    "answer to a probe": 3.0,
    "copy of files": 30.0,
}
#: A sign of life is waited for no longer than this: a guest that hangs shall be known soon after
#: the deadline of what it was doing, on a slow host as well.
MAX_PROBE_S = 12.0
#: What emulation costs against KVM in these waits; measured boots are 4 to 6 times slower.
ACCEL_FACTOR: Mapping[Accel, float] = {"kvm": 1.0, "tcg": 6.0}
#: A boot under KVM, from QEMU's start to the first SSH command.
REFERENCE_BOOT_S = 1.0
#: A measured boot stretches deadlines by no more than this.
MAX_FACTOR = 60.0


@dataclass(frozen=True)
class Deadline:
    """One wait: its name, how long, and since when (monotonic seconds)."""

    name: str
    seconds: float
    since: float = field(default_factory=time.monotonic)

    @property
    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.since + self.seconds - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether it has passed."""
        return self.remaining <= 0

    def __str__(self) -> str:
        return f"{self.name}: no later than {self.seconds:.0f} s"


class Calibration:
    """Boot times of this process, by what decides them. Shared by threads."""

    def __init__(self) -> None:
        self._boots: dict[tuple[str, str, int, str], float] = {}
        self._lock = threading.Lock()

    @staticmethod
    def _key(spec: GuestSpec) -> tuple[str, str, int, str]:
        return (str(spec.emulator.binary), spec.kernel.key, spec.smp, spec.accel)

    def remember(self, spec: GuestSpec, boot_s: float) -> None:
        """Keep what a boot took; the slowest counts."""
        with self._lock:
            key = self._key(spec)
            self._boots[key] = max(boot_s, self._boots.get(key, 0.0))

    def factor(self, spec: GuestSpec) -> float:
        """Return by how much the limits are stretched for such a guest."""
        with self._lock:
            boot_s = self._boots.get(self._key(spec), 0.0)
        measured = min(boot_s / REFERENCE_BOOT_S, MAX_FACTOR)
        return max(ACCEL_FACTOR[spec.accel], measured) * spec.patience

    def scale(self, spec: GuestSpec) -> float:
        """Return by how much such a guest is slower than others with its accelerator."""
        return self.factor(spec) / ACCEL_FACTOR[spec.accel]

    def deadline(self, spec: GuestSpec, name: str) -> Deadline:
        """Start the wait ``name`` of :data:`LIMITS_S`."""
        return Deadline(name, LIMITS_S[name] * self.factor(spec))

    def probe(self, spec: GuestSpec) -> Deadline:
        """Start the wait for a sign of life of a guest that seems to hang."""
        name = "answer to a probe"
        return Deadline(name, min(LIMITS_S[name] * self.factor(spec), MAX_PROBE_S))


#: The one of this process.
CALIBRATION = Calibration()
