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
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email import message_from_string
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from harness import paths
from harness.artefacts import package_files, recipe
from harness.artefacts.package_files import find_library, find_program, resolve_inside
from harness.artefacts.store import Store
from harness.errors import BuildError
from harness.lib import cpio
from harness.progress import Progress
from harness.values import ImageArtefact, Value

#: Package → the path in the guest of the program taken from it. Its folder in the package differs
#: between releases (``bin``, ``usr/bin``), so the program is searched for by name.
PROGRAMS: Mapping[str, str] = {
    "busybox-static": "bin/busybox",
    "dropbear-bin": "usr/sbin/dropbear",
    "openssh-sftp-server": "usr/lib/openssh/sftp-server",
}
#: Paths where dropbear looks for SFTP: that of Debian's builds, and upstream's default.
SFTP_LINKS = ("usr/libexec/sftp-server", "usr/lib/sftp-server")
#: Names of dependencies with shared libraries; others (openssh-client) are left out.
LIBRARY_PREFIXES = ("lib", "zlib1g")
#: The guest's files in ``images/``.
OWN_FILES = ("init", "fstab", "cpuid.c", "restored.c", "freestanding.h")
#: Programs of the harness's own in the guest's ``/bin``; each is one C file.
HELPERS = ("cpuid", "restored")
HELPER_FLAGS = (
    *("-std=gnu11", "-Os", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"),
    *("-fno-pie", "-no-pie", "-fcf-protection=none", "-Wall", "-Wextra", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noseparate-code"),
)
TIMEOUT_S = 600


class Package(Value):
    """A binary package as apt would install it now."""

    name: str
    version: str
    sha256: str
    depends: tuple[str, ...] = ()


def apt_show_argv(names: Sequence[str]) -> list[str]:
    """Return the command that prints the candidate versions of ``names``."""
    return ["apt-cache", "show", "--no-all-versions", *names]


def apt_download_argv(packages: Sequence[Package]) -> list[str]:
    """Return the command that puts ``packages`` into the current folder."""
    exact = [f"{package.name}={package.version}" for package in packages]
    return ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *exact]


def helper_argv(compiler: str, source: Path, output: Path) -> list[str]:
    """Return the command that builds one of :data:`HELPERS`."""
    return [compiler, *HELPER_FLAGS, "-o", str(output), str(source)]


def build_image(store: Store, progress: Progress) -> ImageArtefact:
    """Return the image for the packages that apt offers now, building it if it is not there.

    :raise BuildError: a package is not available, or lacks a file or library; no C compiler.
    """
    with progress.step("guest image") as step:
        packages = resolve_packages()
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise BuildError("no C compiler for the guest's own programs", hint="install gcc")
        inputs = {
            "recipe": recipe.digest(sys.modules[__name__], cpio, package_files),
            "packages": [f"{p.name} {p.version} {p.sha256}" for p in packages],
            "files": {name: (paths.IMAGES / name).read_text() for name in OWN_FILES},
            "compiler": _output([compiler, "--version"]).splitlines()[0],
        }

        def build(folder: Path) -> None:
            step.update("packing")
            with tempfile.TemporaryDirectory(prefix="uintr-harness-image-") as scratch:
                unpacked = _unpack(packages, Path(scratch))
                helpers = _build_helpers(compiler, Path(scratch))
                archive = cpio.pack(image_nodes(unpacked, helpers))
            target = folder / "initramfs.cpio.gz"
            target.write_bytes(gzip.compress(archive, 9, mtime=0))

        entry = store.get("image", inputs, build)
    return ImageArtefact(key=entry.key, path=entry.path)


def resolve_packages() -> tuple[Package, ...]:
    """Return the packages of :data:`PROGRAMS` and those that hold their libraries, by name.

    :raise BuildError: apt does not know one of them.
    """
    found: dict[str, Package] = {}
    wanted = set(PROGRAMS)
    while wanted:
        shown = parse_apt_show(_output(apt_show_argv(sorted(wanted)), _APT_HINT))
        missing = wanted - {package.name for package in shown}
        if missing:
            raise BuildError(f"apt does not offer {', '.join(sorted(missing))}", hint=_APT_HINT)
        found |= {package.name: package for package in shown}
        depends = {name for package in shown for name in package.depends}
        wanted = {name for name in depends if name.startswith(LIBRARY_PREFIXES)} - set(found)
    return tuple(found[name] for name in sorted(found))


def parse_apt_show(text: str) -> tuple[Package, ...]:
    """Return the packages of ``apt-cache show`` output, one paragraph each.

    The first of several alternatives is taken. A package that is shown twice (several
    architectures) is returned once.
    """
    found: dict[str, Package] = {}
    for paragraph in text.split("\n\n"):
        fields = message_from_string(paragraph.strip("\n"))
        name = fields.get("Package")
        if not name or name in found:
            continue
        depends = [item.split("|")[0] for item in fields.get("Depends", "").split(",")]
        found[name] = Package(
            name=name,
            version=fields.get("Version", ""),
            sha256=fields.get("SHA256", ""),
            depends=tuple(item.split()[0].split(":")[0] for item in depends if item.strip()),
        )
    return tuple(found.values())


def _build_helpers(compiler: str, scratch: Path) -> dict[str, bytes]:
    built = {}
    for name in HELPERS:
        binary = scratch / name
        _output(helper_argv(compiler, paths.IMAGES / f"{name}.c", binary))
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
    for applet in _output([str(busybox), "--list"]).split():
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


_APT_HINT = "run `apt-get update` as root, and see that apt has a Debian mirror with `main`"


def _unpack(packages: Sequence[Package], scratch: Path) -> dict[str, Path]:
    """Download packages, and return the folder that each is unpacked into, by its name."""
    _output(apt_download_argv(packages), _APT_HINT, cwd=scratch)
    unpacked = {}
    for archive in sorted(scratch.glob("*.deb")):
        # apt names an archive NAME_VERSION_ARCHITECTURE.deb, and no name has an underscore.
        name = archive.name.partition("_")[0]
        unpacked[name] = scratch / "unpacked" / name
        unpacked[name].mkdir(parents=True)
        _output(["dpkg-deb", "-x", str(archive), str(unpacked[name])])
        for path in unpacked[name].rglob("*"):  # some files lack the permission to read them
            if path.is_file() and not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IRUSR)
    return unpacked


def _output(argv: list[str], hint: str | None = None, *, cwd: Path | None = None) -> str:
    """Run a tool and return what it prints.

    :raise BuildError: it is not there, fails or does not end within ten minutes.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except FileNotFoundError as error:
        raise BuildError(
            f"{argv[0]} is not installed", hint="the image is built from Debian packages"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{argv[0]} did not end within {TIMEOUT_S} s", hint=hint) from error
    if done.returncode != 0:
        raise BuildError(
            f"{argv[0]} failed with exit code {done.returncode}",
            where=" ".join(argv),
            detail=done.stderr[-2000:],
            hint=hint,
        )
    return done.stdout
