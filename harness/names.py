"""Names that users can give, and the defaults.

Names come from listing folders; no file is read. The module is separate from the profiles because
a shell's completion needs the names at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness import paths

DEFAULT_KERNEL = "linux-6.12"
DEFAULT_CPU = "hidden"
#: Both kinds, for commands that compare them.
COMPARED_CPUS = "exposed,hidden"
#: Two CPUs, because most programs test delivery between CPUs.
DEFAULT_SMP = 2
DEFAULT_COMPILER: Final = "gcc"

#: Value of ``--series`` for a source without patches.
NO_SERIES = "none"
#: Value of ``--cpu`` for every CPU model of ``kernel-config/cpus``.
ALL_CPUS = "all"
#: Variable that names a QEMU, and the QEMU that is taken without it.
EMULATOR_ENV = "UINTR_HARNESS_QEMU"
SYSTEM_BINARY = "qemu-system-x86_64"


def kernel_names() -> list[str]:
    """Return the names of the kernels in ``kernel-config/kernels``."""
    return _names(paths.KERNELS, ".toml")


def cpu_names() -> list[str]:
    """Return the names of the CPU models in ``kernel-config/cpus``."""
    return _names(paths.CPUS, ".toml")


def emulator_names() -> list[str]:
    """Return the names of the emulators in ``kernel-config/emulators``."""
    return _names(paths.EMULATORS, ".toml")


def fragment_names() -> list[str]:
    """Return the names of the configuration fragments in ``kernel-config/fragments``."""
    return _names(paths.FRAGMENTS, ".config")


def program_names() -> list[str]:
    """Return ``SUBJECT/NAME`` of each guest program."""
    return sorted(
        f"{path.parent.name}/{path.stem}" for path in paths.GUEST_TESTS.glob("[a-z]*/*.c")
    )


def _names(folder: Path, suffix: str) -> list[str]:
    return sorted(path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}"))
