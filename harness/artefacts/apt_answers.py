"""Packages that apt offers, remembered until a file changes that apt reads.

apt reads some tens of MiB for each question, which takes a second or more.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from harness.artefacts import debian_packages, recipe
from harness.artefacts.debian_packages import Package, resolve_packages
from harness.artefacts.store import Store
from harness.values import Value

#: Files and folders that decide what apt offers.
READ = ("etc/apt", "var/lib/apt/lists", "var/lib/dpkg/status", "var/lib/dpkg/arch")
#: Environment variable by which apt reads other ones.
ELSEWHERE = "APT_CONFIG"
_FILE = "packages.json"
#: Folder of downloads that are not complete; apt does not read it.
_PARTIAL = "partial"


class Offered(Value):
    """The content of :data:`_FILE`."""

    packages: tuple[Package, ...]


def offered_packages(
    wanted: Iterable[str], store: Store, root: Path = Path("/")
) -> tuple[Package, ...]:
    """Return packages, and those that hold their libraries, by name.

    :param root: the folder with apt's files; replaced in tests.
    :raise BuildError: apt does not know one of them.
    """
    names = sorted(wanted)
    state = _state(root)
    if state is None:
        return resolve_packages(names)
    inputs = {
        "recipe": recipe.digest(sys.modules[__name__], debian_packages),
        "wanted": names,
        "state": state,
    }

    def build(folder: Path) -> None:
        found = Offered(packages=resolve_packages(names))
        (folder / _FILE).write_text(found.model_dump_json(), encoding="utf-8")

    entry = store.get("apt-packages", inputs, build)
    return Offered.model_validate_json((entry.path / _FILE).read_bytes()).packages


def _state(root: Path) -> str | None:
    """Return a digest of which files apt reads and when they changed; None if it is not known."""
    binary = shutil.which("apt-cache")
    if binary is None or os.environ.get(ELSEWHERE) or not (root / READ[1]).is_dir():
        return None
    digest = sha256()
    try:
        for path in (Path(binary), *(one for name in READ for one in _files(root / name))):
            now = path.stat()
            digest.update(f"{path} {now.st_ino} {now.st_size} {now.st_mtime_ns}\n".encode())
    except OSError:  # something changes just now
        return None
    return digest.hexdigest()


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(one for one in folders if one != _PARTIAL)
        yield from (Path(folder) / name for name in sorted(names) if name != "lock")
