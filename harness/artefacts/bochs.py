"""Bochs, an emulator that shares no code with QEMU, from Debian's binary packages.

The packages are of a suite that has Bochs 3.1; earlier versions have wrong user interrupts. The
suite's libraries are newer than the host's may be. They are kept beside Bochs, with their loader,
which starts it. Nothing is installed.

It is fetched once and then kept, as a judge must not change by itself. To use the suite's present
version, remove the entry in the store's ``bochs`` folder.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from harness.artefacts.debian_packages import resolve_packages, unpack
from harness.artefacts.source.debian_archive import AptFolder, read_index
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.lib.process import capture
from harness.progress import Progress
from harness.values import Value

RECIPE = 1
SUITE = "sid"
#: Bochs, and a display library that needs neither a window nor a port.
PACKAGES = ("bochs", "bochs-term")
#: Its model of a processor with user interrupts and five-level paging.
MODEL = "sapphire_rapids"
#: Files and folders of the artefact.
_PROGRAM, _LIBRARIES, _PLUGINS = "bochs-bin", "lib", "plugins"
_LOADER = "ld-linux-x86-64.so.2"
_ASK_S = 60.0


class Bochs(Value):
    """A command that starts Bochs with its environment, and takes Bochs's own arguments."""

    argv: tuple[str, ...]


def find_bochs(command: str) -> Bochs:
    """Return the Bochs that a command starts.

    :raise UserError: the command cannot be read, or its Bochs does not start or is too old.
    """
    try:
        bochs = with_terminal(shlex.split(command))
        check(bochs)
    except (BuildError, ValueError) as error:
        raise UserError(
            "this is no command that starts Bochs 3.1 or later",
            where=f"--bochs {command}",
            detail=str(error),
        ) from error
    return bochs


def fetch_bochs(store: Store, progress: Progress) -> Bochs:
    """Return Debian's Bochs, fetching it if it is not in the store.

    :raise BuildError: apt cannot fetch it, or it does not run here.
    """
    inputs = {"package": " ".join(PACKAGES), "suite": SUITE, "recipe": RECIPE}

    def build(folder: Path) -> None:
        with (
            progress.step(f"fetch Bochs of Debian {SUITE}"),
            tempfile.TemporaryDirectory(prefix="uintr-harness-bochs-") as scratch,
        ):
            apt = AptFolder(Path(scratch) / "apt")
            read_index(apt, SUITE, f"package {PACKAGES[0]} of Debian {SUITE}", kind="deb")
            packages = resolve_packages(PACKAGES, apt.options())
            collect(unpack(packages, Path(scratch), apt.options()).values(), folder)
            check(command_in(folder))

    return command_in(store.get("bochs", inputs, build).path)


def collect(packages: Iterable[Path], folder: Path) -> None:
    """Move Bochs, its plugins and all shared libraries of unpacked packages into a folder.

    :raise BuildError: Bochs or the loader is missing.
    """
    libraries, plugins = folder / _LIBRARIES, folder / _PLUGINS
    libraries.mkdir()
    plugins.mkdir()
    for package in packages:
        for path in package.glob("usr/lib/x86_64-linux-gnu/*.so*"):
            shutil.move(path, libraries / path.name)
        for path in package.glob("usr/lib/x86_64-linux-gnu/bochs/plugins/*"):
            shutil.move(path, plugins / path.name)
        for path in package.glob(f"usr/bin/{_PROGRAM}"):
            shutil.move(path, folder / _PROGRAM)
    for path in (folder / _PROGRAM, libraries / _LOADER):
        if not path.is_file():
            raise BuildError(
                f"Debian's packages of Bochs have no {path.name}",
                where=f"{', '.join(PACKAGES)} of Debian {SUITE}",
                hint="give a command that starts Bochs 3.1 or later with --bochs",
            )


def command_in(folder: Path) -> Bochs:
    """Return the command for the Bochs that :func:`collect` put into a folder."""
    libraries = str(folder / _LIBRARIES)
    return with_terminal(
        [
            f"LTDL_LIBRARY_PATH={folder / _PLUGINS}",
            *(f"{libraries}/{_LOADER}", "--library-path", libraries),
            str(folder / _PROGRAM),
        ]
    )


def with_terminal(command: Iterable[str]) -> Bochs:
    """Return a command with a kind of terminal, which the display library needs."""
    return Bochs(argv=("env", "TERM=linux", *command))


def check(bochs: Bochs) -> None:
    """Check that a Bochs starts and has :data:`MODEL`.

    :raise BuildError: it does not, or has not.
    """
    done = capture([*bochs.argv, "--help", "cpu"], timeout_s=_ASK_S)
    if MODEL not in f"{done.text}\n{done.complaint}".split():
        raise BuildError(
            f"this Bochs has no processor {MODEL}",
            where=shlex.join(bochs.argv),
            detail=done.complaint[-500:],
        )
