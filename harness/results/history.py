"""The history of the runs on this host: latencies and failed programs, in an SQLite file.

The file is in the cache folder. A run adds its rows in one transaction when it ends. Concurrent
runs wait for each other, and readers do not wait (write-ahead log). An error here does not fail a
run, because the run's folder has the same data.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from harness.errors import GuestError
from harness.values import Value

HISTORY_FILE = "history.sqlite3"
#: Version of the file's format. A file with another version is not used.
FORM = 1
#: Seconds that a run waits for other writers.
WAIT_S = 10.0
_MOST = (1 << 63) - 1


class HistoryRow(Value):
    """One latency of one run. Values are in ``unit``."""

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
    #: Hashes of artefacts; for an emulator that was not built here, its version.
    kernel: str
    series: str
    emulator: str
    programs: str
    #: The run's verdict; empty for a run of an earlier version.
    verdict: str = ""


class ProgramRow(Value):
    """Counts of a program's runs and failures in a cell, for one run of the harness."""

    #: RFC 3339, UTC: when the run began.
    time: str
    #: The run's folder.
    run: str
    cell: str
    program: str
    runs: int
    fail: int
    #: The cases that failed, one a line.
    failed: str
    #: Hashes of artefacts; for an emulator that was not built here, its version.
    kernel: str
    series: str
    emulator: str
    programs: str
    #: The run's verdict; empty for a run of an earlier version.
    verdict: str = ""


R = TypeVar("R", HistoryRow, ProgramRow)
_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT"}


class _Table(NamedTuple):
    name: str
    row: type[Value]
    #: Columns of the primary key.
    key: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.row.model_fields)

    @property
    def schema(self) -> str:
        columns = []
        for name, field in self.row.model_fields.items():
            kind = next((k for t, k in _TYPES.items() if field.annotation in (t, t | None)), "TEXT")
            columns.append(f'"{name}" {kind}')
        key = f"PRIMARY KEY ({_quoted(self.key)})"
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(columns)}, {key})"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_LATENCY = _Table("latency", HistoryRow, ("run", "cell", "mechanism", "mode", "unit"))
_PROGRAM = _Table("program", ProgramRow, ("run", "cell", "program"))


def add(path: Path, rows: Sequence[HistoryRow], programs: Sequence[ProgramRow] = ()) -> None:
    """Add a run's latencies and programs, or replace them if they were added before.

    :raise GuestError: the file cannot be written, or has another format.
    """
    if not rows and not programs:
        return
    with _opened(path) as database, database:
        # Lock out other writers now. Otherwise a conflict would be found only at the end.
        database.execute("BEGIN IMMEDIATE")
        database.execute(f"PRAGMA user_version = {FORM}")
        for table, found in ((_LATENCY, rows), (_PROGRAM, programs)):
            database.execute(table.schema)
            for name in sorted(set(table.columns) - _columns(database, table)):
                database.execute(
                    f"ALTER TABLE {table.name} ADD COLUMN \"{name}\" TEXT NOT NULL DEFAULT ''"
                )
            marks = ", ".join("?" for _ in table.columns)
            database.executemany(
                f"INSERT OR REPLACE INTO {table.name} ({_quoted(table.columns)})"  # noqa: S608  # own names
                f" VALUES ({marks})",
                [tuple(_stored(getattr(row, name)) for name in table.columns) for row in found],
            )


def _stored(value: object) -> object:
    """Return a value for a column. SQLite's integers have a sign, and samples have none."""
    return min(value, _MOST) if isinstance(value, int) else value


def read(path: Path, mechanisms: Sequence[str] = (), last: int = 0) -> list[HistoryRow]:
    """Return the latencies in the history, the latest run last.

    :param mechanisms: only these; all if empty.
    :param last: number of the latest runs to return; 0 for all.
    :raise GuestError: the file cannot be read, or has another format.
    """
    chosen = ", ".join("?" for _ in mechanisms)
    which = f"WHERE mechanism IN ({chosen})" if mechanisms else ""
    order = "time, run, cell, mode, mechanism"
    found = _select(path, _LATENCY, which, mechanisms, order)
    return _last(_rows(path, HistoryRow, found), last)


def read_programs(path: Path, last: int = 0) -> list[ProgramRow]:
    """Return the programs in the history, the latest run last.

    :param last: number of the latest runs to return; 0 for all.
    :raise GuestError: as :func:`read`.
    """
    found = _select(path, _PROGRAM, "", (), "time, run, cell, program")
    return _last(_rows(path, ProgramRow, found), last)


def _rows(path: Path, kind: type[R], found: Sequence[dict[str, Any]]) -> list[R]:
    """Return rows of the file.

    :raise GuestError: some have values that no run can have written.
    """
    rows: list[R] = []
    for one in found:
        with suppress(ValidationError):
            rows.append(kind(**one))
    if damaged := len(found) - len(rows):
        raise GuestError(
            f"{damaged} of {len(found)} rows of the history are damaged",
            where=path,
            hint="move the file away to begin a new history",
        )
    return rows


def _select(
    path: Path, table: _Table, which: str, values: Sequence[str], order: str
) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with _opened(path, read_only=True) as database:
        # A file of an earlier version lacks a table.
        known = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table.name,))
        if known.fetchone() is None:
            return []
        has = _columns(database, table)
        columns = [name for name in table.columns if name in has]
        found = database.execute(
            f"SELECT {_quoted(columns)} FROM {table.name} {which} ORDER BY {order}",  # noqa: S608
            tuple(values),
        ).fetchall()
    return [dict(zip(columns, row, strict=True)) for row in found]


def _columns(database: sqlite3.Connection, table: _Table) -> set[str]:
    """Return the columns of a table in the file. An earlier version has fewer."""
    rows = database.execute("SELECT name FROM pragma_table_info(?)", (table.name,)).fetchall()
    return {name for (name,) in rows}


def _last(rows: list[R], last: int) -> list[R]:
    runs = list(dict.fromkeys(row.run for row in rows))
    kept = set(runs[-last:]) if last else set(runs)
    return [row for row in rows if row.run in kept]


@contextmanager
def _opened(path: Path, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    try:
        with closing(_connect(path, read_only=read_only)) as database:
            form = database.execute("PRAGMA user_version").fetchone()[0]
            if form not in {0, FORM}:
                raise GuestError(
                    f"the history has format {form}, and this version reads {FORM}",
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


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open the file. ``read_only`` also works in a folder that cannot be written to."""
    if not read_only:
        database = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        return database
    name = quote(str(path.absolute()))
    # mode=ro needs to create the write-ahead log if it does not exist. If the folder cannot be
    # written to, there is no writer, so that immutable=1 reads everything.
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        database = sqlite3.connect(f"file:{name}?{mode}", timeout=WAIT_S, uri=True)
        try:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            database.close()
            if "immutable" in mode:
                raise
        else:
            return database
    raise AssertionError
