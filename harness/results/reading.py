"""Reading ``results.jsonl``, within limits of memory and time.

The file may be of a killed run, of another version, or of somebody else. Lines that are no records
are counted and left out.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from harness.errors import GuestError
from harness.results.records import Record

#: Bytes of a line that is read. The longest that is written has a console's end, or samples.
MAX_LINE = 4 << 20
#: Bytes of a file that is read.
MAX_FILE = 2 << 30
#: Stands for a line that is too long.
_TOO_LONG = b"\0"

_ADAPTER: TypeAdapter[Record] = TypeAdapter(Record)


class Reading:
    """The records of a file, one at a time. It can be read several times.

    A missing file counts as empty. A line without a line end counts as damaged, even if it can be
    parsed.

    :raise GuestError: from the constructor and while reading: the host cannot read the file, or it
        is larger than :data:`MAX_FILE`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Number of lines that were left out by the last complete reading.
        self.unread = 0
        try:
            found = path.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(error.strerror) from error
        if not stat.S_ISREG(found.st_mode):
            raise self._failed("this is not a file")
        self._check(found.st_size)

    def __iter__(self) -> Iterator[Record]:
        """Yield the records."""
        unread = 0
        for raw in self.lines():
            record = parse(raw)
            if record is None:
                unread += 1
            else:
                yield record
        self.unread = unread

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are not blank. One that is too long is a NUL byte."""
        size = 0
        try:
            with self.path.open("rb") as file:
                while raw := file.readline(MAX_LINE):
                    size += len(raw)
                    self._check(size)
                    if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                        while raw and not raw.endswith(b"\n"):
                            raw = file.readline(MAX_LINE)
                            size += len(raw)
                            self._check(size)
                        raw = _TOO_LONG
                    if raw.strip():
                        yield raw
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(error.strerror) from error

    def _check(self, size: int) -> None:
        if size > MAX_FILE:
            raise self._failed(f"there are more than {MAX_FILE >> 30} GiB")

    def _failed(self, why: str | None) -> GuestError:
        return GuestError(f"the results cannot be read: {why}", where=self.path)


def parse(raw: bytes) -> Record | None:
    """Return the record of a line; None if it is damaged, or of a type that is not known."""
    if not raw.endswith(b"\n"):
        return None
    try:
        return _ADAPTER.validate_json(raw)
    except ValidationError:
        return None


@dataclass(frozen=True)
class Records:
    """Contents of a results file that is known to be small."""

    records: tuple[Record, ...] = ()
    #: JSON objects of a type or format that this version does not know.
    unknown: tuple[dict[str, object], ...] = ()
    #: Lines that are not JSON objects. The last line of a killed run is often cut.
    broken: tuple[str, ...] = field(default=())


def read_records(path: Path) -> Records:
    """Read a whole results file.

    :raise GuestError: as :class:`Reading`.
    """
    records: list[Record] = []
    unknown: list[dict[str, object]] = []
    broken: list[str] = []
    for raw in Reading(path).lines():
        record = parse(raw)
        if record is not None:
            records.append(record)
        elif (value := _object(raw)) is not None:
            unknown.append(value)
        else:
            broken.append(raw.rstrip(b"\n").decode("utf-8", "backslashreplace"))
    return Records(tuple(records), tuple(unknown), tuple(broken))


def _object(raw: bytes) -> dict[str, object] | None:
    """Return the JSON object of a whole line, or None."""
    if not raw.endswith(b"\n"):
        return None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
