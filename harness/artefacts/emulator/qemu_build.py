"""Command lines of QEMU's build, and the files to put into its tree first."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.artefacts import build_log
from harness.artefacts.package_files import installed_files
from harness.artefacts.source.git import Repository
from harness.errors import BuildError
from harness.lib.scrubbed import build_environment

TARGET = "qemu-system-x86_64"

#: Name of the list of devices in QEMU's tree, see ``--with-devices-ARCH`` of its configure.
_DEVICES = "uintr-harness"

#: Everything not enabled here is left out. Slirp is the guests' network, seccomp the filter that
#: keeps an emulator from starting programs.
_FEATURES = (
    "--without-default-features",
    "--without-default-devices",
    "--enable-tcg",
    "--enable-kvm",
    "--enable-slirp",
    "--enable-seccomp",
    "--disable-docs",
    "--disable-tools",
    "--disable-guest-agent",
    "--disable-install-blobs",
    "--disable-debug-info",
    "--disable-werror",
    "--disable-download",
    # Trace events to the log, and to a file with times in nanoseconds.
    "--enable-trace-backends=log,simple",
)

#: Firmware that guests load: the BIOS, its APIC helper, and the loaders for each kind of kernel.
FIRMWARE = (
    "bios-256k.bin",
    "kvmvapic.bin",
    "linuxboot_dma.bin",
    "multiboot_dma.bin",
    "pvh.bin",
)

#: Debian's packages with the firmware, for a tree without it.
FIRMWARE_PACKAGES = ("qemu-system-data", "qemu-system-common", "seabios")
#: Folders of the firmware in other distributions.
HOST_FIRMWARE = (Path("/usr/share/qemu"), Path("/usr/share/seabios"))

_STEP = re.compile(r"^\[(\d+)/(\d+)\] (.*)")
#: A declaration in a Kconfig file, and a line of a list of devices.
_CONFIG = re.compile(r"^config[ \t]+(\w+)", re.MULTILINE)
_ASSIGNMENT = re.compile(r"^CONFIG_(\w+)[ \t]*=", re.MULTILINE)
_ERROR = re.compile(r"error:|ERROR:|undefined reference|No such file|not found|Killed")


def settings() -> dict[str, object]:
    """Return the part of an emulator's key that is not tree, tools or firmware."""
    return {"features": list(_FEATURES), "target": TARGET}


def configure_argv(tree: Path, python: Path) -> list[str]:
    """Return the command line of ``configure``, to be run in the build folder.

    :param python: an interpreter with meson and the other modules that QEMU's build needs.
    """
    return [
        str(tree / "configure"),
        "--target-list=x86_64-softmmu",
        f"--with-devices-x86_64={_DEVICES}",
        *_FEATURES,
        f"--python={python}",
    ]


def ninja_argv(jobs: int) -> list[str]:
    """Return the command line that builds the one binary, to be run in the build folder."""
    return ["ninja", f"-j{jobs}", TARGET]


def environment(kept: Path) -> dict[str, str]:
    """Return the environment of a build, which uses ccache if it is installed.

    :param kept: the folder of tree and build. ccache makes paths in it relative, so that another
        profile's build finds the same objects.
    """
    env = {**build_environment(), "LC_ALL": "C"}
    if shutil.which("ccache"):
        env["CC"] = "ccache cc"
        # Use the compiler's list of headers: preprocessing each file once more, to look it up in
        # the cache, made a first build take 50 % longer.
        env["CCACHE_DEPEND"] = "true"
        env["CCACHE_BASEDIR"] = str(kept)
    return env


def overlay(devices: bytes, has: Callable[[str], bool], meson_build: str) -> dict[str, bytes]:
    """Return files to add to a tree, by path.

    They are the list of devices, and an empty archive for each EFI image that a repacked tarball
    lacks: meson checks that the files in ``pc-bios/meson.build`` exist, and none is unpacked here.

    :param devices: the list, in QEMU's Kconfig form.
    :param has: tells whether the tree has a path.
    :param meson_build: the text of ``pc-bios/meson.build``.
    """
    names = re.findall(r"'(edk2-[\w-]+\.fd)'", meson_build)
    lacking = [path for name in names if not has(path := f"pc-bios/{name}.bz2")]
    return {
        f"configs/devices/x86_64-softmmu/{_DEVICES}.mak": devices,
        **dict.fromkeys(lacking, b""),
    }


def unknown_devices(devices: str, tree: Path) -> list[str]:
    """Return the options of a list of devices that no Kconfig file of a QEMU tree declares."""
    known = {
        name
        for path in tree.rglob("Kconfig*")
        for name in _CONFIG.findall(path.read_text(errors="replace"))
    }
    named = dict.fromkeys(_ASSIGNMENT.findall(devices))
    return [f"CONFIG_{name}" for name in named if name not in known] if known else []


def add_files(repository: Repository, commit: str, files: Mapping[str, bytes], index: Path) -> str:
    """Return a commit with files added.

    :param index: a path for git's index; no file is there yet.
    """
    env = {"GIT_INDEX_FILE": str(index)}
    repository.run("read-tree", commit, env=env)
    for path, content in sorted(files.items()):
        blob = repository.run("hash-object", "-w", "--stdin", stdin=content)
        repository.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
    tree = repository.run("write-tree", env=env)
    return repository.commit(tree, "Add what the harness needs", parent=commit)


def host_firmware(folders: tuple[Path, ...] = HOST_FIRMWARE) -> dict[str, Path]:
    """Return the firmware files of the host, by name.

    :param folders: searched first; the installed packages of Debian are searched for the rest.
    """
    found = {
        name: path for name in FIRMWARE for folder in folders if (path := folder / name).is_file()
    }
    if len(found) < len(FIRMWARE):
        for path in installed_files(*FIRMWARE_PACKAGES):
            if path.name in FIRMWARE and path.is_file():
                found.setdefault(path.name, path)
    return found


def find_firmware(tree: Path, folders: tuple[Path, ...] = HOST_FIRMWARE) -> dict[str, Path]:
    """Return the firmware files by name: from QEMU's tree, else from the host's packages.

    :raise BuildError: one is in neither.
    """
    in_tree = {name: path for name in FIRMWARE if (path := tree / "pc-bios" / name).is_file()}
    found = host_firmware(folders) | in_tree
    if missing := [name for name in FIRMWARE if name not in found]:
        raise BuildError(
            f"QEMU's firmware is missing: {', '.join(missing)}",
            where=", ".join(map(str, (tree / "pc-bios", *folders))),
            hint=f"Debian has it in one of the packages {', '.join(FIRMWARE_PACKAGES)}; "
            "`ci/bootstrap run` installs what is missing",
        )
    return found


def step_of(line: str) -> tuple[int, int, str] | None:
    """Return number, total and name of ninja's step, or None for any other line."""
    match = _STEP.match(line)
    return (int(match[1]), int(match[2]), match[3].split()[-1]) if match else None


def first_errors(lines: Sequence[str]) -> str:
    """Return the first complaints of a build's output, each with the lines after it."""
    return build_log.first_errors(
        lines, lambda line: bool(_ERROR.search(line)) and not step_of(line)
    )
