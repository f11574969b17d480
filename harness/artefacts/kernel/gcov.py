"""Kernels that count executed lines of a series: the instrumented objects, and the files to keep.

Kbuild instruments an object if ``$(GCOV_PROFILE_name.o)$(GCOV_PROFILE)`` is set and does not
start with ``n`` (scripts/Makefile.lib). It expands both for each object, and a variable on make's
command line overrides every Makefile, so an expression there can select single files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from harness.errors import BuildError

#: The folder of a kernel's artefact that holds notes and sources.
FOLDER = "gcov"

_OPTION = "CONFIG_GCOV_KERNEL=y"
#: File in that folder with the names of the files that the series adds.
ADDED = "added.json"


def asked_for(config: str) -> bool:
    """Tell from the text of a kernel's final ``.config`` whether it counts executed lines."""
    return _OPTION in config.splitlines()


def objects(files: Iterable[str]) -> tuple[str, ...]:
    """Return the objects that are compiled from a series' files, sorted; headers have none."""
    sources = (PurePosixPath(file) for file in files)
    return tuple(sorted({str(s.with_suffix(".o")) for s in sources if s.suffix == ".c"}))


def make_variables(instrumented: Sequence[str]) -> list[str]:
    """Return the variables for make that instrument these objects and no others.

    Objects that are not part of the kernel itself (boot code, vDSO) have no counters to write to,
    and are left out even if they are named.
    """
    named = f"$(filter {' '.join(instrumented)},$(basename $@).o)"
    return [f"GCOV_PROFILE=$(if $(and $(is-kernel-object),{named}),y,n)"]


def collect(
    tree: Path, out: Path, files: Sequence[str], added: Sequence[str], folder: Path
) -> None:
    """Copy a build's notes and the series' C files and headers into its artefact.

    The next build overwrites the originals. ``FOLDER`` then has ``PATH.gcno`` and ``PATH.c`` side
    by side, with paths as in the tree. An object that the configuration leaves out has no notes.

    :param files: files that the series changes or adds.
    :param added: files that it adds.
    :raise BuildError: no object has notes.
    """
    kept = folder / FOLDER
    notes = [name for o in objects(files) if (out / (name := o[:-1] + "gcno")).is_file()]
    if not notes:
        raise BuildError(
            "gcov was asked for, and no file of the series is instrumented",
            where=out,
            hint="the series must change C files that the configuration builds, "
            "in a tree whose scripts/Makefile.lib knows `is-kernel-object`",
        )
    sources = [f for f in files if f.endswith((".c", ".h")) and (tree / f).is_file()]
    for root, name in [*((out, n) for n in notes), *((tree, s) for s in sources)]:
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, kept / name)
    (kept / ADDED).write_text(json.dumps(sorted(added), indent=2) + "\n")


def is_in(kernel: Path) -> bool:
    """Tell whether a kernel's artefact has notes."""
    return (kernel / FOLDER).is_dir()
