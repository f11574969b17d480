"""The end of a pytest session that ran in the cells of a run."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from harness.errors import ExitCode, HarnessError
from harness.lib.text import clean_line
from harness.results.folder import RunFolder
from harness.results.outcome import failure_in
from harness.testing.stash import SPLATS

_CODES: dict[int, tuple[ExitCode, str]] = {
    pytest.ExitCode.OK: (ExitCode.PASSED, ""),
    pytest.ExitCode.TESTS_FAILED: (ExitCode.TESTS_FAILED, "a test failed"),
    pytest.ExitCode.INTERRUPTED: (ExitCode.INTERRUPTED, "interrupted"),
    pytest.ExitCode.NO_TESTS_COLLECTED: (ExitCode.USAGE, "no test was found"),
    pytest.ExitCode.USAGE_ERROR: (ExitCode.USAGE, "wrong usage of pytest"),
}


class SessionEnd:
    """A pytest plugin that fails a session whose records say so. Not for pytest-xdist's workers.

    :param ends_run: whether this process has to note how the run ended.
    """

    def __init__(self, run: RunFolder, *, ends_run: bool) -> None:
        self._run = run
        self._ends_run = ends_run
        self._stopped = False
        #: Why the session is not passed although all its tests passed.
        self._why = ""

    def pytest_keyboard_interrupt(self) -> None:
        """Remember that something stopped pytest: the user, or a test that called pytest.exit()."""
        self._stopped = True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail if the records say so, and note how a run ended that pytest itself started."""
        if exitstatus == pytest.ExitCode.OK:
            if self._stopped:  # with an exit code of its own
                exitstatus = session.exitstatus = pytest.ExitCode.INTERRUPTED
            elif why := failure_in(self._run):
                # A guest failed in which no test was running, or in an earlier session.
                self._why = why
                exitstatus = session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if not self._ends_run:
            return
        code, reason = _CODES.get(exitstatus, (ExitCode.GUEST, "pytest failed"))
        with suppress(HarnessError):  # a run without an end counts as incomplete
            self._run.end(code, reason=reason)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the folder of the results."""
        for text in terminalreporter.config.stash.get(SPLATS, []):
            terminalreporter.write_line(text, red=True)
        if self._why:
            terminalreporter.write_line(f"not passed: {clean_line(self._why)}", red=True)
        folder = self._run.path
        terminalreporter.write_line(f"results: {folder} (uintr-harness report {folder})")
