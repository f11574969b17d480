"""The choice of QEMU: an installed one, or the bundled one, which is built like a kernel.

The bundled one is the profile ``kernel-config/emulators/qemu-10.0.toml``: QEMU's source, the series
in ``patches/qemu-10.0`` that models user interrupts in TCG, and few devices. It is an entry of the
store, with its firmware in it, and needs nothing else to run. A build works in a kept folder, where
a changed patch rebuilds only what depends on it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from harness import paths
from harness.artefacts.emulator import qemu_build
from harness.artefacts.emulator.qemu_subprojects import add_subprojects
from harness.artefacts.source.git import Repository
from harness.artefacts.source.series import apply_series, fetch_series
from harness.artefacts.source.tree_kind import QEMU_TREE
from harness.artefacts.source.trees import describe_source, fetch_source, identify_source
from harness.artefacts.store import JSON, Store
from harness.artefacts.toolchain import identify
from harness.errors import BuildError, UserError
from harness.lib.extras import require_extra
from harness.lib.process import capture, disk_full, require, says_disk_full, stream
from harness.names import EMULATOR_ENV, SYSTEM_BINARY
from harness.progress import Progress, Step
from harness.request.profiles import load_emulator
from harness.values import Emulator, EmulatorProfile

#: Values of ``--qemu`` and of the variable, besides the path of a binary or a profile.
AUTO, SYSTEM, BUNDLED = "auto", "system", "bundled"
#: The profile that ``bundled`` means.
OURS = "qemu-10.0"

#: Recipe number of an emulator, see :mod:`harness.artefacts.recipe`. Raise it when the same inputs
#: give another artefact than before; a build takes more than ten minutes.
RECIPE = 2

_TOOLS = ("git", "ninja", "pkg-config", "cc", "ld")
#: Libraries that the binary is linked with, by their pkg-config names.
_LIBRARIES = ("glib-2.0", "slirp", "libseccomp")
#: The folder of the firmware beside `bin`, where QEMU looks for it by itself.
_FIRMWARE = "share/qemu"
_REPORT_EVERY_S = 0.2

_HINT = f"install qemu-system-x86, or name a binary with {EMULATOR_ENV}"


def wanted_emulator(option: str | None) -> str:
    """Return the user's choice: the option, else ``$UINTR_HARNESS_QEMU``, else ``auto``."""
    return option or os.environ.get(EMULATOR_ENV) or AUTO


def find_emulator(named: str | None = None) -> Emulator:
    """Return an installed QEMU by its path or its name on the PATH; the host's by default.

    :raise UserError: there is none, or it does not answer ``--version``.
    """
    wanted = named or SYSTEM_BINARY
    found = shutil.which(wanted)
    if found is None:
        raise UserError("no such emulator (or it is not executable)", where=wanted, hint=_HINT)
    return Emulator(binary=Path(found).absolute(), version=_version(found))


def _version(binary: str) -> str:
    try:
        answer = capture([binary, "--version"], timeout_s=30)
    except BuildError as error:
        raise UserError(
            f"the emulator does not answer: {error.what}", where=binary, hint=_HINT
        ) from error
    first = answer.text.partition("\n")[0]
    prefix = "QEMU emulator version "
    if answer.returncode != 0 or not first.startswith(prefix):
        raise UserError(
            f"this is no QEMU: --version ended with {answer.returncode}",
            where=binary,
            hint=_HINT,
            detail=answer.complaint or first,
        )
    return first.removeprefix(prefix)


def build_emulator(store: Store, progress: Progress, name: str = OURS) -> Emulator:
    """Return a profile's QEMU, building it if it is not in the store.

    :raise UserError: the profile, or a file that it names, does not exist.
    :raise BuildError: a patch does not apply, or the build fails.
    :raise GuestError: the disk is full.
    """
    builder = _Builder(load_emulator(name), store, progress)
    entry = store.get("emulator", builder.inputs(), builder.build)
    if entry.hit:
        progress.note(f"emulator {name}: already built ({entry.key[:12]})")
    binary = entry.path / "bin" / qemu_build.TARGET
    return Emulator(
        binary=binary,
        version=(entry.path / "version").read_text().strip(),
        firmware=(entry.path / _FIRMWARE,),
        key=entry.key,
    )


def is_built(store: Store, name: str = OURS) -> bool:
    """Tell whether a profile's QEMU is in the store, without fetching or building anything.

    :raise UserError: the profile, or a file that it names, does not exist.
    """
    source = load_emulator(name).source
    if source.kind == "debian-archive" and not store.find(
        "debian-archive", {"package": source.package, "suite": source.suite}
    ):
        return False
    try:
        inputs = _Builder(load_emulator(name), store, store.progress).inputs()
    except BuildError:  # a tool or a library is missing
        return False
    return store.find("emulator", inputs) is not None


class LaidOut(NamedTuple):
    """A patched tree with its build folder, for as long as the folder around both is held."""

    tree: Path
    #: Where ninja builds; configured.
    out: Path
    #: What the tree is checked out of.
    repository: Repository
    environment: dict[str, str]


@contextmanager
def laid_out(
    store: Store, progress: Progress, name: str = OURS, *, apart: str
) -> Iterator[LaidOut]:
    """Hold a kept folder with a profile's patched tree, configured; nothing is compiled.

    :param apart: a word that names a kept folder of its own, for a caller that changes files in it
        and must not spoil the next build of somebody at work.
    :raise: as :func:`build_emulator`.
    """
    builder = _Builder(load_emulator(name), store, progress, apart)
    with builder.workspace() as kept:
        log = store.log(kept.name)
        tree, out = builder.prepare(kept, log)
        repository = Repository(kept / "repository.git", tree)
        yield LaidOut(tree, out, repository, qemu_build.environment(kept))


class _Builder:
    """State of one call of :func:`build_emulator`."""

    def __init__(
        self, profile: EmulatorProfile, store: Store, progress: Progress, apart: str = ""
    ) -> None:
        self.profile = profile
        self.apart = f"-{apart}" if apart else ""
        self.store = store
        self.progress = progress
        self.patches = fetch_series(profile.series, store, progress)
        if not profile.devices.is_file():
            raise UserError(
                "there is no such list of devices",
                where=profile.devices,
                hint=f"`devices` counts from the profile's folder; one to copy is in "
                f"{paths.EMULATORS}",
            )
        self.devices = profile.devices.read_bytes()

    def inputs(self) -> dict[str, JSON]:
        """Return everything that determines the artefact."""
        return {
            "recipe": RECIPE,
            "source": identify_source(self.profile.source, self.store, QEMU_TREE),
            "patches": [patch.identity for patch in self.patches],
            "devices": sha256(self.devices).hexdigest(),
            "tools": [identify(tool).model_dump() for tool in ("cc", "ld")],
            "libraries": {name: _library_version(name) for name in _LIBRARIES},
            "host-firmware": {
                name: sha256(path.read_bytes()).hexdigest()
                for name, path in qemu_build.host_firmware().items()
            },
            "settings": qemu_build.settings(),
        }

    def build(self, folder: Path) -> None:
        """Fill an empty folder with the artefact."""
        with self.workspace() as kept:
            log = self.store.log(kept.name)
            tree, out = self.prepare(kept, log)
            with self.progress.step(f"build emulator {self.profile.name}") as step:
                self._run(qemu_build.ninja_argv(os.cpu_count() or 1), out, log, step)
            self._collect(tree, out, log, folder)

    def workspace(self) -> AbstractContextManager[Path]:
        """Return the kept folder, which is held meanwhile."""
        require(*_TOOLS, needed_for="a QEMU build")
        require_extra("emulator", "mesonbuild", "distlib", "pycotap", needed_for="a QEMU build")
        return self.store.workspace(f"emulator-{self.profile.name}{self.apart}")

    def prepare(self, kept: Path, log: Path) -> tuple[Path, Path]:
        """Lay the tree out in the kept folder and configure it; return tree and build folder."""
        tree, out = kept / "tree", kept / "out"
        self._lay_out(kept, tree)
        with self.progress.step(f"configure emulator {self.profile.name}") as step:
            self._check_devices(tree)
            self._configure(tree, out, log, step)
        return tree, out

    def _lay_out(self, kept: Path, tree: Path) -> None:
        """Put the source, the series and the harness's files into the kept work tree."""
        base = fetch_source(self.profile.source, self.store, self.progress, QEMU_TREE)
        name = describe_source(self.profile.source)
        tree.mkdir(exist_ok=True)
        repository = Repository(kept / "repository.git", tree).init()
        repository.borrow(base.repository)
        bare = Repository(repository.git_dir)
        index = kept / "overlay.index"
        commit = add_subprojects(bare, base.commit, index, self.store, self.progress)
        title = f"apply {len(self.patches)} patches on {name}"
        with self.progress.step(title if self.patches else f"lay out {name}"):
            commit = apply_series(bare, commit, self.patches, name, self.progress)
            files = qemu_build.overlay(
                self.devices,
                lambda path: bare.try_("cat-file", "-e", f"{commit}:{path}").returncode == 0,
                bare.try_("cat-file", "-p", f"{commit}:pc-bios/meson.build").text,
            )
            index.unlink(missing_ok=True)
            repository.check_out(qemu_build.add_files(bare, commit, files, index))

    def _check_devices(self, tree: Path) -> None:
        """Check that this QEMU knows the options; its build would report them less clearly."""
        if unknown := qemu_build.unknown_devices(self.devices.decode(), tree):
            raise UserError(
                f"this QEMU has no such option: {', '.join(unknown)}",
                where=self.profile.devices,
                hint="its options are the words `config NAME` in the Kconfig files of its source; "
                "write CONFIG_NAME=y",
            )

    def _configure(self, tree: Path, out: Path, log: Path, step: Step) -> None:
        """Run ``configure``, unless the kept build folder was made by the same command."""
        argv = qemu_build.configure_argv(tree, Path(sys.executable))
        said = "\n".join([*argv, qemu_build.environment(out.parent).get("CC", ""), ""])
        mark = out / "configured-by"
        if mark.exists() and mark.read_text() == said and (out / "build.ninja").exists():
            return
        step.update("configure")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        self._run(argv, out, log, step)
        mark.write_text(said)

    def _run(self, argv: list[str], out: Path, log: Path, step: Step) -> None:
        told = 0.0

        def on_line(line: str) -> None:
            nonlocal told
            found = qemu_build.step_of(line)
            if found and time.monotonic() - told >= _REPORT_EVERY_S:
                told = time.monotonic()
                done, total, name = found
                step.update(name.rpartition("/")[2], done=done, total=total)

        code = stream(
            argv, cwd=out, env=qemu_build.environment(out.parent), log=log, on_line=on_line
        )
        if code == 0:
            return
        text = log.read_text(errors="replace")
        if says_disk_full(text):
            raise disk_full(self.store.root)
        raise BuildError(
            f"the emulator {self.profile.name} does not build "
            f"({Path(argv[0]).name} ended with {code})",
            where=log,
            detail=qemu_build.first_errors(text.splitlines()),
            hint="the whole output is in that log; `ci/bootstrap run` installs what is missing",
        )

    def _collect(self, tree: Path, out: Path, log: Path, folder: Path) -> None:
        """Copy the binary, its firmware and the log into the artefact."""
        for part in ("bin", _FIRMWARE):
            (folder / part).mkdir(parents=True)
        binary = folder / "bin" / qemu_build.TARGET
        shutil.copy2(out / qemu_build.TARGET, binary)
        for name, path in qemu_build.find_firmware(tree).items():
            shutil.copy2(path, folder / _FIRMWARE / name)
        shutil.copy2(log, folder / "build.log")
        try:
            version = _version(str(binary))
        except UserError as error:
            raise BuildError(
                "the QEMU that was built does not start", where=binary, detail=error.detail
            ) from error
        (folder / "version").write_text(f"{version}\n")


def _library_version(name: str) -> str:
    result = capture(["pkg-config", "--modversion", name], timeout_s=30)
    if result.returncode != 0:
        raise BuildError(
            f"the library {name} that QEMU is built with is missing",
            detail=result.complaint,
            hint="`ci/bootstrap run` installs what is missing",
        )
    return result.text
