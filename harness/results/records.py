"""``results.jsonl``: one record a line, written as soon as it is known.

Every line is a JSON object with ``"type"`` and ``"schema": 1``. Several processes append to one
file. A record is one ``write`` to a descriptor opened with ``O_APPEND``, which Linux does under the
inode's lock, so lines never mix. :mod:`harness.results.reading` reads it.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
import os
import zlib
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticSerializationError

from harness.errors import GuestError
from harness.results.ktap.lines import CaseStatus
from harness.values import Accel, CellName, Clock, Compiler, Name, Value

#: Limit for the bytes of samples that a measurement unpacks to. At most 24,000 are written.
_MOST_RAW = 1 << 20
#: The console of a cell's first guest, in the cell's folder.
CONSOLE = "console.log"

Mechanism = Literal["uintr", "eventfd", "pipe", "signal", "signalfd", "futex", "unix", "shm"]
Unit = Literal["ns", "insn"]
#: Numbers of records have limits, so that sums and quotients of any of them are finite. A line
#: beyond them counts as damaged.
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Percentage = Annotated[float, Field(ge=-1e6, le=1e6)]
#: A sample, which a program writes as an unsigned number of 64 bits.
Sample = Annotated[int, Field(ge=0, lt=1 << 64)]
Count = Annotated[int, Field(ge=1, le=1 << 40)]
#: Number of a program's run within a run, from 1.
Attempt = Annotated[int, Field(ge=1, le=1 << 31)]
#: A path below a folder. No part begins with a dot.
PathBelow = Annotated[str, Field(pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*$", max_length=512)]
#: How a program busy-waits: with PAUSE, or without it because it was measured to be expensive.
Spin = Literal["pause", "bare"]


class _Record(Value):
    #: The version of the record's format; ``schema`` in JSON.
    version: Literal[1] = Field(default=1, alias="schema")
    cell: CellName
    #: When it was recorded; None in records of earlier versions.
    time: datetime | None = None
    #: The console of the guest at that time, relative to the cell's folder.
    console: PathBelow = CONSOLE


class CaseRecord(_Record):
    """One case of a program, as reported in KTAP or concluded by the harness."""

    type: Literal["case"] = "case"
    program: str
    case: str
    status: CaseStatus
    message: str = ""
    diagnostics: str = ""
    #: Ids of the statements of ``guest-tests/CONTRACT.md`` that it checks, as it printed them.
    checks: tuple[str, ...] = ()
    #: Seconds since the previous case of the program, or since the program's start.
    seconds: Seconds = 0.0
    attempt: Attempt = 1
    #: What the cell lacks (:data:`harness.results.needs.NEEDS`), so that the case does not apply to
    #: it. Its status is then ``skip``. Empty in records of earlier versions.
    lacks: str = ""


class ProgramRecord(_Record):
    """The end of one run of a program, and its output that belongs to no case."""

    type: Literal["program"] = "program"
    program: str
    #: None if it ended without an exit code.
    returncode: int | None = Field(ge=-(1 << 31), lt=1 << 32)
    signal: str | None = None
    seconds: Seconds = 0.0
    attempt: Attempt = 1
    #: Output around the cases (:attr:`harness.results.ktap.reader.KtapReader.stray`).
    stray: str = ""
    stderr: str = ""
    #: Remarks on the format of the KTAP.
    problems: tuple[str, ...] = ()
    #: Whether it was ended at its deadline. Unknown, and so false, in records of earlier versions.
    timed_out: bool = False


class HostLoad(Value):
    """The host's load while a program measured."""

    seconds: Seconds
    #: Load average over the last minute.
    load: float = Field(ge=0, le=1e6)
    #: CPU time of the host that a hypervisor took away, in percent; None if it is unknown.
    steal_percent: Percentage | None = None
    #: Time that QEMU's threads waited for a CPU, in percent of the time that they wanted one.
    waited_percent: Percentage | None = None


class SampleBlocks(Value):
    """The samples of one measurement in blocks, whose lengths differ by at most one sample.

    :mod:`harness.results.blocks` writes and reads it.
    """

    #: Number of all samples.
    count: Count
    #: Number of samples in ``data``, for each block.
    kept: tuple[int, ...] = Field(min_length=1)
    #: The samples, sorted within each block, as little-endian u64: zlib, base64.
    data: str

    def raw(self) -> bytes:
        """Return the bytes of the samples.

        :raise ValueError: ``data`` is damaged.
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
    def _check_length(self) -> Self:
        samples, rest = divmod(len(self.raw()), 8)
        if rest or min(self.kept) < 1 or samples != sum(self.kept) or samples > self.count:
            raise ValueError(f"{samples} samples and {rest} bytes, for {self.kept} of {self.count}")
        return self


class LatencyRecord(_Record):
    """One distribution. Values are in ``unit``. Percentiles are samples, by nearest rank."""

    type: Literal["latency"] = "latency"
    program: str
    mechanism: Mechanism
    mode: str
    unit: Unit
    count: Count
    min: Sample
    p50: Sample
    p90: Sample
    p99: Sample
    max: Sample
    mean: float = Field(ge=0, lt=1 << 65)
    #: The samples; in a merged record, those of each. Empty in records of versions that kept a
    #: histogram: these are read from a file (:mod:`harness.results.latency`).
    takes: tuple[SampleBlocks, ...] = ()
    #: The histogram of an earlier version. It is accepted, and neither used nor written.
    histogram: str = Field(default="", exclude=True, repr=False)
    #: The file of raw samples, relative to the run's folder.
    samples: PathBelow | Literal[""] = ""
    #: Remarks on the samples: zeros, values out of range.
    notes: tuple[str, ...] = ()
    attempt: Attempt = 1
    #: None in records of earlier versions.
    host: HostLoad | None = None
    #: None if the program does not busy-wait (unit ``insn``), and in records of versions that
    #: always executed PAUSE.
    spin: Spin | None = None
    #: Whether the guest was restored from a snapshot.
    restored: bool = False


class SplatRecord(_Record):
    """A splat of the kernel, such as an oops, a warning or a stall."""

    type: Literal["splat"] = "splat"
    kind: str
    title: str
    fingerprint: str = ""
    #: Number of its first line in the console's log, from 1.
    first_line: int = Field(default=0, ge=0, lt=1 << 63)
    excerpt: str = ""
    #: The splat is cut or mixed with another, and never excused.
    corrupted: bool = False
    #: The program that was running, if any.
    program: str | None = None
    #: Why the splat is excused; None if it fails the cell.
    excused: str | None = None


class BootRecord(_Record):
    """A guest that became ready."""

    type: Literal["boot"] = "boot"
    kernel: Name
    #: Output of ``uname -r``.
    release: str = ""
    cpu: Name
    smp: int = Field(ge=1, le=1 << 16)
    cc: Compiler
    accel: Accel
    #: Why this accelerator was chosen.
    accel_reason: str = ""
    clock: Clock = "host"
    boot_s: Seconds
    #: Seconds by boot phase.
    phases: dict[str, Seconds] = Field(default_factory=dict)
    #: Factor for deadlines in this guest.
    factor: float = Field(default=1.0, ge=0, le=1e6)
    #: Whether it was restored from a snapshot. ``boot_s`` is the duration of the restore then.
    restored: bool = False
    #: Why a restore failed, so that this guest booted; why no snapshot of it could be saved; or
    #: that QEMU aborted during a first boot.
    note: str = ""


class GuestFailureRecord(_Record):
    """A failure of a guest, its QEMU or its connection."""

    type: Literal["guest-failure"] = "guest-failure"
    #: A :data:`harness.guest.verdict.failure.FailureCause`, ``qemu-failed``, ``host-failed`` or
    #: ``harness-failed``.
    verdict: str
    #: The last boot phase that was reached.
    phase: str = ""
    message: str = ""
    hint: str = ""
    console_tail: str = ""
    #: The program that was running, if any.
    program: str | None = None


Record = Annotated[
    CaseRecord | ProgramRecord | LatencyRecord | SplatRecord | BootRecord | GuestFailureRecord,
    Field(discriminator="type"),
]


class Recorder:
    """Appends records to a file. Several processes may append to the same file.

    :raise GuestError: from every method, when the host cannot store the results.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o644)
            size = os.fstat(self._file).st_size
            # A killed writer may have left part of a line. Then a new line must be started.
            self._cut = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
        except OSError as error:
            raise self._failed(error) from error

    def write(self, record: Record) -> None:
        """Append a record. It is not buffered."""
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
        """Close the file. Idempotent."""
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
            f"a result cannot be stored: {error.strerror}",
            where=self.path,
            hint="make room, or choose another folder with --out"
            if full
            else "choose a folder that you can write to with --out",
        )


def _line(record: Record) -> bytes:
    """Return a record's line. Characters from a guest that UTF-8 cannot encode are escaped."""
    try:
        return record.model_dump_json(by_alias=True).encode() + b"\n"
    except (PydanticSerializationError, UnicodeEncodeError):
        plain = json.loads(json.dumps(record.model_dump(by_alias=True), default=str))
        text = json.dumps(_encodable(plain), ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"


def _encodable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {str(_encodable(key)): _encodable(inner) for key, inner in value.items()}
        case list():
            return [_encodable(inner) for inner in value]
    return value
