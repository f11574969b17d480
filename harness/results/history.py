"""Every latency of every run on this machine, in one SQLite file of the cache folder.

A run adds its rows in one transaction when it ends. Runs at the same time wait for each other's
milliseconds, and readers for nobody (write-ahead log). Whatever goes wrong here is told and fails
no run: the run's own folder has all of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from harness.errors import GuestError
from harness.values import Value

HISTORY_FILE = "history.sqlite3"
#: Of the table's form; a file of another one is left alone.
FORM = 1
#: Seconds that a run waits for others that write.
WAIT_S = 10.0


class HistoryRow(Value):
    """One latency of one run; values in `unit`."""

    #: RFC 3339, UTC: when the run began.
    time: str
    #: The run's folder.
    run: str
    cell: str
    mechanism: str
    mode: str
    unit: str
    count: int
    min: int
    p50: int
    p90: int
    p99: int
    max: int
    mean: float
    p50_low: float | None
    p50_high: float | None
    accel: str
    clock: str
    #: The CPU model of the host.
    host: str
    load: float | None
    steal_percent: float | None
    waited_percent: float | None
    #: Hashes; the emulator's version where it was not built here.
    kernel: str
    series: str
    emulator: str
    programs: str


_COLUMNS = tuple(HistoryRow.model_fields)
_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT"}


def _schema() -> str:
    columns = []
    for name, field in HistoryRow.model_fields.items():
        kind = next((k for t, k in _TYPES.items() if field.annotation in (t, t | None)), "TEXT")
        columns.append(f'"{name}" {kind}')
    key = 'PRIMARY KEY ("run", "cell", "mechanism", "mode", "unit")'
    return f"CREATE TABLE IF NOT EXISTS latency ({', '.join(columns)}, {key})"


def add(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Add a run's latencies; rows that are there already (a report made again) are replaced.

    :raise GuestError: the file cannot be written, or has another form.
    """
    if not rows:
        return
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    marks = ", ".join("?" for _ in _COLUMNS)
    with _opened(path) as database, database:
        # One writer at a time from here on; without it two would only find out at the end.
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone()[0] == 0:
            database.execute(_schema())
            database.execute(f"PRAGMA user_version = {FORM}")
        database.executemany(
            f"INSERT OR REPLACE INTO latency ({names}) VALUES ({marks})",  # noqa: S608  # own names
            [tuple(getattr(row, name) for name in _COLUMNS) for row in rows],
        )


def read(path: Path, mechanisms: Sequence[str] = (), last: int = 0) -> list[HistoryRow]:
    """Return what is kept, latest run last.

    :param mechanisms: only these; all if none is named.
    :param last: only so many of the last runs; all for 0.
    :raise GuestError: the file cannot be read, or has another form.
    """
    if not path.exists():
        return []
    chosen = ", ".join("?" for _ in mechanisms)
    which = f"WHERE mechanism IN ({chosen})" if mechanisms else ""
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    with _opened(path) as database:
        found = database.execute(
            f"SELECT {names} FROM latency {which} ORDER BY time, run, cell, mode, mechanism",  # noqa: S608
            tuple(mechanisms),
        ).fetchall()
    rows = [HistoryRow(**dict(zip(_COLUMNS, row, strict=True))) for row in found]
    runs = list(dict.fromkeys(row.run for row in rows))
    kept = set(runs[-last:]) if last else set(runs)
    return [row for row in rows if row.run in kept]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            form = database.execute("PRAGMA user_version").fetchone()[0]
            if form not in {0, FORM}:
                raise GuestError(
                    f"the history has form {form}, and this version knows {FORM}",
                    where=path,
                    hint="move the file away to begin a new history",
                )
            yield database
    except (sqlite3.Error, ValueError) as error:
        raise GuestError(
            f"the history cannot be used: {error}",
            where=path,
            hint="move the file away to begin a new history",
        ) from error
