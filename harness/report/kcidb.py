"""A run as a submission to KCIDB, the database that the kernel's CI systems share.

A kernel's source and patches are a checkout, and the kernel is a build. Each case, boot, splat,
guest failure and latency is a test. The format is version 5 of KCIDB's schema. Ids are made of
hashes, so that a run that is submitted twice counts once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from textwrap import indent
from typing import Any, assert_never

from harness.artefacts.source.trees import describe_source
from harness.errors import ExitCode, UserError
from harness.results.compare.measured import patches_of
from harness.results.folder import CellSetup, RunFolder
from harness.results.reading import Reading
from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    LatencyRecord,
    ProgramRecord,
    Record,
    SplatRecord,
)
from harness.results.summary import Outcome
from harness.values import GitSource, TreeSource

VERSION = {"major": 5, "minor": 3}
#: The root of the tests' paths.
_ROOT = "uintr"
#: Prefix of the subject of a kernel selftest (:mod:`harness.artefacts.selftests`).
_KSELFTEST = "kselftest-"
_STATUS = {"pass": "PASS", "fail": "FAIL", "skip": "SKIP"}
_BAD = frozenset({"FAIL", "ERROR"})
#: Characters of a log that a submission may hold.
_EXCERPT = 16_384
_SHA1 = re.compile(r"[0-9a-f]{40}")

Object = dict[str, Any]


def render_kcidb(folder: RunFolder, origin: str, outcome: Outcome) -> Iterator[str]:
    """Yield the JSON text of a run's submission in parts.

    :param origin: the sender's name at KCIDB.
    :param outcome: the run's outcome. If no test explains why it is not passed, or why records
        are left out, one with the reason is added for each build.
    :raise UserError: ``origin`` is malformed, this is not a run's folder, or the run has no cell
        with a kernel.
    """
    if not re.fullmatch(r"[a-z0-9_]{1,64}", origin):
        raise UserError(
            "this is not a valid origin",
            where=repr(origin[:80]),
            hint="use only small letters, digits and _, at most 64",
        )
    setups = {setup.cell.name: setup for setup in folder.read_artefacts().cells}
    if not setups:
        raise UserError(
            "there is nothing to submit: the run has no cell with a kernel", where=folder.path
        )
    return _parts(folder, setups, origin, outcome)


def _parts(
    folder: RunFolder, setups: Mapping[str, CellSetup], origin: str, outcome: Outcome
) -> Iterator[str]:
    """Yield the text: tests one at a time, so that memory does not grow with their number."""
    checkouts = {one["id"]: one for one in (_checkout(one, origin) for one in setups.values())}
    builds = {one["id"]: one for one in (_build(one, origin) for one in setups.values())}
    head = {
        "version": VERSION,
        "checkouts": list(checkouts.values()),
        "builds": list(builds.values()),
        "tests": [],
    }
    yield _json(head).removesuffix("]\n}")
    left_out, bad = 0, False
    between = "\n"
    for test in _tests(folder, setups, origin, _not_for_cell(outcome)):
        if test is None:
            left_out += 1
        else:
            bad |= test["status"] in _BAD
            yield between + indent(_json(test), "    ")
            between = ",\n"
    why = outcome.unexplained
    if left_out and not why and not bad:
        why = f"incomplete: {left_out} results are of cells whose kernel is not known"
    for test in _ending(folder, setups, origin, outcome.exit_code, why):
        yield between + indent(_json(test), "    ")
        between = ",\n"
    yield "\n  ]\n}\n"


def _json(value: Object) -> str:
    return json.dumps(value, indent=2, allow_nan=False)


def _checkout(setup: CellSetup, origin: str) -> Object:
    kernel = setup.cell.kernel
    patches = patches_of(setup.kernel)
    found: Object = {
        "id": f"{origin}:{_checkout_hash(setup)}",
        "origin": origin,
        "comment": _text(f"{describe_source(kernel.source)}, {setup.kernel.release}"),
        "valid": True,
        "misc": {"profile": kernel.name, "source": kernel.source.model_dump(mode="json")},
    }
    if patches is not None:
        lines = "".join(f"{patch['sha256']}\n" for patch in patches)
        found["patchset_hash"] = sha256(lines.encode()).hexdigest() if patches else ""
    if isinstance(kernel.source, GitSource | TreeSource):
        revision = kernel.source.revision or ""
        if _SHA1.fullmatch(revision):
            found["git_commit_hash"] = revision
    if isinstance(kernel.source, GitSource) and kernel.source.url.startswith("https://"):
        found["git_repository_url"] = kernel.source.url
    return found


def _checkout_hash(setup: CellSetup) -> str:
    """Return a hash that identifies a patched tree; for a local tree, from its kernel's hash."""
    kernel = setup.cell.kernel
    patches = patches_of(setup.kernel)
    parts: list[object] = [kernel.source.model_dump(mode="json"), patches]
    if patches is None or isinstance(kernel.source, TreeSource):
        parts.append(setup.kernel.key)
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _build(setup: CellSetup, origin: str) -> Object:
    kernel = setup.cell.kernel
    return {
        "id": f"{origin}:{setup.kernel.key}",
        "checkout_id": f"{origin}:{_checkout_hash(setup)}",
        "origin": origin,
        "architecture": "x86_64",
        "compiler": kernel.toolchain,
        "config_name": "+".join(Path(one).stem for one in kernel.fragments),
        "status": "PASS",
    }


def _tests(
    folder: RunFolder,
    setups: Mapping[str, CellSetup],
    origin: str,
    not_for_cell: Mapping[str, dict[str, int]],
) -> Iterator[Object | None]:
    """Yield the test of each record that is one; None if its cell's kernel is not known.

    A case that does not apply to its cell is none. The test of the cell's boot has their number.
    """
    run, began = _run_hash(folder), _began(folder)
    for number, record in enumerate(Reading(folder.results)):
        setup = setups.get(record.cell)
        said = _said(record)
        if said is None:
            continue
        if setup is None:
            yield None
            continue
        cell = setup.cell
        if isinstance(record, BootRecord) and (counts := not_for_cell.get(record.cell)):
            said["misc"] = {"not_for_cell": counts}
        yield {
            "id": f"{origin}:{run}-{number}",
            "build_id": f"{origin}:{setup.kernel.key}",
            "origin": origin,
            "start_time": _start_time(record, began),
            "environment": {
                "comment": f"QEMU {setup.emulator.version}, {setup.accel}, {cell.cpu.name}",
                "misc": {
                    "cell": cell.name,
                    "cpu": cell.cpu.name,
                    "smp": cell.smp,
                    "cc": cell.cc,
                    "accel": setup.accel,
                    "clock": cell.clock,
                },
            },
            **said,
        }


def _not_for_cell(outcome: Outcome) -> dict[str, dict[str, int]]:
    """Return for each cell the number of cases that do not apply to it, by what it lacks."""
    return {cell.name: cell.elsewhere for cell in outcome.summary.cells if cell.elsewhere}


def _ending(
    folder: RunFolder, setups: Mapping[str, CellSetup], origin: str, code: ExitCode, why: str
) -> Iterator[Object]:
    """Yield, for each kernel, a test that says why the run is not passed, if no other does."""
    if not why:
        return
    run, began = _run_hash(folder), _began(folder)
    for number, key in enumerate(dict.fromkeys(one.kernel.key for one in setups.values())):
        yield {
            "id": f"{origin}:{run}-run-{number}",
            "build_id": f"{origin}:{key}",
            "origin": origin,
            "start_time": began.isoformat(),
            "path": _path("run"),
            "status": "FAIL" if code == ExitCode.TESTS_FAILED else "ERROR",
            **_log(why),
        }


def _began(folder: RunFolder) -> datetime:
    """Return when a run began; if that was not recorded, the time of its results file."""
    environment = folder.read_environment()
    if environment:
        return environment.start.time
    info = folder.read_info()
    with suppress(ValueError):
        if info:
            return datetime.fromisoformat(info.started)
    with suppress(OSError):
        return datetime.fromtimestamp(folder.results.stat().st_mtime, UTC)
    return datetime.fromtimestamp(0, UTC)


def _start_time(record: Record, began: datetime) -> str:
    """Return when a record's event began; without a time, the start of the run."""
    if record.time is None:
        return began.isoformat()
    took = {CaseRecord: "seconds", BootRecord: "boot_s"}.get(type(record))
    seconds = float(getattr(record, took)) if took else 0.0
    try:
        return (record.time - timedelta(seconds=seconds)).isoformat()
    except (OverflowError, ValueError):
        return began.isoformat()


def _run_hash(folder: RunFolder) -> str:
    """Return a hash that identifies a run, made from its plan, its host and its start.

    It does not depend on how the run ended, so that a run that is submitted twice counts once.
    """
    environment = folder.read_environment()
    start = environment.model_dump_json(include={"host", "start"}) if environment else ""
    text = folder.read_plan().model_dump_json() + start
    return sha256(text.encode()).hexdigest()[:32]


def _said(record: Record) -> Object | None:
    """Return a test's path, status and other fields for a record; None if it is not a test."""
    match record:
        case CaseRecord() if record.lacks:
            return None
        case CaseRecord():
            text = "\n".join(filter(None, (record.message, record.diagnostics)))
            return {
                "path": _path(record.program, record.case),
                "status": _STATUS[record.status],
                "duration": record.seconds,
                **_log(text),
            }
        case BootRecord():
            number = {"value": record.boot_s, "unit": "s"}
            return {"path": _path("boot"), "status": "PASS", "number": number}
        case SplatRecord():
            status = "SKIP" if record.excused else "FAIL"
            text = "\n".join(filter(None, (record.title, record.excerpt)))
            return {"path": _path("kernel-log", record.kind), "status": status, **_log(text)}
        case GuestFailureRecord():
            path = _path(record.program or "boot", record.verdict)
            text = "\n".join(filter(None, (record.message, record.console_tail)))
            return {"path": path, "status": "ERROR", **_log(text)}
        case LatencyRecord():
            scale = 1e-9 if record.unit == "ns" else 1
            number = {"value": record.p50 * scale, "unit": "s" if record.unit == "ns" else "insn"}
            return {
                "path": _path("latency", record.mechanism, record.mode),
                "status": "DONE",
                "number": {**number, "prefix": "metric"},
                "misc": {"p90": record.p90 * scale, "p99": record.p99 * scale},
            }
        case ProgramRecord():
            return None
        case _:
            assert_never(record)


def _path(*parts: str) -> str:
    """Return a path for KCIDB, whose words have only letters, digits, dashes and underscores.

    For the kernel's selftests it is ``kselftest.TARGET.PROGRAM``, as in other CI systems.
    """
    words = [word for part in parts for word in part.split("/") if word]
    if words and words[0].startswith(_KSELFTEST):
        target = words[0].removeprefix(_KSELFTEST)
        words = ["kselftest", target, *words[1:]]
        return ".".join(re.sub(r"[^A-Za-z0-9_-]+", "_", word) for word in words)
    return ".".join([_ROOT, *(re.sub(r"[^A-Za-z0-9_-]+", "_", word) for word in words)])


def _log(text: str) -> dict[str, str]:
    return {"log_excerpt": _text(text)[-_EXCERPT:]} if text else {}


def _text(text: str) -> str:
    return text.replace("\0", "\\x00")
