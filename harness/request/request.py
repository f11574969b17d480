"""The user's request in one value, from the command line or from pytest's options."""

from __future__ import annotations

from typing import Literal

from harness.errors import UserError
from harness.names import DEFAULT_COMPILER, DEFAULT_CPU, DEFAULT_KERNEL, DEFAULT_SMP
from harness.request.plan import make_plan
from harness.request.profiles import KernelOverrides, expand_cpus, load_cpu, load_kernel
from harness.values import Clock, Compiler, KernelProfile, Plan, Value


class Request(Value):
    """The names that make up a matrix. The defaults are those of ``uintr-harness run``."""

    kernels: tuple[str, ...] = (DEFAULT_KERNEL,)
    overrides: KernelOverrides = KernelOverrides()
    #: Names, paths, or patterns over the names in ``kernel-config/cpus``.
    cpus: tuple[str, ...] = (DEFAULT_CPU,)
    smp: tuple[int, ...] = (DEFAULT_SMP,)
    compilers: tuple[Compiler, ...] = (DEFAULT_COMPILER,)
    accel: Literal["auto", "tcg", "kvm"] = "auto"
    #: Added to each guest's kernel command line, after the profiles' words.
    cmdline: str = ""
    #: ``icount`` counts executed instructions, on one CPU.
    clock: Clock = "host"
    #: Folders of the tree's ``tools/testing/selftests`` whose programs run as well.
    selftests: tuple[str, ...] = ()
    #: pytest's ``-k`` expression over the programs.
    select: str = ""
    #: The QEMU to use: ``auto``, ``system``, ``bundled``, a binary's path, or that of an emulator
    #: profile's TOML file; None for the one that the environment names.
    qemu: str | None = None

    def kernel_profiles(self) -> list[KernelProfile]:
        """Load the kernels, changed by the overrides.

        :raise UserError: a profile, tree, series or fragment does not exist or is wrong.
        """
        return [load_kernel(name, self.overrides) for name in self.kernels]

    def kernel_profile(self, why: str) -> KernelProfile:
        """Load the kernel of a request for just one.

        :param why: the error's text for a request for several.
        :raise UserError: as :meth:`kernel_profiles`, or there are several.
        """
        profiles = self.kernel_profiles()
        if len(profiles) != 1:
            names = ", ".join(profile.name for profile in profiles)
            raise UserError(why, where=names, hint="name just one")
        return profiles[0]

    def plan(self) -> Plan:
        """Return the cells.

        :raise UserError: something that was named does not exist or is wrong.
        """
        return make_plan(
            self.kernel_profiles(),
            [load_cpu(name) for name in expand_cpus(self.cpus)],
            self._smp(),
            self.compilers,
            accel=self.accel,
            clock=self.clock,
            cmdline=self.cmdline,
            select=self.select,
            selftests=self.selftests,
        )

    def _smp(self) -> tuple[int, ...]:
        """Return the numbers of CPUs; the default is one if instructions are counted."""
        said = "smp" in self.model_fields_set
        return self.smp if said or self.clock == "host" else (1,)

    def cell_options(self, plan: Plan) -> dict[str, tuple[str, ...]]:
        """Return, by a cell's name, the options of ``uintr-harness run`` that select it alone.

        Profiles appear as the user gave them: one given by path, or changed, has no name to find.
        """
        kernels = dict(
            zip((kernel.name for kernel in self.kernel_profiles()), self.kernels, strict=True)
        )
        cpus = {load_cpu(name).name: name for name in expand_cpus(self.cpus)}
        return {
            cell.name: (
                *("--kernel", kernels[cell.kernel.name]),
                *self._override_options(),
                *("--cpu", cpus[cell.cpu.name]),
                *("--smp", str(cell.smp)),
                *("--cc", cell.cc),
                *("--accel", cell.accel),
                *(("--clock", cell.clock) if cell.clock != "host" else ()),
                *(("--qemu", self.qemu) if self.qemu else ()),
                *(("--cmdline", cell.cmdline) if cell.cmdline else ()),
                *(part for target in cell.selftests for part in ("--kselftest", target)),
            )
            for cell in plan.cells
        }

    def _override_options(self) -> tuple[str, ...]:
        overrides = self.overrides
        return (
            *(("--tree", str(overrides.tree)) if overrides.tree else ()),
            *(("--series", overrides.series) if overrides.series else ()),
            *(part for name in overrides.fragments for part in ("--fragment", name)),
            *(("--toolchain", overrides.toolchain) if overrides.toolchain else ()),
        )
