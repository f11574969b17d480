"""Unattended search for the first bad commit of a tree, or the first bad patch of a series.

Each step is a run (``uintr-harness run``) with a profile for that commit, or for the patches up to
that one. The verdict comes from the run's exit code and records. The profile has the name of the
request's kernel, so that its kept build folder is used and a step rebuilds only what differs. Both
ends are run first, because a search between wrong ends finds nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.campaigns.bisect_range import SearchRange
from harness.campaigns.child_runs import (
    ChildRun,
    Failure,
    Start,
    all_skipped,
    failures,
    run_child,
    write_profile,
)
from harness.errors import BuildError, ExitCode, GuestError, HarnessError, UserError
from harness.lib.process import host_error
from harness.names import UNTESTABLE
from harness.progress import Progress
from harness.request.request import Request
from harness.results.bisection import (
    BISECT_FILE,
    Bisection,
    BisectionStep,
    Cause,
    Point,
    StepVerdict,
)
from harness.results.folder import make_results_folder
from harness.values import Value

#: Guest failures that the kernel under test causes.
_KERNELS_FAULT = {"panic", "hang"}
#: Further failures of a guest to boot.
_NO_BOOT = {"silent", "panic-before-init", "hang-in-init", "no-ssh"}
#: Suspects that ``bisect.json`` names while the search goes on.
_MAX_SUSPECTS = 64
_RUN, _LOG = "run", "run.log"


class BisectOptions(Value):
    """Options of a search; cells and programs are in the request."""

    out: Path | None = None
    #: Verdict on a kernel that does not boot.
    boot_failure: Literal["skip", "bad"] = "skip"
    #: Guests at a time.
    jobs: int = 1
    #: Runs of each program in a row, for failures that do not happen each time.
    repeat: int = 1
    #: Runs or baseline files that each step is compared with; a step that is worse is bad.
    baseline: tuple[Path, ...] = ()


def bisect(
    request: Request,
    options: BisectOptions,
    span: SearchRange,
    ends: tuple[str, str],
    progress: Progress,
    on_step: Callable[[BisectionStep], None],
    start: Start,
) -> tuple[Bisection, Path]:
    """Search for the first bad point; ``bisect.json`` is written after each step.

    :param ends: the ids of a good point and a bad one.
    :param on_step: called with each finished step.
    :param start: runs a command.
    :return: the result, and the folder with the runs and logs of the steps.
    :raise UserError: the good end is bad or the other way round, or a step's command is wrong.
    :raise BuildError: an end does not build.
    :raise GuestError: an end does not boot, or the host fails.
    """
    also = span.also_good(*ends)
    folder = make_results_folder(options.out, "bisect", BISECT_FILE)
    search = _Search(request, options, span, ends, folder, progress, on_step, start)
    return search.search(also), folder


@dataclass
class _Search:
    """State of one search."""

    request: Request
    options: BisectOptions
    span: SearchRange
    ends: tuple[str, str]
    folder: Path
    progress: Progress
    on_step: Callable[[BisectionStep], None]
    start: Start
    found: Bisection = field(init=False)

    def __post_init__(self) -> None:
        good, bad = map(self._point, self.ends)
        self.found = Bisection(
            of=self.span.of,
            kernel=self.request.kernel_profile("one kernel is searched at a time").name,
            tree=self.span.tree,
            good=good,
            bad=bad,
            select=self.request.select,
        )

    def search(self, also_good: Sequence[str]) -> Bisection:
        """Run both ends, then halve the range until one suspect is left or none can be run."""
        good, bad = self.found.good.id, self.found.bad.id
        self._expect(bad, "bad", "--bad")
        self._expect(good, "good", "--good")
        for base in also_good:
            self.progress.note(f"{base[:12]} is a merge base of good and bad")
            self._expect(base, "good", "the merge base of --good and --bad")
        goods, skipped, in_a_row = [good, *also_good], set[str](), 0
        while True:
            suspects = self.span.suspects(goods, bad)
            untested = [one for one in self.span.next_best(goods, bad) if one not in skipped]
            if not untested:
                return self._conclude(suspects)
            few = suspects if len(suspects) <= _MAX_SUSPECTS else ()
            self._write(suspects=tuple(map(self._point, few)))
            steps = math.ceil(math.log2(len(untested) + 1))
            self.progress.note(f"{len(suspects)} suspects, steps to go: about {steps}")
            id_ = untested[_skip_distance(in_a_row, len(untested))]
            verdict = self._step(id_).verdict
            in_a_row = in_a_row + 1 if verdict == "skip" else 0
            match verdict:
                case "good":
                    goods.append(id_)
                case "bad":
                    bad = id_
                case "skip":
                    skipped.add(id_)

    def _expect(self, id_: str, verdict: StepVerdict, what: str) -> None:
        """Run an end.

        :raise HarnessError: its verdict is another one.
        """
        step = self._step(id_)
        if step.verdict == verdict:
            return
        self._write(status="refused")
        kinds: dict[Cause | None, type[HarnessError]] = {
            None: UserError,
            "build": BuildError,
            "boot": GuestError,
            "guest": GuestError,
            "untested": UserError,
        }
        said = {"good": "passes", "bad": "fails", "skip": f"cannot be judged ({step.cause})"}
        hints = {
            "bad": "choose programs with -k that pass there; see what failed with "
            f"uintr-harness report {self.folder / step.folder / _RUN}",
            "good": "choose programs with -k that fail there; a failure that does not happen each "
            "time needs --repeat",
            "skip": "--boot-failure bad searches for the first kernel that does not boot"
            if step.cause == "boot"
            else "choose programs with -k that do not skip there"
            if step.cause == "untested"
            else f"its log is {self.folder / step.folder / _LOG}",
        }
        raise kinds[step.cause](
            f"{what} has to be {verdict}, but it {said[step.verdict]}",
            where=f"{step.point.id[:12]} ({step.point.subject})",
            detail="  ".join(filter(None, (step.by, step.message))) or None,
            hint=hints[step.verdict],
        )

    def _conclude(self, suspects: Sequence[str]) -> Bisection:
        points = tuple(map(self._point, suspects))
        if len(points) == 1:
            self._write(status="found", first_bad=points[0], suspects=())
        else:
            self._write(status="range", suspects=points)
        return self.found

    def _write(self, **changes: object) -> None:
        self.found = self.found.model_copy(update=changes)
        self.found.write(self.folder / BISECT_FILE)

    def _point(self, id_: str) -> Point:
        return Point(id=id_, subject=self.span.subject(id_))

    # --- one step ----------------------------------------------------------------------------

    def _step(self, id_: str) -> BisectionStep:
        number = len(self.found.steps) + 1
        point = self._point(id_)
        place = f"{number:02}-{self.span.place(id_)}"
        folder = self.folder / place
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise host_error(error, folder) from error
        profile = self.span.profile(id_, folder)
        if id_ != self.ends[1]:
            # A fragment's option may come with a later commit; the bad end must have it.
            profile = profile.model_copy(update={"unknown_options": "drop"})
        argv = run_argv(self.request, self.options, write_profile(profile, folder), folder / _RUN)
        with self.progress.step(f"step {number}: {point.id[:12]} {point.subject}") as step:
            ran = run_child(argv, folder / _RUN, folder / _LOG, step.update, self.start)
        result = BisectionStep(
            number=number,
            point=point,
            exit_code=ran.exit_code,
            seconds=round(ran.seconds, 1),
            folder=place,
            **judge(ran, folder / _RUN, self.options.boot_failure),
        )
        self._write(steps=(*self.found.steps, result))
        self.on_step(result)
        return result


def _skip_distance(skips: int, count: int) -> int:
    """Return the index of the point to test after some skips in a row; the best point is first.

    A broken build usually spans several commits, and the next best points are neighbours of the
    last one. So each further skip goes further away.
    """
    return count * skips // (skips + 3)


def run_argv(request: Request, options: BisectOptions, profile: Path, out: Path) -> list[str]:
    """Return the command that builds and runs one step."""
    smp = ",".join(map(str, request.smp)) if "smp" in request.model_fields_set else ""
    values = {
        "--kernel": str(profile),
        "--cpu": ",".join(request.cpus),
        "--smp": smp,
        "--cc": ",".join(request.compilers),
        "--accel": request.accel,
        "--clock": request.clock,
        "--qemu": request.qemu,
        "--cmdline": request.cmdline,
        "-k": request.select,
        "--jobs": str(options.jobs),
        "--repeat": str(options.repeat),
        "--out": str(out),
    }
    return [
        *(sys.executable, "-m", "harness", "run", "-x"),
        *(part for flag, value in values.items() if value for part in (flag, value)),
        *(part for path in options.baseline for part in ("--baseline", str(path))),
        # The baseline may have all programs; this run stops at the first failure.
        *(("--allow-missing",) if options.baseline else ()),
    ]


def judge(ran: ChildRun, run: Path, boot_failure: Literal["skip", "bad"]) -> dict[str, object]:
    """Return a run's verdict on its kernel, as fields of a step.

    A kernel is bad if a guest panics or hangs while a program runs. A guest lost in another way
    tells nothing about the kernel, and neither do failures of the program that ran in it.

    :param run: the run's folder.
    :raise UserError: the run's command is wrong.
    :raise GuestError: the host failed.
    :raise KeyboardInterrupt: the run was interrupted.
    """
    if ran.exit_code == ExitCode.PASSED:
        return {"verdict": "good"}
    if ran.exit_code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if ran.exit_code == ExitCode.USAGE:
        raise UserError("the run of a step was refused", where=run, detail="\n".join(ran.said[-8:]))
    found = list(failures(run))
    lost = [one for one in found if one.kind == "guest"]
    for failure in found:
        if _is_kernel_fault(failure, lost):
            return {"verdict": "bad", **_seen(failure)}
    if lost:
        boot = any(not one.program and one.verdict in _NO_BOOT | _KERNELS_FAULT for one in lost)
        verdict = "bad" if boot and boot_failure == "bad" else "skip"
        cause = None if verdict == "bad" else "boot" if boot else "guest"
        return {"verdict": verdict, "cause": cause, **_seen(lost[0])}
    if ran.exit_code == ExitCode.BUILD:
        return {"verdict": "skip", "cause": "build", "message": ran.error}
    if ran.exit_code == ExitCode.TESTS_FAILED:
        if all_skipped(run):
            return {"verdict": "skip", "cause": "untested", "message": "all cases were skipped"}
        return {"verdict": "bad", "by": "(baseline)", "message": "worse than the baseline"}
    raise GuestError(
        "the host failed in a step", where=run, detail="\n".join(ran.said[-8:]) or None
    )


def exit_code_for_git(code: ExitCode, run: Path) -> int:
    """Return a run's verdict on its kernel as an exit code for ``git bisect run``.

    :param run: the run's folder.
    :raise: as :func:`judge`.
    """
    verdict = judge(ChildRun(code, "", (), 0.0), run, "skip")["verdict"]
    return {"good": 0, "bad": 1}.get(str(verdict), UNTESTABLE)


def _is_kernel_fault(failure: Failure, lost: Sequence[Failure]) -> bool:
    """Tell whether the kernel caused a failure."""
    if failure.kind == "guest":
        return bool(failure.program) and failure.verdict in _KERNELS_FAULT
    return not any(
        one.cell == failure.cell
        and one.program == failure.program
        and one.verdict not in _KERNELS_FAULT
        for one in lost
    )


def _seen(failure: Failure) -> dict[str, str]:
    return {"by": failure.by, "cell": failure.cell, "message": failure.message}
