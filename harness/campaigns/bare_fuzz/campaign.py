"""The search: cases are generated, played in each way and compared; failures are shrunk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from pydantic import Field

from harness.campaigns.bare_fuzz.batch import Batch, Makes, batches_in_background
from harness.campaigns.bare_fuzz.case import Case
from harness.campaigns.bare_fuzz.compare import (
    Deviation,
    Difference,
    differences,
    is_in_some_order,
)
from harness.campaigns.bare_fuzz.model import Expectation, Facts, expect
from harness.campaigns.bare_fuzz.orders import FEW, MANY
from harness.campaigns.bare_fuzz.play import Played
from harness.campaigns.bare_fuzz.shrink import shrink
from harness.errors import ExitCode, UserError
from harness.lib.documents import read_json
from harness.lib.files import write_atomically
from harness.progress import Progress
from harness.results.document import Document
from harness.values import Value

FUZZ_FILE = "fuzz.json"
KEPT = "finding-{}.json"
#: Times that a failed case is played again, by itself.
AGAIN = 3
#: Findings after which the search ends.
MAX_FINDINGS = 10
#: Most seconds to spend on shrinking one failure.
SHRINK_S = 60.0
#: Most differences per way in a finding.
_TOLD = 8

Kind = Literal["disagreement", "unsteady", "crash"]


class SequencePlayer(Protocol):
    """A player of cases."""

    @property
    def ways(self) -> tuple[str, ...]:
        """The names of its ways to run."""

    @property
    def facts(self) -> Facts:
        """Facts about its CPU."""

    @property
    def restored(self) -> int:
        """How often a machine was saved, and restored in another QEMU."""

    def play(self, way: str, cases: Sequence[Case]) -> Sequence[Played | None]:
        """Play cases in a way, and return the result of each that is played in it."""


class SequenceFinding(Value):
    """A case that failed; also the content of ``finding-N.json``."""

    #: ``disagreement``: the same every time; ``unsteady``: another result when it is played again,
    #: alone; ``crash``: QEMU hangs or ends.
    kind: Kind
    #: The case's number with the report's seed; None if it came from a file.
    number: int | None
    #: Way → its differences from the model.
    differences: dict[str, tuple[str, ...]]
    case: Case
    steps_before: int
    file: str


class SequencesReport(Document):
    """``fuzz.json``: rewritten as a whole after each batch."""

    seed: int | None
    ways: tuple[str, ...]
    cases: int = 0
    #: How often a machine of the way ``saved`` was saved and restored. A batch may end before.
    restored: int = 0
    #: Way → cases that its machine cannot play.
    not_played: dict[str, int] = Field(default_factory=dict)
    #: Cases whose result, in some way, is not that of the usual orders of the CPUs, but may be that
    #: of another one.
    in_another_order: int = 0
    #: Cases that failed. There are fewer findings if some fail alike, or if time ran out.
    failed: int = 0
    #: Instructions that the model executed.
    instructions: int = 0
    seconds: float = 0.0
    #: Statement of the contract → cases in which it applied.
    reached: dict[str, int] = Field(default_factory=dict)
    findings: tuple[SequenceFinding, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command. A search that played nothing did not pass."""
        if not self.cases:
            return ExitCode.USAGE
        return ExitCode.TESTS_FAILED if self.failed else ExitCode.PASSED


class _Failure(NamedTuple):
    """The differences of one case, by way."""

    by_way: dict[str, list[Difference] | str]
    #: Ways in which it was not played.
    not_played: tuple[str, ...] = ()
    #: Ways in which its result is that of an unusual order of the CPUs.
    in_another_order: tuple[str, ...] = ()

    @property
    def signature(self) -> tuple[str, ...]:
        """A key that failures with the same cause mostly share."""
        said = next(iter(self.by_way.values()))
        places = (said,) if isinstance(said, str) else tuple(sorted({one.place for one in said}))
        return (*self.by_way, *places)


class SequenceCampaign:
    """One search, or one replay.

    :param deviations: known differences, which are no failures.
    :param of_ways: known differences of some ways, instead of those.
    :param folder: folder for :data:`FUZZ_FILE` and a file per finding.
    :param tell: called with each finding.
    :param clock: returns the time in seconds; replaced in tests.
    """

    def __init__(
        self,
        player: SequencePlayer,
        deviations: Sequence[Deviation],
        folder: Path,
        progress: Progress,
        tell: Callable[[SequenceFinding], None],
        *,
        of_ways: Mapping[str, Sequence[Deviation]] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._player = player
        self._deviations = {way: of_ways.get(way, deviations) for way in player.ways}
        self._folder = folder
        self._progress = progress
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._reached: Counter[str] = Counter()
        self._not_played: Counter[str] = Counter()
        self._report = SequencesReport(seed=None, ways=player.ways)
        self._known: set[tuple[str, ...]] = set()
        self._end = float("inf")

    def search(
        self,
        seed: int,
        seconds: float,
        limit: int | None = None,
        make: Makes = batches_in_background,
    ) -> SequencesReport:
        """Play the cases of a seed until a limit of time, cases or findings is reached.

        :param seconds: time for it; the batch that is being played is finished.
        :param limit: largest number of cases.
        :raise GuestError: QEMU does not start.
        """
        self._report = self._report.model_copy(update={"seed": seed})
        self._end = self._began + seconds
        title = f"fuzz without a kernel, seed {seed}"
        with self._progress.step(title) as step, make(seed, self._player.facts, limit) as batches:
            for batch in batches:
                self._try(batch)
                report = self._report
                step.update(
                    f"{report.cases} sequences, {len(report.findings)} findings", done=self._elapsed
                )
                if not self._goes_on:
                    break
        return self._report

    def replay(self, cases: Sequence[Case]) -> SequencesReport:
        """Play kept cases, and keep those that fail again.

        :raise UserError: the model does not cover one.
        :raise GuestError: QEMU does not start.
        """
        expected = [expect(case, self._player.facts) for case in cases]
        known = [one for one in expected if one is not None]
        if len(known) < len(cases):
            raise UserError(
                "the model does not cover this case",
                where=f"case {expected.index(None) + 1}",
                hint="a case must end, and must not access the player's memory",
            )
        with self._progress.step("replay"):
            self._try(Batch(tuple(None for _ in cases), tuple(cases), tuple(known)))
        return self._report

    @property
    def _elapsed(self) -> float:
        return self._clock() - self._began

    @property
    def _goes_on(self) -> bool:
        return self._clock() < self._end and len(self._report.findings) < MAX_FINDINGS

    def _try(self, batch: Batch) -> None:
        """Play a batch in each way, and judge the results."""
        failures = self._failures(batch.cases, batch.expected)
        for one in batch.expected:
            self._reached.update(one.reached)
        for failure in failures:
            self._not_played.update(failure.not_played)
        self._report = self._report.model_copy(
            update={
                "cases": self._report.cases + len(batch.cases),
                "not_played": dict(self._not_played),
                "in_another_order": self._report.in_another_order
                + sum(bool(one.in_another_order) for one in failures),
                "failed": self._report.failed + sum(bool(one.by_way) for one in failures),
                "instructions": self._report.instructions
                + sum(one.instructions for one in batch.expected),
                "reached": dict(sorted(self._reached.items())),
            }
        )
        for number, case, failure in zip(batch.numbers, batch.cases, failures, strict=True):
            # The first failure is always judged, even if its batch took all the time.
            if failure.by_way and (self._goes_on or not self._report.findings):
                self._judge(number, case, failure)
        self._write()

    def _failures(
        self,
        cases: Sequence[Case],
        expected: Sequence[Expectation],
        ways: Sequence[str] = (),
        orders: int = MANY,
    ) -> list[_Failure]:
        """Return the differences of each case, in all ways or in some.

        :param orders: number of orders of the CPUs to try on one that differs.
        """
        ways = ways or self._player.ways
        with ThreadPoolExecutor(len(ways)) as pool:
            by_way = list(pool.map(lambda way: self._player.play(way, cases), ways))
        found = []
        for case, of, played in zip(cases, expected, zip(*by_way, strict=True), strict=True):
            by_name = dict(zip(ways, played, strict=True))
            said = {
                way: differences(of, one, self._deviations[way]) for way, one in by_name.items()
            }
            wrong = {way: one for way, one in said.items() if one}
            unusual = tuple(
                way
                for way in wrong
                if is_in_some_order(
                    case, self._player.facts, by_name[way], self._deviations[way], orders
                )
            )
            found.append(
                _Failure(
                    {way: one for way, one in wrong.items() if way not in unusual},
                    tuple(way for way, one in by_name.items() if one is None),
                    unusual,
                )
            )
        return found

    # --- failures ----------------------------------------------------------------------------

    def _judge(self, number: int | None, case: Case, failure: _Failure) -> None:
        """Play a failed case again, shrink it if it fails each time, and keep it."""
        if failure.signature in self._known:
            return
        self._known.add(failure.signature)
        again = [self._play_alone([case], orders=FEW)[0] for _ in range(AGAIN)]
        if any(one.by_way != failure.by_way for one in again):
            self._keep("unsteady", number, case, case, failure)
            return
        end = self._clock() + SHRINK_S
        # Shrink in one way only: each further way would take as long again.
        ways = tuple(failure.by_way)[:1]
        small = shrink(
            case,
            lambda these: [bool(one.by_way) for one in self._play_alone(these, ways, FEW)],
            lambda: self._clock() < end,
        )
        final = self._play_alone([small])[0]
        if not final.by_way:
            small, final = case, failure
        if final.signature in self._known and final.signature != failure.signature:
            return
        self._known.add(final.signature)
        crash = any(isinstance(said, str) for said in final.by_way.values())
        self._keep("crash" if crash else "disagreement", number, case, small, final)

    def _play_alone(
        self, cases: Sequence[Case], ways: Sequence[str] = (), orders: int = MANY
    ) -> list[_Failure]:
        """Return the differences of some cases; one that the model does not cover has none."""
        expected = [expect(case, self._player.facts) for case in cases]
        modelled = [
            (case, one) for case, one in zip(cases, expected, strict=True) if one is not None
        ]
        found = iter(
            self._failures([one for one, _ in modelled], [one for _, one in modelled], ways, orders)
        )
        return [_Failure({}) if one is None else next(found) for one in expected]

    def _keep(
        self, kind: Kind, number: int | None, before: Case, case: Case, failure: _Failure
    ) -> None:
        finding = SequenceFinding(
            kind=kind,
            number=number,
            differences={
                way: (said,) if isinstance(said, str) else tuple(map(str, said[:_TOLD]))
                for way, said in failure.by_way.items()
            },
            case=case,
            steps_before=len(before.code) + len(before.handler),
            file=KEPT.format(len(self._report.findings) + 1),
        )
        write_atomically(self._folder / finding.file, finding.model_dump_json(indent=2) + "\n")
        self._report = self._report.model_copy(
            update={"findings": (*self._report.findings, finding)}
        )
        self._write()
        self._tell(finding)

    def _write(self) -> None:
        update = {"seconds": round(self._elapsed, 1), "restored": self._player.restored}
        self._report = self._report.model_copy(update=update)
        self._report.write(self._folder / FUZZ_FILE)


def read_finding(path: Path) -> Case:
    """Read the case of a finding's file.

    :raise UserError: the file cannot be read, or is not a finding's.
    """
    hint = f"give a file {KEPT.format('N')} that uintr-harness fuzz --bare-metal kept"
    return read_json(path, SequenceFinding, "the case cannot be read", hint).case
