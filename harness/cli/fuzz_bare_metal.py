"""``uintr-harness fuzz --bare-metal``: compare random instruction sequences with a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.show import shown
from harness.errors import BuildError, GuestError, UserError
from harness.lib.stdio import say
from harness.lib.text import clean_line

if TYPE_CHECKING:
    from harness.campaigns.bare_fuzz.campaign import (
        SequenceFinding,
        SequencePlayer,
        SequencesReport,
    )
    from harness.campaigns.bare_fuzz.play import PlayerSetup
    from harness.progress import Progress
    from harness.request.request import Request

#: Value of ``--bochs`` for no Bochs.
NONE = "none"


def fuzz_bare_metal(
    request: Request,
    seed: int,
    minutes: float,
    limit: int | None,
    replay: tuple[Path, ...],
    out: Path | None,
    bochs: str | None,
) -> int:
    """Play random sequences in each way that QEMU runs code and in Bochs; compare with the model.

    :param limit: largest number of sequences.
    :param bochs: the value of ``--bochs``.
    :return: the exit code.
    """
    from harness.campaigns.bare_fuzz.bochs import WAY
    from harness.campaigns.bare_fuzz.campaign import FUZZ_FILE, SequenceCampaign, read_finding
    from harness.campaigns.bare_fuzz.compare import BOCHS_DEVIATIONS, read_deviations
    from harness.results.folder import RunFolder, make_results_folder
    from harness.run.engine import errors_noted

    given = [read_finding(path) for path in replay]
    deviations, of_bochs = read_deviations(), read_deviations(BOCHS_DEVIATIONS)
    with shown() as progress:
        machine = _machine(request, progress)
        folder = RunFolder(make_results_folder(out, "fuzz", FUZZ_FILE))
        folder.begin(sys.argv, qemu=machine.emulator.binary)
        with errors_noted(folder):
            player = _player(machine, bochs, progress)
            campaign = SequenceCampaign(
                player, deviations, folder.path, progress, _show, of_ways={WAY: of_bochs}
            )
            report = campaign.replay(given) if given else campaign.search(seed, minutes * 60, limit)
    folder.end(report.exit_code, reason=f"findings: {len(report.findings)}")
    _show_totals(report, folder.path / FUZZ_FILE)
    return report.exit_code


def _machine(request: Request, progress: Progress) -> PlayerSetup:
    """Build the player and its QEMU for the request's only CPU with user interrupts.

    :raise UserError: there is none, or more than one.
    """
    from harness.artefacts.bare_metal import PLAYER, build_bare_metal
    from harness.artefacts.store import Store
    from harness.campaigns.bare_fuzz.play import PlayerSetup
    from harness.run.prepare import check_cpu, choose_emulator

    plan = request.plan()
    cpus = list(dict.fromkeys(cell.cpu for cell in plan.cells if cell.cpu.exposes_uintr))
    if len(cpus) != 1:
        raise UserError(
            "sequences are played on exactly one CPU with user interrupts",
            where=", ".join(cpu.name for cpu in cpus) or "--cpu",
            hint="name one: --cpu exposed",
        )
    store = Store.open(progress)
    emulator = choose_emulator(plan, request.qemu, store, progress)
    check_cpu(emulator, cpus[0], "tcg")
    player = build_bare_metal(plan.cells[0].cc, store, progress, pattern=PLAYER)[0].path
    return PlayerSetup(emulator, cpus[0], player)


def _player(machine: PlayerSetup, bochs: str | None, progress: Progress) -> SequencePlayer:
    """Return the player in QEMU, and in Bochs if there is one.

    :param bochs: the command that starts Bochs, ``none``, or None for Debian's.
    :raise UserError: the command does not start Bochs.
    :raise GuestError: QEMU, or the Bochs of the command, does not run the player.
    """
    from harness.artefacts.bochs import fetch_bochs, find_bochs
    from harness.artefacts.store import Store
    from harness.campaigns.bare_fuzz.bochs import BochsPlayer, WithBochs
    from harness.campaigns.bare_fuzz.play import QemuPlayer

    player = QemuPlayer(machine)
    if bochs == NONE:
        return player
    try:
        found = find_bochs(bochs) if bochs else fetch_bochs(Store.open(progress), progress)
        return WithBochs(player, BochsPlayer(found, machine.player, player.facts))
    except (BuildError, GuestError) as error:
        if bochs:
            raise
        detail = (error.detail or "").strip().splitlines()
        why = f"{error.what}: {detail[-1]}" if detail else error.what
        progress.note(f"without Bochs: {clean_line(why)}")
        return player


def _show(finding: SequenceFinding) -> None:
    case = finding.case
    number = "from a file" if finding.number is None else f"number {finding.number}"
    steps = len(case.code) + len(case.handler)
    title = f"{finding.kind}: sequence {number}, {steps} of {finding.steps_before} steps"
    say(title, fg="red", bold=True)
    for way, said in finding.differences.items():
        say(f"  {way}: {clean_line('; '.join(said))}")
    kind = f", in a storm of {case.storm.rounds} rounds" if case.storm else ""
    say(f"  at CPL {case.level}, UIF {int(case.uif)}, RFLAGS {case.rflags:#x}{kind}:")
    actions = ((f"action {n}, CPU {one.cpu}", one.code) for n, one in enumerate(case.actions))
    for name, code in (("code", case.code), ("handler", case.handler), *actions):
        for step in code:
            say(f"    {name}: {step.partition(' ')[2] or step}")


def _show_totals(report: SequencesReport, file: Path) -> None:
    from harness.campaigns.bare_fuzz.play import SAVED

    of = "" if report.seed is None else f" of seed {report.seed}"
    say(
        f"{report.cases} sequences{of}, {report.instructions} instructions, in "
        f"{len(report.ways)} ways: {report.failed} fail, {len(report.findings)} findings "
        f"in {report.seconds:.0f} s"
    )
    if report.in_another_order:
        say(f"{report.in_another_order} ended as in another order of the CPUs than the usual ones")
    if SAVED in report.ways:
        often = f"{report.restored} times" if report.restored else "never: each batch ended before"
        say(f"a machine was saved and restored: {often}")
    say(f"{len(report.reached)} statements of the contract decided something")
    say(f"results: {file}")
