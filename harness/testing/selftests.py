"""Running one of the kernel's selftests in a cell."""

from __future__ import annotations

from harness.results.ktap.reader import PROGRAM, CaseResult
from harness.results.ktap.selftest import SelftestReader
from harness.testing.itemrun import ItemRun
from harness.testing.programs import ProgramRun

#: Runs the second word's program in the first word's folder. The terminal is there for its
#: buffering alone: on a pipe a program's children would print again what it has not yet written.
_SCRIPT = 'stty -opost <&1 2>/dev/null; cd "$0" && exec "./$1" </dev/null 2>&1'


class SelftestRun(ProgramRun):
    """A selftest, run as kselftest's own runner does it: in its folder, with one output."""

    terminal = True

    def _make_reader(self) -> SelftestReader:
        return SelftestReader()

    def _command(self, path: str) -> list[str]:
        folder, _, name = path.rpartition("/")
        return ["sh", "-c", _SCRIPT, folder, name]


class MissingRun(ItemRun):
    """A selftest that is not there: it is seen to be skipped, and why."""

    def run(self) -> None:
        """Record one skipped case."""
        self._journal.start()
        reason, _, rest = self._program.missing.partition("\n")
        self._tell(
            [
                CaseResult(
                    name=PROGRAM, status="skip", message=reason, diagnostics=rest, synthetic=True
                )
            ]
        )
