"""A sample of a series' mutants, each built and run until something notices it.

The results are written after each mutant. An interrupted campaign can be continued, or extended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from harness import paths
from harness.artefacts.bare_metal import PLAYER, build_bare_metal
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.source.series import fetch_series
from harness.artefacts.store import Store
from harness.campaigns.bare_fuzz.play import PlayerSetup
from harness.campaigns.child_runs import Start, start_command
from harness.campaigns.mutants import KINDS, Proof
from harness.campaigns.mutation.candidates import Candidate, candidates_in, in_order
from harness.campaigns.mutation.records import (
    EXPLAINED_FILE,
    REPORT_FILE,
    Basis,
    Explained,
    GeneratedReport,
    GeneratedResult,
    read_explained,
    read_report,
    unknown,
)
from harness.campaigns.mutation.sequences import Sequences
from harness.campaigns.mutation.suite import Kill, NotJudged, Suite, Unnoticed
from harness.campaigns.mutation.trees import (
    MAX_OBJECTS,
    Built,
    Tree,
    kernel_tree,
    qemu_tree,
)
from harness.errors import GuestError, UserError
from harness.names import DEFAULT_COMPILER
from harness.progress import Progress
from harness.request.profiles import load_emulator, load_kernel
from harness.request.request import Request
from harness.values import Emulator, Value

#: The CPUs that mutants of the emulator run on: the series also decides what a CPU without the
#: feature refuses.
EMULATOR_CPUS = ("exposed", "hidden")
#: Folders in that of the results.
PATCHES, RUNS, LOGS = "patches", "runs", "logs"
UNCHANGED = "unchanged"


class Sample(Value):
    """The size of a sample of mutants, and its seed."""

    count: int
    seed: int = 1
    #: Number of sequences played on a mutant of the emulator that no program notices.
    sequences: int = 0


class Judge(Protocol):
    """Runs programs with a mutant."""

    def judge(
        self, name: str, built: Built, on_line: Callable[[str], None]
    ) -> Kill | NotJudged | Unnoticed:
        """Return what notices it, if anything does."""


class GeneratedCampaign:
    """The mutants of a tree, in their order.

    :param tell: called with each result.
    """

    def __init__(
        self,
        tree: Tree,
        candidates: Sequence[Candidate],
        report: GeneratedReport,
        out: Path,
        explained: dict[str, Explained],
        judge: Judge,
        sequences: Sequences | None,
        progress: Progress,
        tell: Callable[[GeneratedResult, Candidate], None],
    ) -> None:
        self._tree = tree
        self._candidates = candidates
        self._report = report
        self._out = out
        self._explained = explained
        self._judge = judge
        self._sequences = sequences
        self._progress = progress
        self._tell = tell

    def run(self) -> GeneratedReport:
        """Judge mutants until enough of them differ, or there are no more.

        :raise GuestError: the host fails.
        """
        for folder in (PATCHES, LOGS):
            (self._out / folder).mkdir(exist_ok=True)
        known = {one.name for one in self._report.results if one.status != "not-judged"}
        kept = tuple(self._reasoned(one) for one in self._report.results if one.name in known)
        self._report = self._report.model_copy(update={"results": kept})
        for one in self._candidates:
            if self._report.different >= self._report.wanted:
                break
            if one.name in known:
                continue
            title = f"mutant {self._report.different + 1} of {self._report.wanted}: {one.name}"
            with self._progress.step(title) as step:
                result = self._result(one, step.update)
            results = (*self._report.results, result)
            self._report = self._report.model_copy(update={"results": results})
            self._write()
            self._tell(result, one)
            if result.status == "killed" and one.change in self._explained:
                self._progress.note(f"explained, but killed: {one.name}")
        self._write()
        return self._report

    def _write(self) -> None:
        self._report.write(self._out / REPORT_FILE)

    def _result(self, one: Candidate, on_line: Callable[[str], None]) -> GeneratedResult:
        patch = one.patch.encode(errors="surrogateescape")
        (self._out / PATCHES / f"{one.name}.patch").write_bytes(patch)
        log = self._out / LOGS / f"{one.name}.log"
        log.unlink(missing_ok=True)
        began = time.monotonic()
        with self._tree.changed(one.file, one.text):
            objects = self._tree.compile(one.file, log)
            if objects == "":
                return GeneratedResult.of(one, "equivalent", build_s=_since(began))
            before = [known for known in self._report.results if objects == known.objects]
            if before:
                same = f"as {before[0].name}"
                return GeneratedResult.of(one, "same", message=same, build_s=_since(began))
            if objects is None or not self._tree.make(self._tree.all_of_it(), log):
                said = _first_error(log)
                return GeneratedResult.of(
                    one, "does-not-build", message=said, build_s=_since(began)
                )
        build_s = _since(began)
        began = time.monotonic()
        result = self._run(one, on_line)
        return result.model_copy(
            update={"objects": objects, "build_s": build_s, "run_s": _since(began)}
        )

    def _run(self, one: Candidate, on_line: Callable[[str], None]) -> GeneratedResult:
        """Run sequences and programs with what was built; a few sequences first: they are quick."""
        built = self._tree.built(self._out / "built")
        if found := self._play(one, built, on_line, first=True):
            return found
        verdict = self._judge.judge(f"{RUNS}/{one.name}", built, on_line)
        if isinstance(verdict, NotJudged):
            return GeneratedResult.of(one, "not-judged", message=verdict.message)
        if isinstance(verdict, Kill):
            return GeneratedResult.of(one, "killed", **verdict._asdict())
        if found := self._play(one, built, on_line, first=False):
            return found
        return self._reasoned(GeneratedResult.of(one, "survived", unsteady=verdict.unsteady))

    def _play(
        self, one: Candidate, built: Built, on_line: Callable[[str], None], *, first: bool
    ) -> GeneratedResult | None:
        """Play sequences. Return a result if one differs, or if QEMU or the host fails."""
        emulator = built.get("emulator")
        if not self._sequences or not isinstance(emulator, Emulator):
            return None
        on_line("sequences")
        try:
            said = self._sequences.judge(emulator, first=first)
        except GuestError as error:
            return GeneratedResult.of(one, "not-judged", message=error.what)
        return GeneratedResult.of(one, "killed", way="sequence", message=said) if said else None

    def _reasoned(self, result: GeneratedResult) -> GeneratedResult:
        """Return a result with the reason that is known now for a survivor."""
        if result.status not in {"survived", "explained"}:
            return result
        known = self._explained.get(result.change)
        status = "explained" if known else "survived"
        changes = {"status": status, "message": known.reason if known else ""}
        return result.model_copy(update=changes)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)


def _first_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return next((line.strip() for line in lines if "error:" in line), lines[-1] if lines else "")


# --- all that a campaign needs --------------------------------------------------------------


def generate(
    proof: Proof,
    sample: Sample,
    out: Path,
    store: Store,
    progress: Progress,
    tell: Callable[[GeneratedResult, Candidate], None],
    start: Start = start_command,
) -> GeneratedReport:
    """Make mutants of a bundled series, and judge them.

    :param out: the folder of the results, or of those so far.
    :raise UserError: an option is wrong, or ``out`` holds results of other mutants.
    :raise BuildError: the unchanged series does not build.
    :raise GuestError: the programs do not pass without a mutant, or the host fails.
    """
    basis = _basis(proof, sample, store, progress)
    known = read_report(out / REPORT_FILE, basis)
    if known is None:
        known = GeneratedReport(basis=basis, wanted=sample.count, candidates=0)
        known.write(out / REPORT_FILE)
    explained = read_explained(paths.PATCHES / "mutants" / basis.profile / EXPLAINED_FILE)
    killers = [one.program for one in known.results if one.program]
    suite = Suite(proof.of, _request(basis), out, proof.jobs, start, killers)
    suite.prepare(UNCHANGED, progress)
    with ExitStack() as stack:
        tree = stack.enter_context(_tree(basis, store, progress))
        log = store.log(f"mutants-{basis.profile}")
        with progress.step(f"build {basis.profile} to be changed"):
            tree.prepare(log)
        chosen, report = _chosen(tree, basis, sample, known)
        for one in unknown(explained.values(), chosen) if not basis.names else ():
            progress.note(f"explained, but no such mutant: {one.change} ({one.rule}, {one.file})")
        sequences = _sequences(basis, suite, store, progress)
        campaign = GeneratedCampaign(
            tree, chosen, report, out, explained, suite, sequences, progress, tell
        )
        return campaign.run()


def _basis(proof: Proof, sample: Sample, store: Store, progress: Progress) -> Basis:
    kind = KINDS[proof.of]
    load = load_emulator if proof.of == "emulator" else load_kernel
    patches = fetch_series(load(kind.profile).series, store, progress)
    return Basis(
        of=proof.of,
        profile=kind.profile,
        series=tuple(str(patch.identity["sha256"]) for patch in patches),
        seed=sample.seed,
        names=proof.names,
        cpus=proof.cpus or (EMULATOR_CPUS if proof.of == "emulator" else kind.cpus),
        smp=proof.smp or kind.smp,
        compilers=proof.compilers or (DEFAULT_COMPILER,),
        accel=proof.accel,
        select=kind.select if proof.select is None else proof.select,
        sequences=sample.sequences if proof.of == "emulator" else 0,
    )


def _request(basis: Basis) -> Request:
    kernel = basis.of == "kernel"
    return Request(
        kernels=(KINDS["kernel"].profile,),
        cpus=basis.cpus,
        smp=basis.smp,
        compilers=basis.compilers,
        accel=basis.accel,
        # After an oops, programs may wait forever.
        cmdline="oops=panic" if kernel else "",
        select=basis.select,
        qemu=None if kernel else "bundled",
    )


@contextmanager
def _tree(basis: Basis, store: Store, progress: Progress) -> Iterator[Tree]:
    if basis.of == "emulator":
        with qemu_tree(load_emulator(basis.profile), store, progress) as tree:
            yield tree
    else:
        profile = load_kernel(basis.profile)
        unchanged = build_kernel(profile, store, progress)
        with kernel_tree(profile, unchanged, store, progress) as kernel:
            yield kernel


def _chosen(
    tree: Tree, basis: Basis, sample: Sample, known: GeneratedReport
) -> tuple[list[Candidate], GeneratedReport]:
    """Return the mutants in their order, and the report that they are added to.

    :raise UserError: there are none.
    """
    found, left_out = list[Candidate](), dict[str, int]()
    for file, lines in tree.added.items():
        these = list(candidates_in(file, (tree.tree / file).read_bytes(), lines))
        if 0 < len(tree.objects(file)) <= MAX_OBJECTS:
            found += these
        elif these:
            left_out[file] = len(these)
    if basis.names:
        found = [one for one in found if any(fnmatchcase(one.name, n) for n in basis.names)]
    if not found:
        raise UserError("there is no such mutant", where=" ".join(basis.names) or basis.profile)
    changes = {"wanted": sample.count, "candidates": len(found), "left_out": left_out}
    return in_order(found, sample.seed), known.model_copy(update=changes)


def _sequences(basis: Basis, suite: Suite, store: Store, progress: Progress) -> Sequences | None:
    """Return the sequences that are asked for, made and played once unchanged."""
    if not basis.sequences:
        return None
    cell = next((one for one in suite.cells if one.cell.cpu.exposes_uintr), None)
    if cell is None:
        progress.note("no sequences: none of the CPUs has user interrupts")
        return None
    player = build_bare_metal(basis.compilers[0], store, progress, pattern=PLAYER)[0].path
    machine = PlayerSetup(cell.emulator, cell.cell.cpu, player)
    sequences = Sequences(machine, basis.seed, basis.sequences)
    sequences.prepare(progress)
    return sequences
