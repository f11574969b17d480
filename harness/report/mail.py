"""The report as plain text for a reply to a mailing list, in lines of 72 columns.

Text from guests is cleaned, and behind a bar: so it is neither a trailer, nor a quotation, nor the
begin of a patch to tools that read mails.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness import __version__
from harness.artefacts.source.trees import describe_source
from harness.errors import HarnessError
from harness.lib.process import capture
from harness.lib.text import clean_line
from harness.report import rows
from harness.report.published import round_trips
from harness.results.compare.measured import patches_of, read_setups
from harness.results.folder import CellSetup, RunFolder
from harness.results.summary import Outcome
from harness.values import KernelProfile, LoreSeries, TreeSource

WIDTH = 72
#: Limits for failures, for cells, and for the lines of a failure.
MAX_TROUBLES, MAX_CELLS, MAX_LINES = 10, 20, 4


def mail(outcome: Outcome, folder: RunFolder, tester: str = "") -> str:
    """Return the text of a mail.

    :param tester: name and address for a trailer, which only a run that passed has.
    """
    setups = read_setups(folder)
    parts = [
        _filled(f"Tested with uintr-harness {__version__}: {outcome.verdict}"),
        "\n".join(_tested(setups)),
        _filled(f"{outcome.verdict.capitalize()}: {clean_line(outcome.reason)}."),
        "\n".join(_cells(outcome)),
        "\n\n".join(_troubles(outcome, folder, setups)),
        "\n".join(_latencies(outcome)),
        f"Tested-by: {tester}" if tester and outcome.verdict == "passed" else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def git_identity() -> str:
    """Return ``NAME <ADDRESS>`` as git is configured; empty if it has no name or no address."""
    name, address = _configured("user.name"), _configured("user.email")
    return f"{name} <{address}>" if name and address else ""


def _configured(key: str) -> str:
    try:
        said = capture(["git", "config", "--get", key], env=os.environ, timeout_s=10)
    except HarnessError:
        return ""
    return clean_line(said.text.strip()) if said.returncode == 0 else ""


def _tested(setups: Mapping[str, CellSetup]) -> Iterator[str]:
    """Yield a line for each kernel, emulator and set of CPUs."""
    cells = list(setups.values())
    kernels = {setup.kernel.key: setup for setup in cells}
    for setup in list(kernels.values())[:MAX_CELLS]:
        yield _field("kernel", f"{setup.kernel.release}: {_kernel(setup)}")
    guests = dict.fromkeys(
        f"QEMU {setup.emulator.version}, {setup.accel.upper()}" for setup in cells
    )
    for line in guests:
        yield _field("guests", line)
    if cells:
        yield _field("cpus", ", ".join(dict.fromkeys(setup.cell.cpu.name for setup in cells)))


def _kernel(setup: CellSetup) -> str:
    profile = setup.cell.kernel
    patches = patches_of(setup.kernel)
    series = _series(profile, len(patches) if patches is not None else None)
    signed = f"; {setup.kernel.attestation}" if setup.kernel.attestation else ""
    fragments = f"; config {', '.join(Path(one).name for one in profile.fragments)}"
    return f"{series}{_base(profile)}{signed}{fragments}"


def _series(profile: KernelProfile, count: int | None) -> str:
    if profile.series is None:
        return ""
    if isinstance(profile.series, LoreSeries):
        name = profile.series.message_id
    else:
        name = profile.series.path.name
    number = "" if count is None else f" ({count} patch{'' if count == 1 else 'es'})"
    return f"{name}{number} on "


def _base(profile: KernelProfile) -> str:
    """Return the base tree. A path on this machine means nothing to the readers of a list."""
    source = profile.source
    if isinstance(source, TreeSource):
        at = f" at {source.revision[:12]}" if source.revision else ""
        return f"the tree {source.path.name}{at}"
    return describe_source(source)


def _cells(outcome: Outcome) -> Iterator[str]:
    found = outcome.summary.cells
    for cell in found[:MAX_CELLS]:
        yield _filled(clean_line(cell.name), "  ")
        counts = [f"{cell.passed} pass", f"{cell.fail} fail", f"{cell.skip} skip"]
        if cell.splats:
            counts.append(f"{cell.splats} splat{'' if cell.splats == 1 else 's'}")
        if cell.elsewhere:
            counts.append(f"{sum(cell.elsewhere.values())} do not apply")
        yield _filled(", ".join(counts), "    ")
    if len(found) > MAX_CELLS:
        yield f"  and {len(found) - MAX_CELLS} more cells"


def _troubles(
    outcome: Outcome, folder: RunFolder, setups: Mapping[str, CellSetup]
) -> Iterator[str]:
    found = rows.troubles(outcome, folder.path)
    for one in found[:MAX_TROUBLES]:
        lines = [_filled(f"{one.kind} {one.title} in {one.cell}")]
        said = [one.message, *one.lines] if one.message else list(one.lines)
        lines += [_bar(line) for line in said[:MAX_LINES]]
        setup = setups.get(one.cell)
        program = one.title.partition("::")[0]
        if setup and one.kind in {"FAIL", "FLAKY"} and "/" in program:
            words = ["uintr-harness run", *_options(setup.options), f"-k {program}"]
            lines += ["to repeat:", *_command(words)]
        yield "\n".join(lines)
    if len(found) > MAX_TROUBLES:
        yield f"and {len(found) - MAX_TROUBLES} more"


def _options(words: tuple[str, ...]) -> Iterator[str]:
    """Yield each option with its value."""
    option = ""
    for word in words:
        if word.startswith("--") and option:
            yield option
            option = ""
        option = f"{option} {clean_line(word)}".strip()
    if option:
        yield option


def _command(words: list[str]) -> Iterator[str]:
    """Yield the lines of a command, continued by backslashes."""
    line = " "
    for word in words:
        if len(line) + len(word) + 3 > WIDTH and line.strip():
            yield f"{line} \\"
            line = "   "
        line += f" {word}"
    yield line


def _latencies(outcome: Outcome) -> Iterator[str]:
    sheet = round_trips(outcome)
    if sheet is None:
        return
    yield _filled(f"{sheet.title}:")
    names = [column.title for column in sheet.columns[1:]]
    calm = [row for row in sheet.rows if not any(one.startswith("~") for one in row[1:])]
    if len(calm) < len(sheet.rows):
        yield _filled("(cells whose host had other load meanwhile are left out)", "  ")
    for cell, *figures in calm[: MAX_CELLS + 1]:
        yield _filled(cell, "  ")
        said = (f"{name} {value}" for name, value in zip(names, figures, strict=True))
        yield _filled(", ".join(said), "    ")


def _field(name: str, text: str) -> str:
    return _filled(f"{name:<8}{clean_line(text)}", "  ", after=" " * 10)


def _filled(text: str, before: str = "", after: str | None = None) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=before,
        subsequent_indent=before if after is None else after,
        break_on_hyphens=False,
    )


def _bar(text: str) -> str:
    line = clean_line(text)
    return f"  | {line if len(line) <= WIDTH - 4 else line[: WIDTH - 5] + '…'}".rstrip()
