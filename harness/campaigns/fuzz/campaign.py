"""The search: scripts are generated, played in each cell and compared; failures are shrunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from harness.campaigns.fuzz.cell import Player
from harness.campaigns.fuzz.generate import generate
from harness.campaigns.fuzz.script import KEPT, Play, Script, difference
from harness.campaigns.fuzz.shrink import shrink
from harness.errors import ExitCode
from harness.lib.files import write_atomically
from harness.progress import Progress
from harness.results.document import Document
from harness.values import Value

FUZZ_FILE = "fuzz.json"
#: Scripts that go to a guest at a time.
BATCH = 40
#: Times that a failed script is played again in each cell.
AGAIN = 3
#: Findings after which the search ends.
MAX_FINDINGS = 10
#: Most seconds to spend on shrinking one failure.
SHRINK_S = 240.0

FindingKind = Literal["disagreement", "unsteady", "crash", "splat"]


class ScriptFinding(Value):
    """A script that failed."""

    #: ``disagreement``: the cells differ in the same way every time; ``unsteady``: the result of a
    #: cell varies; ``crash``: no cell reached the script's end; ``splat``: a kernel complained.
    kind: FindingKind
    #: The script's number with the report's seed; None if it came from a file.
    number: int | None
    #: The first difference, or the kernel's complaint.
    what: str
    steps: int
    #: Number of steps before shrinking.
    steps_before: int
    #: Name of the file for ``--replay``.
    file: str


class FuzzReport(Document):
    """``fuzz.json``: rewritten as a whole after each batch."""

    seed: int | None
    cells: tuple[str, ...]
    scripts: int = 0
    steps: int = 0
    seconds: float = 0.0
    findings: tuple[ScriptFinding, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command. A search that played nothing did not pass."""
        if self.findings:
            return ExitCode.TESTS_FAILED
        return ExitCode.PASSED if self.scripts else ExitCode.USAGE


class ScriptCampaign:
    """One search, or one replay.

    :param players: one per cell.
    :param folder: folder for :data:`FUZZ_FILE` and a file per finding.
    :param tell: called with each finding and the text of its file.
    :param clock: returns the time in seconds; replaced in tests.
    """

    def __init__(
        self,
        players: Sequence[Player],
        folder: Path,
        progress: Progress,
        tell: Callable[[ScriptFinding, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._players = players
        self._folder = folder
        self._progress = progress
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._report = FuzzReport(seed=None, cells=tuple(player.name for player in players))
        #: Keys of the findings so far; failures with the same key are one finding.
        self._known: set[str] = set()

    def search(self, seed: int, seconds: float, limit: int | None = None) -> FuzzReport:
        """Play the scripts of a seed until a limit of time, scripts or findings is reached.

        :param seconds: time for it; the batch that is being played is finished.
        :param limit: largest number of scripts.
        :raise GuestFailure: a guest does not boot.
        """
        self._report = self._report.model_copy(update={"seed": seed})
        number = 0
        with self._progress.step(f"fuzz {len(self._players)} cells, seed {seed}") as step:
            while self._goes_on(seconds) and (limit is None or number < limit):
                count = BATCH if limit is None else min(BATCH, limit - number)
                batch = range(number, number + count)
                self._try([generate(seed, one) for one in batch], batch)
                number += count
                found = len(self._report.findings)
                step.update(f"{number} scripts, {found} findings", done=self._elapsed)
        return self._report

    def replay(self, scripts: Sequence[Script]) -> FuzzReport:
        """Play kept scripts, and keep those that fail again.

        :raise GuestFailure: a guest does not boot.
        """
        with self._progress.step(f"replay in {len(self._players)} cells"):
            self._try(scripts, [None] * len(scripts))
        return self._report

    @property
    def _elapsed(self) -> float:
        return self._clock() - self._began

    def _goes_on(self, seconds: float) -> bool:
        return self._elapsed < seconds and len(self._report.findings) < MAX_FINDINGS

    def _try(self, scripts: Sequence[Script], numbers: Sequence[int | None]) -> None:
        """Play some scripts in each cell, and judge the results."""
        plays = self._play(scripts)
        said = self._complaints()
        self._report = self._report.model_copy(
            update={
                "scripts": self._report.scripts + len(scripts),
                "steps": self._report.steps + sum(len(script.steps) for script in scripts),
            }
        )
        for script, number, of_it in zip(scripts, numbers, plays, strict=True):
            if _fails(of_it) and len(self._report.findings) < MAX_FINDINGS:
                self._judge(script, number, of_it)
        if said:
            self._find_culprit(scripts, numbers, said)
        self._write()

    def _play(self, scripts: Sequence[Script]) -> list[tuple[Play, ...]]:
        """Return the plays of each script, one per cell."""
        with ThreadPoolExecutor(len(self._players)) as pool:
            by_cell = list(pool.map(lambda player: player.play(scripts), self._players))
        return list(zip(*by_cell, strict=True))

    def _complaints(self) -> list[str]:
        return [
            f"{player.name}: {said}" for player in self._players for said in player.complaints()
        ]

    # --- failures ----------------------------------------------------------------------------

    def _judge(self, script: Script, number: int | None, plays: tuple[Play, ...]) -> None:
        """Play a failed script again, shrink it if it fails each time, and keep it."""
        again = self._play([script] * AGAIN)
        kind: FindingKind = "disagreement"
        if any(one != plays for one in again):
            kind = "unsteady"
        elif difference(plays) is None:
            kind = "crash"
        if kind == "unsteady":
            # Show a play that fails, which need not be the last one.
            plays = next((one for one in (plays, *again) if _fails(one)), plays)
            self._keep(kind, script, script, number, plays)
            return
        signature = f"{kind} {_signature(plays)}"
        if signature in self._known:
            return
        small = self._shrink(script, lambda these: [_fails(one) for one in self._play(these)])
        final = self._play([small])[0]
        self._complaints()
        found = f"{kind} {_signature(final)}"
        if found not in self._known:
            self._keep(kind, script, small, number, final)
        self._known |= {signature, found}

    def _find_culprit(
        self, scripts: Sequence[Script], numbers: Sequence[int | None], said: Sequence[str]
    ) -> None:
        """Find the script that causes a kernel's complaint, by playing each in a fresh guest."""
        if set(said) <= self._known:
            return
        self._known.update(said)

        def complains(these: Sequence[Script]) -> list[bool]:
            return [bool(self._play_alone(script)) for script in these]

        for script, number in zip(scripts, numbers, strict=True):
            if found := self._play_alone(script):
                small = self._shrink(script, complains)
                self._keep("splat", script, small, number, self._play([small])[0], found)
                return
        # No script causes it alone. The first one is kept for the batch; the console has the rest.
        self._keep("splat", scripts[0], scripts[0], numbers[0], self._play(scripts)[0], said)

    def _play_alone(self, script: Script) -> list[str]:
        for player in self._players:
            player.renew()
        self._play([script])
        return self._complaints()

    def _shrink(self, script: Script, fails: Callable[[Sequence[Script]], list[bool]]) -> Script:
        end = self._clock() + SHRINK_S
        return shrink(script, fails, lambda: self._clock() < end)

    def _keep(
        self,
        kind: FindingKind,
        before: Script,
        script: Script,
        number: int | None,
        plays: tuple[Play, ...],
        said: Sequence[str] = (),
    ) -> None:
        name = KEPT.format(len(self._report.findings) + 1)
        finding = ScriptFinding(
            kind=kind,
            number=number,
            what=said[0] if said else _what(plays),
            steps=len(script.steps),
            steps_before=len(before.steps),
            file=name,
        )
        text = self._text(finding, script, plays, said)
        write_atomically(self._folder / name, text)
        self._report = self._report.model_copy(
            update={"findings": (*self._report.findings, finding)}
        )
        self._write()
        self._tell(finding, text)

    def _text(
        self, finding: ScriptFinding, script: Script, plays: tuple[Play, ...], said: Sequence[str]
    ) -> str:
        """Return the text of a finding's file: the script, with its results as comments."""
        origin = "a file" if finding.number is None else f"seed {self._report.seed}"
        steps = f"{finding.steps} of {finding.steps_before} steps"
        lines = [f"{finding.kind}; script {finding.number} of {origin}, {steps}", *said]
        for name, play in zip(self._report.cells, plays, strict=True):
            lines += [f"{name}:", *(f"  {line}" for line in play.text())]
        return "".join(f"# {line}\n" for line in lines) + script.text()

    def _write(self) -> None:
        self._report = self._report.model_copy(update={"seconds": round(self._elapsed, 1)})
        self._report.write(self._folder / FUZZ_FILE)


def _fails(plays: tuple[Play, ...]) -> bool:
    return difference(plays) is not None or not all(play.completed for play in plays)


def _what(plays: tuple[Play, ...]) -> str:
    """Return the cells' lines at the first difference, or the ending if there is none."""
    place = difference(plays)
    if place is None:
        return plays[0].ending
    texts = (play.text()[place : place + 1] for play in plays)
    return " <> ".join(text[0] if text else "(nothing)" for text in texts)


def _signature(plays: tuple[Play, ...]) -> str:
    """Return the operation at which the cells differ, and its results without thread states."""
    place = difference(plays)
    if place is None:
        return plays[0].ending
    said = []
    for play in plays:
        text = [*play.text(), ""][min(place, len(play.text()))]
        head, _, rest = text.partition(": ")
        words = rest.split(" ")
        result = rest.partition(": ")[2].partition(" |")[0]
        said.append(f"{words[1] if len(words) > 1 else head} {result}")
    return " <> ".join(said)
