"""Proof by mutants: each small wrong change to a series must make a named case fail.

A mutant is a patch on top of a bundled series, ``patches/mutants/PROFILE/NAME.patch``; its message
says which rule it breaks, and may say by a trailer ``Survives: REASON`` why no case can show it, or
by ``Shown-by: PROGRAMS [on CPU] [with N CPUs]`` where to look first. That saves time and decides
nothing: what such a run does not kill is run with the whole suite.
For each one a profile of the same name as the changed one is written, so that the kept build folder
of that profile rebuilds what the patch touches, and ``uintr-harness run`` is started with it. What
that run recorded is the verdict; its folder is kept like that of any run.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from harness import paths
from harness.artefacts.emulator.choice import OURS
from harness.artefacts.source.patch import Patch
from harness.artefacts.source.series import fetch_series, message_of
from harness.artefacts.store import Store
from harness.campaigns.child_runs import (
    ChildRun,
    Start,
    failures,
    run_child,
    start_command,
    write_profile,
)
from harness.errors import BuildError, ExitCode, GuestError, UserError
from harness.names import DEFAULT_KERNEL
from harness.progress import Progress
from harness.request.profiles import load_emulator, load_kernel
from harness.results.document import Document
from harness.values import Compiler, EmulatorProfile, FolderSeries, KernelProfile, Value

MutantTarget = Literal["emulator", "kernel"]
MutantStatus = Literal["killed", "survived", "excused", "does-not-build", "not-judged"]

MUTANTS_FILE = "mutants.json"
#: The run without a mutant, which has to pass.
UNCHANGED = "unchanged"
#: A mutant's run, and the one before it that its trailer asks for; logs have their names.
_RUN, _FIRST, _BASE = "run", "first", "base"
_SURVIVES = re.compile(r"^Survives:[ \t]*(.+(?:\n[ \t]+.+)*)", re.MULTILINE)
_SHOWN_BY = re.compile(r"^Shown-by:[ \t]*(.*)$", re.MULTILINE)
_WHERE = re.compile(r"(.+?)(?: on ([\w.-]+))?(?: with (\d+) CPUs?)?")


class _Kind(NamedTuple):
    """How mutants of one sort are run."""

    profile: str
    #: The option of ``run`` that takes the changed profile.
    option: str
    cpus: tuple[str, ...]
    smp: tuple[int, ...]
    select: str


KINDS: dict[MutantTarget, _Kind] = {
    "emulator": _Kind(OURS, "--qemu", ("exposed",), (1, 2, 4), "bare-metal"),
    "kernel": _Kind(DEFAULT_KERNEL, "--kernel", ("exposed", "hidden"), (2,), "not bare-metal"),
}


class Proof(Value):
    """What is to be proven, and with which cells; what is None is the kind's own."""

    of: MutantTarget = "emulator"
    #: The mutants' folder.
    folder: Path | None = None
    #: Names or patterns of mutants; none for all.
    names: tuple[str, ...] = ()
    cpus: tuple[str, ...] = ()
    smp: tuple[int, ...] = ()
    compilers: tuple[Compiler, ...] = ()
    accel: Literal["auto", "tcg", "kvm"] = "auto"
    #: pytest's ``-k`` expression over the programs.
    select: str | None = None
    #: Guests at a time.
    jobs: int = 1


class ShownBy(Value):
    """Where a mutant is looked for first; what is None is the proof's own."""

    #: pytest's ``-k`` expression over the programs.
    select: str
    cpu: str | None = None
    smp: int | None = None


class Mutant(Value):
    """One wrong change."""

    name: str
    path: Path
    #: What it does, in one line.
    subject: str
    #: Why no case can show it, if so.
    reason: str | None = None
    shown_by: ShownBy | None = None


class MutantResult(Value):
    """What came of one mutant."""

    name: str
    subject: str
    status: MutantStatus
    #: ``SUBJECT/PROGRAM::CASE`` that failed first, or the kernel's complaint.
    by: str = ""
    cell: str = ""
    #: What that case said, what did not build, or why it may survive.
    message: str = ""
    seconds: float = 0.0


class MutantsReport(Document):
    """``mutants.json``: rewritten as a whole after each mutant."""

    of: MutantTarget
    #: The profile whose series was changed.
    profile: str
    #: Mutants that were chosen; more than there are results of in a proof that was interrupted.
    chosen: int
    results: tuple[MutantResult, ...] = ()
    totals: dict[MutantStatus, int] = Field(default_factory=dict)


def find_mutants(folder: Path, names: Sequence[str] = ()) -> tuple[Mutant, ...]:
    """Return a folder's mutants in the order of their names.

    :param names: names or shell patterns of those wanted; none for all.
    :raise UserError: there is no such folder or mutant, or one says nothing about itself.
    """
    found = sorted(folder.glob("*.patch"))
    if not found:
        raise UserError("there are no mutants", where=folder, hint="they are files NAME.patch")
    for name in names:
        if not any(fnmatchcase(path.stem, name) for path in found):
            raise UserError(f"no mutant is named {name!r}", where=folder, hint=f"ls {folder}")
    return tuple(
        read_mutant(path)
        for path in found
        if not names or any(fnmatchcase(path.stem, name) for name in names)
    )


def read_mutant(path: Path) -> Mutant:
    """Read a mutant's description.

    :raise UserError: it has none.
    """
    subject, message = message_of(Patch(path.name, path.read_bytes()))
    if not subject or not message.strip() or path.stem in {UNCHANGED, _BASE}:
        raise UserError(
            "a mutant has a name of its own, a subject, and a message with the rule that it breaks",
            where=path,
            hint="`git format-patch` writes such a file",
        )
    reason = _SURVIVES.search(message)
    return Mutant(
        name=path.stem,
        path=path,
        subject=subject,
        reason=" ".join(reason[1].split()) if reason else None,
        shown_by=_shown_by(message, path),
    )


def _shown_by(message: str, path: Path) -> ShownBy | None:
    found = _SHOWN_BY.search(message)
    if not found:
        return None
    where = _WHERE.fullmatch(found[1].strip())
    if not where:
        raise UserError(
            "a mutant's trailer Shown-by names no program",
            where=path,
            hint="Shown-by: PROGRAMS [on CPU] [with N CPUs], as in: delivery/wait on exposed",
        )
    select, cpu, smp = where.groups()
    return ShownBy(select=select, cpu=cpu, smp=int(smp) if smp else None)


def run_argv(proof: Proof, profile: Path, out: Path, *, exit_first: bool) -> list[str]:
    """Return the command that runs a proof's suite with a changed profile."""
    kind = KINDS[proof.of]
    select = kind.select if proof.select is None else proof.select
    return [
        *(sys.executable, "-m", "harness", "run"),
        *(kind.option, str(profile)),
        *("--cpu", ",".join(proof.cpus or kind.cpus)),
        *("--smp", ",".join(map(str, proof.smp or kind.smp))),
        *(("--cc", ",".join(proof.compilers)) if proof.compilers else ()),
        *("--accel", proof.accel),
        *("--jobs", str(proof.jobs)),
        *(("-k", select) if select else ()),
        *(("-x",) if exit_first else ()),
        # After an oops, programs may wait forever.
        *(("--cmdline", "oops=panic") if exit_first and proof.of == "kernel" else ()),
        *("--out", str(out)),
    ]


def judge(mutant: Mutant, ran: ChildRun, run: Path, seconds: float) -> MutantResult:
    """Return what a run says of a mutant.

    :param run: its folder.
    :param seconds: what the mutant has taken so far.
    """
    result = MutantResult(
        name=mutant.name, subject=mutant.subject, status="not-judged", seconds=round(seconds, 1)
    )
    code = ran.exit_code
    if code == ExitCode.BUILD:
        return result.model_copy(update={"status": "does-not-build", "message": ran.error})
    if code == ExitCode.PASSED:
        status = "excused" if mutant.reason else "survived"
        return result.model_copy(update={"status": status, "message": mutant.reason or ""})
    failed = _first_failure(run)
    if code in {ExitCode.TESTS_FAILED, ExitCode.GUEST} and failed:
        return result.model_copy(update={"status": "killed", **failed})
    return result.model_copy(update={"message": ran.error or f"the run ended with {code}"})


def _first_failure(run: Path) -> dict[str, str]:
    """Return what failed first in a run, as fields of a result."""
    for failure in failures(run):
        if failure.kind != "guest" or failure.program:
            return {"by": failure.by, "cell": failure.cell, "message": failure.message}
    return {}


def exit_code(results: Iterable[MutantResult]) -> ExitCode:
    """Return the command's exit code: 4 wins over 3, and 3 over 1."""
    seen = {result.status for result in results}
    if "not-judged" in seen:
        return ExitCode.GUEST
    if "does-not-build" in seen:
        return ExitCode.BUILD
    return ExitCode.TESTS_FAILED if "survived" in seen else ExitCode.PASSED


def prove(
    proof: Proof,
    out: Path,
    store: Store,
    progress: Progress,
    on_result: Callable[[MutantResult], None],
    start: Start | None = None,
) -> MutantsReport:
    """Build and run each mutant; ``mutants.json`` in ``out`` has each result once it is known.

    :param start: runs a command; by default as a bounded process of its own.
    :raise UserError: a mutant's name or an option is wrong, or ``out`` holds a proof already.
    :raise BuildError: the unchanged series does not build.
    :raise GuestError: the suite does not pass without a mutant, so that no verdict would count.
    """
    kind = KINDS[proof.of]
    mutants = find_mutants(
        proof.folder or paths.PATCHES / "mutants" / kind.profile, names=proof.names
    )
    if proof.cpus or proof.smp or proof.select is not None:
        # Whoever chooses programs or cells wants these.
        mutants = tuple(one.model_copy(update={"shown_by": None}) for one in mutants)
    bench = _Bench(proof, out, start or start_command)
    bench.lay_out_base(store, progress)
    _check_unchanged(bench, mutants, progress)
    report = MutantsReport(of=proof.of, profile=kind.profile, chosen=len(mutants))
    for number, mutant in enumerate(mutants, 1):
        with progress.step(f"mutant {mutant.name} ({number} of {len(mutants)})") as step:
            result = bench.verdict(mutant, step.update)
        results = (*report.results, result)
        report = report.model_copy(
            update={"results": results, "totals": dict(Counter(one.status for one in results))}
        )
        report.write(out / MUTANTS_FILE)
        on_result(result)
    return report


def _check_unchanged(bench: _Bench, mutants: Iterable[Mutant], progress: Progress) -> None:
    """Check that the suite passes without a mutant, in each cell in which a mutant will run."""
    kind, proof = KINDS[bench.proof.of], bench.proof
    first = [one.shown_by for one in mutants if one.shown_by]
    cpus = dict.fromkeys([*(proof.cpus or kind.cpus), *(one.cpu for one in first if one.cpu)])
    smp = {*(proof.smp or kind.smp), *(one.smp for one in first if one.smp)}
    wide = proof.model_copy(update={"cpus": tuple(cpus), "smp": tuple(sorted(smp))})
    with progress.step("the suite without a mutant") as step:
        bench.lay_out(UNCHANGED, None)
        ran = bench.run(UNCHANGED, _RUN, wide, step.update, exit_first=False)
    if ran.exit_code == ExitCode.PASSED:
        return
    family = {ExitCode.USAGE: UserError, ExitCode.BUILD: BuildError}.get(ran.exit_code, GuestError)
    raise family(
        "the suite does not pass without a mutant, so that no verdict would mean anything",
        where=bench.out / UNCHANGED / f"{_RUN}.log",
        detail="\n".join(ran.said[-12:]),
        hint=f"uintr-harness report {bench.out / UNCHANGED / _RUN}",
    )


class _Bench:
    """Where mutants are laid out and run."""

    def __init__(self, proof: Proof, out: Path, start: Start) -> None:
        self.proof = proof
        self.out = out
        self._start = start
        self._profile: EmulatorProfile | KernelProfile | None = None
        self._lines: list[str] = []
        self._written: dict[str, Path] = {}

    def lay_out_base(self, store: Store, progress: Progress) -> None:
        """Write the series that mutants are put on, once for all."""
        kind = KINDS[self.proof.of]
        load = load_emulator if self.proof.of == "emulator" else load_kernel
        self._profile = load(kind.profile)
        base = self.out / _BASE
        if base.exists():
            raise UserError(
                "this folder already holds mutants",
                where=self.out,
                hint="give another --out, or remove the old ones",
            )
        base.mkdir(parents=True)
        for number, patch in enumerate(fetch_series(self._profile.series, store, progress), 1):
            (base / f"{number:04}.patch").write_bytes(patch.content)
            self._lines.append(f"{_BASE}/{number:04}.patch -p{patch.strip}")

    def lay_out(self, name: str, patch: Path | None) -> None:
        """Write the profile of the series with a patch on top of it."""
        assert self._profile is not None
        folder = self.out / name
        series = folder / "series"
        series.mkdir(parents=True)
        (series / _BASE).symlink_to(Path("../..") / _BASE)
        lines = list(self._lines)
        if patch:
            (series / "mutant.patch").write_bytes(patch.read_bytes())
            lines.append("mutant.patch")
        (series / "series").write_text("\n".join(lines) + "\n")
        changed = self._profile.model_copy(update={"series": FolderSeries(path=series.absolute())})
        # The name decides which kept build folder is used.
        self._written[name] = write_profile(changed, folder)

    def run(
        self,
        name: str,
        run: str,
        proof: Proof,
        on_line: Callable[[str], None],
        *,
        exit_first: bool,
    ) -> ChildRun:
        """Run a suite with what was laid out."""
        folder = self.out / name
        argv = run_argv(proof, self._written[name], folder / run, exit_first=exit_first)
        ran = run_child(argv, folder / run, folder / f"{run}.log", on_line, self._start)
        if ran.exit_code == ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        return ran

    def verdict(self, mutant: Mutant, on_line: Callable[[str], None]) -> MutantResult:
        """Run the programs that are said to show a mutant, and all unless one does."""
        self.lay_out(mutant.name, mutant.path)
        spent = 0.0
        for run, proof in self._attempts(mutant):
            ran = self.run(mutant.name, run, proof, on_line, exit_first=True)
            spent += ran.seconds
            result = judge(mutant, ran, self.out / mutant.name / run, spent)
            if ran.exit_code != ExitCode.PASSED:
                break
        return result

    def _attempts(self, mutant: Mutant) -> list[tuple[str, Proof]]:
        where = mutant.shown_by
        if not where:
            return [(_RUN, self.proof)]
        changes: dict[str, object] = {"select": where.select}
        if where.cpu:
            changes["cpus"] = (where.cpu,)
        if where.smp:
            changes["smp"] = (where.smp,)
        return [(_FIRST, self.proof.model_copy(update=changes)), (_RUN, self.proof)]
