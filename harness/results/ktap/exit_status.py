"""Failures that follow from how a program ended."""

from __future__ import annotations

from collections.abc import Mapping
from signal import Signals

from harness.results.ktap.lines import CaseStatus

#: kselftest's exit codes, see ``tools/testing/selftests/kselftest.h``.
EXIT_SKIP = 4


def death(returncode: int | None, signal: str | None, reason: str | None) -> str | None:
    """Return how a program died, as text; None if it exited by itself.

    :param returncode: an exit code; -N (Python) and 128+N (shells) mean signal N.
    :param signal: the signal's name, if it is known.
    :param reason: why the harness ended the program. It takes precedence over the signal.
    """
    if reason:
        return reason
    if signal:
        return f"killed by {signal if signal.startswith('SIG') else 'SIG' + signal}"
    if returncode is None:
        return "ended without an exit code"
    number = -returncode if returncode < 0 else returncode - 128
    if 0 < number <= 64:
        try:
            return f"killed by {Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    return None


def exit_complaint(
    returncode: int | None, counts: Mapping[CaseStatus, int], any_header: bool
) -> str | None:
    """Return why an exit code does not fit the cases; None if it does.

    An exit code of 0 after a failing case is accepted, because the case fails the program.

    :param any_header: whether the program printed a version line.
    """
    if not sum(counts.values()):
        what = "no results after the version line" if any_header else "no KTAP at all"
        return f"{what}, exit code {returncode}"
    if returncode == 0 or counts.get("fail", 0):
        return None
    if returncode == EXIT_SKIP and not counts.get("pass", 0):
        return None
    return f"exit code {returncode}, although no case failed"
