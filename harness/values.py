"""Values passed from stage to stage: frozen, typed and serialisable.

The words are those of the README's glossary: source, series, kernel, cpu, cell, run. A value
never holds an open file, a process or a connection, so each can be written to JSON, sent to
another machine and read back equal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_USER = re.compile(r"([A-Za-z][A-Za-z0-9.+-]*)://([^/?#]*)@")


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("there are no control characters in it")
    return text


def _without_credentials(url: str) -> str:
    """Return a URL without its password. For ssh the user's name stays, elsewhere it may be one."""
    found = _USER.match(url)
    if found is None:
        return url
    user = found[2].partition(":")[0] if "ssh" in found[1].lower() else ""
    return f"{found[1]}://{user}{'@' if user else ''}{url[found.end() :]}"


def _git_url(url: str) -> str:
    # After NAME:: git runs the program git-remote-NAME.
    if not url or url.startswith("-") or re.match(r"[\w.+-]*::", url):
        raise ValueError("this is not the address of a git repository")
    return url


def _fragment_path(path: Path) -> Path:
    # Its name is part of a kernel's name.
    if not path.is_absolute() or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", path.stem):
        raise ValueError("this is no absolute path with a simple name")
    _one_line(str(path))
    return path


FragmentPath = Annotated[Path, AfterValidator(_fragment_path)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=64)]
#: :attr:`Cell.name`, which is also the name of a folder.
CellName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=255)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: A text for a command line or a script.
Line = Annotated[str, AfterValidator(_one_line)]
#: A URL. User names and passwords are cut off: the value is written to files and reports.
Url = Annotated[Line, AfterValidator(_without_credentials)]
GitUrl = Annotated[Url, AfterValidator(_git_url)]
#: A folder below ``tools/testing/selftests``.
Target = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*$")
]
#: A feature of ``-cpu``, or a flag of /proc/cpuinfo.
Feature = Annotated[Line, Field(pattern=r"^[+-]?[A-Za-z0-9][A-Za-z0-9._-]*(=[^,]*)?$")]
Flag = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Compiler = Literal["gcc", "clang"]
Accel = Literal["tcg", "kvm"]
#: A guest's clock: the host's, or the number of instructions that the guest has executed.
Clock = Literal["host", "icount"]


class Value(BaseModel):
    """A frozen record that refuses unknown fields, and numbers that JSON does not have.

    A field whose name in JSON is a keyword of Python has an alias.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )


# --- where a kernel or an emulator comes from -----------------------------------------------


class DebianSource(Value):
    """A Debian binary package ``linux-source-X.Y`` that holds the tree as a tarball."""

    kind: Literal["debian"] = "debian"
    package: str = Field(pattern=r"^linux-source-[0-9.]+$")


class DebianArchiveSource(Value):
    """A Debian source package of any suite: its upstream tarball, without Debian's patches.

    The suite need not be the host's. apt verifies the archive's signature.
    """

    kind: Literal["debian-archive"] = "debian-archive"
    package: str = Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")
    suite: str = Field(pattern=r"^[a-z][a-z0-9-]*$")


class TarballSource(Value):
    """A tarball (``https:``, ``http:`` or ``file:``) with the SHA-256 of its bytes."""

    kind: Literal["tarball"] = "tarball"
    url: Url
    sha256: Sha256


class GitSource(Value):
    """A git repository (any URL that git takes) and a revision in it."""

    kind: Literal["git"] = "git"
    url: GitUrl
    #: A full commit id, a tag or a branch; no option and no refspec.
    revision: str = Field(pattern=r"^[^-+:\s][^:\s]*$")


class TreeSource(Value):
    """A tree on this machine. It is read and never written to."""

    kind: Literal["tree"] = "tree"
    path: Path
    #: A commit of that git checkout (all 40 digits), used instead of its files.
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")


Source = Annotated[
    DebianSource | DebianArchiveSource | TarballSource | GitSource | TreeSource,
    Field(discriminator="kind"),
]


class FolderSeries(Value):
    """A folder of patches with a ``series`` file that names them in order (quilt's form)."""

    kind: Literal["folder"] = "folder"
    path: Path


class MboxSeries(Value):
    """An mbox of patch mails, as ``git format-patch --stdout`` or ``b4 am`` writes it."""

    kind: Literal["mbox"] = "mbox"
    path: Path


class LoreSeries(Value):
    """A series on lore.kernel.org, named by a message-id and fetched through b4."""

    kind: Literal["lore"] = "lore"
    message_id: str = Field(pattern=r"^[^<>\s-][^<>\s]*@[^<>\s]+$")


Series = Annotated[FolderSeries | MboxSeries | LoreSeries, Field(discriminator="kind")]


class KernelProfile(Value):
    """``kernel-config/kernels/NAME.toml``: everything that determines a built kernel."""

    name: Name
    description: str = ""
    source: Source
    series: Series | None = None
    #: Names of ``kernel-config/fragments/NAME.config``, merged in this order on tinyconfig.
    #: Names in ``kernel-config/fragments``, and absolute paths of files.
    fragments: tuple[Name | FragmentPath, ...] = ("base",)
    toolchain: Compiler = "gcc"
    #: Added to the guest's kernel command line.
    cmdline: Line = ""
    #: Treatment of a fragment's option that no Kconfig file of the tree defines. ``drop`` is for a
    #: series of which only the first patches are applied.
    unknown_options: Literal["refuse", "drop"] = "refuse"
    #: Folders of the tree's ``tools/testing/selftests`` whose ``config`` files are merged into the
    #: configuration, as far as the tree and the fragments allow.
    selftests: tuple[Target, ...] = ()


class EmulatorProfile(Value):
    """``kernel-config/emulators/NAME.toml``: everything that determines a built QEMU."""

    name: Name
    description: str = ""
    source: Source
    series: Series | None = None
    #: File with the devices that are built in, in QEMU's Kconfig form.
    devices: Path


# --- what a guest looks like ---------------------------------------------------------------


class CpuProfile(Value):
    """``kernel-config/cpus/NAME.toml``: a CPU model and what the guest must see of it."""

    name: Name
    description: str = ""
    #: QEMU's ``-cpu`` model, without features.
    model: Name
    #: ``+feature`` or ``-feature`` or ``feature=value``, in QEMU's spelling, for ``-cpu``.
    features: tuple[Feature, ...] = ()
    #: Whether CPUID.(7,0):EDX[5] must be set in the guest; checked there before any test.
    exposes_uintr: bool
    #: Required ``vendor_id`` of /proc/cpuinfo; None if any is accepted.
    vendor: Literal["GenuineIntel", "AuthenticAMD"] | None = None
    #: Further CPU flags (as in /proc/cpuinfo) that must, or must not, be there.
    require_flags: tuple[Flag, ...] = ()
    forbid_flags: tuple[Flag, ...] = ()
    #: Added to the guest's kernel command line.
    cmdline: Line = ""
    machine: Literal["q35", "pc"] = "q35"


class Cell(Value):
    """One point of the matrix. Its name is a folder name and a pytest parameter id."""

    kernel: KernelProfile
    cpu: CpuProfile
    smp: int = Field(ge=1, le=16)
    #: Compiler of the guest programs; the kernel's own is in its profile.
    cc: Compiler
    accel: Literal["auto", "tcg", "kvm"] = "auto"
    #: Words added to the kernel's command line, after those of the profiles.
    cmdline: Line = ""
    clock: Clock = "host"
    #: Folders of the tree's ``tools/testing/selftests`` whose programs run as well.
    selftests: tuple[Target, ...] = ()

    @property
    def name(self) -> str:
        """``KERNEL-CPU-smpN-CC``, for example ``linux-6.12-hidden-smp1-gcc``.

        ``-icount`` follows if instructions are counted, because times and counts cannot be
        compared.
        """
        clock = "" if self.clock == "host" else f"-{self.clock}"
        return f"{self.kernel.name}-{self.cpu.name}-smp{self.smp}-{self.cc}{clock}"


class Plan(Value):
    """The work of one invocation; serialisable, so that another machine can do it."""

    cells: tuple[Cell, ...]
    #: pytest's ``-k`` expression over the programs, if any.
    select: str = ""


# --- artefacts -----------------------------------------------------------------------------


class KernelArtefact(Value):
    """A built kernel; ``path`` is its folder in the store, which never changes."""

    key: Sha256
    path: Path
    #: What ``uname -r`` prints in the guest.
    release: str
    #: What b4 found of the signatures of a series from lore; empty for others.
    attestation: str = ""

    @property
    def bzimage(self) -> Path:
        """The bootable image."""
        return self.path / "bzImage"

    @property
    def config(self) -> Path:
        """The final ``.config``."""
        return self.path / "config"

    @property
    def vmlinux(self) -> Path:
        """The ELF image with symbols."""
        return self.path / "vmlinux"

    @property
    def headers(self) -> Path:
        """The folder of the installed headers; it contains ``asm/``."""
        return self.path / "headers" / "include"


class ImageArtefact(Value):
    """The guest's root file system."""

    key: Sha256
    path: Path

    @property
    def initramfs(self) -> Path:
        """A gzip-packed cpio archive."""
        return self.path / "initramfs.cpio.gz"


#: Default limit of the output of a program or a command, in bytes.
OUTPUT_LIMIT = 64 << 20
#: Default time limit of a program on a fast machine, in seconds.
TIMEOUT_S = 30.0


class Program(Value):
    """One guest test program: a static one for Linux, or one that QEMU boots by itself.

    A selftest of the kernel may also be a script.
    """

    #: ``SUBJECT/NAME``, for example ``api/register-handler``; also its pytest id. The kernel's
    #: selftests keep the kernel's names.
    name: str = Field(pattern=r"^[A-Za-z0-9_-]+/[A-Za-z0-9_.-]+$")
    path: Path
    #: Seconds it may take on a fast machine; the guest's factor scales it.
    timeout_s: float = TIMEOUT_S
    #: Limit of stdout and stderr together, in bytes; the console has the same limit for itself.
    output_limit: int = Field(default=OUTPUT_LIMIT, gt=0)
    #: Whether it measures (writes raw samples) besides testing.
    latency: bool = False
    #: Whether it needs a guest in which no other program has run.
    isolate: bool = False
    kind: Literal["linux", "bare-metal", "kselftest"] = "linux"
    #: Reason why there is no binary, or empty. The compiler's output follows the first line.
    missing: str = ""


class ProgramsArtefact(Value):
    """All guest programs, built by one compiler against one kernel's headers."""

    key: Sha256
    path: Path
    cc: Compiler
    programs: tuple[Program, ...]


class Emulator(Value):
    """A QEMU binary that answered when asked for its version."""

    binary: Path
    version: str
    #: Folders for ``-L``; empty for a QEMU that finds its own firmware.
    firmware: tuple[Path, ...] = ()
    #: The artefact's key if the harness built it.
    key: Sha256 | None = None
