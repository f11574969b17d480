"""``uintr-harness build``: build artefacts, or check a series patch by patch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from harness.cli import Command
from harness.cli.options import EMULATOR, cell_options, out_option
from harness.cli.show import shown
from harness.lib.stdio import say

if TYPE_CHECKING:
    from harness.request.request import Request
    from harness.values import Compiler

#: Options for building an artefact; all others are for `--check-series`.
_OF_ARTEFACTS = {"what", "kernel", "tree", "series", "fragment", "toolchain", "cc", "emulator"}


@click.command("build", cls=Command)
@click.argument(
    "what",
    required=False,
    type=click.Choice(["kernel", "image", "emulator", "programs", "all"]),
)
@cell_options
@click.option(
    "--emulator",
    type=EMULATOR,
    metavar="NAME|FILE",
    help="Emulator profile: a name, or a TOML file.  [default: qemu-10.0]",
)
@click.option(
    "--check-series",
    is_flag=True,
    help="Apply, build, lint and boot the patches of the kernel's series one by one. The options "
    "for cells and those below belong to this; -k adds programs to run.",
)
@click.option(
    "--boot/--no-boot", default=True, show_default=True, help="Boot the kernel of each patch."
)
@click.option(
    "--sparse/--no-sparse",
    default=True,
    show_default=True,
    help="Run sparse, if it is installed, on the files that the series touches.",
)
@out_option("Folder for the results  [default: runs/series-TIME-RANDOM]")
@click.pass_context
def command(
    context: click.Context,
    what: str | None,
    request: Request,
    emulator: str | None,
    check_series: bool,
    boot: bool,
    sparse: bool,
    out: Path | None,
) -> int:
    """Build an artefact, unless it is in the cache. Its path is the last line on stdout.

    `emulator` is the QEMU whose CPU models have user interrupts.
    """
    if check_series:
        if what not in {None, "kernel"} or emulator:
            raise click.UsageError("--check-series takes a kernel only")
        if request.select and not boot:
            raise click.UsageError("-k runs programs, which --no-boot leaves out")
        return _check_series(request, out, boot=boot, sparse=sparse)
    for name in sorted(context.params.keys() - _OF_ARTEFACTS - {"check_series"}):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "-k" if name == "select" else f"--{name}"
            raise click.UsageError(f"{option} is for --check-series")
    if what is None:
        raise click.UsageError("say what to build, or --check-series")
    _build(what, request, emulator)
    return 0


def _check_series(request: Request, out: Path | None, *, boot: bool, sparse: bool) -> int:
    from harness.campaigns.series_check import CheckOptions, check_series
    from harness.report.console import make_console
    from harness.report.series import print_series

    options = CheckOptions(out=out, boot=boot, sparse=sparse)
    with shown() as progress:
        result, folder = check_series(request, options, progress)
    print_series(make_console(), result, folder)
    return result.exit_code


def _build(what: str, request: Request, emulator: str | None) -> None:
    from harness.artefacts.emulator.choice import OURS, build_emulator  # each only when asked
    from harness.artefacts.image import build_image
    from harness.artefacts.kernel.build import build_kernel
    from harness.artefacts.programs import build_programs
    from harness.artefacts.store import Store

    # Loaded first, so that an error in a profile is reported before anything is built.
    with_kernel = what in {"kernel", "programs", "all"}
    profiles = request.kernel_profiles() if with_kernel else []
    compilers: tuple[Compiler, ...] = request.compilers
    made = []
    with shown() as progress:
        store = Store.open(progress)
        if what in {"emulator", "all"}:
            made.append(build_emulator(store, progress, emulator or OURS).binary.parent.parent)
        if what in {"image", "all"}:
            made.append(build_image(store, progress).path)
        for profile in profiles:
            kernel = build_kernel(profile, store, progress)
            if what != "programs":
                made.append(kernel.path)
            if what != "kernel":
                made += [build_programs(kernel, cc, store, progress).path for cc in compilers]
    for path in made:
        say(path)
