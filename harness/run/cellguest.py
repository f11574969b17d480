"""The guest of a cell for all its programs: booted once, replaced after a failure."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.artefacts.kernel import gcov
from harness.errors import GuestError, HarnessError
from harness.guest import counters
from harness.guest.limits import COPY, Budget
from harness.guest.runtime import runtime_folder
from harness.guest.verdict import leaks
from harness.guest.verdict.deadlines import MOST_STRETCH
from harness.guest.verdict.failure import Completed, GuestFailure
from harness.guest.verdict.known_splats import KnownSplat, find_excuse
from harness.results.folder import CellSetup, RunFolder
from harness.results.records import CONSOLE
from harness.run.journal import Journal
from harness.values import OUTPUT_LIMIT

if TYPE_CHECKING:
    from harness.guest.snapshot import Snapshot
    from harness.guest.spec import GuestSpec
    from harness.guest.verdict.splat_report import Splat
    from harness.guest.vm import Guest
    from harness.values import Program

    class StartGuest(Protocol):
        """The type of :func:`harness.guest.vm.start_guest`."""

        def __call__(
            self,
            spec: GuestSpec,
            folder: Path,
            *,
            save: Path | None = None,
            snapshot: Snapshot | None = None,
        ) -> AbstractContextManager[Guest]:
            """Start a guest."""


#: The programs' folder in the guest.
REMOTE_PROGRAMS = "/tests"


class CellGuest:
    """The ``guest`` fixture of tests: the running guest of one cell.

    It has the methods of :class:`harness.guest.vm.Guest` that tests use. When the guest dies
    during a test, the test gets the :exc:`~harness.guest.vm.GuestFailure`, which is recorded
    once. The next test gets a fresh guest after such a failure, after a failed test, after a
    splat, and when it asks for one. A fresh guest is restored from the snapshot that the cell's
    first guest saved at the end of its boot, or boots if that fails. If a cell's guest does not
    boot, it is not tried again: each test of the cell gets the same failure at once.
    """

    def __init__(
        self,
        setup: CellSetup,
        run: RunFolder,
        journal: Journal,
        known: tuple[KnownSplat, ...] = (),
        start: StartGuest | None = None,
    ) -> None:
        self.setup = setup
        self.folder = run.cell(setup.cell.name)
        #: The test that uses the guest now. Failures and splats are recorded with its name.
        self.user: str | None = None
        #: Splats that are not excused, each with the test that was running.
        self.splats_seen: list[tuple[Splat, str | None]] = []
        self.failures: list[HarnessError] = []
        self._run = run
        self._journal = journal
        self._known = known
        self._start = start
        self._guest: Guest | None = None
        self._lifetime = ExitStack()
        self._counted = 0
        #: Whether a test has used the guest.
        self._used = False
        #: Whether a test has failed in the guest, or its kernel has complained.
        self._suspect = False
        #: Whether the current test asked for a fresh guest.
        self._isolated = False
        self._snapshot: Snapshot | None = None
        #: Removes the snapshot's folder when the cell ends.
        self._kept = ExitStack()
        self._boot_failure: HarnessError | None = None
        self._pushed: set[str] = set()

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.setup.cell.name

    def program(self, name: str) -> Program:
        """Return a program of the cell.

        :raise KeyError: the cell has no program of this name.
        """
        return {program.name: program for program in self.setup.programs.programs}[name]

    @property
    def factor(self) -> float:
        """Slowness of the guest relative to a fast machine; deadlines are scaled by it."""
        return self._current_guest().factor

    @property
    def qemu_pid(self) -> int:
        """The process id of the guest's QEMU."""
        return self._current_guest().qemu_pid

    @property
    def restored(self) -> bool:
        """Whether the guest was restored from a snapshot."""
        return self._current_guest().boot.restored

    def mark_suspect(self) -> None:
        """Note that a test failed in this guest, and may have left it in a bad state."""
        self._suspect = True

    def ready(self, *, fresh: bool = False) -> None:
        """Make sure that there is a running guest.

        :param fresh: whether it must be one in which nothing has run yet. A guest in which a test
            failed is always replaced if there is a snapshot to restore.
        :raise GuestFailure: the guest does not boot, now or in an earlier call.
        :raise GuestError: the last data of the guest before cannot be collected. That guest is
            stopped, and the next call starts one.
        """
        if self._boot_failure is not None:
            raise self._boot_failure
        self._isolated = fresh
        if self._guest is not None and self._guest.alive and not self._stale(fresh=fresh):
            return
        try:
            self._collect_last_data()
        finally:
            self._drop()
        try:
            self._start_guest()
        except HarnessError as error:
            self._boot_failure = error
            self.failures.append(error)
            self._journal.failure(self.name, None, error)
            self._drop()
            raise

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        on_stdout: Callable[[bytes], None] | None = None,
        terminal: bool = False,
        stdin: bytes | None = None,
        output_limit: int = OUTPUT_LIMIT,
        exact: bool = False,
        most: float = MOST_STRETCH,
    ) -> Completed:
        """Run a command in the guest, see :meth:`harness.guest.vm.Guest.run`.

        :param timeout_s: seconds on a fast machine; multiplied here by :attr:`factor`.
        :param exact: do not multiply it.
        :param most: limit for the factor.
        """
        with self._using() as guest:
            factor = 1.0 if exact else min(guest.factor, most)
            done = guest.run(
                argv,
                timeout_s=timeout_s * factor,
                env=env,
                on_stdout=on_stdout,
                terminal=terminal,
                stdin=stdin,
                output_limit=output_limit,
            )
        return done.within(timeout_s, factor)

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or a folder's contents, see :meth:`harness.guest.vm.Guest.push`."""
        with self._using() as guest:
            guest.push(local, remote)

    def fetch(self, remote: str, local: Path, budget: Budget = COPY) -> None:
        """Copy a file or a folder out of the guest."""
        with self._using() as guest:
            guest.fetch(remote, local, budget)

    def console_tail(self, lines: int = 20) -> str:
        """Return the last lines of the console."""
        return self._current_guest().console_tail(lines)

    def push_program(self, name: str) -> str:
        """Make sure that a program is in the guest, and return its path there.

        Unless the test is isolated, the programs of the same subject are copied with it, which
        saves a round trip for each. Copying all programs would delay the first result by seconds.
        """
        subject = name.partition("/")[0]
        program = self.program(name)
        # A selftest may read files in its folder.
        alone = self._isolated and program.kind != "kselftest"
        wanted = name if alone else subject
        if wanted not in self._pushed:
            local = program.path if alone else program.path.parent
            self.push(local, f"{REMOTE_PROGRAMS}/{subject}/")
            self._pushed.add(wanted)
        return f"{REMOTE_PROGRAMS}/{name}"

    def take_splats(self) -> list[Splat]:
        """Record the splats since the last call, for the current test, and return them.

        :raise HarnessError: the console cannot be scanned.
        """
        if self._guest is None:
            return []
        everything = self._guest.splats()
        # Compare lines, not positions: an excused splat may leave the list once it is complete.
        fresh = [splat for splat in everything if splat.first_line > self._counted]
        self._counted = max([self._counted, *(splat.first_line for splat in fresh)])
        self.record_splats(fresh)
        self._suspect |= bool(fresh)
        return fresh

    def is_known(self, splat: Splat) -> bool:
        """Return true if a splat is excused."""
        return find_excuse(splat, self._known) is not None

    def record_splats(self, fresh: Sequence[Splat]) -> None:
        """Record splats for the current test."""
        for splat in fresh:
            excuse = find_excuse(splat, self._known)
            if excuse is None:
                self.splats_seen.append((splat, self.user))
            reason = f"{excuse.reason} ({excuse.link})" if excuse else None
            self._journal.splat(self.name, self.user, splat, reason)

    def close(self) -> None:
        """Stop the guest, after a last scan of its console."""
        try:
            self._collect_last_data()
        finally:
            self._drop()
            self._kept.close()

    def _collect_last_data(self) -> None:
        """Collect a guest's last data before it stops. Its splats are recorded with no test."""
        user, self.user = self.user, None
        try:
            self._collect_from_kernel()
            self.take_splats()
        finally:
            self.user = user

    def _collect_from_kernel(self) -> None:
        """Fetch the kernel's coverage counters, and scan for memory leaks."""
        guest = self._guest
        if guest is None or not guest.alive or not self._used:
            return
        # _using() has recorded the failure.
        with suppress(GuestFailure):
            if gcov.is_in(self.setup.kernel.path):
                self._fetch_counters()
            if leaks.has_kmemleak(self.setup.kernel.config):
                self.run(leaks.COMMAND, timeout_s=leaks.TIMEOUT_S, most=math.inf)

    def _fetch_counters(self) -> None:
        """Copy the kernel's coverage counters into the cell's folder, one folder per guest.

        :raise GuestError: the guest cannot read them.
        """
        done = self.run(counters.COMMAND, timeout_s=counters.TIMEOUT_S, most=math.inf)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise GuestError(
                "the kernel's coverage counters cannot be read",
                where=self.name,
                detail=said or None,
                hint="the kernel was built with gcov: is debugfs mounted in its guest?",
            )
        kept = self.folder / counters.KEPT
        number = len(list(kept.iterdir())) + 1 if kept.is_dir() else 1
        self.fetch(counters.FOLDER, kept / str(number))

    def _stale(self, *, fresh: bool) -> bool:
        """Return true if the current guest must be replaced."""
        return (fresh and self._used) or (self._suspect and self._snapshot is not None)

    def _start_guest(self) -> None:
        """Restore a guest, or boot one."""
        if self._snapshot is None:
            # If this process is killed, the next run removes the folder.
            folder = self._kept.enter_context(runtime_folder())
            self._snapshot = self._enter(save=folder / "state").snapshot
            return
        try:
            self._enter(snapshot=self._snapshot)
        except HarnessError as error:
            self._drop()
            self._snapshot = None
            self._enter(note=f"a guest could not be restored: {error.what}")

    def _enter(
        self, *, save: Path | None = None, snapshot: Snapshot | None = None, note: str = ""
    ) -> Guest:
        start = self._start
        if start is None:
            from harness.guest.vm import start_guest

            start = start_guest
        setup = self.setup
        folder = self._run.claim_guest_folder(self.name)
        self._journal.enter(self.name, (folder / CONSOLE).relative_to(self.folder))
        if snapshot is None and setup.kernel.config.exists():
            shutil.copyfile(setup.kernel.config, folder / "kernel.config")
        guest = self._guest = self._lifetime.enter_context(
            start(setup.guest_spec(), folder, save=save, snapshot=snapshot)
        )
        guest.excuse(self.is_known)
        if guest.unsaved:
            note = f"the guest's state could not be saved: {guest.unsaved}"
        if guest.aborted:
            note = f"QEMU aborted during a first boot: {guest.aborted}"
        self._journal.boot(setup, guest.boot, guest.factor, note)
        return guest

    def _current_guest(self) -> Guest:
        if self._guest is None:
            raise self._boot_failure or self.failures[-1]
        return self._guest

    @contextmanager
    def _using(self) -> Iterator[Guest]:
        """Yield the guest. If it fails, record the failure and drop the guest."""
        guest = self._current_guest()
        self._used = True
        try:
            yield guest
        except GuestFailure as failure:
            self.failures.append(failure)
            self._journal.failure(self.name, self.user, failure)
            try:
                self.take_splats()
            finally:
                self._drop()
            raise

    def _drop(self) -> None:
        lifetime, self._lifetime = self._lifetime, ExitStack()
        self._guest = None
        self._counted = 0
        self._used = self._suspect = False
        self._pushed.clear()
        lifetime.close()
