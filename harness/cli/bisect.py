"""``uintr-harness bisect``: find the first bad commit or patch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import Command
from harness.cli.options import (
    GUESTS_AT_A_TIME,
    baseline_option,
    cell_options,
    out_option,
    repeat_option,
)
from harness.cli.show import show_verdict, shown
from harness.errors import UserError
from harness.lib.stdio import say
from harness.lib.text import clean_line

if TYPE_CHECKING:
    from harness.campaigns.bisect_range import SearchRange
    from harness.progress import Progress
    from harness.request.request import Request
    from harness.results.bisection import Bisection, BisectionStep
    from harness.values import KernelProfile

_COLOURS = {"good": "green", "bad": "red", "skip": "yellow"}


@click.command("bisect", cls=Command)
@cell_options
@click.option(
    "--good",
    metavar="REV|NUMBER",
    help="A commit of --tree, or a number of patches, that passes  [default: no patch]",
)
@click.option(
    "--bad",
    metavar="REV|NUMBER",
    help="A commit of --tree, or a number of patches, that fails  [default: HEAD; all patches]",
)
@click.option(
    "--first-parent",
    is_flag=True,
    help="Follow only the first parent of merges, to find the first bad merge.",
)
@click.option(
    "--boot-failure",
    type=click.Choice(["skip", "bad"]),
    default="skip",
    show_default=True,
    help="Verdict on a kernel that does not boot.",
)
@GUESTS_AT_A_TIME
@repeat_option("Run each program N times in a row, for failures that do not happen each time.")
@baseline_option("As for run: a step is also bad if a latency is worse than in the baseline.")
@out_option("Folder for bisect.json and each run  [default: runs/bisect-TIME-RANDOM]")
def command(
    request: Request, good: str | None, bad: str | None, first_parent: bool, **options: Any
) -> int:
    """Find the first bad commit of a tree, or patch of a series.

    The search runs unattended. A kernel is bad if a program that -k chooses fails, or if the kernel
    prints a splat. One that does not build or boot is skipped. Commits are searched with --tree and
    no --series, else the patches of the series. The exit code is 0 if the first bad one was found,
    3 or 4 if it cannot be told from skipped ones.
    """
    from harness.campaigns.bisect import BisectOptions, bisect  # with the engine, after --help
    from harness.campaigns.child_runs import start_command

    profile = request.kernel_profile("one kernel is searched at a time")
    with shown() as progress:
        if request.overrides.tree and request.overrides.series is None:
            span, ends = _commits(profile, request.overrides.tree, good, bad, first_parent)
        elif first_parent:
            raise click.UsageError("--first-parent is for the commits of a --tree")
        else:
            span, ends = _patches(profile, good, bad, progress)
        found, folder = bisect(
            request, BisectOptions(**options), span, ends, progress, _show, start_command
        )
    _show_verdict(found, folder)
    return found.exit_code


def _commits(
    profile: KernelProfile, tree: Path, good: str | None, bad: str | None, first_parent: bool
) -> tuple[SearchRange, tuple[str, str]]:
    from harness.artefacts.source.commits import Commits
    from harness.campaigns.bisect_range import CommitRange

    if good is None:
        raise click.UsageError("--good is missing: a commit of the tree that passes")
    commits = Commits(tree.expanduser().resolve(), first_parent=first_parent)
    ends = commits.resolve(good), commits.resolve(bad or "HEAD")
    return CommitRange(profile, commits), ends


def _patches(
    profile: KernelProfile, good: str | None, bad: str | None, progress: Progress
) -> tuple[SearchRange, tuple[str, str]]:
    from harness.artefacts.source.series import fetch_series
    from harness.artefacts.store import Store
    from harness.campaigns.bisect_range import PatchRange

    patches = fetch_series(profile.series, Store.open(progress), progress)
    if not patches:
        raise UserError(
            "there is no series to search",
            where=f"kernel {profile.name}",
            hint="give one with --series, or a --tree with --good and --bad",
        )
    numbers = [str(len(patches) if given is None else given) for given in (good or "0", bad)]
    for number in numbers:
        if not number.isdecimal() or int(number) > len(patches):
            raise UserError(
                f"there is no patch {number}",
                where="--good, --bad",
                hint=f"a number from 0 to {len(patches)}: how many of the series' patches",
            )
    return PatchRange(profile, patches), (str(int(numbers[0])), str(int(numbers[1])))


def _show(step: BisectionStep) -> None:
    name = f"{step.point.id[:12]} {step.point.subject}"
    colour = _COLOURS[step.verdict]
    show_verdict(f"{step.verdict:<5}", colour, name, step, f"{step.seconds:.0f}")


def _show_verdict(found: Bisection, folder: Path) -> None:
    from harness.results.bisection import BISECT_FILE

    noun = "commit" if found.of == "commits" else "patch"
    if found.first_bad:
        point = found.first_bad
        say(f"first bad {noun}: {point.id} {clean_line(point.subject)}", bold=True)
        end, first = found.step_of(found.bad), found.step_of(point)
        if end.by != first.by:
            say(f"it fails by {first.by}, the bad end by {end.by}")
        say(f"its run: uintr-harness report {folder / first.folder / 'run'}")
    else:
        say(f"skipped {found.of} hide the first bad one, which is one of these:", bold=True)
        for point in found.suspects:
            say(f"  {point.id} {clean_line(point.subject)}")
    say(f"results: {folder / BISECT_FILE}")
