"""A kernel's configuration: source, series, fragments and compiler in; ``.config`` and tree out.

The store's entry ``kernel-config`` has the final ``.config`` and the patched tree's id. Its key is
computed without unpacking anything. Trees that differ only in files without influence on the
``.config`` share an entry ``dot-config``.

The work is done in a kept folder per profile. Switching its work tree from one commit to another
touches only files that differ.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from harness import paths
from harness.artefacts import recipe
from harness.artefacts.kernel import (
    kbuild,
    kconfig,
    kconfig_expr,
    kconfig_reader,
    kconfig_wishes,
)
from harness.artefacts.kernel.kconfig import Fragment
from harness.artefacts.kernel.kconfig_reader import KconfigReader
from harness.artefacts.kernel.kconfig_wishes import Wish
from harness.artefacts.source import patch, series
from harness.artefacts.source.git import Repository
from harness.artefacts.source.patch import Patch
from harness.artefacts.source.series import apply_series, fetch_series
from harness.artefacts.source.trees import describe_source, fetch_source, identify_source
from harness.artefacts.store import JSON, Entry, Store
from harness.artefacts.toolchain import kernel_tools
from harness.errors import BuildError
from harness.lib.process import capture, disk_full, require, says_disk_full
from harness.progress import Progress
from harness.values import Compiler, KernelProfile

#: Modules that decide the options and the patched tree, besides this one.
_MODULES = (kbuild, kconfig, kconfig_expr, kconfig_reader, kconfig_wishes, patch, series)

TOOLS = ("make", "git", "flex", "bison", "bc", "perl", "rsync")

#: Files that ``make olddefconfig`` reads or runs: Kconfig tests the compiler with scripts.
_DECIDES_CONFIG = re.compile(r"(?:^|/)(?:Kconfig|Kbuild|Makefile)[^/]*$|^scripts/|/configs/|\.sh$")


def patched_tree(profile: KernelProfile, store: Store, progress: Progress) -> str:
    """Return the id of a profile's patched tree; nothing is compiled.

    :raise: as :func:`harness.artefacts.kernel.build.build_kernel`.
    """
    configured = Configurator(profile, store, progress, "").configured()
    return (configured.path / "tree").read_text().strip()


@contextmanager
def laid_out(
    profile: KernelProfile, store: Store, progress: Progress, *, apart: str = ""
) -> Iterator[LaidOut]:
    """Hold a profile's kept folder with its patched tree in it; nothing is compiled.

    :raise: as :func:`harness.artefacts.kernel.build.build_kernel`.
    """
    builder = Configurator(profile, store, progress, apart)
    configured = builder.configured()
    with store.workspace(builder.folder) as path:
        kept = KeptFolder(path)
        builder.lay_out(kept, configured)
        config = (configured.path / "config").read_text()
        yield LaidOut(
            tree=kept.tree, built=kept.out, folder=path, config=config, repository=kept.repository
        )


class LaidOut(NamedTuple):
    """A patched tree, valid while its folder is held."""

    tree: Path
    #: The build folder, as the last build left it.
    built: Path
    #: The kept folder around both.
    folder: Path
    #: The text of the final ``.config``.
    config: str
    #: The repository that the tree is checked out of.
    repository: Repository


class KeptFolder:
    """A profile's kept folder: repository, work tree and build tree. Its lock must be held."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self.out = folder / "out"
        self.config = folder / "config"
        self.report = folder / "report"
        #: File with the number of steps of the last build from scratch.
        self.steps = folder / "steps"
        self.repository = Repository(folder / "repository.git", self.tree)


class Configurator:
    """Brings a profile's kept folder to its patched tree, and its kernel to a configuration."""

    def __init__(
        self, profile: KernelProfile, store: Store, progress: Progress, apart: str
    ) -> None:
        self.profile = profile
        self.apart = f"-{apart}" if apart else ""
        self.cc: Compiler = profile.toolchain
        self.store = store
        self.progress = progress
        self.fragments: Sequence[Fragment] = kconfig.load_fragments(
            profile.fragments, paths.FRAGMENTS
        )
        self.needs = kconfig_wishes.load_needs(paths.SELFTEST_NEEDS) if profile.selftests else {}
        self.patches: Sequence[Patch] = fetch_series(profile.series, store, progress)
        self.tools = [tool.model_dump() for tool in kernel_tools(self.cc)]

    @property
    def folder(self) -> str:
        """Name of the kept folder; each compiler has one, because it would rebuild everything."""
        return f"kernel-{self.profile.name}{self.apart}-{self.cc}"

    def configured(self) -> Entry:
        """Return the entry with the final ``.config`` and the patched tree's id."""
        options, conflicts = kconfig.merge(self.fragments)
        inputs = {
            "recipe": recipe.digest(sys.modules[__name__], *_MODULES),
            "source": identify_source(self.profile.source, self.store),
            "patches": [one.identity for one in self.patches],
            "options": {name: option.value for name, option in options.items()},
            "tools": self.tools,
            "make": kbuild.make_variables(self.cc),
        }
        if self.profile.unknown_options == "drop":
            inputs["unknown-options"] = "drop"
        if self.profile.selftests:
            inputs["selftests"] = {
                target: self.needs[target].options if target in self.needs else ()
                for target in self.profile.selftests
            }
            # Whether an option gives way to a wish depends on the fragment that sets it.
            inputs["orders"] = [f"{option.place}: {option.text}" for option in options.values()]

        def build(folder: Path) -> None:
            require(*TOOLS, needed_for="a kernel build")
            for conflict in conflicts:
                self.progress.note(str(conflict))
            with self.store.workspace(self.folder) as path:
                kept = KeptFolder(path)
                commit = self._patched(kept)
                made = self._dotconfig(kept, commit, options, inputs)
                for name in ("config", "lost"):
                    shutil.copy2(made.path / name, folder / name)
                (folder / "tree").write_text(kept.repository.tree_of(commit) + "\n")

        return self.store.get("kernel-config", inputs, build)

    def _patched(self, kept: KeptFolder) -> str:
        """Put source and series into the kept work tree and return its commit."""
        base = fetch_source(self.profile.source, self.store, self.progress)
        name = describe_source(self.profile.source)
        kept.tree.mkdir(exist_ok=True)
        kept.repository.init().borrow(base.repository)
        title = (
            f"apply {len(self.patches)} patches on {name}" if self.patches else f"lay out {name}"
        )
        with self.progress.step(title):
            commit = apply_series(
                Repository(kept.repository.git_dir),
                base.commit,
                self.patches,
                name,
                self.progress,
            )
            kept.repository.check_out(commit)
        return commit

    def _dotconfig(
        self,
        kept: KeptFolder,
        commit: str,
        options: dict[str, kconfig.Option],
        inputs: Mapping[str, JSON],
    ) -> Entry:
        """Return the entry of the ``.config``, keyed by its inputs, which few patches change.

        It also has the list of the wishes of selftests that are not granted.
        """
        wishes = self._wishes(kept, commit)
        files = kept.repository.files_of(commit)
        decisive = sorted(item for item in files.items() if _DECIDES_CONFIG.search(item[0]))
        asked: dict[str, JSON] = {
            **{name: inputs[name] for name in inputs if name not in {"source", "patches"}},
            "files": sha256(json.dumps(decisive).encode()).hexdigest(),
            **({"wishes": [str(wish) for wish in wishes.values()]} if wishes else {}),
        }

        def build(folder: Path) -> None:
            with self.progress.step(f"configure {self.profile.name}"):
                config, lost = self._configure(kept, options, wishes)
            (folder / "config").write_text(config)
            (folder / "lost").write_text("".join(f"{line}\n" for line in lost))

        return self.store.get("dot-config", asked, build)

    def _wishes(self, kept: KeptFolder, commit: str) -> dict[str, Wish]:
        """Return the wishes of the selftests, from the tree and from ``selftests.toml``."""

        def read(path: str) -> str | None:
            said = kept.repository.try_("cat-file", "blob", f"{commit}:{path}")
            return said.text if said.returncode == 0 else None

        return kconfig_wishes.gather(self.profile.selftests, self.needs, read)

    def _configure(
        self, kept: KeptFolder, options: dict[str, kconfig.Option], wishes: Mapping[str, Wish]
    ) -> tuple[str, list[str]]:
        """Return the final ``.config``, checked, and a line for each wish that is not granted.

        It is tinyconfig with the fragments merged into it.
        """
        kept.config.mkdir(exist_ok=True)
        if self.profile.unknown_options == "drop":
            options = self._known(kept, options)
        final = kept.config / ".config"
        self._make_config(kept, "tinyconfig")
        tiny = kconfig.parse_config(final.read_text())

        def configured(asked: Mapping[str, kconfig.Option]) -> dict[str, str]:
            final.write_text(kconfig.write_config(tiny, asked))
            self._make_config(kept, "olddefconfig")
            return kconfig.parse_config(final.read_text())

        orders, lost = options, list[str]()
        if wishes:
            base = self.fragments[0].name if self.fragments else ""
            asked, lost = kconfig_wishes.grant(wishes, options, base, kept.tree, configured)
            orders = {name: asked[name] for name in options if asked.get(name) == options[name]}
            configured(asked)
        else:
            configured(options)
        text = final.read_text()
        kconfig.verify(orders, kconfig.parse_config(text), kept.tree)
        return text, lost

    def _known(
        self, kept: KeptFolder, options: dict[str, kconfig.Option]
    ) -> dict[str, kconfig.Option]:
        """Return the options that the tree defines; print a note for each other one."""
        defined = KconfigReader(kept.tree).definitions
        for option in options.values():
            if option.name not in defined:
                self.progress.note(f"CONFIG_{option.name} ({option.place}): not in this tree yet")
        return {name: option for name, option in options.items() if name in defined}

    def _make_config(self, kept: KeptFolder, target: str) -> None:
        result = capture(
            kbuild.config_argv(kept.tree, kept.config, self.cc, target),
            env=kbuild.environment(kept.tree, kept.config),
        )
        if result.returncode == 0:
            return
        if says_disk_full(result.complaint):
            raise disk_full(kept.config)
        raise BuildError(
            f"make {target} failed with {result.returncode}",
            where=describe_source(self.profile.source),
            detail=kbuild.first_errors(f"{result.text}\n{result.complaint}".splitlines()),
        )

    def lay_out(self, kept: KeptFolder, configured: Entry) -> None:
        """Check out the patched tree that was configured into the kept work tree."""
        tree = (configured.path / "tree").read_text().strip()
        if not self._has_tree(kept, tree):
            self._patched(kept)

    @staticmethod
    def _has_tree(kept: KeptFolder, tree: str) -> bool:
        """Tell whether the kept work tree is that tree, with no file changed."""
        repository = kept.repository
        if not kept.tree.is_dir() or repository.try_("write-tree").text != tree:
            return False
        return repository.try_("diff-files", "--quiet").returncode == 0
