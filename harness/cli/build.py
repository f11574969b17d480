"""``uintr-harness build``: artefacts by themselves."""

from __future__ import annotations

import click

from harness.cli import Command
from harness.cli.options import kernel_options
from harness.cli.show import shown
from harness.request import Request
from harness.values import Compiler


@click.command("build", cls=Command)
@click.argument("what", type=click.Choice(["kernel", "image", "emulator", "programs", "all"]))
@kernel_options
@click.option(
    "--cc",
    type=click.Choice(["gcc", "clang"]),
    default="gcc",
    show_default=True,
    help="Compiler of the guest programs.",
)
@click.option(
    "--emulator",
    metavar="NAME|FILE",
    help="Emulator profile: a name, or a TOML file.  [default: qemu-10.0]",
)
def command(what: str, request: Request, cc: Compiler, emulator: str | None) -> None:
    """Build an artefact, or find it built; its path is the last line on stdout.

    `emulator` is the QEMU whose CPU models have user interrupts.
    """
    from harness.artefacts.emulator import OURS, build_emulator  # each only when asked
    from harness.artefacts.image import build_image
    from harness.artefacts.kernel import build_kernel
    from harness.artefacts.programs import build_programs
    from harness.artefacts.store import Store

    # Asked for first: what is wrong in a profile is told before anything is built.
    with_kernel = what in {"kernel", "programs", "all"}
    profiles = request.kernel_profiles() if with_kernel else []
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
                made.append(build_programs(kernel, cc, store, progress).path)
    for path in made:
        click.echo(path)
