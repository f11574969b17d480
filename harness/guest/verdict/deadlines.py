"""Deadlines for everything that the harness waits for.

Limits are written for a guest under KVM. They are multiplied by a factor for the accelerator or,
if greater, by the duration of a boot of an equal guest in this process, which shows the cost of
KASAN or of a loaded host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.guest.spec import GuestSpec
from harness.values import Accel

#: Wait → seconds under KVM. Each is several times the normal duration.
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
#: Limit for the wait for a sign of life, so that a hang is found soon after a deadline, on a slow
#: host as well.
MAX_PROBE_S = 12.0
#: Slowness relative to KVM. Measured boots are 4 to 6 times slower under emulation.
ACCEL_FACTOR: Mapping[Accel, float] = {"kvm": 1.0, "tcg": 6.0}
#: Seconds from QEMU's start to the first SSH command under KVM.
REFERENCE_BOOT_S = 1.0
#: Limit for the factor of a measured boot.
MAX_FACTOR = 60.0
#: Default limit for the factor of the limits that a user's tests give.
MOST_STRETCH = 4.0


@dataclass(frozen=True)
class Deadline:
    """One wait: its name, its limit in seconds, and its start (monotonic seconds)."""

    name: str
    seconds: float
    since: float = field(default_factory=time.monotonic)

    @property
    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.since + self.seconds - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.remaining <= 0

    def __str__(self) -> str:
        return f"{self.name}: no later than {self.seconds:.0f} s"


class Calibration:
    """Boot times of guests in this process, by emulator, kernel, CPUs and accelerator.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._boots: dict[tuple[str, str, int, str], float] = {}
        self._lock = threading.Lock()

    @staticmethod
    def _key(spec: GuestSpec) -> tuple[str, str, int, str]:
        return (str(spec.emulator.binary), spec.kernel.key, spec.smp, spec.accel)

    def remember(self, spec: GuestSpec, boot_s: float) -> None:
        """Remember the duration of a boot. The slowest counts."""
        with self._lock:
            key = self._key(spec)
            self._boots[key] = max(boot_s, self._boots.get(key, 0.0))

    def factor(self, spec: GuestSpec) -> float:
        """Return the factor for the limits of a guest with this specification."""
        with self._lock:
            boot_s = self._boots.get(self._key(spec), 0.0)
        measured = min(boot_s / REFERENCE_BOOT_S, MAX_FACTOR)
        return max(ACCEL_FACTOR[spec.accel], measured) * spec.patience

    def scale(self, spec: GuestSpec) -> float:
        """Return the guest's slowness relative to others with the same accelerator."""
        return self.factor(spec) / ACCEL_FACTOR[spec.accel]

    def deadline(self, spec: GuestSpec, name: str) -> Deadline:
        """Start the wait ``name`` of :data:`LIMITS_S`."""
        return Deadline(name, LIMITS_S[name] * self.factor(spec))

    def probe(self, spec: GuestSpec) -> Deadline:
        """Start the wait for a sign of life from a guest that seems to hang."""
        name = "answer to a probe"
        return Deadline(name, min(LIMITS_S[name] * self.factor(spec), MAX_PROBE_S))


#: The boot times of this process.
CALIBRATION = Calibration()
