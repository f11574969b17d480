"""The guest's root file system: BusyBox, an SSH server with SFTP and an init, as an initramfs.

The packages are downloaded with ``apt-get download`` from the host's configured mirrors, and
unpacked with ``dpkg-deb``. Every Debian has both. Unlike ``mmdebstrap`` they need neither root nor
user namespaces, which hardened hosts and containers switch off, and they take only the packages
named here. Only files that the guest opens go into the archive, because each megabyte slows each
emulated boot.
"""

from __future__ import annotations

import gzip
import io
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from harness import paths
from harness.artefacts import debian_packages, package_files, recipe
from harness.artefacts.apt_answers import offered_packages
from harness.artefacts.debian_packages import output, unpack
from harness.artefacts.package_files import find_library, find_program, resolve_inside
from harness.artefacts.store import Store
from harness.errors import BuildError
from harness.lib import cpio
from harness.progress import Progress
from harness.values import ImageArtefact

#: Package → the path in the guest of the program taken from it. Its folder in the package differs
#: between releases (``bin``, ``usr/bin``), so the program is searched for by name.
PROGRAMS: Mapping[str, str] = {
    "busybox-static": "bin/busybox",
    "dropbear-bin": "usr/sbin/dropbear",
    "openssh-sftp-server": "usr/lib/openssh/sftp-server",
}
#: Paths where dropbear looks for SFTP: that of Debian's builds, and upstream's default.
SFTP_LINKS = ("usr/libexec/sftp-server", "usr/lib/sftp-server")
#: The guest's files in ``images/``.
OWN_FILES = ("init", "fstab", "cpuid.c", "restored.c", "freestanding.h")
#: Programs of the harness's own in the guest's ``/bin``; each is one C file.
HELPERS = ("cpuid", "restored")
HELPER_FLAGS = (
    *("-std=gnu11", "-Os", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"),
    *("-fno-pie", "-no-pie", "-fcf-protection=none", "-Wall", "-Wextra", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noseparate-code"),
)


def helper_argv(compiler: str, source: Path, output: Path) -> list[str]:
    """Return the command that builds one of :data:`HELPERS`."""
    return [compiler, *HELPER_FLAGS, "-o", str(output), str(source)]


def build_image(store: Store, progress: Progress) -> ImageArtefact:
    """Return the image for the packages that apt offers now, building it if it is not there.

    :raise BuildError: a package is not available, or lacks a file or library; no C compiler.
    """
    with progress.step("guest image") as step:
        packages = offered_packages(PROGRAMS, store)
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise BuildError("no C compiler for the guest's own programs", hint="install gcc")
        inputs = {
            "recipe": recipe.digest(sys.modules[__name__], cpio, debian_packages, package_files),
            "packages": [f"{p.name} {p.version} {p.sha256}" for p in packages],
            "files": {name: (paths.IMAGES / name).read_text() for name in OWN_FILES},
            "compiler": output([compiler, "--version"]).splitlines()[0],
        }

        def build(folder: Path) -> None:
            step.update("packing")
            with tempfile.TemporaryDirectory(prefix="uintr-harness-image-") as scratch:
                unpacked = unpack(packages, Path(scratch))
                helpers = _build_helpers(compiler, Path(scratch))
                archive = cpio.pack(image_nodes(unpacked, helpers))
            target = folder / "initramfs.cpio.gz"
            target.write_bytes(gzip.compress(archive, 9, mtime=0))

        entry = store.get("image", inputs, build)
    return ImageArtefact(key=entry.key, path=entry.path)


def _build_helpers(compiler: str, scratch: Path) -> dict[str, bytes]:
    built = {}
    for name in HELPERS:
        binary = scratch / name
        output(helper_argv(compiler, paths.IMAGES / f"{name}.c", binary))
        built[name] = binary.read_bytes()
    return built


def image_nodes(packages: Mapping[str, Path], helpers: Mapping[str, bytes]) -> Iterator[cpio.Node]:
    """Yield the files that the guest needs: from the unpacked packages, and the harness's own.

    :param packages: package → the folder that it was unpacked into.
    :param helpers: name → binary of :data:`HELPERS`.
    :raise BuildError: a package lacks its program, or no package has a library.
    """
    programs = {
        path: find_program(package, packages[package], Path(path).name)
        for package, path in PROGRAMS.items()
    }
    for path, program in programs.items():
        yield cpio.file(path, program.read_bytes(), 0o755)
    for path, library in _libraries(programs.values(), packages).items():
        yield cpio.file(path, library.read_bytes(), 0o755)
    busybox = programs[PROGRAMS["busybox-static"]]
    for applet in output([str(busybox), "--list"]).split():
        if applet != "busybox":
            yield cpio.link(f"bin/{applet}", "busybox")
    for path in SFTP_LINKS:
        yield cpio.link(path, "/" + PROGRAMS["openssh-sftp-server"])
    for name, binary in helpers.items():
        yield cpio.file(f"bin/{name}", binary, 0o755)
    yield cpio.file("init", (paths.IMAGES / "init").read_bytes(), 0o755)
    yield cpio.file("etc/fstab", (paths.IMAGES / "fstab").read_bytes())
    yield cpio.file("etc/passwd", b"root::0:0:root:/root:/bin/sh\n")
    yield cpio.file("etc/group", b"root:x:0:\n")
    yield cpio.file("etc/shells", b"/bin/sh\n")
    yield cpio.file("etc/inittab", b"::restart:/bin/busybox init\n")
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.character_device("dev/null", 1, 3, 0o666)
    for path in ("proc", "run", "sbin", "sys", "tests", "usr/bin", "var/log"):
        yield cpio.folder(path)
    yield cpio.folder("root", 0o700)
    yield cpio.folder("tmp", 0o1777)


def needed_libraries(binary: bytes) -> tuple[list[str], str]:
    """Return an ELF file's DT_NEEDED names and its interpreter, both empty for a static one."""
    elf = ELFFile(io.BytesIO(binary))
    names: list[str] = []
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            names += [str(tag.needed) for tag in section.iter_tags("DT_NEEDED")]  # type: ignore[attr-defined]
    for segment in elf.iter_segments("PT_INTERP"):
        return names, str(segment.get_interp_name())  # type: ignore[attr-defined]
    return names, ""


def _libraries(programs: Iterable[Path], packages: Mapping[str, Path]) -> dict[str, Path]:
    """Return the libraries that programs need, also indirectly, by their paths in the guest.

    The loader is put at the path that the programs name. Other libraries keep the path that they
    have in their package, which its libc searches.
    """
    found: dict[str, Path] = {}
    queue = list(programs)
    while queue:
        binary = queue.pop()
        names, interpreter = needed_libraries(binary.read_bytes())
        loader = Path(interpreter).name
        for name in sorted({*names, loader} - {""}):
            root, library = find_library(packages, name, binary.name)
            is_loader = name == loader
            path = interpreter.lstrip("/") if is_loader else str(library.relative_to(root))
            if path not in found:
                found[path] = resolve_inside(root, library)
                queue.append(found[path])
    return found
