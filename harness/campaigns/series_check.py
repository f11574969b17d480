"""Check of a series patch by patch: each is applied, built, linted, booted and tested.

The kernels are built as usual (:func:`harness.artefacts.kernel.build.build_kernel`), in one
separate kept folder, so that each build is a small step from the last. The patches up to each one
are written as a series, in a folder for ``--series`` beside the results of its run.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.artefacts.kernel import lint
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.kernel.configure import laid_out
from harness.artefacts.source.patch import Patch, changes
from harness.artefacts.source.series import (
    DoesNotApplyError,
    fetch_series,
    slug,
    subject_of,
    touched_files,
    write_series,
)
from harness.artefacts.source.trees import describe_source
from harness.artefacts.store import Store
from harness.errors import BuildError, ExitCode, GuestError, UserError
from harness.lib.process import stream
from harness.paths import BOOT_TEST
from harness.progress import Progress
from harness.report.render import render_run
from harness.request.request import Request
from harness.results.folder import RunFolder, make_results_folder
from harness.results.series import SERIES_FILE, SeriesResult, StepCell, StepResult, step_cells
from harness.run.engine import begin_run, errors_noted
from harness.run.prepare import ChosenQemu, choose_qemu
from harness.run.suite import (
    PYTEST_FAILED,
    PYTEST_NO_TESTS,
    PYTEST_OK,
    RunOptions,
    pytest_argv,
)
from harness.values import FolderSeries, KernelProfile, Plan, Value

#: Suffix of the kept folder, so that normal builds keep theirs.
APART = "series"


class CheckOptions(Value):
    """Options of a check; series and cells are in the request."""

    out: Path | None = None
    #: Boot each patch's kernel in each cell; if programs are selected, run them.
    boot: bool = True
    #: Run sparse, if it is installed, on the files that the series touches.
    sparse: bool = True


def check_series(
    request: Request, options: CheckOptions, progress: Progress
) -> tuple[SeriesResult, Path]:
    """Check each patch of the request's series, and return the result and its folder.

    A patch that does not build or boot does not stop the check. One that does not apply does,
    because later patches depend on it.

    :raise UserError: not exactly one kernel, no series, or something named does not exist.
    :raise BuildError: the tree without the series, or QEMU, does not build.
    :raise GuestError: the host fails.
    """
    profile = request.kernel_profile("a series is checked on one kernel")
    store = Store.open(progress)
    patches = fetch_series(profile.series, store, progress)
    if not patches:
        raise UserError(
            "there is no series to check",
            where=f"kernel {profile.name}",
            hint="name a kernel that has one, or give one with --series",
        )
    folder = make_results_folder(options.out, "series", SERIES_FILE)
    qemu = choose_qemu(request.plan(), request.qemu, store, progress) if options.boot else None
    checker = _Checker(request, options, profile, patches, folder, qemu, store, progress)
    return checker.check(), folder


@dataclass
class _Checker:
    """State of one check."""

    request: Request
    options: CheckOptions
    profile: KernelProfile
    patches: Sequence[Patch]
    folder: Path
    qemu: ChosenQemu | None
    store: Store
    progress: Progress
    #: Complaints of compiler and sparse after the patch before.
    before: tuple[lint.Findings, lint.Findings | None] = (lint.Findings(), None)

    def __post_init__(self) -> None:
        self.files = touched_files(self.patches)
        self.sparse = self.options.sparse and lint.has_sparse()

    def check(self) -> SeriesResult:
        """Check the tree without the series, then each patch; write the result after each."""
        if self.options.sparse and not self.sparse:
            self.progress.note("sparse is not installed: left out (apt-get install sparse)")
        bare = self.profile.model_copy(update={"series": None, "unknown_options": "drop"})
        build_kernel(bare, self.store, self.progress, apart=APART)
        self.before = self._lint(bare, self.folder)
        result = SeriesResult(
            kernel=self.profile.name,
            toolchain=self.profile.toolchain,
            base=describe_source(self.profile.source),
            length=len(self.patches),
        )
        for number in range(1, len(self.patches) + 1):
            step = self._step(number)
            result = result.model_copy(update={"patches": (*result.patches, step)})
            result.write(self.folder / SERIES_FILE)
            if not step.applies:
                break
        return result

    # --- one patch ---------------------------------------------------------------------------

    def _step(self, number: int) -> StepResult:
        patch = self.patches[number - 1]
        subject = subject_of(patch)
        self.progress.note(f"patch {number} of {len(self.patches)}: {subject}")
        folder = self.folder / f"{number:02}-{slug(subject)}"
        profile = self._profile(number, write_series(folder / "series", self.patches[:number]))
        step = StepResult(number=number, patch=patch.name, subject=subject)
        begun = time.monotonic()
        try:
            build_kernel(profile, self.store, self.progress, apart=APART)
        except DoesNotApplyError as error:
            return step.model_copy(update={"error": str(error)})
        except BuildError as error:
            step = step.model_copy(update={"builds": False, "error": str(error)})
        else:
            took = time.monotonic() - begun
            step = step.model_copy(update={"builds": True, "build_s": round(took, 1)})
        step = step.model_copy(update={"applies": True})
        try:
            step = self._with_lint_findings(step, profile, folder)
            if step.builds and self.qemu:
                cells = self._run(profile, folder, self.qemu)
                changes = {"cells": cells, "tested": bool(self.request.select)}
                step = step.model_copy(update=changes)
        except BuildError as error:
            if str(error) != step.error:  # a configuration that fails is reported twice
                said = "\n".join(filter(None, (step.error, str(error))))
                step = step.model_copy(update={"error": said})
        return step

    def _profile(self, number: int, series: Path) -> KernelProfile:
        """Return the profile of the first patches; the tree may lack options of later ones."""
        unknown = "refuse" if number == len(self.patches) else "drop"
        return self.profile.model_copy(
            update={"series": FolderSeries(path=series), "unknown_options": unknown}
        )

    # --- lint --------------------------------------------------------------------------------

    def _with_lint_findings(
        self, step: StepResult, profile: KernelProfile, folder: Path
    ) -> StepResult:
        """Add checkpatch's findings in a patch, and new complaints of the compiler and sparse."""
        newest = max((folder / "series").glob("*.patch"))
        found = changes(self.patches[step.number - 1])
        added = () if found.removes else found.added
        with laid_out(profile, self.store, self.progress, apart=APART) as place:
            style = lint.check_patch(place.tree, newest, added)
        step = step.model_copy(update={"checkpatch": style})
        if not step.builds:
            return step
        now = self._lint(profile, folder)
        fresh = [
            None if found is None else lint.fresh(found, known or lint.Findings())
            for found, known in zip(now, self.before, strict=True)
        ]
        self.before = now
        return step.model_copy(update={"warnings": fresh[0], "sparse": fresh[1]})

    def _lint(
        self, profile: KernelProfile, folder: Path
    ) -> tuple[lint.Findings, lint.Findings | None]:
        """Return all complaints of compiler and sparse about the files that the series touches."""
        jobs = os.cpu_count() or 1
        with laid_out(profile, self.store, self.progress, apart=APART) as place:
            objects = lint.objects_of(self.files, place)
            with self.progress.step(f"lint {len(objects)} files"):
                log = folder / "warnings.log"
                found = lint.find(place, objects, profile.toolchain, jobs, log)
                read = None
                if self.sparse:
                    log = folder / "sparse.log"
                    said = lint.find(place, objects, profile.toolchain, jobs, log, sparse=True)
                    read = lint.within(said, self.files)
        return found, read

    # --- guests ------------------------------------------------------------------------------

    def _run(self, profile: KernelProfile, folder: Path, qemu: ChosenQemu) -> tuple[StepCell, ...]:
        """Boot the patch's kernel in each cell, in a run's folder; run the selected programs."""
        overrides = self.request.overrides.model_copy(update={"series": str(folder / "series")})
        request = self.request.model_copy(update={"overrides": overrides})
        named = request.plan()
        cells = (cell.model_copy(update={"kernel": profile}) for cell in named.cells)
        plan = Plan(cells=tuple(cells), select=named.select)
        run = begin_run(
            request,
            self.progress,
            lambda: RunFolder(folder),
            sys.argv,
            plan=plan,
            qemu=qemu,
        ).folder
        with errors_noted(run):
            failed = self._pytest(run, request)
        # The verdict is that of the records, but pytest may have seen further failures.
        code = ExitCode.TESTS_FAILED if failed else ExitCode.PASSED
        run.end(code, reason="a test failed" if failed else "")
        return step_cells(render_run(run))

    def _pytest(self, run: RunFolder, request: Request) -> bool:
        """Run pytest in a child process, because it cannot run many times in one.

        :return: whether a test failed.
        """
        options = RunOptions(
            verbose=1,
            tests=() if request.select else (str(BOOT_TEST),),
            # `run --lf` must not repeat failures of this check.
            pytest_args=("-p", "no:cacheprovider"),
        )
        argv = [sys.executable, "-m", "pytest", *pytest_argv(run, request, options)]
        log = run.path / "pytest.log"
        title = "run the programs" if request.select else "boot"
        with self.progress.step(title) as step:
            code = stream(
                argv, env=os.environ, log=log, on_line=lambda line: step.update(line[:60])
            )
        if code == PYTEST_NO_TESTS:
            raise UserError("no program matches, so nothing was run", where="-k")
        if code not in {PYTEST_OK, PYTEST_FAILED}:
            tail = log.read_text(errors="replace")[-2000:]
            raise GuestError("pytest failed", where=log, detail=tail)
        return code == PYTEST_FAILED
