"""Programs for a pytest that a test starts, and the records that it leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.results.folder import RunFolder
from harness.results.reading import read_records
from harness.results.records import (
    BootRecord,
    CaseRecord,
    Record,
)

GOOD = "echo 'KTAP version 1'; echo 1..2; echo 'ok 1 first'; echo 'ok 2 second'"

BAD = (
    "echo 'KTAP version 1'; echo 1..3; echo 'ok 1 fine'; echo '# got 3, not 4';"
    "echo 'not ok 2 broken'; echo 'ok 3 later # SKIP no such CPU'; exit 1"
)

WARN = "WARNING: CPU: 0 PID: 7 at kernel/uintr.c:12 uintr_post+0x1/0x2"

Start = Callable[..., pytest.RunResult]


def records(run: RunFolder, *kinds: type[Record]) -> list[Record]:
    found = read_records(run.results)
    assert not found.broken
    assert not found.unknown
    return [record for record in found.records if not kinds or isinstance(record, kinds)]


def cases(run: RunFolder) -> list[tuple[str, str, str]]:
    return [
        (record.program, record.case, record.status)
        for record in records(run)
        if isinstance(record, CaseRecord)
    ]


#: A program that measures.
MEASURE = (
    f'{GOOD}; python3 -c "import struct; '
    "open('$UINTR_SAMPLES/uintr.sender.ns.u64', 'wb').write(struct.pack('<4Q', 1, 2, 3, 4))\""
)


def starts(run: RunFolder) -> list[str]:
    """Return how the guests of a run began, with what was noted."""
    return [
        ("restored" if record.restored else "booted") + (f" ({record.note})" if record.note else "")
        for record in records(run, BootRecord)
        if isinstance(record, BootRecord)
    ]
