"""From what the user asked for to the cells of one run: pure, and the same every time."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Literal, TypeVar

from harness.errors import UserError
from harness.values import Cell, Compiler, CpuProfile, KernelProfile, Plan

Format = Literal["text", "json", "github"]
T = TypeVar("T")


def make_plan(
    kernels: Sequence[KernelProfile],
    cpus: Sequence[CpuProfile],
    smp: Sequence[int],
    compilers: Sequence[Compiler],
    *,
    accel: Literal["auto", "tcg", "kvm"] = "auto",
    select: str = "",
) -> Plan:
    """Return every combination once, in the order asked for, kernels slowest.

    Kernels vary slowest because each new one is a build; what is asked for twice is done once.

    :raise UserError: two different profiles have the same name.
    """
    for what, profiles in (("kernel", kernels), ("cpu", cpus)):
        names = [profile.name for profile in _once(profiles)]
        for name in names:
            if names.count(name) > 1:
                raise UserError(
                    f"two different {what} profiles are named {name!r}",
                    hint="rename one's file: cells, folders and results go by these names",
                )
    cells = tuple(
        Cell(kernel=kernel, cpu=cpu, smp=count, cc=cc, accel=accel)
        for kernel, cpu, count, cc in product(
            _once(kernels), _once(cpus), _once(smp), _once(compilers)
        )
    )
    return Plan(cells=cells, select=select)


def render(
    plan: Plan, form: Format, kernel_options: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Write a plan for a reader, a program or GitHub Actions.

    ``github`` is one line for ``$GITHUB_OUTPUT``: a matrix whose ``args`` give one job's cell to
    ``uintr-harness run``. ``kernel_options`` has, by kernel, the options that make it: an
    overridden profile is not found by its name.
    """
    if form == "json":
        return plan.model_dump_json(indent=2)
    if form == "github":
        return "matrix=" + json.dumps(
            {"include": [_job(cell, plan.select, kernel_options or {}) for cell in plan.cells]}
        )
    return "\n".join(_text(plan))


def _job(
    cell: Cell, select: str, kernel_options: Mapping[str, Sequence[str]]
) -> dict[str, str | int]:
    args = [
        *kernel_options.get(cell.kernel.name, ("--kernel", cell.kernel.name)),
        *("--cpu", cell.cpu.name),
        *("--smp", str(cell.smp)),
        *("--cc", cell.cc),
        *("--accel", cell.accel),
        *(["-k", select] if select else []),
    ]
    return {
        "cell": cell.name,
        "kernel": cell.kernel.name,
        "cpu": cell.cpu.name,
        "smp": cell.smp,
        "cc": cell.cc,
        "args": shlex.join(args),
    }


def _text(plan: Plan) -> Iterable[str]:
    kernels = _once(cell.kernel for cell in plan.cells)
    yield f"{_count(plan.cells, 'cell')}, {_count(kernels, 'kernel')}"
    for kernel in kernels:
        series = kernel.series.model_dump(exclude={"kind"}) if kernel.series else {}
        yield f"kernel {kernel.name} ({kernel.toolchain})"
        yield f"  source     {_values(kernel.source.model_dump(exclude={'kind'}))}"
        yield f"  series     {_values(series) or 'none'}"
        yield f"  fragments  {' '.join(kernel.fragments)}"
        for cell in plan.cells:
            if cell.kernel == kernel:
                yield f"  cell       {cell.name}"
    if plan.select:
        yield f"programs that match: {plan.select}"


def _values(table: dict[str, object]) -> str:
    return " ".join(str(value) for value in table.values())


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _once(things: Iterable[T]) -> list[T]:
    unique: list[T] = []
    for thing in things:
        if thing not in unique:
            unique.append(thing)
    return unique
