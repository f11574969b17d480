"""Check that everything that the documents name exists: ``python -m tools.documents``.

Commands are parsed, not run. Options, files and folders of this repository in code are checked, and
the links between pages with their anchors.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from harness import paths
from harness.cli import app
from harness.testing import options

#: Options of other programs in the documents → the program.
FOREIGN_OPTIONS = {
    "--add": "git config",
    "--each": "examples/b4_check.py",
    "--editable": "pip",
    "--disable-plugin-autoload": "pytest",
    "--dist": "pytest-xdist",
    "--stdout": "git format-patch",
    "--strict": "checkpatch.pl",
}
#: Paths in other trees that begin like one of this repository → the tree.
FOREIGN_PATHS = {"tools/testing/selftests": "the kernel's tree"}
#: Commands that are not parsed.
FOREIGN_COMMANDS = {"git", "pre-commit"}
#: Endings of paths that must exist here, unless they begin with a folder of runs.
_OURS = (".py", ".toml", ".md", ".ini", ".yml", ".yaml", ".config", ".c", ".h", ".sh")
_RUN_FOLDERS = {"cells", "runs", "before", "results"}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_PATH = re.compile(r"\.?[\w*-][\w.*-]*(?:/[\w.*+-]*)+|[\w*-]+\.(?:md|toml|ini|yaml)")
#: A word that stands for another: NAME, SUBJECT/NAME, N.
_PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|\bN\b")


class Fault(NamedTuple):
    """Something that a document names but that does not exist."""

    document: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(paths.ROOT)}:{self.line}: {self.what}"


def documents() -> list[Path]:
    """Return the pages that are checked."""
    root = paths.ROOT
    return [
        *(root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
        *sorted((root / "guest-tests").glob("*.md")),
        *sorted((root / "docs").glob("*.md")),
        *sorted((root / ".github").rglob("*.md")),
    ]


def commands(text: str) -> list[str]:
    """Return the commands in a page's blocks, and then those in its inline code."""
    shown = [
        line.removeprefix("$ ")
        for kind, block in _BLOCK.findall(text)
        if kind == "console"
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    inline = re.compile(r"(?:uintr-harness|ci/bootstrap|python -m tools\.\w+|tox)(?: |$)")
    between = [
        code.replace("\\|", "|")
        for code in _CODE.findall(_without_blocks(text))
        if inline.match(code) and " " in code and "COMMAND" not in code
    ]
    return shown + [re.sub(r"\bN\b", "1", code) for code in between]


def parse(line: str) -> None:
    """Parse a command with the parser of its program, without running it.

    :raise click.ClickException, SystemExit, ValueError: it is not valid.
    """
    program, *args = shlex.split(line)
    if program == "pytest":
        if not any(word in _pytest_options() for word in args):
            raise ValueError("pytest without an option of the plugin")
    elif program == "python":
        tool = importlib.import_module(args[1])
        if hasattr(tool, "__path__"):
            tool = importlib.import_module(f"{args[1]}.__main__")
        tool.parser().parse_args(args[2:])
    elif program == "tox" or (program, args[:1]) == ("ci/bootstrap", ["test"]):
        _parse_tox(args[1:] if program == "ci/bootstrap" else args)
    elif program in {"uintr-harness", "ci/bootstrap"}:
        _parse_own(args)
    elif program not in FOREIGN_COMMANDS and not (paths.ROOT / program).is_file():
        raise ValueError(f"{program} is neither known nor a file")


def _parse_own(args: list[str]) -> None:
    group = click.Context(app, info_name="uintr-harness")
    command = app.get_command(group, args[0]) if args else None
    if command is None:
        raise ValueError(f"there is no command {args[:1]}")
    with command.make_context(args[0], args[1:], parent=group):
        pass


def _parse_tox(args: list[str]) -> None:
    options = argparse.ArgumentParser(exit_on_error=False)
    options.add_argument("-e")
    sections = re.findall(r"^\[testenv:(.+)\]", _read("tox.ini"), re.MULTILINE)
    environments = {name for section in sections for name in _expanded(section)}
    named = options.parse_args(args).e
    for name in (named or "").split(","):
        if name and name not in environments:
            raise ValueError(f"tox.ini has no environment {name}")


def _expanded(name: str) -> list[str]:
    """Return the names of a generative section of tox.ini: ``a`` and ``a-b`` for ``a{,-b}``."""
    before, _, rest = name.partition("{")
    inside, _, after = rest.partition("}")
    return [f"{before}{part}{after}" for part in inside.split(",")]


@cache
def known_options() -> frozenset[str]:
    """Return all options of the command line, the tools and the pytest plugin."""
    found = {"--help", "--version", *FOREIGN_OPTIONS}
    found |= _options_of(app, click.Context(app))
    for path in (paths.ROOT / "tools").glob("*.py"):
        module = importlib.import_module(f"tools.{path.stem}")
        if hasattr(module, "parser"):
            found |= {name for action in module.parser()._actions for name in action.option_strings}
    return frozenset(found | _pytest_options())


@cache
def _pytest_options() -> frozenset[str]:
    """Return the options that the plugin adds to pytest."""
    parser = pytest.Parser(_ispytest=True)
    options.pytest_addoption(parser)
    group = parser.getgroup("uintr")
    return frozenset(name for option in group.options for name in option.names())


def _options_of(command: click.Command, context: click.Context) -> set[str]:
    found = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            assert sub is not None
            found |= _options_of(sub, click.Context(sub, parent=context, info_name=name))
    return found


def unknown_options(document: Path, text: str) -> Iterator[Fault]:
    """Yield the options in code that no command has."""
    for number, line in enumerate(text.splitlines(), start=1):
        code = line if line.startswith(("$ ", "    ")) else " ".join(_CODE.findall(line))
        for option in _OPTION.findall(code):
            if option not in known_options():
                yield Fault(document, number, f"there is no option {option}")


def missing_paths(document: Path, text: str) -> Iterator[Fault]:
    """Yield the files and folders in code that do not exist; placeholders match anything."""
    bases = (paths.ROOT, document.parent, paths.ROOT / "harness")
    starts = {entry.name for base in bases for entry in base.iterdir()} - made_here()
    for number, line in enumerate(text.splitlines(), start=1):
        for code in _CODE.findall(line):
            for word in code.split():
                if not _PATH.fullmatch(word) or any(word.startswith(one) for one in FOREIGN_PATHS):
                    continue
                ours = word.partition("/")[0] in starts
                ours |= "/" in word and word.endswith(_OURS) and _top(word) not in _RUN_FOLDERS
                pattern = _PLACEHOLDER.sub("*", word).rstrip("/")
                named = (pattern, f"{pattern}.c")  # programs are named without a suffix
                if ours and not any(any(base.glob(one)) for base in bases for one in named):
                    yield Fault(document, number, f"there is no {word}")


def made_here() -> set[str]:
    """Return the names of files that commands create in a checkout, from ``.gitignore``."""
    return {".git", *(line.strip("/") for line in _read(".gitignore").splitlines())}


def _top(word: str) -> str:
    return word.partition("/")[0]


def broken_links(document: Path, text: str) -> Iterator[Fault]:
    """Yield the links to pages and headings that do not exist."""
    for number, line in enumerate(_without_blocks(text, keep_lines=True).splitlines(), start=1):
        for target in _LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            page = (document.parent / name).resolve() if name else document
            if not page.exists():
                yield Fault(document, number, f"there is no page {name}")
            elif anchor and anchor not in anchors(page.read_text(encoding="utf-8")):
                yield Fault(document, number, f"{page.name} has no heading #{anchor}")


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub and GitLab give a page's headings."""
    found = set()
    for heading in _HEADING.findall(_without_blocks(text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.lower())
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def wrong_commands(document: Path, text: str) -> Iterator[Fault]:
    """Yield the commands that their program's parser refuses."""
    lines = text.splitlines()
    for command in commands(text):
        number = next((n for n, line in enumerate(lines, start=1) if command in line), 1)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                parse(command)
        except (click.ClickException, SystemExit, ValueError, ImportError) as error:
            yield Fault(document, number, f"{command}: {error}")


def faults(document: Path, text: str | None = None) -> list[Fault]:
    """Return all faults of a page.

    :param text: text to check instead of the page's own.
    """
    text = document.read_text(encoding="utf-8") if text is None else text
    return [
        *wrong_commands(document, text),
        *unknown_options(document, text),
        *missing_paths(document, text),
        *broken_links(document, text),
    ]


def _without_blocks(text: str, *, keep_lines: bool = False) -> str:
    return _BLOCK.sub(lambda block: "\n" * block[0].count("\n") if keep_lines else "", text)


def _read(name: str) -> str:
    return (paths.ROOT / name).read_text(encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """Return the command's options: there are none."""
    return argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])


def main() -> int:
    """Print each fault; return 1 if there is one."""
    parser().parse_args()
    found = [fault for document in documents() for fault in faults(document)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
