"""Running one of the kernel's selftests in a cell."""

from __future__ import annotations

from harness.results.ktap.reader import PROGRAM, CaseResult
from harness.results.ktap.selftest import SelftestReader
from harness.testing.itemrun import ItemRun
from harness.testing.programs import ProgramRun

#: Runs program ``$1`` in folder ``$0``. A terminal is needed for line buffering: on a pipe, a
#: program's children would print its unwritten output again.
_SCRIPT = 'stty -opost <&1 2>/dev/null; cd "$0" && exec "./$1" </dev/null 2>&1'


class SelftestRun(ProgramRun):
    """A selftest, run as by kselftest's runner: in its folder, with both outputs combined."""

    terminal = True

    def _make_reader(self) -> SelftestReader:
        return SelftestReader()

    def _command(self, path: str) -> list[str]:
        folder, _, name = path.rpartition("/")
        return ["sh", "-c", _SCRIPT, folder, name]


class MissingRun(ItemRun):
    """A selftest that is not available. It is reported as skipped."""

    def run(self) -> None:
        """Record a skipped case with the reason."""
        self._journal.start()
        reason, _, rest = self._program.missing.partition("\n")
        self._tell(
            [
                CaseResult(
                    name=PROGRAM, status="skip", message=reason, diagnostics=rest, synthetic=True
                )
            ]
        )
