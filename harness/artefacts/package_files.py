"""Files of Debian packages, found by name.

The path of a file in its package changes between releases of Debian: Debian 13 moved
``/bin/busybox`` to ``/usr/bin/busybox``, and libraries from ``/lib`` to ``/usr/lib``. So a file is
searched for by its name in the installed or unpacked package. If it is missing, the error names the
package, the file and a remedy.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from harness.artefacts.source.git import clean_environment
from harness.errors import BuildError
from harness.lib.process import capture

_HINT = "this release of Debian has moved or renamed it: please report it with the release's name"


def installed_files(*packages: str) -> list[Path]:
    """Return the paths of all files of the installed ones of some packages; none without dpkg."""
    try:
        listing = capture(["dpkg-query", "-L", *packages], env=clean_environment())
    except BuildError:  # no dpkg here
        return []
    # A package that is not installed makes dpkg-query fail after it has listed the others.
    return [Path(line) for line in listing.text.splitlines() if line.startswith("/")]


def find_program(package: str, root: Path, name: str) -> Path:
    """Return the program ``name`` of a package that was unpacked into ``root``.

    Of several, the one with the shortest path is returned, then the first by name.

    :raise BuildError: there is none.
    """
    found = [
        path
        for path in _walk(root)
        if path.name == name
        and not path.is_symlink()
        and path.is_file()
        and path.stat().st_mode & stat.S_IXUSR
    ]
    if not found:
        raise BuildError(
            f"the package {package} has no program {name}",
            where=package,
            detail=_programs(root),
            hint=_HINT,
        )
    return min(found, key=lambda path: (len(path.parts), path))


def find_library(packages: Mapping[str, Path], name: str, needed_by: str) -> tuple[Path, Path]:
    """Return the folder of the unpacked package that has a shared library, and the library in it.

    :param packages: package → the folder that it was unpacked into.
    :param needed_by: the program or library that needs it, for the error.
    :raise BuildError: no package has it.
    """
    for root in packages.values():
        found = [path for path in _walk(root) if path.name == name and not path.is_dir()]
        if found:
            return root, min(found, key=lambda path: (len(path.parts), path))
    raise BuildError(
        f"no package has the library {name}",
        where=needed_by,
        detail=f"looked into {', '.join(sorted(packages))}",
        hint=_HINT,
    )


def resolve_inside(root: Path, path: Path) -> Path:
    """Return the regular file that ``path`` is or links to; absolute links start at ``root``.

    :raise BuildError: the link leads out of ``root``, to a missing file, or in a circle.
    """
    top = root.resolve()
    current = path
    for _ in range(32):
        if not current.is_symlink():
            break
        target = current.readlink()
        base = root if target.is_absolute() else current.parent
        current = Path(os.path.normpath(base / str(target).lstrip("/")))
    if current.is_symlink() or not current.is_file() or not current.resolve().is_relative_to(top):
        raise BuildError(f"{path.name} leads out of its package", where=path.name, hint=_HINT)
    return current


def _walk(root: Path) -> list[Path]:
    """Return every file and link below a folder; links are not followed."""
    return [
        Path(folder) / name
        for folder, folders, names in os.walk(root)
        for name in (*names, *folders)
    ]


def _programs(root: Path) -> str:
    """Return the programs of an unpacked package, a path a line, for an error."""
    paths = [path for path in _walk(root) if path.is_file() and os.access(path, os.X_OK)]
    listed = sorted(str(path.relative_to(root)) for path in paths)
    return "its programs: " + (", ".join(listed[:20]) or "none")
