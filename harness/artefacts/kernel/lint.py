"""What the kernel's own tools say of a patch: ``checkpatch.pl``, ``make W=1``, sparse.

Compiler and sparse run in a build folder of their own, because other flags would make the next
build compile the same files again. Only files that a series touches are compiled. What the tree
said before the series is not the series' fault: callers compare with :func:`fresh`.
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

#: Of the kernel tree. Its exit status says the same as its last line.
CHECKPATCH = "scripts/checkpatch.pl"
#: Of the kernel tree: who is to be told of a change, by MAINTAINERS.
GET_MAINTAINER = "scripts/get_maintainer.pl"
#: The section of MAINTAINERS that matches every file.
_THE_REST = "THE REST"
#: What checkpatch asks of every patch that adds, moves or deletes a file.
_MAINTAINERS_QUESTION = "WARNING:FILE_PATH_CHANGES:"

#: The file that a complaint is about, its line and column if they are known, and the text.
_FINDING = re.compile(r"^(?P<file>[^\s:]+)(?::\d+){0,2}: (?P<text>(?:warning|error): .*)$")
#: A place in a function, as objtool names it; it moves with the code.
_OFFSET = re.compile(r"\+0x[0-9a-f]+")
_TOTAL = re.compile(
    r"^total: (?P<errors>\d+) errors?, (?P<warnings>\d+) warnings?,(?: (?P<checks>\d+) checks?,)? "
)
_TERSE = re.compile(r"^[^\s:]*:(?P<line>\d*):? (?P<what>(?:ERROR|WARNING|CHECK):.*)$")

#: What compilers and sparse found: (file, text) → how often. Lines move with each patch, so the
#: line is not part of it.
Findings = Counter[tuple[str, str]]


class Checkpatch(Value):
    """What ``checkpatch.pl --strict`` found in one patch."""

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
    """Read checkpatch's terse output; None if it lacks the totals that end it."""
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
    """Return the command line that prints those who maintain a file, and MAINTAINERS' sections."""
    options = ("--no-git", "--no-git-fallback", "--no-rolestats", "--no-l", "--subsystem")
    return ["perl", str(tree / GET_MAINTAINER), *options, "-f", name]


def is_maintained(tree: Path, name: str) -> bool:
    """Tell whether a section of the tree's MAINTAINERS is about a file in it."""
    if not (tree / GET_MAINTAINER).is_file():
        return False
    done = capture(maintainer_argv(tree, name), cwd=tree)
    said = {line.strip() for line in done.text.splitlines()}
    return done.returncode == 0 and bool(said - {_THE_REST, ""})


def check_patch(tree: Path, patch: Path, added: Sequence[str] = ()) -> Checkpatch | None:
    """Run the tree's checkpatch on a patch; None if the tree has none.

    checkpatch asks whether MAINTAINERS needs updating and does not look. If it has a section for
    each new file already, the question is answered and left out.

    :param tree: with the patch applied.
    :param added: the patch's new files, relative to the tree; none if it moves or deletes files.
    :raise BuildError: it does not run.
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
    """Return the objects of those source files that are in the tree and in the last kernel.

    Without a last build in the folder nothing can be left out.
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
    """Return the command line that compiles objects with ``W=1``, or has sparse read them."""
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
    """Return the complaints that are about those files.

    Sparse reads an inline function of a header by itself, whoever calls it, but complains of it
    only where it is called: a complaint of a header that a series leaves alone is the tree's.
    """
    names = frozenset(files)
    return Counter({key: count for key, count in found.items() if key[0] in names})


def fresh(now: Findings, before: Findings) -> tuple[str, ...]:
    """Return ``FILE: text`` for each complaint that there were fewer of before."""
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
    """Compile ``objects`` with ``W=1`` (or give them to sparse) and return what was complained of.

    :param log: gets the whole output.
    :raise BuildError: it failed without an error in a file that could be counted.
    """
    if not objects:
        return Counter()
    out = laid_out.folder / "lint"
    out.mkdir(exist_ok=True)
    config = out / ".config"
    if not config.exists() or config.read_text() != laid_out.config:
        config.write_text(laid_out.config)
    if not sparse:
        for name in objects:  # one that is up to date says nothing
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
