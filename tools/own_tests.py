"""Run QEMU's own tests with the series and without: ``python -m tools.own_tests``.

Both trees are built with their default devices and two targets, x86_64-softmmu and
x86_64-linux-user. Each then runs its own tests that need no network: meson's suites
``qtest-x86_64`` and ``unit``, and the rules of ``tests/tcg`` that the host's compiler can build. A
test is identified by its name, a TAP line in a program also by the program's name. Tests that pass
only without the series are run again in both trees, three times, because some depend on the
machine's load. The exit code is 1 if the difference remains.

Trees are kept in ``--folder``, so that only what a changed patch concerns is built again.
"""

from __future__ import annotations

import argparse
import bz2
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

from harness.artefacts.emulator import qemu_build
from harness.artefacts.emulator.qemu_subprojects import add_subprojects
from harness.artefacts.source.git import Repository
from harness.artefacts.source.series import apply_series, fetch_series
from harness.artefacts.source.tree_kind import QEMU_TREE
from harness.artefacts.source.trees import describe_source, fetch_source
from harness.artefacts.store import Store
from harness.errors import BuildError, HarnessError
from harness.lib.process import capture, stream
from harness.progress import Progress
from harness.report.progress import RichProgress
from harness.request.profiles import load_emulator
from harness.values import EmulatorProfile

STOCK, OURS = "qemu-10.0-stock", "qemu-10.0"
SUITES = ("qtest-x86_64", "unit")
TCG_TARGETS = ("x86_64-linux-user", "x86_64-softmmu")

_FEATURES = (
    "--disable-docs",
    "--disable-install-blobs",
    "--disable-debug-info",
    "--disable-werror",
    "--disable-download",
    "--disable-kvm",
)
#: Folders of the host's firmware, because the source package has none, and the folder of the build
#: in which QEMU looks for it.
_FIRMWARE = (*qemu_build.HOST_FIRMWARE, Path("/usr/lib/ipxe/qemu"))
_FIRMWARE_PLACE = "qemu-bundle/usr/local/share/qemu"
_RULE_S = 600.0
_AGAIN = 3
_GOOD = {"pass", "skip"}

Outcomes = dict[str, str]


class Tree:
    """A QEMU in its own folder, with ``tree/`` and ``out/``."""

    def __init__(self, profile: EmulatorProfile, folder: Path) -> None:
        self.profile = profile
        self.folder = folder
        self.tree, self.out = folder / "tree", folder / "out"
        self.log = folder / "log"
        self.folder.mkdir(parents=True, exist_ok=True)

    # --- build -----------------------------------------------------------------------------

    def build(self, store: Store, progress: Progress) -> None:
        self._lay_out(store, progress)
        self.log.unlink(missing_ok=True)
        if not (self.out / "build.ninja").exists():
            self.out.mkdir(exist_ok=True)
            self._run(self._configure_argv(), progress)
        self._run(["ninja", "all", "test-plugins"], progress)
        place = self.out / _FIRMWARE_PLACE
        place.mkdir(parents=True, exist_ok=True)
        for file in (file for folder in _FIRMWARE for file in folder.glob("*.*")):
            if not (place / file.name).exists():
                (place / file.name).symlink_to(file)

    def _lay_out(self, store: Store, progress: Progress) -> None:
        base = fetch_source(self.profile.source, store, progress, QEMU_TREE)
        name = describe_source(self.profile.source)
        self.tree.mkdir(exist_ok=True)
        repository = Repository(self.folder / "repository.git", self.tree).init()
        repository.borrow(base.repository)
        bare = Repository(repository.git_dir)
        index = self.folder / "index"
        commit = add_subprojects(bare, base.commit, index, store, progress)
        patches = fetch_series(self.profile.series, store, progress)
        commit = apply_series(bare, commit, patches, name, progress)
        files = qemu_build.overlay(
            b"",
            lambda path: bare.try_("cat-file", "-e", f"{commit}:{path}").returncode == 0,
            bare.run("cat-file", "-p", f"{commit}:pc-bios/meson.build"),
        )
        # Unlike the harness' build, this one unpacks them.
        files = {path: data or bz2.compress(b"") for path, data in files.items()}
        index.unlink(missing_ok=True)
        repository.check_out(qemu_build.add_files(bare, commit, files, index))

    def _configure_argv(self) -> list[str]:
        return [
            str(self.tree / "configure"),
            "--target-list=x86_64-softmmu,x86_64-linux-user",
            *_FEATURES,
            f"--python={sys.executable}",
        ]

    def _run(self, argv: Sequence[str], progress: Progress) -> None:
        # Paths in objects are relative, so that common files of the trees are compiled once.
        env = {
            **qemu_build.environment(self.folder),
            "CCACHE_NOHASHDIR": "true",
        }
        with progress.step(f"{self.profile.name}: {Path(argv[0]).name}") as step:
            code = stream(argv, cwd=self.out, env=env, log=self.log, on_line=step.update)
        if code:
            raise BuildError(f"{argv[0]} ended with {code}", where=self.log)

    # --- tests -----------------------------------------------------------------------------

    def meson_tests(self, names: Sequence[str], progress: Progress) -> Outcomes:
        """Run tests by name, or all of :data:`SUITES`, and return the outcome of each case."""
        argv = [
            str(self.out / "pyvenv/bin/meson"),
            "test",
            "--no-rebuild",
            "--timeout-multiplier",
            "4",
        ]
        argv += [f"--num-processes={os.cpu_count() or 1}"]
        argv += names or [f"--suite={suite}" for suite in SUITES]
        report = self.out / "meson-logs" / "testlog.junit.xml"
        report.unlink(missing_ok=True)
        with progress.step(f"{self.profile.name}: meson test") as step:
            stream(argv, cwd=self.out, log=self.log, on_line=step.update)
        return read_junit(report.read_text())

    def tcg_rules(self, progress: Progress) -> list[str]:
        """Return the rules of ``make check-tcg``, as ``TARGET/RULE``."""
        rules = []
        for target in TCG_TARGETS:
            self._run(["make", f"build-tcg-tests-{target}"], progress)
            folder = self._tcg_folder(target)
            said = capture(["make", "-s", "help"], cwd=folder, timeout_s=60).text
            rules += [
                f"{target}/{rule}" for rule in re.findall(r"^\s+(run-\S+?);?$", said, re.MULTILINE)
            ]
        return rules

    def _tcg_folder(self, target: str) -> Path:
        return self.out / "tests" / "tcg" / target

    def tcg_tests(self, rules: Sequence[str], progress: Progress) -> Outcomes:
        """Run rules, and return the outcome of each."""

        def run(rule: str) -> str:
            target, _, name = rule.partition("/")
            argv = ["make", "-C", str(self._tcg_folder(target)), name]
            try:
                done = capture(argv, timeout_s=_RULE_S)
            except BuildError:
                return "timeout"
            with self.log.open("ab") as log:
                log.write(done.stdout + done.stderr)
            if done.returncode:
                return "fail"
            return "skip" if re.search(r"^\s+SKIPPED ", done.text, re.MULTILINE) else "pass"

        title = f"{self.profile.name}: tests/tcg, {len(rules)} rules"
        with progress.step(title), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return dict(zip(rules, pool.map(run, rules), strict=True))


def read_junit(text: str) -> Outcomes:
    """Return the outcome of each case in meson's report; the worse of two with the same name."""
    outcomes: Outcomes = {}
    for suite in ElementTree.fromstring(text).iter("testsuite"):
        for case in suite.iter("testcase"):
            where = suite.get("name", "").rpartition(".")[2] or suite.get("name", "")
            name = f"{where}: {case.get('name')}"
            outcome = _outcome(case)
            if outcomes.get(name) in {None, "pass", "skip"}:
                outcomes[name] = outcome
    return outcomes


def _outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "fail"
    return "skip" if case.find("skipped") is not None else "pass"


def worse(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the cases that were good before and now are not, or are missing."""
    return sorted(
        name for name, was in before.items() if was in _GOOD and after.get(name) not in _GOOD
    )


class Both:
    """Both trees, built and tested in the same way."""

    def __init__(self, folder: Path, profiles: Sequence[str], progress: Progress) -> None:
        self.progress = progress
        loaded = [load_emulator(name) for name in profiles]
        self.trees = [Tree(profile, folder / profile.name) for profile in loaded]

    def build(self) -> None:
        store = Store.open(self.progress)
        for tree in self.trees:
            tree.build(store, self.progress)

    def all_tests(self, programs: Sequence[str]) -> list[Outcomes]:
        return [
            tree.meson_tests(programs, self.progress)
            | tree.tcg_tests(tree.tcg_rules(self.progress), self.progress)
            for tree in self.trees
        ]

    def again(self, names: Sequence[str]) -> list[Outcomes]:
        """Run the programs of some cases again."""
        programs = sorted({name.partition(": ")[0] for name in names if ": " in name})
        rules = [name for name in names if ": " not in name]
        return [
            (tree.meson_tests(programs, self.progress) if programs else {})
            | tree.tcg_tests(rules, self.progress)
            for tree in self.trees
        ]


def settle(both: Both, before: Outcomes, after: Outcomes) -> list[str]:
    """Return the cases that are still worse after further runs.

    A case that fails once without the series does not fail because of it.
    """
    left = worse(before, after)
    for _ in range(_AGAIN):
        if not left:
            break
        was, now = both.again(left)
        left = [name for name in left if was.get(name) in _GOOD and now.get(name) not in _GOOD]
    return left


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--folder", type=Path, required=True, help="folder for trees, builds and results"
    )
    options.add_argument("--emulators", default=f"{STOCK},{OURS}", help="profiles: before,after")
    options.add_argument("--meson", help="names of meson's tests to run instead of both suites")
    options.add_argument("--build-only", action="store_true")
    return options


def main() -> int:
    options = parser().parse_args()
    folder = options.folder.resolve()
    try:
        with RichProgress() as progress:
            both = Both(folder, options.emulators.split(","), progress)
            both.build()
            if options.build_only:
                return 0
            results = both.all_tests(options.meson.split(",") if options.meson else [])
            left = settle(both, *results)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    names = [tree.profile.name for tree in both.trees]
    (folder / "results.json").write_text(json.dumps(dict(zip(names, results, strict=True))))
    for name, outcomes in zip(names, results, strict=True):
        counts = Counter(outcomes.values())
        print(f"{name}: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")
    for name in worse(results[1], results[0]):
        print(f"better: {name}: {results[0].get(name, 'gone')} → {results[1][name]}")
    for name in left:
        print(f"worse: {name}: {results[0][name]} → {results[1].get(name, 'gone')}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
