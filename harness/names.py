"""Names that users can give, and the defaults.

Names come from listing folders, also the user's own ones (:func:`harness.paths.own_folders`). No
file is read. The module is separate from the profiles because a shell's completion needs the names
at once.
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
    """Return the names of the kernels in ``kernels/`` of the folders of profiles."""
    return _names(paths.KERNELS, ".toml")


def cpu_names() -> list[str]:
    """Return the names of the CPU models in ``cpus/`` of the folders of profiles."""
    return _names(paths.CPUS, ".toml")


def emulator_names() -> list[str]:
    """Return the names of the emulators in ``emulators/`` of the folders of profiles."""
    return _names(paths.EMULATORS, ".toml")


def fragment_names() -> list[str]:
    """Return the names of the fragments in ``fragments/`` of the folders of profiles."""
    return _names(paths.FRAGMENTS, ".config")


def program_names() -> list[str]:
    """Return ``SUBJECT/NAME`` of each guest program."""
    return sorted(
        f"{path.parent.name}/{path.stem}" for path in paths.GUEST_TESTS.glob("[a-z]*/*.c")
    )


def places(folder: Path, name: str) -> list[Path]:
    """Return the files of a name in one of the harness's folders, or in the user's own ones."""
    found = (place / name for place in (folder, *paths.own_folders(folder.name)))
    return [path for path in found if path.is_file()]


def _names(folder: Path, suffix: str) -> list[str]:
    found = (
        path
        for place in (folder, *paths.own_folders(folder.name))
        for path in place.glob(f"*{suffix}")
    )
    return sorted({path.name.removesuffix(suffix) for path in found})


#: The option that makes a run the command of ``git bisect run``, and what git takes its exit codes
#: for: the commit cannot be tested; stop.
FOR_BISECT = "--for-bisect"
UNTESTABLE, ABORT = 125, 255
