"""The plan: the cells of one run, made from the user's request. Pure and deterministic."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Literal, TypeVar

from harness.errors import UserError
from harness.values import Cell, Clock, Compiler, CpuProfile, KernelProfile, Plan

Format = Literal["text", "json", "github"]
T = TypeVar("T")


def make_plan(
    kernels: Sequence[KernelProfile],
    cpus: Sequence[CpuProfile],
    smp: Sequence[int],
    compilers: Sequence[Compiler],
    *,
    accel: Literal["auto", "tcg", "kvm"] = "auto",
    cmdline: str = "",
    clock: Clock = "host",
    select: str = "",
    selftests: Sequence[str] = (),
) -> Plan:
    """Return each combination once, in the order given.

    Kernels vary slowest, because each new one is a build.

    :raise UserError: two different profiles have the same name, or instructions cannot be counted
        in these cells.
    """
    if clock == "icount":
        _check_countable(smp, accel, selftests)
    for what, names in (
        ("kernel", [profile.name for profile in _once(kernels)]),
        ("cpu", [profile.name for profile in _once(cpus)]),
    ):
        for name in names:
            if names.count(name) > 1:
                raise UserError(
                    f"two different {what} profiles are named {name!r}",
                    hint="rename the file of one: cells, folders and results have these names",
                )
    targets = tuple(_once(selftests))
    cells = tuple(
        Cell(
            # The options that the selftests need are part of the kernel's configuration.
            kernel=kernel.model_copy(update={"selftests": targets}) if targets else kernel,
            cpu=cpu,
            smp=count,
            cc=cc,
            accel="tcg" if clock == "icount" else accel,
            clock=clock,
            cmdline=cmdline,
            selftests=targets,
        )
        for kernel, cpu, count, cc in product(
            _once(kernels), _once(cpus), _once(smp), _once(compilers)
        )
    )
    return Plan(cells=cells, select=select)


def _check_countable(smp: Sequence[int], accel: str, selftests: Sequence[str]) -> None:
    """Refuse cells in which QEMU does not count, or in which several CPUs share the count."""
    if accel == "kvm":
        raise UserError(
            "KVM does not count instructions",
            where="--clock icount --accel kvm",
            hint="leave --accel out: TCG is used",
        )
    if selftests:
        raise UserError(
            "only latency programs can run with counted instructions",
            where=f"--clock icount --kselftest {','.join(selftests)}",
            hint="leave one of them out",
        )
    if any(count != 1 for count in smp):
        raise UserError(
            "instructions can be counted on one CPU only: with more, the counts are not fixed",
            where=f"--clock icount --smp {','.join(map(str, smp))}",
            hint="leave --smp out, or give --smp 1",
        )


def render(plan: Plan, form: Format, options: Mapping[str, Sequence[str]]) -> str:
    """Return a plan as text, as JSON, or for GitHub Actions.

    ``github`` is one line for ``$GITHUB_OUTPUT``: a matrix with ``args`` that select a job's cell.

    :param options: by a cell's name, the options of ``uintr-harness run`` that select it alone.
    """
    if form == "json":
        return plan.model_dump_json(indent=2)
    if form == "github":
        jobs = [_job(cell, [*options[cell.name], *_select(plan)]) for cell in plan.cells]
        return "matrix=" + json.dumps({"include": jobs})
    return "\n".join(_text(plan))


def _select(plan: Plan) -> list[str]:
    return ["-k", plan.select] if plan.select else []


def _job(cell: Cell, args: Sequence[str]) -> dict[str, str | int]:
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
        yield f"  fragments  {' '.join(map(str, kernel.fragments))}"
        for cell in plan.cells:
            if cell.kernel == kernel:
                yield f"  cell       {cell.name}"
                if line := _cmdline(cell):
                    yield f"    cmdline  {line}"
    for selftests in _once(cell.selftests for cell in plan.cells):
        if selftests:
            yield f"kernel's selftests: {' '.join(selftests)}"
    if plan.select:
        yield f"programs that match: {plan.select}"


def _cmdline(cell: Cell) -> str:
    """Return the words that profiles and run add to the kernel's command line, in order."""
    return " ".join(filter(None, (cell.cpu.cmdline, cell.kernel.cmdline, cell.cmdline)))


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
