"""Implicit inputs of a build from the host: headers, libraries, pkg-config files.

A program includes ``<sys/capability.h>`` and is linked with ``-lcap``; whether that works, and with
what result, depends on the installed packages. :func:`fingerprint` represents all of them in an
artefact's key. After a library was installed, removed or upgraded, or ``PKG_CONFIG_PATH`` changed,
earlier builds are not found any more.

The fingerprint covers more than a build uses: installing any development package costs a build of
some seconds. In return nothing has to be known of the Makefiles; those of the kernel's selftests
call the compiler, the linker and pkg-config in their own ways. It is too coarse for artefacts that
take ten minutes to build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.lib.process import Captured, capture
from harness.lib.scrubbed import build_environment
from harness.values import Compiler

#: Variables that change where the compiler, the linker or pkg-config look, or what they do.
VARIABLES = (
    *("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX"),
    *("PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"),
    *("CCC_OVERRIDE_OPTIONS", "SYSROOT"),
)
#: Files that a linker takes by ``-l`` or as start-up code. A shared library's versioned file is
#: covered by the symbolic link to it.
_LINKED = (".a", ".o", ".so")
_PACKAGED = (".pc",)
_INCLUDES_BEGIN, _INCLUDES_END = "#include <...> search starts here:", "End of search list."
_ASK_S = 60.0


def fingerprint(cc: Compiler) -> str:
    """Return a digest of all headers, libraries and pkg-config files that a build may find.

    Each counts by its path, size and time of change. Packages carry their files' times, so two
    hosts with the same packages give the same digest.
    """
    digest = hashlib.sha256()
    for name in VARIABLES:
        digest.update(f"{name}={os.environ.get(name)!r}\n".encode())
    for word in ("pkg-config", "pkgconf"):
        digest.update(f"{word}: {shutil.which(word)}\n".encode())
    for line in _listing(cc):
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


def _listing(cc: Compiler) -> Iterator[str]:
    """Yield a line for each file."""
    # Folders may have appeared since, and the compiler lists only those that exist.
    for folder in include_folders(cc):
        yield from _tree(folder)
    for folder in library_folders(cc):
        yield from _folder(folder, _LINKED)
    for folder in pkg_config_folders():
        yield from _folder(folder, _PACKAGED)


def include_folders(cc: Compiler) -> list[Path]:
    """Return where the compiler looks for headers, for 64 bits and for 32."""
    found: list[str] = []
    for mode in ("-m64", "-m32"):
        said = _ask(cc, mode, "-E", "-v", "-x", "c", "/dev/null").complaint
        inside = said.partition(_INCLUDES_BEGIN)[2].partition(_INCLUDES_END)[0]
        found += [line.strip() for line in inside.splitlines() if line.strip()]
    return _folders(found)


def library_folders(cc: Compiler) -> list[Path]:
    """Return where the compiler and the linker look for libraries, for 64 bits and for 32."""
    found: list[str] = []
    for mode in ("-m64", "-m32"):
        said = _ask(cc, mode, "-print-search-dirs").text
        for line in said.splitlines():
            if line.startswith("libraries: "):
                found += line.partition("=")[2].split(os.pathsep)
    linker = _ask("ld", "--verbose").text
    for part in linker.split("SEARCH_DIR(")[1:]:
        found.append(part.partition(")")[0].strip('"= '))
    return _folders(found)


def pkg_config_folders() -> list[Path]:
    """Return where pkg-config looks for its files."""
    found = [os.environ.get("PKG_CONFIG_PATH", ""), os.environ.get("PKG_CONFIG_LIBDIR", "")]
    if shutil.which("pkg-config"):
        found.append(_ask("pkg-config", "--variable", "pc_path", "pkg-config").text)
    return _folders(part for text in found for part in text.split(os.pathsep))


def _ask(*argv: str) -> Captured:
    """Run a tool in the C locale, because its output is parsed."""
    return capture(argv, env={**build_environment(), "LC_ALL": "C"}, timeout_s=_ASK_S)


def _folders(names: Iterable[str]) -> list[Path]:
    """Return the folders that exist, each once, in order."""
    real = (Path(name).resolve() for name in names if name)
    return [path for path in dict.fromkeys(real) if path.is_dir()]


def _tree(folder: Path) -> Iterator[str]:
    """Yield a line for each file below a folder."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield _line(os.path.join(place, name))  # noqa: PTH118  # tens of thousands of them


def _folder(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield a line for each file of a folder whose name ends in a suffix."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.endswith(suffixes):
            yield _line(entry.path)


def _line(path: str) -> str:
    """Return a path with the size and time of change of the file that it leads to."""
    try:
        found = os.stat(path)  # noqa: PTH116  # tens of thousands of them
    except OSError as error:
        return f"{path} {error.errno}"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} {stat.S_IFMT(found.st_mode)}"
    return f"{path} {found.st_size} {found.st_mtime_ns}"
