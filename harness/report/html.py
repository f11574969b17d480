"""``report.html``: one self-contained file, in which text from guests is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import jinja2

from harness.errors import UserError
from harness.lib.documents import read_optional
from harness.lib.files import write_atomically
from harness.lib.text import clean_line
from harness.report import contract, coverage, rows
from harness.report.charts import boot_charts, latency_charts
from harness.report.comparison import case_sheet, latency_sheet, notes
from harness.report.matrix import matrix
from harness.report.published import published
from harness.results.compare.comparison import COMPARISON_FILE, Comparison
from harness.results.contract import check_contract, read_claims, read_contract
from harness.results.environment import Environment
from harness.results.summary import Outcome

HTML_FILE = "report.html"
_TEMPLATE = "report.html.j2"


@cache
def _template() -> jinja2.Template:
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return engine.get_template(_TEMPLATE)


def html(outcome: Outcome, run: Path, environment: Environment | None = None) -> str:
    """Return the page.

    :param run: the run's folder. Links to its files are relative to it.
    """
    covered = coverage.read_coverage(run)
    sheets = [
        rows.cells(outcome),
        rows.repeated(outcome),
        *([coverage.sheet(covered)] if covered else []),
    ]
    return _template().render(
        title=f"{outcome.verdict.capitalize()}: {clean_line(outcome.reason)}",
        good=outcome.verdict == "passed",
        sheets=[sheet for sheet in sheets if sheet.rows],
        elsewhere=rows.elsewhere(outcome),
        elsewhere_cases=rows.elsewhere_cases(outcome),
        programs=matrix(outcome),
        contract=_contract(outcome),
        latencies=list(zip(rows.latency(outcome), latency_charts(outcome), strict=True)),
        published=published(outcome),
        boots=boot_charts(outcome.boots),
        notes=rows.latency_notes(outcome),
        compared=_compared(run),
        groups=_groups,
        troubles=[_relative(trouble, run) for trouble in rows.troubles(outcome, run)],
        facts=_facts(run, environment),
    )


def write_html(outcome: Outcome, run: Path, environment: Environment | None = None) -> Path:
    """Write the page into a run's folder.

    :raise GuestError: the host cannot store it.
    """
    path = run / HTML_FILE
    write_atomically(path, html(outcome, run, environment))
    return path


def _groups(sheet: rows.Sheet) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return (heading, rows) of a grouped table; empty for other tables."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for row in sheet.rows if sheet.grouped else ():
        found.setdefault(row[0], []).append(row)
    return list(found.items())


class Contract(NamedTuple):
    """The contract, for the page."""

    sentence: str
    totals: rows.Sheet
    statements: rows.Sheet


def _contract(outcome: Outcome) -> Contract | None:
    """Return the run's verdicts on the contract; None if no case checked it, or it is missing."""
    if not any(case.checks for case in outcome.cases):
        return None
    cells = [cell.name for cell in outcome.summary.cells]
    try:
        covered = check_contract(read_contract(), read_claims(), outcome.cases, cells)
    except UserError:  # without the contract's file, show the other results
        return None
    return Contract(contract.sentence(covered), contract.totals(covered), contract.matrix(covered))


class Compared(NamedTuple):
    """The comparison with a baseline, for the page."""

    good: bool
    verdict: str
    bases: str
    sheets: tuple[rows.Sheet, ...]
    notes: tuple[str, ...]


def _compared(run: Path) -> Compared | None:
    """Read the run's comparison with a baseline. None if it does not exist.

    :raise UserError: it cannot be read.
    """
    found = read_optional(run / COMPARISON_FILE, Comparison)
    if found is None:
        return None
    good = found.exit_code == 0
    return Compared(
        good,
        clean_line(f"{found.verdict.capitalize()}: {found.reason}"),
        clean_line(", ".join(found.base)),
        tuple(sheet for sheet in (case_sheet(found), latency_sheet(found)) if sheet),
        tuple(notes(found)),
    )


def _relative(trouble: rows.Trouble, run: Path) -> rows.Trouble:
    files = tuple(
        (label, path.relative_to(run) if path.is_relative_to(run) else path)
        for label, path in trouble.files
    )
    return trouble._replace(files=files)


def _facts(run: Path, environment: Environment | None) -> list[tuple[str, str]]:
    """Return facts about the run, its host and its tools."""
    if environment is None:
        return [("run", run.name)]
    host = environment.host
    facts = [
        ("run", run.name),
        ("started", f"{environment.start.time:%Y-%m-%d %H:%M:%S %Z}"),
        ("host", f"{host.cpu}, {host.cores} CPUs, {host.memory_mib} MiB, {host.system}"),
        ("load at the start", f"{environment.start.load[0]:.2f}"),
    ]
    if environment.end is not None:
        facts.append(("load at the end", f"{environment.end.load[0]:.2f}"))
    if environment.steal_percent is not None:
        facts.append(("CPU time stolen", f"{environment.steal_percent:g} %"))
    return [(key, clean_line(value)) for key, value in [*facts, *environment.tools.items()]]
