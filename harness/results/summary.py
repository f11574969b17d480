"""``summary.json`` and the exit code of a run, made from its records.

``summary.json`` is for scripts. ``docs/running.md`` describes its format. :class:`Outcome` has in
addition the data that only reports need.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from typing_extensions import override

from harness.errors import ExitCode
from harness.results.collecting import CellRecords, Collected
from harness.results.document import Document
from harness.results.latency import merge
from harness.results.needs import elsewhere
from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    HostLoad,
    LatencyRecord,
    Mechanism,
    Record,
    SplatRecord,
    Unit,
)
from harness.values import Cell, Value

SUMMARY_FILE = "summary.json"

CellVerdict = Literal[
    "passed", "failed", "splats", "guest failed", "skipped", "not run", "incomplete"
]
#: The verdict on a run.
RunVerdict = Literal["passed", "failed", "interrupted", "incomplete"]


class _Counts(Value):
    """Numbers of cases. Those that do not apply are only in the file if there are any."""

    @model_serializer(mode="wrap")
    def _without_nothing(self, make: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = make(self)
        if not values.get("elsewhere"):
            values.pop("elsewhere", None)
        return values


class CellSummary(_Counts):
    """One cell's counts. A case that ran more than once counts once, with its worst result."""

    name: str
    kernel: str
    cpu: str
    smp: int
    cc: str
    #: As requested, possibly ``auto``, if no guest became ready.
    accel: str
    #: Seconds until the first guest was ready; None if none was.
    boot_s: float | None
    passed: int = Field(alias="pass")
    fail: int
    skip: int
    #: Splats that are not excused.
    splats: int
    #: ``SUBJECT/PROGRAM::CASE`` of each failing case.
    failed: tuple[str, ...]
    #: Number of cases that do not apply to the cell, by what it lacks
    #: (:data:`harness.results.needs.NEEDS`). They are in no other count.
    elsewhere: dict[str, int] = Field(default_factory=dict)


class RatioSummary(Value):
    """A median divided by that of user interrupts in the same cell, mode and unit.

    ``low`` and ``high`` are a 95 % interval.
    """

    ratio: float
    low: float
    high: float


class LatencySummary(Value):
    """One distribution. Values are in ``unit``."""

    cell: str
    mechanism: Mechanism
    mode: str
    unit: Unit
    count: int
    min: int
    p50: int
    p90: int
    p99: int
    max: int
    mean: float
    #: Ends of 95 % intervals, by resampling of blocks; None without raw samples.
    p50_interval: tuple[float, float] | None = None
    p99_interval: tuple[float, float] | None = None
    #: None for user interrupts themselves, and if the cell did not measure them.
    to_uintr: RatioSummary | None = None
    #: The host's load; of several measurements, the load that disturbed most.
    host: HostLoad | None = None


class Repeated(Value):
    """Counts of a program's runs in a cell, by result."""

    cell: str
    program: str
    runs: int
    #: Runs with a case that passed and none that failed.
    passed: int = Field(alias="pass")
    #: Runs with a case that failed.
    fail: int
    #: Runs in which all cases were skipped, or do not apply to the cell.
    skip: int
    #: Case → number of runs in which it failed.
    failed: dict[str, int]

    @property
    def flaky(self) -> bool:
        """Whether it passed in some runs and failed in others."""
        return self.passed > 0 and self.fail > 0


class Totals(_Counts):
    """Numbers of cases in all cells."""

    passed: int = Field(alias="pass")
    fail: int
    skip: int
    #: Cases that do not apply to their cells.
    elsewhere: int = 0


class Summary(Document):
    """``summary.json``."""

    cells: tuple[CellSummary, ...]
    latency: tuple[LatencySummary, ...]
    totals: Totals
    #: Only in the file if a program ran more than once.
    repeated: tuple[Repeated, ...] = ()

    @override
    def to_json(self) -> str:
        """Return the file's text."""
        left_out = None if self.repeated else {"repeated"}
        return self.model_dump_json(by_alias=True, indent=2, exclude=left_out) + "\n"


class Outcome(Value):
    """The results of a run."""

    summary: Summary
    #: The failing cases.
    failures: tuple[CaseRecord, ...]
    #: Splats that are not excused.
    splats: tuple[SplatRecord, ...]
    guest_failures: tuple[GuestFailureRecord, ...]
    #: Latencies, merged if they were measured more than once.
    latencies: tuple[LatencyRecord, ...]
    #: The latency records of single takes.
    takes: tuple[LatencyRecord, ...]
    #: Each case once, with its worst result.
    cases: tuple[CaseRecord, ...]
    #: Guests that booted, without those that were restored.
    boots: tuple[BootRecord, ...]
    #: How often each program ran, passed and failed.
    tallies: tuple[Repeated, ...] = ()
    #: Cell → verdict.
    verdicts: dict[str, CellVerdict]
    #: Whether the run ended (:mod:`harness.results.ending`).
    state: Literal["ended", "interrupted", "incomplete"] = "ended"
    exit_code: ExitCode
    #: Reason for the exit code, in one sentence.
    reason: str

    @property
    def verdict(self) -> RunVerdict:
        """The run's verdict in all reports."""
        if self.state != "ended":
            return self.state
        return "passed" if self.exit_code == ExitCode.PASSED else "failed"

    @property
    def unexplained(self) -> str:
        """Why the run is not passed; empty if it is, or if listed failures explain it."""
        if self.verdict == "passed":
            return ""
        if self.state == "ended" and (self.failures or self.splats or self.guest_failures):
            return ""
        return f"{self.verdict}: {self.reason}"


def flaky_programs(outcome: Outcome) -> set[tuple[str, str]]:
    """Return (cell, program) for each program that passed in some runs and failed in others."""
    return {(one.cell, one.program) for one in outcome.tallies if one.flaky}


def case_id(record: CaseRecord) -> str:
    """Return ``SUBJECT/PROGRAM::CASE``."""
    return f"{record.program}::{record.case}"


def fold(records: Iterable[Record], cells: Sequence[Cell] = (), *, select: str = "") -> Outcome:
    """Return the outcome of a run's records.

    :param cells: the cells that should have results. One without records did not run.
    :param select: the plan's ``-k`` expression, which may have matched no program.
    :raise GuestError: there are more than a report can hold.
    """
    collected = Collected(records, (cell.name for cell in cells))
    planned = {cell.name: cell for cell in cells}
    summaries, latencies = [], []
    all_cases: list[CaseRecord] = []
    splats: list[SplatRecord] = []
    guest_failures: list[GuestFailureRecord] = []
    verdicts: dict[str, CellVerdict] = {}
    tallies: list[Repeated] = []
    for name, own in collected.cells.items():
        summary = _cell(name, planned.get(name), own)
        summaries.append(summary)
        verdicts[name] = _verdict(summary, bool(own.guest_failures))
        latencies += _latencies(own.takes)
        tallies += _tallies(name, own)
        all_cases += own.cases.values()
        splats += own.splats
        guest_failures += own.guest_failures
    totals = Totals(
        passed=sum(cell.passed for cell in summaries),
        fail=sum(cell.fail for cell in summaries),
        skip=sum(cell.skip for cell in summaries),
        elsewhere=sum(sum(cell.elsewhere.values()) for cell in summaries),
    )
    exit_code, reason = _exit_code(totals, verdicts, len(splats), guest_failures, select)
    return Outcome(
        summary=Summary(
            cells=tuple(summaries),
            latency=tuple(map(_latency, latencies)),
            totals=totals,
            repeated=tuple(one for one in tallies if one.runs > 1),
        ),
        failures=tuple(case for case in all_cases if case.status == "fail"),
        splats=tuple(splats),
        guest_failures=tuple(guest_failures),
        latencies=tuple(latencies),
        takes=tuple(r for own in collected.cells.values() for r in own.takes),
        cases=tuple(all_cases),
        boots=tuple(r for own in collected.cells.values() for r in own.boots),
        tallies=tuple(tallies),
        verdicts=verdicts,
        exit_code=exit_code,
        reason=reason,
    )


def _tallies(cell: str, records: CellRecords) -> Iterable[Repeated]:
    """Yield the counts of each program of a cell."""
    for program, runs, passed, fail, failed in records.tallies():
        yield Repeated(
            cell=cell,
            program=program,
            runs=runs,
            passed=passed,
            fail=fail,
            skip=runs - passed - fail,
            failed=dict(failed),
        )


def _cell(name: str, cell: Cell | None, records: CellRecords) -> CellSummary:
    boot, cases = records.first_boot, records.cases.values()
    return CellSummary(
        name=name,
        kernel=boot.kernel if boot else cell.kernel.name if cell else "",
        cpu=boot.cpu if boot else cell.cpu.name if cell else "",
        smp=boot.smp if boot else cell.smp if cell else 0,
        cc=boot.cc if boot else cell.cc if cell else "",
        accel=boot.accel if boot else cell.accel if cell else "auto",
        boot_s=round(boot.boot_s, 3) if boot else None,
        passed=sum(case.status == "pass" for case in cases),
        fail=sum(case.status == "fail" for case in cases),
        skip=sum(case.status == "skip" and not case.lacks for case in cases),
        elsewhere=elsewhere(cases),
        splats=len(records.splats),
        failed=tuple(case_id(case) for case in cases if case.status == "fail"),
    )


def _verdict(cell: CellSummary, lost: bool) -> CellVerdict:
    """Return a cell's verdict. A lost guest counts more than a failed case."""
    if lost:
        return "guest failed"
    if cell.fail:
        return "failed"
    if cell.splats:
        return "splats"
    if cell.passed:
        return "passed"
    return "skipped" if cell.skip or cell.elsewhere else "not run"


def _latencies(takes: Iterable[LatencyRecord]) -> list[LatencyRecord]:
    """Return a distribution for each mechanism, mode and unit."""
    groups: dict[tuple[str, str, str], list[LatencyRecord]] = defaultdict(list)
    for record in takes:
        groups[record.mechanism, record.mode, record.unit].append(record)
    return [merge(group) for group in groups.values()]


def _latency(record: LatencyRecord) -> LatencySummary:
    return LatencySummary(
        **{
            name: getattr(record, name)
            for name in LatencySummary.model_fields
            if name in LatencyRecord.model_fields
        }
    )


def _exit_code(
    totals: Totals,
    verdicts: dict[str, CellVerdict],
    splats: int,
    lost: list[GuestFailureRecord],
    select: str,
) -> tuple[ExitCode, str]:
    """Return the exit code and its reason.

    A run in which all cases were skipped has tested nothing. So it is not passed.
    """
    if lost:
        what = ", ".join(dict.fromkeys(f"{record.verdict} in {record.cell}" for record in lost))
        return ExitCode.GUEST, f"a guest failed: {what}"
    idle = [name for name, verdict in verdicts.items() if verdict == "not run"]
    if len(idle) == len(verdicts):
        if select:
            return ExitCode.USAGE, f"no program matches -k {select!r}"
        return ExitCode.GUEST, "nothing ran"
    if idle:
        return ExitCode.GUEST, f"no result from {', '.join(idle)}"
    if totals.fail or splats:
        bad = [f"{totals.fail} failed"] if totals.fail else []
        bad += [f"{splats} splat{'s' if splats > 1 else ''}"] if splats else []
        return ExitCode.TESTS_FAILED, " and ".join(bad)
    if not totals.passed:
        what = "were skipped" if totals.skip else "are for other cells"
        if totals.skip and totals.elsewhere:
            what = "were skipped or are for other cells"
        all_ = totals.skip + totals.elsewhere
        return ExitCode.TESTS_FAILED, f"all {all_} cases {what}, so nothing was tested"
    return ExitCode.PASSED, f"{totals.passed} passed"
