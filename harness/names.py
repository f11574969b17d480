"""The names that users give, and the defaults. Folders are listed for them; no file is read.

Apart from the profiles themselves, because a shell asks for names at each press of a key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness import paths

DEFAULT_KERNEL = "linux-6.12"
DEFAULT_CPU = "hidden"
#: The two kinds, for what has to be the same on both.
COMPARED_CPUS = "exposed,hidden"
#: Two CPUs: delivery between CPUs is what most programs are about.
DEFAULT_SMP = 2
DEFAULT_COMPILER: Final = "gcc"

#: What ``--series`` takes to say: the tree as it is.
NO_SERIES = "none"
#: What ``--cpu`` takes for every CPU model of ``kernel-config/cpus``.
ALL_CPUS = "all"


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
