"""The comparison of runs: a verdict on each latency, and the cases whose result changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from harness.errors import UserError
from harness.results.compare.baseline import Baseline, BaselineCell
from harness.results.compare.judge import Floors, Judgement, judge
from harness.results.document import Document
from harness.results.ktap.lines import CaseStatus
from harness.results.ktap.reader import PROGRAM
from harness.results.measurements import Measurement
from harness.values import Value

#: Cases that stand for a whole program, see :func:`_placeholder_gone`.
STAND_INS = frozenset({PROGRAM, "(samples)"})

COMPARISON_FILE = "comparison.json"

ChangeVerdict = Literal["better", "same", "worse", "unsure", "new", "gone", "refused"]
#: ``broken``: fails now, and passed, was skipped or did not exist before.
CaseVerdict = Literal["broken", "mended", "new", "gone", "changed"]


class LatencyChange(Value):
    """A latency that at least one of the runs has."""

    #: The new run's cell, or the base's if only that has the latency.
    cell: str
    mechanism: str
    mode: str
    unit: str
    verdict: ChangeVerdict
    #: Why the verdict is ``unsure`` or ``refused``; otherwise empty.
    reason: str = ""
    #: None if the latency was not judged.
    judgement: Judgement | None = None


class CaseChange(Value):
    """A case, a splat or a guest failure whose result changed."""

    cell: str
    kind: Literal["case", "splat", "guest"]
    name: str
    verdict: CaseVerdict
    before: CaseStatus | None = None
    after: CaseStatus | None = None


class Difference(Value):
    """An artefact that differs between the two runs."""

    cell: str
    what: str
    base: str
    new: str


class Comparison(Document):
    """``comparison.json``. ``compare --json`` prints it."""

    base: tuple[str, ...]
    new: str
    floors: Floors
    latencies: tuple[LatencyChange, ...]
    cases: tuple[CaseChange, ...]
    differences: tuple[Difference, ...]
    #: Cells that only one of the runs has.
    unmatched: tuple[str, ...]
    #: The cells of ``unmatched`` that the new run lacks.
    missing: tuple[str, ...] = ()
    #: Whether cases and cells may be missing in the new run.
    allow_missing: bool = False
    #: Runs that did not end, each with the reason.
    incomplete: tuple[str, ...] = ()
    #: 4 if one of the runs is incomplete, or nothing ran in one.
    exit_code: Literal[0, 1, 4]
    #: Reason for the exit code, in one sentence.
    reason: str

    @property
    def verdict(self) -> str:
        """The verdict in reports, in lower case."""
        return {0: "same or better", 1: "worse", 4: "incomplete"}[self.exit_code]


def compare(
    bases: Sequence[Baseline],
    new: Baseline,
    floors: Floors | None = None,
    *,
    allow_missing: bool = False,
) -> Comparison:
    """Compare a run with one or more earlier ones.

    Cases are compared with the last of these, latencies with all.

    :param allow_missing: ignore cases and cells that the new run lacks.
    :raise UserError: they have no cell in common.
    :raise ValueError: there is no base.
    """
    chosen = floors or Floors()
    last = bases[-1]
    pairs = match(last.cells, new.cells)
    if not pairs:
        raise UserError(
            "these runs have no cell in common, so there is nothing to compare",
            where=f"{last.run}: {_names(last.cells)}; {new.run}: {_names(new.cells)}",
            hint="compare runs with the same --cpu, --smp and --cc",
        )
    latencies, cases, differences = [], [], []
    for old, fresh in pairs:
        latencies += list(_latencies(bases, new, old, fresh, chosen))
        cases += list(_cases(old, fresh, complete=not new.incomplete))
        differences += list(_differences(old, fresh))
    paired = {cell.name for pair in pairs for cell in pair}
    missing = tuple(c.name for c in last.cells if c.name not in paired)
    found = Comparison(
        base=tuple(base.run for base in bases),
        new=new.run,
        floors=chosen,
        latencies=tuple(latencies),
        cases=tuple(cases),
        differences=tuple(differences),
        unmatched=tuple(
            dict.fromkeys(c.name for c in (*last.cells, *new.cells) if c.name not in paired)
        ),
        missing=missing,
        allow_missing=allow_missing,
        incomplete=tuple(f"{one.run}: {one.incomplete}" for one in (*bases, new) if one.incomplete),
        exit_code=0,
        reason="",
    )
    code, reason = _verdict(found, bases, new)
    return found.model_copy(update={"exit_code": code, "reason": reason})


def _verdict(
    found: Comparison, bases: Sequence[Baseline], new: Baseline
) -> tuple[Literal[0, 1, 4], str]:
    """Return the exit code and its reason.

    The reason for an incomplete run also has what is known to be worse.
    """
    bad = _findings(found)
    empty = [base.run for base in bases if not _recorded_something(base)]
    if not _tested_something(new):
        empty.append(new.run)
    if found.incomplete:
        return 4, " and ".join(["; ".join(found.incomplete), *bad])
    if empty:
        return 4, " and ".join([f"nothing ran in {', '.join(empty)}", *bad])
    if bad:
        return 1, " and ".join(bad)
    return 0, _counts(found.latencies)


def _recorded_something(run: Baseline) -> bool:
    return any(cell.cases for cell in run.cells) or bool(run.measurements)


def _tested_something(run: Baseline) -> bool:
    """Return true if in a run a case passed or failed, or something was measured."""
    ran = any(status != "skip" for cell in run.cells for status in cell.cases.values())
    return ran or bool(run.measurements)


def _findings(found: Comparison) -> list[str]:
    """Return what makes the new run worse, as text."""
    worse = sum(change.verdict == "worse" for change in found.latencies)
    broken = sum(change.verdict == "broken" for change in found.cases)
    gone = sum(change.verdict == "gone" and change.kind == "case" for change in found.cases)
    skipped = sum((one.before, one.after) == ("pass", "skip") for one in found.cases)
    unmeasured = sum(change.verdict == "gone" for change in found.latencies)
    bad = [f"{worse} {'latency' if worse == 1 else 'latencies'} worse"] if worse else []
    bad += [f"{broken} newly failing"] if broken else []
    if not found.allow_missing:
        numbers = {"case": gone, "latency": unmeasured, "cell": len(found.missing)}
        plural = {"case": "cases", "latency": "latencies", "cell": "cells"}
        lacks = [f"{n} {one if n == 1 else plural[one]}" for one, n in numbers.items() if n]
        said = [f"{' and '.join(lacks)} gone"] if lacks else []
        said += [f"{skipped} skipped that passed before"] if skipped else []
        bad += [f"{' and '.join(said)} (--allow-missing accepts that)"] if said else []
    return bad


def match(
    old: Sequence[BaselineCell], new: Sequence[BaselineCell]
) -> list[tuple[BaselineCell, BaselineCell]]:
    """Return pairs of cells that differ only in their kernels.

    Cells with equal names match first. Others match if exactly one on each side fits.
    """
    by_name = {cell.name: cell for cell in old}
    pairs = [(by_name[cell.name], cell) for cell in new if cell.name in by_name]
    taken = {cell.name for _, cell in pairs}
    left = [cell for cell in old if cell.name not in taken]
    right = [cell for cell in new if cell.name not in taken]
    for cell in right:
        there = [other for other in left if other.place == cell.place]
        if len(there) == 1 and sum(other.place == cell.place for other in right) == 1:
            pairs.append((there[0], cell))
    return pairs


def why_incomparable(base: Baseline, new: Baseline, old: BaselineCell, fresh: BaselineCell) -> str:
    """Return why latencies of two cells must not be compared; empty if they may."""
    if old.accel != fresh.accel:
        return f"different accelerators: {old.accel} before, {fresh.accel} now"
    if old.clock != fresh.clock:
        return f"different clocks: {old.clock} before, {fresh.clock} now"
    # Counts of instructions do not depend on the host.
    if fresh.clock == "host" and base.host_cpu != new.host_cpu:
        before, now = base.host_cpu or "unknown", new.host_cpu or "unknown"
        return f"different hosts: {before} before, {now} now"
    return ""


def _latencies(
    bases: Sequence[Baseline],
    new: Baseline,
    old: BaselineCell,
    fresh: BaselineCell,
    floors: Floors,
) -> Iterator[LatencyChange]:
    why_not = next(
        filter(None, (_why_incomparable_cell(base, new, old, fresh) for base in bases)), ""
    )
    before: dict[tuple[str, str, str], list[Measurement]] = {}
    for base in bases:
        for one in base.measurements:
            if one.cell == old.name:
                before.setdefault(one.key, []).append(one)
    after = {one.key: one for one in new.measurements if one.cell == fresh.name}
    for key in dict.fromkeys([*after, *before]):
        mechanism, mode, unit = key
        verdict: ChangeVerdict
        judgement, reason = None, ""
        if key not in before:
            verdict = "new"
        elif key not in after:
            verdict = "gone"
        elif refused := why_not or spin_mismatch(before[key], after[key], fresh.accel):
            verdict, reason = "refused", refused
        else:
            judgement = _judge(before[key], after[key], floors, emulated=fresh.accel == "tcg")
            verdict, reason = judgement.verdict, judgement.reason
        yield LatencyChange(
            cell=fresh.name if key in after else old.name,
            mechanism=mechanism,
            mode=mode,
            unit=unit,
            verdict=verdict,
            reason=reason,
            judgement=judgement,
        )


def _why_incomparable_cell(
    base: Baseline, new: Baseline, old: BaselineCell, fresh: BaselineCell
) -> str:
    """Return why a base's cell must not be compared; empty if it may, or has no such cell."""
    own = next((cell for cell in base.cells if cell.name == old.name), None)
    return why_incomparable(base, new, own, fresh) if own else ""


#: Ways to busy-wait, as text for :func:`spin_mismatch`.
_SPINS = {
    "pause": "with PAUSE",
    "bare": "without PAUSE",
    None: "with an expensive PAUSE",
}


def spin_mismatch(before: Sequence[Measurement], after: Measurement, accel: str) -> str:
    """Return why latencies must not be compared if programs busy-waited in different ways.

    Earlier programs did not report it, and executed PAUSE. On a real CPU programs still do. Under
    TCG, PAUSE left translated code, which dominated the figures.
    """
    if after.unit == "insn":
        return ""
    unsaid = None if accel == "tcg" else "pause"
    old, new = (
        sorted({_SPINS[spin or unsaid] for one in several for spin in one.spins or (None,)})
        for several in (before, (after,))
    )
    if old == new and len(new) == 1:
        return ""
    return f"different busy-waiting: {' and '.join(old)} before, {' and '.join(new)} now"


def _judge(
    before: Sequence[Measurement], after: Measurement, floors: Floors, *, emulated: bool
) -> Judgement:
    return judge(
        [take for one in before for take in one.takes],
        after.takes,
        after.unit,
        hosts=[*(host for one in before for host in one.hosts), *after.hosts],
        floors=floors,
        emulated=emulated,
    )


def _cases(old: BaselineCell, fresh: BaselineCell, *, complete: bool) -> Iterator[CaseChange]:
    """Yield the cases, splats and guest failures of a cell that changed.

    A splat or a guest failure is mended only if the cell ran as far as before. In a guest that
    died, or a run that stopped, it may just not have occurred yet.
    """
    for name in dict.fromkeys([*fresh.cases, *old.cases]):
        before, after = old.cases.get(name), fresh.cases.get(name)
        verdict = _case_verdict(before, after)
        if verdict == "gone" and name.rpartition("::")[2] in STAND_INS:
            verdict = _placeholder_gone(name, before, fresh) or verdict
        if verdict:
            yield CaseChange(
                cell=fresh.name,
                kind="case",
                name=name,
                verdict=verdict,
                before=before,
                after=after,
            )
    programs = _programs(fresh)
    lacks = any(_program(name) not in programs for name in old.cases)
    away: CaseVerdict = "mended" if complete and not lacks and not fresh.lost else "gone"
    kinds: tuple[Literal["splat", "guest"], ...] = ("splat", "guest")
    had = {"splat": old.splats, "guest": old.lost}
    has = {"splat": fresh.splats, "guest": fresh.lost}
    for kind in kinds:
        for name in dict.fromkeys([*has[kind], *had[kind]]):
            if (name in has[kind]) != (name in had[kind]):
                found: CaseVerdict = "broken" if name in has[kind] else away
                yield CaseChange(cell=fresh.name, kind=kind, name=name, verdict=found)


def _placeholder_gone(
    name: str, before: CaseStatus | None, fresh: BaselineCell
) -> Literal["mended", "changed"] | None:
    """Return the verdict on a missing case that stood for its whole program.

    Such a case, ``(program)`` or ``(samples)``, exists only if the program as a whole failed or was
    skipped. None for any other case, and if the program itself is missing.
    """
    program = _program(name)
    own = [status for other, status in fresh.cases.items() if _program(other) == program]
    if not own:
        return None
    return "mended" if before == "fail" and "fail" not in own and "pass" in own else "changed"


def _program(case: str) -> str:
    return case.rpartition("::")[0]


def _programs(cell: BaselineCell) -> set[str]:
    return {_program(name) for name in cell.cases}


def _case_verdict(before: CaseStatus | None, after: CaseStatus | None) -> CaseVerdict | None:
    if before == after:
        return None
    if after == "fail":
        return "broken"
    if before is None:
        return "new"
    if after is None:
        return "gone"
    return "mended" if before == "fail" and after == "pass" else "changed"


def _differences(old: BaselineCell, fresh: BaselineCell) -> Iterator[Difference]:
    for what in dict.fromkeys([*old.made_of, *fresh.made_of]):
        before, after = old.made_of.get(what, ""), fresh.made_of.get(what, "")
        if before != after:
            yield Difference(cell=fresh.name, what=what, base=before, new=after)


def _counts(latencies: Sequence[LatencyChange]) -> str:
    """Return as text how many latencies were compared, if nothing got worse."""
    judged = [change for change in latencies if change.judgement is not None]
    counts = {
        verdict: sum(change.verdict == verdict for change in latencies)
        for verdict in ("better", "unsure", "refused")
    }
    said = [f"{number} {verdict}" for verdict, number in counts.items() if number]
    many = f"{len(judged)} {'latency' if len(judged) == 1 else 'latencies'} compared"
    return ", ".join(["nothing got worse", many, *said])


def _names(cells: Sequence[BaselineCell]) -> str:
    return ", ".join(cell.name for cell in cells) or "none"
