"""Records and cells for tests."""

from __future__ import annotations

from typing import Any

from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    LatencyRecord,
    SplatRecord,
)
from harness.values import Cell, CpuProfile, DebianSource, KernelProfile

CELL = "linux-6.12-hidden-smp1-gcc"


def cell(smp: int = 1) -> Cell:
    return Cell(
        kernel=KernelProfile(name="linux-6.12", source=DebianSource(package="linux-source-6.12")),
        cpu=CpuProfile(name="hidden", model="max", exposes_uintr=False),
        smp=smp,
        cc="gcc",
    )


def boot(**more: Any) -> BootRecord:
    values = {"cell": CELL, "kernel": "linux-6.12", "cpu": "hidden", "smp": 1, "cc": "gcc"}
    return BootRecord(**{**values, "accel": "tcg", "boot_s": 5.5, **more})


def case(name: str = "a", status: str = "pass", **more: Any) -> CaseRecord:
    values = {"cell": CELL, "program": "api/open", "case": name, "status": status}
    return CaseRecord(**{**values, **more})


def splat(**more: Any) -> SplatRecord:
    values = {"cell": CELL, "kind": "warn", "title": "WARNING in uintr_post", "first_line": 3}
    return SplatRecord(**{**values, **more})


def lost(**more: Any) -> GuestFailureRecord:
    values = {"cell": CELL, "verdict": "panic", "phase": "tests", "message": "the guest panicked"}
    return GuestFailureRecord(**{**values, "console_tail": "Kernel panic", **more})


def latency(mechanism: str = "uintr", **more: Any) -> LatencyRecord:
    from harness.results.latency import _record

    record = _record(
        more.pop("values", [1000, 2000, 3000, 4000]),
        mechanism,  # type: ignore[arg-type]
        more.pop("mode", "ping-pong"),
        more.pop("unit", "ns"),
        cell=CELL,
        program="latency/ping-pong",
    )
    return record.model_copy(update=more)
