"""The golden logs: consoles with reports that are known, and consoles without."""

from __future__ import annotations

import datetime
from pathlib import Path

from harness.guest.verdict import splats
from harness.guest.verdict.splats import scan
from tools.splats import Log, read_log

GOLDEN = Path(__file__).parent / "golden"
TODAY = datetime.date(2026, 11, 22)

LOGS = {path.stem: read_log(path) for path in sorted(GOLDEN.glob("*.log"))}
REPORTS = {name: log for name, log in LOGS.items() if log.expected}
SINGLE = [name for name, log in REPORTS.items() if len(log.expected or ()) == 1]


def lines(name: str) -> list[bytes]:
    return list(LOGS[name].lines)


def differences(name: str) -> list[str]:
    expected, found = LOGS[name].expected or (), scan(LOGS[name].lines)
    if len(expected) != len(found):
        return [f"{len(expected)} expected, found {[splat.title for splat in found]}"]
    pairs = zip(expected, found, strict=True)
    return [text for want, have in pairs if (text := want.missing(have))]


def texts(log: Log) -> list[bytes]:
    return [splats._split(line)[1] for line in log.lines]
