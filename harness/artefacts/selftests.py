"""The kernel's own selftests: folders of ``tools/testing/selftests``, called targets there.

They are built from the tree under test, statically, against the headers of its kernel. The tree's
own Makefiles list the programs of a target, build and install them. Nearly every target lacks
something on some host (a library, a 32-bit libc). A program that cannot be built, or that a guest
with BusyBox and no shared libraries cannot run, is returned with the reason.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from harness import paths
from harness.artefacts import programs, recipe, selftest_needs, static_cc
from harness.artefacts.host_inputs import fingerprint
from harness.artefacts.kernel import kbuild
from harness.artefacts.kernel.configure import laid_out, patched_tree
from harness.artefacts.kernel.kconfig import parse_config
from harness.artefacts.kernel.kconfig_wishes import SELFTESTS, Needs, load_needs
from harness.artefacts.programs import digest_folder
from harness.artefacts.selftest_needs import why_not, why_not_configured, why_not_helped
from harness.artefacts.store import JSON, Entry, Store
from harness.artefacts.toolchain import identify
from harness.errors import BuildError, UserError
from harness.lib.process import Captured, capture, disk_full, require, says_disk_full
from harness.progress import Progress
from harness.values import Compiler, KernelArtefact, KernelProfile, Program

#: Folders that selftests include from, their own first.
_PATHS = (
    SELFTESTS,
    "tools/arch/x86",
    "tools/build",
    "tools/include",
    "tools/lib",
    "tools/scripts",
    "arch/x86/include",
    "include/uapi",
    "include/vdso",
)

#: Seconds that each of a target's programs may take: kselftest's default, and the limit used for
#: its "no limit".
DEFAULT_TIMEOUT_S = 45.0
_UNLIMITED_S = 1800.0

_BUILD_S = 3600.0
_TOOLS = ("make", "git", "rsync", "tar")
#: Variables in which a target's Makefile lists what kselftest runs.
_LISTS = ("TEST_GEN_PROGS", "TEST_CUSTOM_PROGS", "TEST_PROGS")
_ASKED = "uintr-harness-asks"
_MEANT = 3
_KIND = "kselftest"
_PROGRAMS = "programs.json"
_NOT_BUILT = "not built: "


class SelftestTree(NamedTuple):
    """The part of a patched tree that selftests are built from."""

    profile: KernelProfile
    #: The id of the patched tree.
    tree: str
    #: Path → id of each folder in it that determines the selftests.
    parts: dict[str, str]
    #: The folders that hold a Makefile.
    targets: tuple[str, ...]

    def check(self, targets: Sequence[str]) -> None:
        """Check that the tree has some targets.

        :raise UserError: it lacks one.
        """
        for target in targets:
            if target not in self.targets:
                same = [one for one in self.targets if one.rpartition("/")[2] == target]
                near = same or difflib.get_close_matches(target, self.targets, _MEANT)
                raise UserError(
                    f"the tree has no selftests {target!r}",
                    where=f"--kselftest {target}",
                    hint=f"there are {', '.join(near)}"
                    if near
                    else f"name a folder of the tree's {SELFTESTS} that has a Makefile",
                )


def find_selftests(profile: KernelProfile, store: Store, progress: Progress) -> SelftestTree:
    """Return the selftests of a profile's patched tree; nothing is built.

    :raise: as :func:`harness.artefacts.kernel.build.build_kernel`.
    """
    tree = patched_tree(profile, store, progress)

    def build(folder: Path) -> None:
        with laid_out(profile, store, progress) as kept:
            listed = kept.repository.run("ls-tree", tree, "--", *_PATHS)
            files = kept.repository.run("ls-tree", "-r", "--name-only", tree, "--", SELFTESTS)
        parts = {path: kind.split()[2] for kind, path in _tabbed(listed)}
        targets = [
            str(Path(line).parent.relative_to(SELFTESTS))
            for line in files.splitlines()
            if line.startswith(f"{SELFTESTS}/") and line.endswith("/Makefile")
        ]
        found = {"parts": parts, "targets": [target for target in targets if target != "."]}
        (folder / "tree.json").write_text(json.dumps(found, indent=2) + "\n")

    inputs = {
        "recipe": recipe.digest(sys.modules[__name__]),
        "tree": tree,
        "paths": list(_PATHS),
    }
    entry = store.get("kselftest-tree", inputs, build)
    found = json.loads((entry.path / "tree.json").read_text())
    return SelftestTree(profile, tree, found["parts"], tuple(found["targets"]))


def build_selftests(
    tree: SelftestTree,
    targets: Sequence[str],
    kernel: KernelArtefact,
    cc: Compiler,
    store: Store,
    progress: Progress,
) -> tuple[Program, ...]:
    """Return the programs of some targets, built unless they are in the store.

    :param kernel: the kernel built from the tree; its headers are used.
    :return: all programs; ``missing`` has the reason if one could not be built.
    :raise UserError: there is no such target, or it has no programs of its own.
    :raise BuildError: a tool is missing, or the tree cannot be read.
    """
    tree.check(targets)
    headers = digest_folder(kernel.headers)
    needs = load_needs(paths.SELFTEST_NEEDS)
    found: list[Program] = []
    for target in dict.fromkeys(targets):
        inputs: dict[str, JSON] = {
            "target": target,
            "parts": tree.parts,
            "headers": headers,
            "compiler": [identify(tool).model_dump() for tool in (cc, "ld")],
            "make": _make_argv(
                Path("/tree"), target, Path("/out"), Path("/headers"), Path("/cc"), cc
            ),
            "host": fingerprint(cc),
            "recipe": recipe.digest(
                sys.modules[__name__], selftest_needs, static_cc, kbuild, programs
            ),
        }

        def build(folder: Path, target: str = target) -> None:
            with progress.step(f"build the selftests of {target} with {cc}"):
                _build(tree, target, kernel.headers, cc, store, progress, folder)

        entry = _get(store, inputs, build)
        config = parse_config(kernel.config.read_text())
        found += _programs(entry.path, target, needs.get(target, Needs()), config)
    return tuple(found)


def _get(store: Store, inputs: Mapping[str, JSON], build: Callable[[Path], None]) -> Entry:
    """Return the entry of a target; if programs failed to build, the next call builds again.

    The cause may be gone by then, and no key shows that. The key of such an entry includes the
    failures, so that a build with the same failures returns the same entry and leaves no other.
    """
    key = store.key(_KIND, inputs)
    if found := store.find(_KIND, inputs):
        return found
    with store.locked(f"{_KIND}-attempt-{key}", "the same selftests"):
        if found := store.find(_KIND, inputs):
            return found
        with tempfile.TemporaryDirectory(prefix="uintr-harness-kselftest-") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            build(made)
            failed = _failed(made)
            return store.get(
                _KIND,
                {**inputs, "failed": failed} if failed else inputs,
                lambda folder: _move(made, folder),
            )


def _failed(made: Path) -> str:
    """Return a digest of the programs that failed to build and the reasons; empty for none."""
    said = json.loads((made / _PROGRAMS).read_text())
    failed = {name: why for name, why in said.items() if why.startswith(_NOT_BUILT)}
    return sha256(json.dumps(failed, sort_keys=True).encode()).hexdigest() if failed else ""


def _move(made: Path, folder: Path) -> None:
    for path in made.iterdir():
        shutil.move(path, folder / path.name)


def unpack_selftests(tree: SelftestTree, store: Store, progress: Progress, folder: Path) -> None:
    """Unpack the part of a tree that selftests are built from into an empty folder.

    :raise BuildError: it cannot be read.
    """
    archive = folder / ".archive.tar"
    with laid_out(tree.profile, store, progress) as kept:
        kept.repository.run("archive", "-o", str(archive), tree.tree, *tree.parts)
    done = capture(["tar", "-xf", str(archive), "-C", str(folder)])
    archive.unlink()
    if done.returncode:
        raise BuildError("the tree's selftests cannot be unpacked", detail=done.complaint)


def subject_of(target: str) -> str:
    """Return the subject in the names of a target's programs: ``kselftest-TARGET``."""
    return "kselftest-" + re.sub(r"[^A-Za-z0-9_-]", "-", target)


def read_timeout(settings: Path) -> float:
    """Return the timeout of a target's ``settings`` file for each program, in seconds."""
    if not settings.is_file():
        return DEFAULT_TIMEOUT_S
    text = settings.read_text(encoding="utf-8", errors="replace")
    said = re.findall(r"^\s*timeout\s*=\s*(\d+)\s*$", text, re.MULTILINE)
    if not said:
        return DEFAULT_TIMEOUT_S
    return float(said[-1]) or _UNLIMITED_S


# --- build ---------------------------------------------------------------------------------


class _Make:
    """Make, in the folder of one target."""

    def __init__(self, argv: Sequence[str], tree: Path, out: Path) -> None:
        self._argv = argv
        self._env = kbuild.environment(tree, out)

    def __call__(self, *args: str) -> Captured:
        return capture([*self._argv, *args], env=self._env, timeout_s=_BUILD_S)


def _make_argv(
    tree: Path, target: str, out: Path, headers: Path, compiler: Path, cc: Compiler
) -> list[str]:
    """Return the beginning of each make command line for a target.

    The flags are in ``CC``, the only variable that all Makefiles use: some set their own flags.
    """
    return [
        "make",
        "--silent",
        "--directory",
        str(tree / SELFTESTS / target),
        f"OUTPUT={out}",
        f"KHDR_INCLUDES=-isystem {headers}",
        f"CC={compiler} {cc} -ffile-prefix-map={tree}/=",
        *kbuild.make_variables(cc),
    ]


def _build(
    tree: SelftestTree,
    target: str,
    headers: Path,
    cc: Compiler,
    store: Store,
    progress: Progress,
    folder: Path,
) -> None:
    """Fill an empty folder with a target's programs, and the reasons for missing ones."""
    require(*_TOOLS, needed_for="the kernel's selftests")
    scratch, out = folder / "scratch", folder / "out"
    installed = folder / subject_of(target)
    for new in (scratch, out, installed):
        new.mkdir()
    unpack_selftests(tree, store, progress, scratch)
    compiler = static_cc.write_static_cc(scratch)
    make = _Make(_make_argv(scratch, target, out, headers, compiler, cc), scratch, out)
    built = make("--keep-going", f"--jobs={os.cpu_count() or 1}", "all")
    found = {}
    for wanted in _listed(make, target):
        # Scripts are named without a folder.
        lacking = wanted.startswith("/") and not Path(wanted).is_file()
        reason = _why_not_built(make(wanted)) if lacking else ""
        found[Path(wanted).name] = reason.replace(f"{out}/", "").replace(f"{scratch}/", "")
    # A program that failed to build must not keep the rest from being installed.
    done = make("--ignore-errors", "--old-file=all", f"INSTALL_PATH={installed}", "install")
    log = f"{built.text}\n{built.complaint}\n{done.text}\n{done.complaint}\n"
    if says_disk_full(log):
        raise disk_full(store.root)
    for name, reason in found.items():
        path = installed / name
        if path.is_file():
            found[name] = why_not(path) or why_not_helped(path, installed, found)
        else:
            found[name] = reason or f"{_NOT_BUILT}not installed"
    (folder / _PROGRAMS).write_text(json.dumps(found, indent=2) + "\n")
    (folder / "build.log").write_text(log)
    shutil.rmtree(scratch)
    shutil.rmtree(out)


def _listed(make: _Make, target: str) -> list[str]:
    """Ask a target's Makefile for the paths of its programs, in its order.

    :raise UserError: it has none.
    """
    lists = " ".join(f"$({name})" for name in _LISTS)
    # Without CAN_BUILD_I386, x86 does not list its 32-bit programs where they cannot be built.
    done = make(f"--eval={_ASKED}: ; @printf '%s\\n' {lists}", "CAN_BUILD_I386=1", _ASKED)
    if done.returncode:
        raise BuildError(
            f"the Makefile of the selftests {target} does not say which programs it has",
            where=f"{SELFTESTS}/{target}/Makefile",
            detail=done.complaint,
        )
    listed = [line for line in dict.fromkeys(done.text.splitlines()) if line]
    if not listed:
        raise UserError(
            f"the selftests {target} have no programs of their own",
            where=f"--kselftest {target}",
            hint=f"its folders may: {SELFTESTS}/{target}",
        )
    return listed


def _why_not_built(said: Captured) -> str:
    """Return why make did not build a program: a summary line, then the whole output."""
    lines = [line.strip() for line in f"{said.complaint}\n{said.text}".splitlines() if line.strip()]
    if not lines:
        return ""
    return "\n".join([f"{_NOT_BUILT}{kbuild.first_errors(lines).splitlines()[0]}", *lines])


def _programs(
    path: Path, target: str, needs: Needs, config: Mapping[str, str]
) -> Iterator[Program]:
    """Yield the programs of a finished entry; the kernel's configuration decides which can run."""
    subject = subject_of(target)
    timeout_s = read_timeout(path / subject / "settings")
    for name, missing in json.loads((path / _PROGRAMS).read_text()).items():
        yield Program(
            name=f"{subject}/{name}",
            path=path / subject / name,
            timeout_s=timeout_s,
            kind="kselftest",
            missing=missing or why_not_configured(needs.needs.get(name, ()), config),
        )


def _tabbed(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        first, _, second = line.partition("\t")
        yield first, second
