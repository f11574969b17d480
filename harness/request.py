"""What a user asks for, in one value, whether on the command line or in pytest's options."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harness.plan import make_plan
from harness.profiles import KernelOverrides, load_cpu, load_kernel
from harness.values import Compiler, KernelProfile, Plan, Value

DEFAULT_KERNEL = "linux-6.12"
DEFAULT_CPU = "hidden"
#: Two CPUs: delivery between CPUs is what most programs are about.
DEFAULT_SMP = 2
DEFAULT_COMPILER: Compiler = "gcc"


class Request(Value):
    """A matrix by names, and how to make it. The defaults are those of ``uintr-harness run``."""

    kernels: tuple[str, ...] = (DEFAULT_KERNEL,)
    overrides: KernelOverrides = KernelOverrides()
    cpus: tuple[str, ...] = (DEFAULT_CPU,)
    smp: tuple[int, ...] = (DEFAULT_SMP,)
    compilers: tuple[Compiler, ...] = (DEFAULT_COMPILER,)
    accel: Literal["auto", "tcg", "kvm"] = "auto"
    #: pytest's ``-k`` expression over the programs.
    select: str = ""
    #: The QEMU to use; None looks for one.
    qemu: Path | None = None

    def kernel_profiles(self) -> list[KernelProfile]:
        """Load the kernels, changed by the overrides.

        :raise UserError: a profile, tree, series or fragment does not exist or is wrong.
        """
        return [load_kernel(name, self.overrides) for name in self.kernels]

    def plan(self) -> Plan:
        """Return the cells.

        :raise UserError: something that was named does not exist or is wrong.
        """
        return make_plan(
            self.kernel_profiles(),
            [load_cpu(name) for name in self.cpus],
            self.smp,
            self.compilers,
            accel=self.accel,
            select=self.select,
        )

    def kernel_options(self) -> dict[str, list[str]]:
        """Return, by kernel profile, the options of ``uintr-harness run`` that make it."""
        overrides = self.overrides
        common = [
            *(["--tree", str(overrides.tree)] if overrides.tree else []),
            *(["--series", overrides.series] if overrides.series else []),
            *(part for name in overrides.fragments for part in ("--fragment", name)),
            *(["--toolchain", overrides.toolchain] if overrides.toolchain else []),
        ]
        return {
            profile.name: ["--kernel", name, *common]
            for name, profile in zip(self.kernels, self.kernel_profiles(), strict=True)
        }
