"""From a plan to cells that can start: the emulator asked first, then everything built.

What the user can get wrong is found before anything is built: ten minutes of kernel build are
a long wait for "no such CPU model".
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
from harness.guest.argv import base_argv, cpu_argument
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
    """An emulator with the acceleration that really works with it."""

    def __init__(self, emulator: Emulator, accel: AccelChoice) -> None:
        self.emulator = emulator
        self.accel = accel


class Preparation:
    """The artefacts of a plan, and the builds that failed on the way to them."""

    def __init__(self, artefacts: RunArtefacts, failures: tuple[BuildError, ...] = ()) -> None:
        self.artefacts = artefacts
        self.failures = failures


def choose_qemu(plan: Plan, option: str | None, store: Store, progress: Progress) -> ChosenQemu:
    """Find or build QEMU, see which acceleration works, and ask it about each CPU of the plan.

    :param option: what ``--qemu`` says.
    :raise UserError: no QEMU, no such acceleration, or a CPU model that this QEMU has not.
    :raise BuildError: our QEMU is needed and does not build.
    """
    emulator = choose_emulator(plan, option, store, progress)
    with progress.step("ask QEMU what it can do") as step:
        accel = choose_accel(emulator, plan)
        for cpu in dict.fromkeys(cell.cpu for cell in plan.cells):
            step.update(f"cpu {cpu.name}")
            check_cpu(emulator, cpu, accel.accel)
    progress.note(f"QEMU {emulator.version}, {accel.accel}: {accel.reason}")
    return ChosenQemu(emulator, accel)


def choose_accel(emulator: Emulator, plan: Plan) -> AccelChoice:
    """Return the one accelerator for all cells of a plan, so that their latencies compare.

    KVM offers a CPU feature only where the host has it and KVM virtualises it. That is so of
    user interrupts nowhere yet, and of a named model only on a host that is at least that model:
    ``auto`` is TCG as soon as KVM cannot show one CPU of the plan.

    :raise UserError: ``kvm`` was asked for and does not run a guest here.
    :raise GuestError: not even TCG runs a guest.
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
    """Return the one QEMU for all cells of a plan.

    ``auto`` takes the host's as long as it has what the plan shows to the guests, because that
    costs nothing; and ours, for all cells, as soon as one of them exposes user interrupts and the
    host's QEMU does not know them.

    :raise UserError: there is no such QEMU.
    :raise BuildError: ours is needed and does not build.
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
    """Return a machine with one such CPU that does not run; QEMU refuses one that it lacks."""
    hideable = knows_property(emulator, cpu.model, "uintr")
    return [
        *base_argv(emulator),
        *("-machine", cpu.machine),
        *("-accel", accel),
        *("-cpu", cpu_argument(cpu, knows_uintr=hideable)),
        *("-m", "32M"),
        "-S",
    ]


def check_cpu(emulator: Emulator, cpu: CpuProfile, accel: Accel) -> None:
    """See that a guest with this CPU can start.

    :raise UserError: this QEMU, or this host with this accelerator, has no such CPU.
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
    """Build what the plan's cells need; what is in the store already is taken from there.

    :param options: by a cell's name, the options of ``uintr-harness run`` that make just this one.
    :param keep_going: whether cells that can still run do so when another's kernel or programs
        could not be built.
    :raise BuildError: nothing is left that can run, or not ``keep_going``.
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
    """Builds each artefact once for all cells that share it; fails once, too."""

    def __init__(self, qemu: ChosenQemu, store: Store, progress: Progress) -> None:
        self._qemu = qemu
        self._store = store
        self._progress = progress
        self._image = build_image(store, progress)
        self._done: dict[tuple[str, ...], object] = {}
        #: CPUs that a cell tests already: programs without a kernel need no second one.
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
        """Return the tree of a cell's selftests, before ten minutes of build: it may lack one."""
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
