"""Checks of a patch with the kernel's own tools: ``checkpatch.pl``, ``make W=1``, sparse.

The compiler and sparse run in a separate build folder, because their flags would make the next
build compile the same files again. Only files that a series touches are compiled. Complaints about
the tree before the series do not count: callers compare with :func:`fresh`.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.artefacts.kernel import kbuild
from harness.artefacts.kernel.configure import LaidOut
from harness.errors import BuildError
from harness.lib.process import capture, stream
from harness.values import Compiler, Value

#: Path in the kernel tree. Its exit status agrees with the last line that it prints.
CHECKPATCH = "scripts/checkpatch.pl"
#: Path in the kernel tree of the script that looks files up in MAINTAINERS.
GET_MAINTAINER = "scripts/get_maintainer.pl"
#: The section of MAINTAINERS that matches every file.
_THE_REST = "THE REST"
#: checkpatch's question about every patch that adds, moves or deletes a file.
_MAINTAINERS_QUESTION = "WARNING:FILE_PATH_CHANGES:"

#: A complaint: its file, line and column if they are known, and text.
_FINDING = re.compile(r"^(?P<file>[^\s:]+)(?::\d+){0,2}: (?P<text>(?:warning|error): .*)$")
#: An offset in a function, as objtool prints it; it changes with the code.
_OFFSET = re.compile(r"\+0x[0-9a-f]+")
_TOTAL = re.compile(
    r"^total: (?P<errors>\d+) errors?, (?P<warnings>\d+) warnings?,(?: (?P<checks>\d+) checks?,)? "
)
_TERSE = re.compile(r"^[^\s:]*:(?P<line>\d*):? (?P<what>(?:ERROR|WARNING|CHECK):.*)$")

#: Complaints of compilers and sparse: (file, text) → count. The line is left out, because lines
#: move with each patch.
Findings = Counter[tuple[str, str]]


class Checkpatch(Value):
    """Findings of ``checkpatch.pl --strict`` in one patch."""

    errors: int
    warnings: int
    checks: int
    #: ``LINE: KIND:TYPE: text``, LINE of the patch.
    lines: tuple[str, ...]


def checkpatch_argv(tree: Path, patch: Path) -> list[str]:
    """Return the command line that checks one patch."""
    return [
        "perl",
        str(tree / CHECKPATCH),
        f"--root={tree}",
        "--strict",
        "--terse",
        "--show-types",
        "--color=never",
        str(patch),
    ]


def parse_checkpatch(text: str) -> Checkpatch | None:
    """Parse checkpatch's terse output; return None if the totals at its end are missing."""
    lines = []
    total = None
    for line in text.splitlines():
        total = _TOTAL.match(line) or total
        if found := _TERSE.match(line):
            lines.append(f"{found['line'] or '-'}: {found['what']}")
    if total is None:
        return None
    return Checkpatch(
        errors=int(total["errors"]),
        warnings=int(total["warnings"]),
        checks=int(total["checks"] or 0),
        lines=tuple(lines),
    )


def maintainer_argv(tree: Path, name: str) -> list[str]:
    """Return the command line that prints a file's maintainers and its sections of MAINTAINERS."""
    options = ("--no-git", "--no-git-fallback", "--no-rolestats", "--no-l", "--subsystem")
    return ["perl", str(tree / GET_MAINTAINER), *options, "-f", name]


def is_maintained(tree: Path, name: str) -> bool:
    """Tell whether a section of the tree's MAINTAINERS covers a file."""
    if not (tree / GET_MAINTAINER).is_file():
        return False
    done = capture(maintainer_argv(tree, name), cwd=tree)
    said = {line.strip() for line in done.text.splitlines()}
    return done.returncode == 0 and bool(said - {_THE_REST, ""})


def check_patch(tree: Path, patch: Path, added: Sequence[str] = ()) -> Checkpatch | None:
    """Run the tree's checkpatch on a patch; None if the tree has none.

    checkpatch asks whether MAINTAINERS needs updating, without reading it. The question is left out
    if MAINTAINERS has a section for each new file.

    :param tree: the tree with the patch applied.
    :param added: the patch's new files, relative to the tree; none if it moves or deletes files.
    :raise BuildError: checkpatch does not run.
    """
    if not (tree / CHECKPATCH).is_file():
        return None
    done = capture(checkpatch_argv(tree, patch), cwd=tree)
    if done.returncode == 0 and not done.text.strip():
        return Checkpatch(errors=0, warnings=0, checks=0, lines=())  # terse of a clean patch
    found = parse_checkpatch(done.text)
    if found is None:
        raise BuildError(
            f"checkpatch ended with {done.returncode} and no result",
            where=patch,
            detail="\n".join((done.text, done.complaint)).strip()[-2000:],
        )
    lines = tuple(line for line in found.lines if _MAINTAINERS_QUESTION not in line)
    questions = len(found.lines) - len(lines)
    if not questions or not added or not all(is_maintained(tree, name) for name in added):
        return found
    return found.model_copy(update={"lines": lines, "warnings": found.warnings - questions})


def objects_of(files: Iterable[str], laid_out: LaidOut) -> tuple[str, ...]:
    """Return the objects of the source files that are in the tree and in the last kernel built.

    If the folder has no build yet, the objects of all files in the tree are returned.
    """
    built = (laid_out.built / "vmlinux").exists()
    found = []
    for name in files:
        stem, dot, suffix = name.rpartition(".")
        if not dot or suffix not in {"c", "S"} or not (laid_out.tree / name).is_file():
            continue
        if not built or (laid_out.built / f"{stem}.o").is_file():
            found.append(f"{stem}.o")
    return tuple(found)


def has_sparse() -> bool:
    """Tell whether sparse is installed."""
    return shutil.which("sparse") is not None


def lint_argv(
    tree: Path, out: Path, cc: Compiler, jobs: int, objects: Sequence[str], *, sparse: bool
) -> list[str]:
    """Return the command line that compiles objects with ``W=1``, or checks them with sparse."""
    wrapped = [f"CC=ccache {cc}"] if shutil.which("ccache") else []
    return [
        *kbuild.config_argv(tree, out, cc, "W=1"),
        *wrapped,
        f"--jobs={jobs}",
        "--keep-going",
        *(["C=2"] if sparse else []),
        *objects,
    ]


def parse_findings(lines: Iterable[str], tree: Path) -> Findings:
    """Return the complaints in a build's output, with file names relative to the tree."""
    found: Findings = Counter()
    for line in lines:
        if match := _FINDING.match(line):
            name = match["file"].removeprefix(f"{tree}/")
            found[name, _OFFSET.sub("+…", match["text"])] += 1
    return found


def within(found: Findings, files: Iterable[str]) -> Findings:
    """Return the complaints about some files.

    Sparse reports a header's inline function only where it is called, so that a new caller can
    bring up an old complaint. One about a header that a series does not touch belongs to the tree.
    """
    names = frozenset(files)
    return Counter({key: count for key, count in found.items() if key[0] in names})


def fresh(now: Findings, before: Findings) -> tuple[str, ...]:
    """Return ``FILE: text`` for each complaint that is new, or more frequent than before."""
    return tuple(f"{name}: {text}" for name, text in sorted((now - before).elements()))


def find(
    laid_out: LaidOut,
    objects: Sequence[str],
    cc: Compiler,
    jobs: int,
    log: Path,
    *,
    sparse: bool = False,
) -> Findings:
    """Compile ``objects`` with ``W=1``, or check them with sparse, and return the complaints.

    :param log: file for the whole output.
    :raise BuildError: make failed without an error that could be counted.
    """
    if not objects:
        return Counter()
    out = laid_out.folder / "lint"
    out.mkdir(exist_ok=True)
    config = out / ".config"
    if not config.exists() or config.read_text() != laid_out.config:
        config.write_text(laid_out.config)
    if not sparse:
        for name in objects:  # make would not compile one that is up to date
            (out / name).unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    lines: list[str] = []
    argv = lint_argv(laid_out.tree, out, cc, jobs, objects, sparse=sparse)
    code = stream(argv, env=kbuild.environment(laid_out.tree, out), log=log, on_line=lines.append)
    found = parse_findings(lines, laid_out.tree)
    counted = any(text.startswith("error") for _, text in found)
    known = (laid_out.built / "vmlinux").exists()  # else some objects may not be this kernel's
    if code != 0 and known and not counted:
        raise BuildError(
            f"make W=1 {'C=2 ' if sparse else ''}failed with {code}",
            where=log,
            detail=kbuild.first_errors(lines),
        )
    return found
