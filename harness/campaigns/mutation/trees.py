"""Build trees in which one file at a time is changed: QEMU's by ninja, the kernel's by kbuild.

A change is judged by the objects that depend on its file. They are compiled first: without a
difference in one of them, debug information left out, there is nothing to run. Then the whole is
linked, with the objects that are there.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from typing_extensions import override

from harness.artefacts.emulator import choice, qemu_build
from harness.artefacts.kernel import configure, kbuild
from harness.artefacts.source.git import Repository
from harness.artefacts.source.series import fetch_series, touched_files
from harness.artefacts.source.tree_kind import KERNEL_TREE, QEMU_TREE, TreeKind
from harness.artefacts.source.trees import fetch_source
from harness.artefacts.store import Store
from harness.campaigns.mutation.candidates import added_lines
from harness.errors import BuildError
from harness.lib.process import capture, disk_full, says_disk_full, stream
from harness.progress import Progress
from harness.values import Emulator, EmulatorProfile, KernelArtefact, KernelProfile

#: Names the kept folders.
APART = "mutants"
#: A file that more objects depend on is left alone: each mutant would cost a build of the whole.
MAX_OBJECTS = 150

#: What a mutant's run has other than the cells of the unchanged series.
Built = Mapping[str, Emulator | KernelArtefact]


class Tree(ABC):
    """A patched tree and its build.

    :param tree: the source.
    :param out: the build folder.
    :param added: by file, the lines that the series adds.
    """

    def __init__(self, tree: Path, out: Path, added: Mapping[str, set[int]]) -> None:
        self.tree = tree
        self.out = out
        self.added = added
        self._objects: dict[str, tuple[str, ...]] = {}
        self._digests: dict[str, str] = {}

    def prepare(self, log: Path) -> None:
        """Build everything unchanged, and remember the objects that depend on changed files.

        :raise BuildError: it does not build.
        """
        if not self.make(self.all_of_it(), log):
            text = log.read_text(errors="replace")
            raise BuildError(
                "the unchanged series does not build",
                where=log,
                detail=kbuild.first_errors(text.splitlines()),
            )
        self._objects = self.dependents(self.added)
        for names in self._objects.values():
            if len(names) <= MAX_OBJECTS:
                self._digests |= {
                    name: code_digest(self.out / name)
                    for name in names
                    if name not in self._digests
                }

    def objects(self, file: str) -> tuple[str, ...]:
        """Return the objects that depend on a file."""
        return self._objects.get(file, ())

    @contextmanager
    def changed(self, file: str, text: bytes) -> Iterator[None]:
        """Have a file another text for a while."""
        path = self.tree / file
        before = path.read_bytes()
        path.write_bytes(text)
        try:
            yield
        finally:
            path.write_bytes(before)

    def compile(self, file: str, log: Path) -> str | None:
        """Compile what depends on a file that was changed.

        :return: a digest of the objects that differ from those before; empty if none does, and
            None if it does not compile.
        """
        names = self.objects(file)
        if not self.make(names, log):
            return None
        now = {name: code_digest(self.out / name) for name in names}
        differing = [f"{name} {now[name]}" for name in names if now[name] != self._digests[name]]
        return sha256("\n".join(differing).encode()).hexdigest() if differing else ""

    def make(self, targets: Sequence[str], log: Path) -> bool:
        """Build targets; return whether that went well.

        :raise GuestError: the disk is full.
        """
        code = stream(self.argv(targets), cwd=self.out, env=self.environment(), log=log)
        if code and says_disk_full(log.read_text(errors="replace")):
            raise disk_full(self.out)
        return code == 0

    @abstractmethod
    def all_of_it(self) -> Sequence[str]:
        """Return the targets that make what is run."""

    @abstractmethod
    def argv(self, targets: Sequence[str]) -> list[str]:
        """Return the command line that builds targets."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the environment of a build."""

    @abstractmethod
    def dependents(self, files: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return, by file of the tree, the objects that were compiled from it, in sorted order."""

    @abstractmethod
    def built(self, folder: Path) -> Built:
        """Return what was built.

        :param folder: takes what has to be kept together.
        """


def code_digest(path: Path) -> str:
    """Return a digest of an object file without its debug information."""
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        bare = Path(scratch) / "object"
        done = capture(["objcopy", "--strip-debug", str(path), str(bare)])
        if done.returncode != 0:
            raise BuildError("the object cannot be read", where=path, detail=done.complaint)
        return sha256(bare.read_bytes()).hexdigest()


def _added(
    repository: Repository,
    profile: EmulatorProfile | KernelProfile,
    kind: TreeKind,
    store: Store,
    progress: Progress,
) -> dict[str, set[int]]:
    """Return, by C file, the lines that a profile's series adds.

    :param repository: whose index holds the patched tree.
    """
    base = fetch_source(profile.source, store, progress, kind)
    files = touched_files(fetch_series(profile.series, store, progress))
    return added_lines(repository, base.commit, files)


# --- QEMU -----------------------------------------------------------------------------------

#: A line of ``ninja -t deps`` that names an object.
_TARGET = re.compile(r"(\S.*\.o): #deps \d+")


class QemuTree(Tree):
    """QEMU's tree.

    ccache looks at preprocessed text here, as it does by default: then a changed header costs no
    compilation of what does not use the change.

    :param unchanged: the emulator of the series as it is, whose firmware and version are taken.
    """

    def __init__(
        self, laid_out: choice.LaidOut, added: Mapping[str, set[int]], unchanged: Emulator
    ) -> None:
        super().__init__(laid_out.tree, laid_out.out, added)
        self._environment = {
            name: value for name, value in laid_out.environment.items() if name != "CCACHE_DEPEND"
        }
        self._unchanged = unchanged

    @override
    def all_of_it(self) -> Sequence[str]:
        return (qemu_build.TARGET,)

    @override
    def argv(self, targets: Sequence[str]) -> list[str]:
        return ["ninja", f"-j{os.cpu_count() or 1}", *targets]

    @override
    def environment(self) -> dict[str, str]:
        return self._environment

    @override
    def dependents(self, files: Iterable[str]) -> dict[str, tuple[str, ...]]:
        said = capture(["ninja", "-t", "deps"], cwd=self.out, env=self.environment())
        places = {str(self.tree / file): file for file in files}
        places |= {os.path.relpath(path, self.out): file for path, file in places.items()}
        return dependents_by_ninja(said.text.splitlines(), places)

    @override
    def built(self, folder: Path) -> Built:
        changes = {"binary": self.out / qemu_build.TARGET, "key": None}
        return {"emulator": self._unchanged.model_copy(update=changes)}


def dependents_by_ninja(
    lines: Iterable[str], places: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Read which objects depend on which files from what ``ninja -t deps`` says.

    :param places: by what it may be called there, each file that is asked for.
    """
    found: dict[str, set[str]] = {}
    target = ""
    for line in lines:
        if match := _TARGET.match(line):
            target = match[1]
        elif target and (file := places.get(line.strip())):
            found.setdefault(file, set()).add(target)
    return {file: tuple(sorted(names)) for file, names in found.items()}


@contextmanager
def qemu_tree(profile: EmulatorProfile, store: Store, progress: Progress) -> Iterator[QemuTree]:
    """Hold a kept folder with a QEMU's tree.

    :raise: as :func:`harness.artefacts.emulator.choice.build_emulator`.
    """
    unchanged = choice.build_emulator(store, progress, profile.name)
    with choice.laid_out(store, progress, profile.name, apart=APART) as place:
        added = _added(place.repository, profile, QEMU_TREE, store, progress)
        yield QemuTree(place, added, unchanged)


# --- the kernel -----------------------------------------------------------------------------

#: What a run takes from a kernel's artefact and a change can differ in.
_KERNEL_FILES = {
    "arch/x86/boot/bzImage": "bzImage",
    "vmlinux": "vmlinux",
    "System.map": "System.map",
}


class KernelTree(Tree):
    """The kernel's tree.

    :param unchanged: the kernel of the series as it is.
    """

    def __init__(
        self,
        laid_out: configure.LaidOut,
        profile: KernelProfile,
        added: Mapping[str, set[int]],
        unchanged: KernelArtefact,
    ) -> None:
        super().__init__(laid_out.tree, laid_out.built, added)
        self._cc = profile.toolchain
        self._unchanged = unchanged
        self.out.mkdir(exist_ok=True)
        config = self.out / ".config"
        if not config.exists() or config.read_text() != laid_out.config:
            config.write_text(laid_out.config)

    @override
    def all_of_it(self) -> Sequence[str]:
        return ("bzImage",)

    @override
    def argv(self, targets: Sequence[str]) -> list[str]:
        wrapped = [f"CC=ccache {self._cc}"] if shutil.which("ccache") else []
        first, *rest = targets
        return [
            *kbuild.config_argv(self.tree, self.out, self._cc, first),
            *rest,
            *wrapped,
            f"--jobs={os.cpu_count() or 1}",
        ]

    @override
    def environment(self) -> dict[str, str]:
        return kbuild.environment(self.tree, self.out)

    @override
    def dependents(self, files: Iterable[str]) -> dict[str, tuple[str, ...]]:
        wanted = {str(self.tree / file): file for file in files}
        found: dict[str, set[str]] = {}
        for path in self.out.rglob(".*.o.cmd"):
            words = set(path.read_text(errors="replace").split())
            name = path.with_name(path.name[1:].removesuffix(".cmd"))
            for place in words & wanted.keys():
                found.setdefault(wanted[place], set()).add(str(name.relative_to(self.out)))
        return {file: tuple(sorted(names)) for file, names in found.items()}

    @override
    def built(self, folder: Path) -> Built:
        shutil.copytree(self._unchanged.path, folder, dirs_exist_ok=True)
        for made, name in _KERNEL_FILES.items():
            shutil.copy2(self.out / made, folder / name)
        key = sha256((folder / "bzImage").read_bytes()).hexdigest()
        return {"kernel": KernelArtefact(key=key, path=folder, release=self._unchanged.release)}


@contextmanager
def kernel_tree(
    profile: KernelProfile, unchanged: KernelArtefact, store: Store, progress: Progress
) -> Iterator[KernelTree]:
    """Hold a kept folder with a kernel's tree.

    :raise: as :func:`harness.artefacts.kernel.build.build_kernel`.
    """
    with configure.laid_out(profile, store, progress, apart=APART) as place:
        added = _added(place.repository, profile, KERNEL_TREE, store, progress)
        yield KernelTree(place, profile, added, unchanged)
