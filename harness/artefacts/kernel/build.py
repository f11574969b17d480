"""A kernel: source, series, fragments and compiler in; image, symbols and headers out.

A kernel has two entries in the store. ``kernel-config`` has its configuration
(:mod:`harness.artefacts.kernel.configure`); ``kernel`` has the build, keyed by its inputs: patched
tree, final ``.config``, compiler, settings. So a built kernel costs two look-ups, and a change that
does not affect the build (a patch's message, a fragment's comment) builds nothing. Builds run in
the profile's kept folder, where ``make`` builds only what differs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from harness.artefacts.kernel import gcov, kbuild
from harness.artefacts.kernel.configure import TOOLS, Configurator, KeptFolder
from harness.artefacts.source.series import added_files, attestation_of, touched_files
from harness.artefacts.store import Entry, Store
from harness.errors import BuildError
from harness.lib.process import capture, disk_full, require, says_disk_full, stream
from harness.progress import Progress
from harness.values import KernelArtefact, KernelProfile

#: Recipe number of a kernel, see :mod:`harness.artefacts.recipe`. Raise it when the same tree,
#: configuration and tools give another artefact than before. A digest instead would cost ten
#: minutes for each change of these modules, and hardly any of them changes a kernel.
RECIPE = 1

#: Build steps per ``=y`` option, to estimate the first build. Measured with Linux 6.12 and the base
#: configuration: 584 options, 1659 steps, host tools and generated headers included. Later builds
#: use the count of the last one.
_STEPS_PER_OPTION = 2.8


def build_kernel(
    profile: KernelProfile, store: Store, progress: Progress, *, apart: str = ""
) -> KernelArtefact:
    """Return a profile's kernel, built unless it is in the store.

    :param apart: suffix for a separate kept folder, for a caller that switches between many trees
        and must not slow down the next ordinary build.
    :raise UserError: the profile names a tree, series, patch or fragment that is not there.
    :raise BuildError: a patch does not apply, an option is dropped, or the compiler fails.
    :raise GuestError: the disk is full.
    """
    builder = _Builder(profile, store, progress, apart)
    configured = builder.configured()
    for line in (configured.path / "lost").read_text().splitlines():
        progress.note(f"kernel {profile.name}: a selftest asks in vain for {line}")
    entry = builder.built(configured)
    if entry.hit:
        progress.note(f"kernel {profile.name}: already built ({entry.key[:12]})")
    release = (entry.path / "release").read_text().strip()
    signed = attestation_of(profile.series, store)
    return KernelArtefact(key=entry.key, path=entry.path, release=release, attestation=signed)


class _Builder(Configurator):
    """State of one call of :func:`build_kernel`."""

    def built(self, configured: Entry) -> Entry:
        """Return the entry with the built kernel."""
        config = (configured.path / "config").read_text()
        tree = (configured.path / "tree").read_text().strip()
        inputs = {
            "recipe": RECIPE,
            "tree": tree,
            "config": sha256(config.encode()).hexdigest(),
            "tools": self.tools,
            "settings": kbuild.build_settings(self.cc),
        }
        instrumented = self._instrumented(config)
        if instrumented:
            inputs["gcov"] = [*instrumented, *added_files(self.patches)]

        def build(folder: Path) -> None:
            require(*TOOLS, needed_for="a kernel build")
            with self.store.workspace(self.folder) as path:
                kept = KeptFolder(path)
                self.lay_out(kept, configured)
                self._compile(kept, config, folder)

        return self.store.get("kernel", inputs, build)

    def _instrumented(self, config: str) -> list[str]:
        """Return make's variables for the files to instrument; none if gcov is off."""
        if not gcov.asked_for(config):
            return []
        return gcov.make_variables(gcov.objects(touched_files(self.patches)))

    def _compile(self, kept: KeptFolder, config: str, folder: Path) -> None:
        kept.out.mkdir(exist_ok=True)
        final = kept.out / ".config"
        if not final.exists() or final.read_text() != config:
            final.write_text(config)
        fresh = not (kept.out / "vmlinux").exists()
        steps = self._estimate(kept, config) if fresh else None
        log = self.store.log(self.folder)
        shutil.rmtree(kept.report, ignore_errors=True)
        kept.report.mkdir()
        env = kbuild.environment(kept.tree, kept.out)
        argv = kbuild.tuxmake_argv(
            Path(sys.executable),
            kept.tree,
            kept.out,
            kept.report,
            folder / "headers",
            self.cc,
            os.cpu_count() or 1,
            env,
            self._instrumented(config),
        )
        with self.progress.step(f"build kernel {self.profile.name}") as step:
            counter = kbuild.StepCounter(step, steps)
            # tuxmake prints make's lines by Python, which buffers 8 KiB before writing to a pipe.
            unbuffered = {**env, "PYTHONUNBUFFERED": "1"}
            code = stream(argv, env=unbuffered, log=log, on_line=counter.line)
        lines = log.read_text(errors="replace").splitlines()
        if code != 0:
            self._failed(code, lines, log)
        if final.read_text() != config:
            raise BuildError(
                "the build changed its own configuration",
                where=final,
                hint="a tool that Kconfig asks differs between configuring and building",
            )
        if fresh:
            kept.steps.write_text(f"{counter.count}\n")
        self._collect(kept, folder, log)

    @staticmethod
    def _estimate(kept: KeptFolder, config: str) -> float:
        """Return the estimated number of steps of a build from scratch."""
        if kept.steps.exists():
            return float(kept.steps.read_text())
        return config.count("=y\n") * _STEPS_PER_OPTION

    def _failed(self, code: int, lines: Sequence[str], log: Path) -> None:
        if says_disk_full("\n".join(lines)):
            raise disk_full(self.store.root)
        raise BuildError(
            f"the kernel {self.profile.name} does not build (tuxmake ended with {code})",
            where=log,
            detail=kbuild.first_errors(lines),
            hint="the whole output is in that log",
        )

    def _collect(self, kept: KeptFolder, folder: Path, log: Path) -> None:
        """Copy the results of a finished build into its entry."""
        release = capture(
            kbuild.release_argv(kept.tree, kept.out, self.cc),
            env=kbuild.environment(kept.tree, kept.out),
        )
        if release.returncode != 0:
            raise BuildError("make kernelrelease failed", detail=release.complaint)
        (folder / "release").write_text(release.text + "\n")
        for source, name in (
            (kept.out / "arch/x86/boot/bzImage", "bzImage"),
            (kept.out / "vmlinux", "vmlinux"),
            (kept.out / "System.map", "System.map"),
            (kept.out / ".config", "config"),
            (kept.report / "metadata.json", "metadata.json"),
            (kept.report / "reproducer.sh", "reproducer.sh"),
            (log, "build.log"),
        ):
            if not source.exists():
                raise BuildError(f"the build left no {name}", where=source)
            shutil.copy2(source, folder / name)
        config = (kept.out / ".config").read_text()
        if "CONFIG_GDB_SCRIPTS=y\n" in config:
            self._collect_gdb_scripts(kept, folder)
        if gcov.asked_for(config):
            files, added = touched_files(self.patches), added_files(self.patches)
            gcov.collect(kept.tree, kept.out, files, added, folder)
        (folder / "profile.json").write_text(
            json.dumps(self.profile.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
        )

    def _collect_gdb_scripts(self, kept: KeptFolder, folder: Path) -> None:
        """Copy the kernel's gdb commands beside its vmlinux, where gdb looks for them."""
        made = capture(
            kbuild.config_argv(kept.tree, kept.out, self.cc, "scripts_gdb"),
            env=kbuild.environment(kept.tree, kept.out),
        )
        if made.returncode != 0:
            raise BuildError("make scripts_gdb failed", detail=made.complaint)
        shutil.copy2(kept.out / "vmlinux-gdb.py", folder / "vmlinux-gdb.py")
        shutil.copytree(kept.out / "scripts/gdb", folder / "scripts/gdb")
