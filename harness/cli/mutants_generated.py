"""``uintr-harness mutants --generate``: does the suite notice changes that nobody thought of?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.show import show_verdict, shown
from harness.errors import UserError
from harness.lib.stdio import say
from harness.lib.text import clean_line

if TYPE_CHECKING:
    from harness.campaigns.mutants import Proof
    from harness.campaigns.mutation.candidates import Candidate
    from harness.campaigns.mutation.records import GeneratedReport, GeneratedResult

_COLOURS = {"killed": "green", "survived": "red", "not-judged": "red", "explained": "yellow"}
#: Columns: heading → status that is counted. An empty status stands for all.
_COLUMNS = {
    "made": "",
    "equivalent": "equivalent",
    "same": "same",
    "not built": "does-not-build",
    "killed": "killed",
    "by a case": "killed-case",
    "splat": "killed-splat",
    "hang": "killed-hang",
    "guest": "killed-guest",
    "sequence": "killed-sequence",
    "explained": "explained",
    "survived": "survived",
    "not judged": "not-judged",
}


def generated(proof: Proof, count: int, seed: int, sequences: int, out: Path | None) -> int:
    """Make mutants by rule and judge them.

    :param sequences: of instructions, for mutants of the emulator.
    :return: the exit code.
    """
    from harness.artefacts.store import Store
    from harness.campaigns.mutants import MUTANTS_FILE
    from harness.lib.extras import require_extra
    from harness.results.folder import make_results_folder

    if proof.folder:
        raise UserError("mutants are read from a folder, or generated", where="--from --generate")
    require_extra("mutants", "tree_sitter", "tree_sitter_c", needed_for="mutants --generate")
    from harness.campaigns.mutation.campaign import PATCHES, Sample, generate
    from harness.campaigns.mutation.records import REPORT_FILE

    sample = Sample(count=count, seed=seed, sequences=sequences)
    where = make_results_folder(out, "mutants", MUTANTS_FILE)
    with shown() as progress:
        report = generate(proof, sample, where, Store.open(progress), progress, _show)
    _show_table(report)
    _show_survivors(report, where / PATCHES)
    say(f"results: {where / REPORT_FILE}")
    return report.exit_code


def _show(result: GeneratedResult, candidate: Candidate) -> None:
    verdict, colour = f"{result.status:<14}", _COLOURS.get(result.status)
    took = f"{result.build_s:.0f} + {result.run_s:.0f}"
    show_verdict(verdict, colour, candidate.name, result, took)


def _show_table(report: GeneratedReport) -> None:
    from rich.table import Table

    from harness.report.console import make_console

    used = Counter[str]()
    for _, counts in report.rows(""):
        used += counts
    columns = {name: key for name, key in _COLUMNS.items() if not key or used[key]}
    table = Table(box=None, pad_edge=False)
    table.add_column("rule, file", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    for rows in (report.rows("rule"), report.rows("file"), report.rows("")):
        for name, counts in rows:
            total = sum(count for key, count in counts.items() if not key.startswith("killed-"))
            cells = [str((counts[key] if key else total) or "") for key in columns.values()]
            table.add_row(name, *cells)
        table.add_section()
    make_console().print(table)
    basis = report.basis
    say(
        f"{report.different} of {report.wanted} generated mutants of {basis.profile}, seed "
        f"{basis.seed}, out of {report.candidates}: {used['killed']} killed, "
        f"{used['explained']} explained, {used['survived']} survived"
    )
    for file, count in sorted(report.left_out.items()):
        say(f"left out: {count} in {file}; too many objects depend on it, or none")


def _show_survivors(report: GeneratedReport, patches: Path) -> None:
    for one in report.results:
        if one.status not in {"survived", "explained"}:
            continue
        say(f"\n{one.status}: {one.name}", fg=_COLOURS[one.status])
        if one.message:
            say(f"  {clean_line(one.message)}")
        if one.unsteady:
            say(f"  failed once, and not again: {clean_line(', '.join(one.unsteady))}")
        text = (patches / f"{one.name}.patch").read_text(errors="replace")
        for line in text.partition("\n@@ ")[2].splitlines()[1:]:
            say(f"  {clean_line(line)}")
