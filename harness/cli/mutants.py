"""``uintr-harness mutants``: does the suite notice when a rule is broken?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import Command
from harness.cli.options import CPU, GUESTS_AT_A_TIME, PROGRAMS, WHOLE, List, flat, out_option
from harness.cli.show import show_verdict, shown
from harness.lib.stdio import say

if TYPE_CHECKING:
    from harness.campaigns.mutants import MutantResult, MutantsReport

_COLOURS = {"killed": "green", "excused": "yellow"}


def _list(flag: str, field: str, item: click.ParamType[Any], text: str) -> Callable[..., Any]:
    return click.option(
        flag, field, type=List(item, flag[2:]), multiple=True, callback=flat, help=text
    )


@click.command("mutants", cls=Command)
@click.argument("names", nargs=-1)
@click.option(
    "--of",
    type=click.Choice(["emulator", "kernel"]),
    default="emulator",
    show_default=True,
    help="Whose series is changed.",
)
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the mutants  [default: patches/mutants/PROFILE]",
)
@_list("--cpu", "cpus", CPU, "CPU models of the suite.")
@_list("--smp", "smp", click.IntRange(1, 16), "Numbers of CPUs  [default: 1,2,4 for the emulator]")
@_list("--cc", "compilers", click.Choice(["gcc", "clang"]), "Compilers of the programs.")
@click.option(
    "--accel",
    type=click.Choice(["auto", "tcg", "kvm"]),
    default="auto",
    show_default=True,
    help="As for run.",
)
@click.option(
    "-k",
    "select",
    type=PROGRAMS,
    metavar="EXPR",
    help="Only the programs that match (pytest's -k).",
)
@GUESTS_AT_A_TIME
@click.option(
    "--generate",
    "count",
    type=click.IntRange(1, WHOLE),
    metavar="N",
    help="Make N mutants by rule instead, which differ in what is compiled.",
)
@click.option(
    "--seed",
    type=click.IntRange(-WHOLE, WHOLE),
    default=1,
    show_default=True,
    help="Chooses those that are generated.",
)
@click.option(
    "--sequences",
    type=click.IntRange(0, WHOLE),
    default=2000,
    show_default=True,
    help="Random sequences (fuzz --bare-metal) for generated mutants of the emulator that no "
    "program notices.",
)
@out_option("Folder for the results and each run  [default: runs/mutants-TIME-RANDOM]")
def command(out: Path | None, count: int | None, seed: int, sequences: int, **options: Any) -> int:
    """Break the bundled series on purpose; a case has to fail.

    Each mutant is a patch that breaks one thing.
    NAMES choose mutants by name or pattern. The suite is run without a mutant first. The exit code
    is 1 if a mutant survived without a stated reason, 3 if one did not apply or build.

    With --generate the mutants are made by rule. The same series, number and seed make the same
    ones. With the --out of a campaign that was ended, it goes on.
    """
    from harness.artefacts.store import Store
    from harness.campaigns.mutants import MUTANTS_FILE, Proof, exit_code, prove
    from harness.results.folder import make_results_folder

    proof = Proof(**options)
    if count is not None:
        from harness.cli.mutants_generated import generated

        return generated(proof, count, seed, sequences, out)
    where = make_results_folder(out, "mutants", MUTANTS_FILE)
    with shown() as progress:
        report = prove(proof, where, Store.open(progress), progress, _show)
    _show_totals(report, where)
    return exit_code(report.results)


def _show(result: MutantResult) -> None:
    colour = _COLOURS.get(result.status, "red")
    show_verdict(f"{result.status:<14}", colour, result.name, result, f"{result.seconds:.0f}")


def _show_totals(report: MutantsReport, where: Path) -> None:
    from harness.campaigns.mutants import MUTANTS_FILE

    totals = ", ".join(f"{count} {status}" for status, count in sorted(report.totals.items()))
    say(f"{report.chosen} mutants of {report.profile}: {totals}")
    say(f"results: {where / MUTANTS_FILE}")
