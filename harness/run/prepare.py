"""Prepare a plan's cells: choose the emulator, then build the artefacts.

The user's input is checked before anything is built. Otherwise an error such as "no such CPU
model" would follow ten minutes of kernel build.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from harness.artefacts.bare_metal import build_bare_metal
from harness.artefacts.emulator import choice
from harness.artefacts.image import build_image
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.programs import build_programs
from harness.artefacts.selftests import SelftestTree, build_selftests, find_selftests
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.guest.accel import AccelChoice, probe_accel
from harness.guest.argv import base_argv, machine_argv
from harness.guest.cpu import knows_property, refusal
from harness.guest.query import monitored
from harness.guest.transport.qmp import MonitorError
from harness.progress import Progress
from harness.results.folder import CellSetup, RunArtefacts
from harness.values import (
    Accel,
    Cell,
    CpuProfile,
    Emulator,
    KernelArtefact,
    Plan,
    Program,
)

Made = TypeVar("Made")


class ChosenQemu:
    """An emulator and the accelerator that works with it on this host."""

    def __init__(self, emulator: Emulator, accel: AccelChoice) -> None:
        self.emulator = emulator
        self.accel = accel


class Preparation:
    """The artefacts of a plan, and the builds that failed."""

    def __init__(self, artefacts: RunArtefacts, failures: tuple[BuildError, ...] = ()) -> None:
        self.artefacts = artefacts
        self.failures = failures


def choose_qemu(plan: Plan, option: str | None, store: Store, progress: Progress) -> ChosenQemu:
    """Find or build QEMU, choose the accelerator, and check each CPU of the plan.

    :param option: the value of ``--qemu``.
    :raise UserError: there is no such QEMU or accelerator, or QEMU lacks a CPU model.
    :raise BuildError: the bundled QEMU is needed and does not build.
    """
    emulator = choose_emulator(plan, option, store, progress)
    with progress.step("check QEMU, its accelerator and CPUs") as step:
        accel = choose_accel(emulator, plan)
        for cpu in dict.fromkeys(cell.cpu for cell in plan.cells):
            step.update(f"cpu {cpu.name}")
            check_cpu(emulator, cpu, accel.accel)
    progress.note(f"QEMU {emulator.version}, {accel.accel}: {accel.reason}")
    return ChosenQemu(emulator, accel)


def choose_accel(emulator: Emulator, plan: Plan) -> AccelChoice:
    """Return the accelerator for all cells of a plan. One for all makes latencies comparable.

    KVM offers a CPU feature only if the host has it and KVM virtualises it. KVM does not
    virtualise user interrupts yet, and it offers a named model only on a host that has the
    model's features. With ``auto``, TCG is used if KVM cannot offer each CPU of the plan.

    :raise UserError: ``kvm`` was asked for and does not run a guest here.
    :raise GuestError: TCG does not run a guest either.
    """
    wanted = plan.cells[0].accel
    found = probe_accel(emulator, wanted)
    if wanted != "auto" or found.accel != "kvm":
        return found
    for cpu in dict.fromkeys(cell.cpu for cell in plan.cells):
        try:
            check_cpu(emulator, cpu, "kvm")
        except UserError as error:
            why = error.detail or error.what
            return probe_accel(emulator, "tcg", f"KVM cannot show cpu {cpu.name} ({why})")
    return found


def choose_emulator(plan: Plan, option: str | None, store: Store, progress: Progress) -> Emulator:
    """Return the QEMU for all cells of a plan.

    ``auto`` takes the host's QEMU, which needs no build. If a cell exposes user interrupts and
    the host's QEMU lacks them, all cells use the bundled QEMU.

    :raise UserError: there is no such QEMU.
    :raise BuildError: the bundled QEMU is needed and does not build.
    """
    wanted = choice.wanted_emulator(option)
    if wanted == choice.BUNDLED:
        return choice.build_emulator(store, progress)
    if wanted.endswith(".toml"):
        return choice.build_emulator(store, progress, wanted)
    if wanted == choice.SYSTEM:
        return choice.find_emulator()
    if wanted != choice.AUTO:
        return choice.find_emulator(wanted)
    exposing = [cell.cpu for cell in plan.cells if cell.cpu.exposes_uintr]
    try:
        found = choice.find_emulator()
    except UserError:
        if not exposing:
            raise
        return choice.build_emulator(store, progress)
    if all(knows_property(found, cpu.model, "uintr") for cpu in exposing):
        return found
    return choice.build_emulator(store, progress)


def cpu_argv(emulator: Emulator, cpu: CpuProfile, accel: Accel) -> list[str]:
    """Return the command line of a stopped machine with this CPU, which QEMU may refuse."""
    hideable = knows_property(emulator, cpu.model, "uintr")
    return [
        *base_argv(emulator),
        *machine_argv(cpu, accel, knows_uintr=hideable, memory_mib=32),
        "-S",
    ]


def check_cpu(emulator: Emulator, cpu: CpuProfile, accel: Accel) -> None:
    """Check that a guest with this CPU can start.

    :raise UserError: this QEMU, or this host with this accelerator, lacks the CPU model.
    :raise GuestError: QEMU does not start, for another reason.
    """
    try:
        with monitored(cpu_argv(emulator, cpu, accel)):
            pass
    except MonitorError as error:
        raise refusal(error.detail or "", cpu, emulator) or error from error


def prepare(
    plan: Plan,
    qemu: ChosenQemu,
    store: Store,
    progress: Progress,
    *,
    options: Mapping[str, tuple[str, ...]],
    keep_going: bool = True,
) -> Preparation:
    """Build the artefacts of a plan's cells that are not in the store yet.

    :param options: for each cell's name, the options of ``uintr-harness run`` that select it.
    :param keep_going: continue with the other cells when the build for one fails.
    :raise BuildError: no cell can run, or a build failed without ``keep_going``.
    """
    builder = _Builder(qemu, store, progress)
    setups: list[CellSetup] = []
    failures: list[BuildError] = []
    for cell in plan.cells:
        try:
            setup = builder.setup(cell)
            setups.append(setup.model_copy(update={"options": options[cell.name]}))
        except BuildError as error:
            if not keep_going:
                raise
            if error not in failures:
                failures.append(error)
    if not setups:
        raise failures[0]
    return Preparation(RunArtefacts(cells=tuple(setups)), tuple(failures))


class _Builder:
    """Builds each artefact once for all cells that share it, and remembers a failed build."""

    def __init__(self, qemu: ChosenQemu, store: Store, progress: Progress) -> None:
        self._qemu = qemu
        self._store = store
        self._progress = progress
        self._image = build_image(store, progress)
        self._done: dict[tuple[str, ...], object] = {}
        #: CPU, number of CPUs and compiler of cells that have bare-metal programs. These depend
        #: on no kernel, so that one cell of each kind is enough.
        self._bare: set[tuple[CpuProfile, int, str]] = set()

    def setup(self, cell: Cell) -> CellSetup:
        """Return a cell with its artefacts."""
        name = cell.kernel.name
        tree = self._selftest_tree(cell) if cell.selftests else None
        kernel = self._once((name,), lambda: build_kernel(cell.kernel, self._store, self._progress))
        programs = self._once(
            (name, cell.cc),
            lambda: build_programs(kernel, cell.cc, self._store, self._progress),
        )
        hardware = (cell.cpu, cell.smp, cell.cc)
        if cell.clock == "icount":
            measuring = tuple(one for one in programs.programs if one.latency)
            programs = programs.model_copy(update={"programs": measuring})
        elif hardware not in self._bare:
            self._bare.add(hardware)
            bare = build_bare_metal(cell.cc, self._store, self._progress)
            both = (*programs.programs, *bare)
            programs = programs.model_copy(update={"programs": both})
        if tree:
            both = (*programs.programs, *self._selftests(cell, tree, kernel))
            programs = programs.model_copy(update={"programs": both})
        return CellSetup(
            cell=cell,
            emulator=self._qemu.emulator,
            accel=self._qemu.accel.accel,
            accel_reason=self._qemu.accel.reason,
            kernel=kernel,
            image=self._image,
            programs=programs,
        )

    def _selftest_tree(self, cell: Cell) -> SelftestTree:
        """Return the tree of a cell's selftests. Checked before the kernel is built."""
        tree = self._once(
            ("selftests", cell.kernel.name),
            lambda: find_selftests(cell.kernel, self._store, self._progress),
        )
        tree.check(cell.selftests)
        return tree

    def _selftests(
        self, cell: Cell, tree: SelftestTree, kernel: KernelArtefact
    ) -> tuple[Program, ...]:
        return self._once(
            ("selftests", cell.kernel.name, cell.cc),
            lambda: build_selftests(
                tree, cell.selftests, kernel, cell.cc, self._store, self._progress
            ),
        )

    def _once(self, key: tuple[str, ...], build: Callable[[], Made]) -> Made:
        if key not in self._done:
            try:
                self._done[key] = build()
            except BuildError as error:
                self._done[key] = error
        found = self._done[key]
        if isinstance(found, BuildError):
            raise found
        return cast("Made", found)
