"""Latency records, made from the raw samples of a program.

A program writes one file per distribution, ``MECHANISM.MODE.UNIT.u64``: 64-bit unsigned
little-endian integers, each one sample. The files stay in the run's folder. A record has the
percentiles and the samples in blocks (:mod:`harness.results.blocks`). The file ``spin`` beside
them says how the program busy-waited.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from harness.errors import UserError
from harness.lib.files import read_bounded
from harness.results.blocks import cut_into_blocks, percentiles
from harness.results.records import HostLoad, LatencyRecord, Mechanism, Spin, Unit

SUFFIX = ".u64"
#: The file with one word of :data:`harness.results.records.Spin`.
SPIN_FILE = "spin"
#: 2**42 ns is 73 minutes. A larger sample is an error of the program, such as a difference below
#: zero, and is noted.
HIGHEST = 2**42
DIFFERENT_SPINS = "some takes spin with PAUSE, and others without"
_PERCENTILES = (50, 90, 99)
_MODE = re.compile(
    r"(ping-pong|one-way|sender|throughput|delivery|return)(-blocked)?(-fair)?(-same-cpu)?"
    r"(-[1-9]\d*-senders)?(-busy|-umwait)?(-processes)?(-self)?(-talk)?(-user|-kernel)?"
)


class Samples(NamedTuple):
    """Contents of a folder of sample files."""

    records: tuple[LatencyRecord, ...]
    #: Errors in files, each of which fails the program.
    errors: tuple[str, ...]


def parse_name(name: str) -> tuple[Mechanism, str, Unit]:
    """Split ``MECHANISM.MODE.UNIT.u64`` into its words.

    :raise ValueError: a word is unknown.
    """
    parts = name.removesuffix(SUFFIX).split(".")
    if not name.endswith(SUFFIX) or len(parts) != 3:
        raise ValueError(f"{name!r} is not MECHANISM.MODE.UNIT{SUFFIX}")
    mechanism, mode, unit = parts
    if mechanism not in get_args(Mechanism):
        raise ValueError(f"{mechanism!r} in {name!r} is not one of {' '.join(get_args(Mechanism))}")
    if not _MODE.fullmatch(mode):
        raise ValueError(
            f"{mode!r} in {name!r} is not ping-pong, one-way, sender, throughput, delivery or "
            "return, followed by -blocked, -fair, -same-cpu, -N-senders, -busy, -umwait, "
            "-processes, -self, -talk, -user, -kernel in this order"
        )
    if unit not in get_args(Unit):
        raise ValueError(f"{unit!r} in {name!r} is not one of {' '.join(get_args(Unit))}")
    return mechanism, mode, unit  # type: ignore[return-value]  # checked against the Literals


def read_folder(
    folder: Path,
    *,
    cell: str,
    program: str,
    run: Path | None = None,
    attempt: int = 1,
    host: HostLoad | None = None,
) -> Samples:
    """Read all files of a folder of samples. Errors in them are returned, not raised.

    :param run: the run's folder; the records' paths are relative to it.
    :param host: the host's load while they were measured.
    """
    records: list[LatencyRecord] = []
    errors: list[str] = []
    spin, complaint = _read_spin(folder / SPIN_FILE)
    if complaint:
        errors.append(complaint)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name == SPIN_FILE:
            continue
        try:
            mechanism, mode, unit = parse_name(path.name)
            data = path.read_bytes()
        except ValueError as error:
            errors.append(str(error))
            continue
        except OSError as error:
            errors.append(f"{path.name!r} cannot be read: {error.strerror}")
            continue
        values, complaint = decode(data)
        if complaint:
            errors.append(f"{path.name}: {complaint}")
        if not values:
            continue
        place = path.relative_to(run) if run and path.is_relative_to(run) else path
        record = _record(values, mechanism, mode, unit, cell=cell, program=program)
        place_and_time = {"samples": str(place), "attempt": attempt, "host": host}
        spun = spin if unit == "ns" else None
        records.append(record.model_copy(update={**place_and_time, "spin": spun}))
    return Samples(tuple(records), tuple(errors))


def _read_spin(path: Path) -> tuple[Spin | None, str | None]:
    """Return how a program busy-waited, None if it did not say; and the file's error, if any."""
    try:
        word = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"{path.name!r} cannot be read: {error.strerror}"
    if word not in get_args(Spin):
        return None, f"{path.name}: {word[:40]!r} is not one of {' '.join(get_args(Spin))}"
    return word, None  # type: ignore[return-value]  # checked against the Literal


def decode(data: bytes) -> tuple[Sequence[int], str | None]:
    """Return the samples in ``data``, and its error, if any."""
    values = array("Q")
    whole = len(data) - len(data) % values.itemsize
    values.frombytes(data[:whole])
    if sys.byteorder == "big":
        values.byteswap()
    if not data:
        return values, "no samples"
    if whole != len(data):
        return values, f"{len(data)} bytes are not a whole number of 8-byte samples: cut short?"
    return values, None


def with_samples(record: LatencyRecord, run: Path) -> LatencyRecord:
    """Return a record with its samples.

    Records of versions that kept a histogram get them from the file of raw samples. If that is
    missing, there are none.

    :param run: the run's folder.
    """
    if record.takes:
        return record
    try:
        values, _ = decode(read_bounded(run / record.samples))
    except (OSError, ValueError):  # a record's path may be no file name
        return record
    return record.model_copy(update={"takes": (cut_into_blocks(values),) if values else ()})


def merge(records: Iterable[LatencyRecord]) -> LatencyRecord:
    """Merge distributions of the same mechanism, mode, unit and cell.

    :raise ValueError: there is none.
    :raise UserError: there are several, and one has no samples.
    """
    several = list(records)
    if not several:
        raise ValueError("no distributions to merge")
    first = several[0]
    if len(several) == 1:
        return first
    for record in several:
        if not record.takes:
            raise UserError(
                f"{record.mechanism} {record.mode} was measured {len(several)} times, and its "
                "samples are missing",
                where=record.samples,
                hint="records of the run's version need this file: restore it",
            )
    takes = tuple(take for record in several for take in record.takes)
    count = sum(record.count for record in several)
    notes = dict.fromkeys(note for record in several for note in record.notes)
    if len({record.spin for record in several}) > 1:
        notes[DIFFERENT_SPINS] = None
    return first.model_copy(
        update={
            "count": count,
            "min": min(record.min for record in several),
            "max": max(record.max for record in several),
            "mean": sum(record.mean * record.count for record in several) / count,
            "takes": takes,
            "notes": tuple(notes),
            "host": busiest(record.host for record in several),
            **_named(percentiles(takes, _PERCENTILES)),
        }
    )


def busiest(loads: Iterable[HostLoad | None]) -> HostLoad | None:
    """Return the load that disturbed most; None if none was measured."""
    watched = [load for load in loads if load is not None]
    return max(
        watched,
        key=lambda load: (load.waited_percent or 0) + (load.steal_percent or 0),
        default=None,
    )


def _record(
    values: Sequence[int], mechanism: Mechanism, mode: str, unit: Unit, *, cell: str, program: str
) -> LatencyRecord:
    ranked = np.sort(np.asarray(values, dtype=np.uint64))
    beyond, zeros = int((ranked > HIGHEST).sum()), int((ranked == 0).sum())
    ranks = [-(-ranked.size * percent // 100) for percent in _PERCENTILES]
    notes = []
    if zeros and unit == "ns":
        notes.append(f"{zeros} of {len(values)} samples are 0: below the clock's resolution")
    if beyond:
        notes.append(f"{beyond} of {len(values)} samples are beyond {HIGHEST} {unit}")
    return LatencyRecord(
        cell=cell,
        program=program,
        mechanism=mechanism,
        mode=mode,
        unit=unit,
        count=len(values),
        min=int(ranked[0]),
        max=int(ranked[-1]),
        mean=sum(values) / len(values),
        takes=(cut_into_blocks(values),),
        notes=tuple(notes),
        **_named([int(ranked[rank - 1]) for rank in ranks]),
    )


def _named(values: Sequence[int]) -> dict[str, int]:
    return {f"p{percent}": value for percent, value in zip(_PERCENTILES, values, strict=True)}
