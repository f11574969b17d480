"""The report as Markdown, for a merge request's comment or a job's summary."""

from __future__ import annotations

import re
from pathlib import Path

from harness.lib.text import clean_line
from harness.report import coverage, rows
from harness.report.published import published
from harness.results.summary import Outcome

#: Limit for the failures that are shown. Comments have a size limit (65,536 characters on GitHub).
MAX_TROUBLES = 30
_SPECIAL = re.compile(r"[^\w\s.,:;/%+=-]|_")


def markdown(outcome: Outcome, run: Path) -> str:
    """Return the whole report, with text from guests escaped, so that it mentions no users."""
    mark = "✅" if outcome.verdict == "passed" else "❌"
    parts = [
        f"### {mark} {outcome.verdict}: {code(clean_line(outcome.reason))}",
        sheet_markdown(rows.cells(outcome)),
        *(f"- {code(line)}" for line in rows.elsewhere(outcome)),
        *(f"- {code(note)}" for note in rows.boot_notes(outcome)),
    ]
    if outcome.summary.repeated:
        parts += ["#### Repeated programs", sheet_markdown(rows.repeated(outcome))]
    troubles = rows.troubles(outcome, run)
    if troubles:
        parts.append("#### What went wrong")
        parts += [_trouble(trouble, run) for trouble in troubles[:MAX_TROUBLES]]
        if len(troubles) > MAX_TROUBLES:
            parts.append(f"… and {len(troubles) - MAX_TROUBLES} more.")
    if outcome.latencies:
        for sheet in [*rows.latency(outcome), *published(outcome)]:
            parts += [f"#### {_escape(sheet.title)}", sheet_markdown(sheet)]
        parts += [f"- {code(note)}" for note in rows.latency_notes(outcome)]
    covered = coverage.read_coverage(run)
    if covered:
        sheet = coverage.sheet(covered)
        parts += [f"#### {_escape(sheet.title)}", sheet_markdown(sheet)]
    return "\n\n".join(parts) + "\n"


def sheet_markdown(sheet: rows.Sheet) -> str:
    """Return a table as Markdown."""
    lines = [
        _row([_escape(column.title) for column in sheet.columns]),
        _row(["---:" if column.figure else "---" for column in sheet.columns]),
        *(_row([_escape(cell) for cell in row]) for row in sheet.rows),
    ]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _trouble(trouble: rows.Trouble, run: Path) -> str:
    # Absolute paths mean nothing to readers elsewhere, who get the run's folder as an artefact.
    files = [f"{label}: {code(_relative(path, run))}" for label, path in trouble.files]
    summary = f"<b>{trouble.kind}</b> {code(trouble.title)} in {_escape(trouble.cell)}"
    body = [code(trouble.message) if trouble.message else "", _block(trouble.lines)]
    body.append("\n".join(f"- {line}" for line in files))
    inner = "\n\n".join(part for part in body if part)
    return f"<details><summary>{summary}</summary>\n\n{inner}\n\n</details>"


def _relative(path: Path, run: Path) -> str:
    return str(path.relative_to(run)) if path.is_relative_to(run) else str(path)


def _block(lines: tuple[str, ...]) -> str:
    if not lines:
        return ""
    text = "\n".join(lines)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def code(text: str) -> str:
    """Return text as code, in which GitHub and GitLab do not make links or mentions."""
    return f"<code>{_escape(text)}</code>"


def _escape(text: str) -> str:
    """Return text with all special characters of Markdown and HTML as entities."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", text)
