"""Records of what happens in guests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

import pytest

from harness.errors import GuestError, HarnessError
from harness.guest.verdict.failure import HOST_FAILED
from harness.lib.kept import HALF, MAX_MESSAGE, Lines, cut
from harness.results.folder import CellSetup, RunFolder
from harness.results.ktap.lines import CaseStatus
from harness.results.ktap.reader import CaseResult
from harness.results.records import (
    CONSOLE,
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    HostLoad,
    ProgramRecord,
    Record,
    Recorder,
    SplatRecord,
)

if TYPE_CHECKING:
    from harness.guest.bootreport import BootReport
    from harness.guest.verdict.failure import Completed
    from harness.guest.verdict.splat_report import Splat
    from harness.results.ktap.reader import KtapReader
    from harness.results.ktap.selftest import SelftestReader

#: The case's name in the record of a test that is not a guest program.
WHOLE_TEST = "(test)"
#: The case's name in the record of a program's latency samples.
SAMPLES = "(samples)"
#: Characters of a traceback that a record holds.
_MAX_TRACEBACK = 8192


def _first_line(error: BaseException) -> str:
    what = error.what if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"
    return what.partition("\n")[0]


class ResultsLost(pytest.exit.Exception):  # type: ignore[misc,name-defined]  # made at run time
    """The host cannot store results, for example on a full disk. pytest stops."""

    def __init__(self, error: GuestError) -> None:
        super().__init__(str(error))
        self.error = error


class Journal:
    """Writes a run's records, each as soon as it is known.

    :raise ResultsLost: from every method, when the host cannot store the results.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._recorder = Recorder(run.results)
        self._since = time.monotonic()
        #: By a cell's name, the console of its guest, relative to the cell's folder.
        self._consoles: dict[str, str] = {}
        #: The errors that :meth:`failure` has recorded.
        self._recorded: WeakSet[HarnessError] = WeakSet()

    def close(self) -> None:
        """Close the file."""
        self._recorder.close()

    def enter(self, cell: str, console: Path) -> str:
        """Name the console in records of a cell from now on, and return the one before.

        :param console: relative to the cell's folder.
        """
        before = self._consoles.get(cell, CONSOLE)
        self._consoles[cell] = console.as_posix()
        return before

    @contextmanager
    def inside(self, cell: str, console: Path) -> Iterator[None]:
        """Name another console in the records of a cell that are written meanwhile."""
        before = self.enter(cell, console)
        try:
            yield
        finally:
            self._consoles[cell] = before

    def _write(self, record: Record) -> None:
        console = self._consoles.get(record.cell, CONSOLE)
        more = {"time": datetime.now(UTC), "console": console}
        try:
            self._recorder.write(record.model_copy(update=more))
        except GuestError as error:
            raise ResultsLost(error) from error

    def boot(self, setup: CellSetup, report: BootReport, factor: float, note: str = "") -> None:
        """Record a guest that became ready."""
        cell = setup.cell
        self._write(
            BootRecord(
                cell=cell.name,
                kernel=cell.kernel.name,
                release=setup.kernel.release,
                cpu=cell.cpu.name,
                smp=cell.smp,
                cc=cell.cc,
                accel=setup.accel,
                accel_reason=setup.accel_reason,
                clock=cell.clock,
                boot_s=report.boot_s,
                phases=dict(report.phases),
                factor=factor,
                restored=report.restored,
                note=note,
            )
        )

    def defect(self, cell: str, user: str | None, error: BaseException, text: str) -> None:
        """Record an unexpected exception: a defect of the harness or of a test.

        :param text: its traceback.
        """
        self._write(
            GuestFailureRecord(
                cell=cell,
                verdict="harness-failed",
                message=_first_line(error),
                hint="this is a defect of the harness: its traceback is below",
                console_tail=text[-_MAX_TRACEBACK:],
                program=user,
            )
        )

    def failure(self, cell: str, user: str | None, error: HarnessError) -> None:
        """Record a guest that failed while ``user`` ran in it, or while it booted.

        Each error is recorded once, however often it is raised again.
        """
        if error in self._recorded:
            return
        self._recorded.add(error)
        self._write(
            GuestFailureRecord(
                cell=cell,
                verdict=getattr(error, "verdict", HOST_FAILED),
                phase=getattr(error, "phase", ""),
                message=error.what,
                hint=error.hint or "",
                console_tail=getattr(error, "console_tail", "")[-2 * HALF :],
                program=user,
            )
        )

    def splat(self, cell: str, user: str | None, splat: Splat, excused: str | None = None) -> None:
        """Record a splat that was printed while ``user`` ran."""
        self._write(
            SplatRecord(
                cell=cell,
                kind=splat.kind,
                title=splat.title,
                fingerprint=splat.fingerprint,
                first_line=splat.first_line,
                excerpt=splat.excerpt,
                corrupted=splat.corrupted,
                program=user,
                excused=excused,
            )
        )

    def start(self) -> None:
        """Note that a program begins. The duration of its first case counts from here."""
        self._since = time.monotonic()

    def case(self, cell: str, program: str, case: CaseResult, attempt: int = 1) -> None:
        """Record a case of a program."""
        now = time.monotonic()
        self._write(
            CaseRecord(
                cell=cell,
                program=program,
                case=case.name,
                status=case.status,
                message=case.message,
                diagnostics=case.diagnostics,
                checks=case.checks,
                lacks=case.lacks,
                seconds=round(now - self._since, 3),
                attempt=attempt,
            )
        )
        self._since = now

    def program(
        self,
        cell: str,
        program: str,
        done: Completed,
        reader: KtapReader | SelftestReader,
        attempt: int = 1,
    ) -> None:
        """Record how a program ended."""
        stderr = Lines()
        stderr.extend(done.stderr.decode("utf-8", "backslashreplace").split("\n"))
        self._write(
            ProgramRecord(
                cell=cell,
                program=program,
                returncode=done.returncode,
                signal=done.signal,
                seconds=round(done.seconds, 3),
                stray=reader.stray,
                stderr="\n".join(stderr),
                problems=reader.problems,
                timed_out=done.timed_out,
                attempt=attempt,
            )
        )

    def samples(
        self,
        cell: str,
        program: str,
        folder: Path,
        attempt: int = 1,
        host: HostLoad | None = None,
        restored: bool = False,
    ) -> list[str]:
        """Record the distributions in a folder of raw samples, and return its errors.

        :param host: the host's load while they were measured.
        :param restored: whether the guest was restored from a snapshot, not booted.
        """
        from harness.results.latency import read_folder  # needed only for latency programs

        found = read_folder(
            folder, cell=cell, program=program, run=self._run.path, attempt=attempt, host=host
        )
        for record in found.records:
            self._write(record.model_copy(update={"restored": restored}))
        return list(found.errors) or ([] if found.records else ["no samples"])

    def test(self, cell: str, name: str, report: pytest.TestReport, attempt: int = 1) -> None:
        """Record the outcome of a test that is not a guest program, or of one of its subtests."""
        if report.when != "call" and report.passed:
            return
        subtest = isinstance(report, pytest.SubtestReport) and report.context.msg
        status: dict[str, CaseStatus] = {"passed": "pass", "failed": "fail", "skipped": "skip"}
        crash = getattr(report.longrepr, "reprcrash", None)
        said = crash.message if crash else report.longreprtext
        self._write(
            CaseRecord(
                cell=cell,
                program=name,
                case=subtest or WHOLE_TEST,
                status=status[report.outcome],
                message=cut(said.partition("\n")[0], MAX_MESSAGE) if not report.passed else "",
                diagnostics=cut(report.longreprtext, 4 * HALF) if report.failed else "",
                seconds=round(report.duration, 3),
                attempt=attempt,
            )
        )
