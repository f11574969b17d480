"""``results.jsonl``: one record a line, written the moment it is known.

Every line is a JSON object with ``"type"`` and ``"schema": 1``. Several processes append to one
file: a record is one ``write`` to a descriptor opened with ``O_APPEND``, which Linux does under the
inode's lock, so lines never mix. A reader takes what a killed writer left: a cut line, and types
and fields that this version does not know, are kept and counted, never an error.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
import os
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticSerializationError

from harness.errors import GuestError
from harness.results.ktap.lines import CaseStatus
from harness.values import Accel, Clock, Compiler, Name, Value

RESULTS_FILE = "results.jsonl"
#: Bytes of samples that one measurement may unpack to; 24,000 are the most that are written.
_MOST_RAW = 1 << 20

Mechanism = Literal["uintr", "eventfd", "pipe", "signal", "signalfd", "futex", "unix", "shm"]
Unit = Literal["ns", "insn"]
#: How what busy-waits spins: with PAUSE, or without because PAUSE was measured to be expensive.
Spin = Literal["pause", "bare"]


class _Record(Value):
    #: The version of the record's form; ``schema`` in JSON.
    version: Literal[1] = Field(default=1, alias="schema")
    #: The name of the cell that it is about.
    cell: str
    #: When it was recorded; None in the folders of versions that did not note it.
    time: datetime | None = None


class CaseRecord(_Record):
    """One case of a program, as its KTAP said or as the harness concluded."""

    type: Literal["case"] = "case"
    program: str
    case: str
    status: CaseStatus
    message: str = ""
    diagnostics: str = ""
    #: Ids of the statements of ``guest-tests/CONTRACT.md`` that it said it checks.
    checks: tuple[str, ...] = ()
    #: Seconds since the case before it in the same program, or since the program's start.
    seconds: float = 0.0
    #: 1 for the first time that the program ran in this run.
    attempt: int = 1


class ProgramRecord(_Record):
    """How one run of a program ended, and what it printed that belongs to no case."""

    type: Literal["program"] = "program"
    program: str
    #: None when it ended without one.
    returncode: int | None
    signal: str | None = None
    seconds: float = 0.0
    attempt: int = 1
    #: Output around the cases (:attr:`harness.results.ktap.reader.KtapReader.stray`).
    stray: str = ""
    stderr: str = ""
    #: Remarks on the form of the KTAP.
    problems: tuple[str, ...] = ()


class HostLoad(Value):
    """What the host was busy with while a program measured."""

    seconds: float
    #: Load average over the last minute.
    load: float
    #: Share of the host's CPU time that a hypervisor took away; None where nobody counts it.
    steal_percent: float | None = None
    #: Share of the time that QEMU's threads wanted a CPU in which they got none.
    waited_percent: float | None = None


class SampleBlocks(Value):
    """The samples of one measurement in blocks of the same length, but for a sample.

    :mod:`harness.results.blocks` makes and reads it.
    """

    #: Samples that there were.
    count: int = Field(ge=1)
    #: How many samples of each block `data` holds.
    kept: tuple[int, ...] = Field(min_length=1)
    #: The blocks' samples, sorted in each, as little-endian u64: zlib, base64.
    data: str

    def raw(self) -> bytes:
        """Return the bytes of the samples.

        :raise ValueError: `data` is damaged.
        """
        reader = zlib.decompressobj()
        try:
            raw = reader.decompress(base64.b64decode(self.data, validate=True), _MOST_RAW)
        except (binascii.Error, zlib.error) as error:
            raise ValueError(f"no samples: {error}") from error
        if not reader.eof:
            raise ValueError(f"no samples: cut, or more than {_MOST_RAW} bytes")
        return raw

    @model_validator(mode="after")
    def _holds_what_it_says(self) -> Self:
        samples, rest = divmod(len(self.raw()), 8)
        if rest or min(self.kept) < 1 or samples != sum(self.kept) or samples > self.count:
            raise ValueError(f"{samples} samples and {rest} bytes, for {self.kept} of {self.count}")
        return self


class LatencyRecord(_Record):
    """One distribution. Values are in `unit`; percentiles are samples, by nearest rank."""

    type: Literal["latency"] = "latency"
    program: str
    mechanism: Mechanism
    mode: str
    unit: Unit
    count: int
    min: int
    p50: int
    p90: int
    p99: int
    max: int
    mean: float
    #: The samples; of merged records, those of each. A version that kept a histogram instead has
    #: none, and they are read from its file (:mod:`harness.results.latency`).
    takes: tuple[SampleBlocks, ...] = ()
    #: What such a version kept: read, and neither used nor written.
    histogram: str = Field(default="", exclude=True, repr=False)
    #: The file of raw samples, relative to the run's folder.
    samples: str = ""
    #: What a reader of the figures should know: zeros, values out of range.
    notes: tuple[str, ...] = ()
    attempt: int = 1
    #: None for a record of a version that did not watch the host.
    host: HostLoad | None = None
    #: None where nobody spins (unit ``insn``), and for a record of a version that always executed
    #: PAUSE, whatever it cost.
    spin: Spin | None = None
    #: Whether the guest was restored from a saved one instead of booting.
    restored: bool = False


class SplatRecord(_Record):
    """The kernel complained: an oops, a warning, a stall."""

    type: Literal["splat"] = "splat"
    kind: str
    title: str
    fingerprint: str = ""
    #: Line of ``console.log`` where it begins, counted from 1.
    first_line: int = 0
    excerpt: str = ""
    #: The report is cut or mixed with another, and never excused.
    corrupted: bool = False
    #: The program that ran at that time, if any.
    program: str | None = None
    #: Why it is known and does not fail the cell; None for one that does.
    excused: str | None = None


class BootRecord(_Record):
    """A guest came up."""

    type: Literal["boot"] = "boot"
    kernel: Name
    #: What ``uname -r`` printed.
    release: str = ""
    cpu: Name
    smp: int
    cc: Compiler
    accel: Accel
    #: Why this accelerator, where it was not asked for.
    accel_reason: str = ""
    clock: Clock = "host"
    boot_s: float
    #: Seconds by boot phase.
    phases: dict[str, float] = Field(default_factory=dict)
    #: What deadlines in this guest are multiplied by.
    factor: float = 1.0
    #: Whether it was restored from a saved one; ``boot_s`` is what that took.
    restored: bool = False
    #: Why it booted where another was to be restored, or why none can be restored from it.
    note: str = ""


class GuestFailureRecord(_Record):
    """A guest, its QEMU or its connection failed; what came after it in the cell never ran."""

    type: Literal["guest-failure"] = "guest-failure"
    #: ``panic``, ``hang``, ``qemu-died``, ``connection-lost``, ``cpu-mismatch`` and the like.
    verdict: str
    #: The boot phase reached, or what the guest was doing.
    phase: str = ""
    message: str = ""
    hint: str = ""
    console_tail: str = ""
    #: The program that ran at that time, if any.
    program: str | None = None


Record = Annotated[
    CaseRecord | ProgramRecord | LatencyRecord | SplatRecord | BootRecord | GuestFailureRecord,
    Field(discriminator="type"),
]
_ADAPTER: TypeAdapter[Record] = TypeAdapter(Record)


class Recorder:
    """Appends records to a file; safe with other processes that append to the same one.

    :raise GuestError: from every method, when the host cannot keep the results.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o644)
            size = os.fstat(self._file).st_size
            # A writer that was killed may have left half a line, which must stay alone.
            self._cut = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
        except OSError as error:
            raise self._failed(error) from error

    def write(self, record: Record) -> None:
        """Append a record; it is in the file when this returns."""
        line = _line(record)
        if self._cut:
            line = b"\n" + line
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise self._failed(error) from error
        self._cut = written < len(line)
        if self._cut:
            raise self._failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _failed(self, error: OSError) -> GuestError:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return GuestError(
            f"a result cannot be kept: {error.strerror}",
            where=self.path,
            hint="make room, or choose another folder with --out"
            if full
            else "choose a folder that you can write to with --out",
        )


@dataclass(frozen=True)
class Records:
    """What a results file held."""

    records: tuple[Record, ...] = ()
    #: Whole JSON objects of a type or form that this version does not know.
    unknown: tuple[dict[str, object], ...] = ()
    #: Lines that are not JSON objects; the last one of a killed run is often cut.
    broken: tuple[str, ...] = field(default=())


def read_records(path: Path) -> Records:
    """Read a results file as far as it goes; one that does not exist holds nothing.

    A line without its end is one that was cut, even if what is left of it can be read.

    :raise OSError: the file is there and cannot be read.
    """
    records: list[Record] = []
    unknown: list[dict[str, object]] = []
    broken: list[str] = []
    if not path.exists():
        return Records()
    with path.open("rb") as lines:
        for raw in lines:
            if not raw.strip():
                continue
            if not raw.endswith(b"\n"):
                broken.append(raw.decode("utf-8", "backslashreplace"))
                continue
            try:
                records.append(_ADAPTER.validate_json(raw))
            except ValidationError:
                _keep(raw, unknown, broken)
    return Records(tuple(records), tuple(unknown), tuple(broken))


def _line(record: Record) -> bytes:
    """Return a record's line; characters of a guest that UTF-8 cannot hold are escaped."""
    try:
        return record.model_dump_json(by_alias=True).encode() + b"\n"
    except (PydanticSerializationError, UnicodeEncodeError):
        plain = json.loads(json.dumps(record.model_dump(by_alias=True), default=str))
        return json.dumps(_encodable(plain), ensure_ascii=False).encode() + b"\n"


def _encodable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {str(_encodable(key)): _encodable(inner) for key, inner in value.items()}
        case list():
            return [_encodable(inner) for inner in value]
    return value


def _keep(raw: bytes, unknown: list[dict[str, object]], broken: list[str]) -> None:
    """Sort a line that is no record into one of the two lists."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        unknown.append(value)
    else:
        broken.append(raw.rstrip(b"\n").decode("utf-8", "backslashreplace"))
