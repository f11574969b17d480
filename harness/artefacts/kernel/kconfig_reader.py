"""Reasons why an option did not get its value, read from a tree's Kconfig files.

This reader serves diagnosis only; the configuration itself comes from the kernel's own
``make olddefconfig``. It runs no macros, ignores defaults, and skips statements that it does not
know, so that a newer Kconfig language can at most hide a reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.artefacts.kernel.kconfig_expr import evaluate, parse, spell, symbols, unmet

_ARCH = "x86"


@dataclass
class Clause:
    """A condition and its place, ``FILE:LINE``."""

    text: str
    place: str


@dataclass
class Definition:
    """One ``config NAME`` block."""

    name: str
    place: str
    #: Dependencies of the block itself and of every menu, choice and ``if`` around it.
    depends: list[Clause] = field(default_factory=list)
    #: The condition under which the prompt shows; None if there is no prompt at all.
    prompt: Clause | None = None
    #: (name, condition or "", place) of each ``select``.
    selects: list[tuple[str, str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    in_choice: bool = False


@dataclass
class _Block:
    """A menu, choice or ``if`` that is open."""

    kind: str
    clauses: list[Clause] = field(default_factory=list)


class KconfigReader:
    """All option definitions of a tree for x86."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._open: list[_Block] = []
        #: The block that a `depends on` belongs to: the config block or menu read last.
        self._current: Definition | _Block | None = None
        self.definitions: dict[str, list[Definition]] = {}
        self._seen: set[str] = set()
        self._read("Kconfig")

    # --- reading -----------------------------------------------------------------------------

    def _read(self, name: str) -> None:
        name = name.replace("$(SRCARCH)", _ARCH).replace("$(srctree)/", "")
        path = self._tree / name
        if name in self._seen or not path.is_file():
            return
        self._seen.add(name)
        for number, line in _logical_lines(path.read_text(encoding="utf-8", errors="replace")):
            self._line(line, f"{name}:{number}")

    def _line(self, line: str, place: str) -> None:
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word in {"source", "rsource", "osource", "orsource"}:
            self._read(rest.strip("\"'"))
        elif word in {"config", "menuconfig"}:
            self._config(rest, place)
        elif word in {"menu", "choice", "if"}:
            block = _Block(word, [Clause(rest, place)] if word == "if" else [])
            self._open.append(block)
            self._current = block
        elif word in {"endmenu", "endchoice", "endif"}:
            if self._open:
                self._open.pop()
            self._current = None
        elif word == "comment":
            self._current = _Block("comment")
        else:
            self._property(word, rest, place)

    def _config(self, name: str, place: str) -> None:
        around = [clause for block in self._open for clause in block.clauses]
        definition = Definition(name, place, depends=around)
        definition.in_choice = any(block.kind == "choice" for block in self._open)
        self.definitions.setdefault(name, []).append(definition)
        self._current = definition

    def _property(self, word: str, rest: str, place: str) -> None:
        current = self._current
        if word == "depends" and rest.startswith("on "):
            clause = Clause(rest[3:].strip(), place)
            if isinstance(current, Definition):
                current.depends.append(clause)
            elif current:
                current.clauses.append(clause)
            return
        if not isinstance(current, Definition):
            return
        if word in {"bool", "tristate", "int", "hex", "string", "prompt"} and rest[:1] in {
            '"',
            "'",
        }:
            condition = rest[_string_end(rest) :].strip()
            current.prompt = Clause(condition.removeprefix("if").strip(), place)
        elif word == "select":
            name, _, condition = rest.partition(" if ")
            current.selects.append((name.strip(), condition.strip(), place))
        elif word == "range":
            current.ranges.append(rest)

    # --- explaining --------------------------------------------------------------------------

    def selectors(self, name: str, config: Mapping[str, str]) -> list[str]:
        """Return the options that select an option in a configuration, each with its place."""
        found = []
        for definitions in self.definitions.values():
            for definition in definitions:
                if config.get(definition.name, "n") == "n":
                    continue
                for selected, condition, place in definition.selects:
                    expression = parse(condition) if condition else None
                    if selected == name and (
                        expression is None or evaluate(expression, config) != 0
                    ):
                        found.append(f"{definition.name} ({place})")
        return found


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement of a Kconfig file with its line number, without comments and help."""
    pending, start = "", 0
    help_indent: int | None = None
    in_help = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.expandtabs()
        stripped = line.strip()
        if in_help:
            indent = len(line) - len(line.lstrip())
            if not stripped:
                continue
            if help_indent is None and indent > 0:
                help_indent = indent
            if help_indent is not None and indent >= help_indent:
                continue
            in_help = False
        if not pending:
            start = number
        pending += stripped.removesuffix("\\")
        if stripped.endswith("\\"):
            continue
        statement = _without_comment(pending).strip()
        pending = ""
        if statement in {"help", "---help---"}:
            in_help, help_indent = True, None
        elif statement:
            yield start, re.sub(r"^(\S+)\s+", r"\1 ", statement)


def _without_comment(line: str) -> str:
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            return line[:position]
    return line


def _string_end(text: str) -> int:
    """Return where a quoted string at the start of a text ends."""
    position = 1
    while position < len(text) and text[position] != text[0]:
        position += 2 if text[position] == "\\" else 1
    return position + 1


def explain(tree: Path, name: str, asked: str, config: Mapping[str, str]) -> tuple[str, ...]:
    """Return the reasons why an option did not get its value; empty if none is found. Never raises.

    :param asked: the value that the option should have, ``n`` for off.
    :param config: the final configuration.
    """
    try:
        reader = KconfigReader(tree)
    except (OSError, RecursionError):
        return ()
    return reasons(reader, name, asked, config)


def reasons(
    reader: KconfigReader, name: str, asked: str, config: Mapping[str, str]
) -> tuple[str, ...]:
    """Return what :func:`explain` returns, from a reader that has read the tree already."""
    definitions = reader.definitions.get(name)
    if not definitions:
        return ("no Kconfig file of the tree defines this option",)
    if asked == "n":
        return _why_on(reader, definitions, config)
    return tuple(line for one in definitions for line in _why_off(one, config))


def _why_on(
    reader: KconfigReader, definitions: list[Definition], config: Mapping[str, str]
) -> tuple[str, ...]:
    name = definitions[0].name
    lines = [f"selected by {selector}" for selector in reader.selectors(name, config)]
    hidden = _hidden(definitions, config)
    if not lines and hidden:
        lines.append(f"{hidden}; its default decides")
    return tuple(lines)


def _hidden(definitions: list[Definition], config: Mapping[str, str]) -> str:
    """Return why no prompt of an option is visible; empty if one is."""
    reason = ""
    for definition in definitions:
        if definition.prompt is None:
            reason = reason or f"it has no prompt ({definition.place})"
            continue
        expression = parse(definition.prompt.text) if definition.prompt.text else None
        if expression is None or evaluate(expression, config) != 0:
            return ""
        needs = f"its prompt shows only if {definition.prompt.text} ({definition.prompt.place})"
        reason = f"{needs}: {_values(symbols(expression), config)}"
    return reason


def _why_off(definition: Definition, config: Mapping[str, str]) -> Iterator[str]:
    met = True
    for clause in definition.depends:
        expression = parse(clause.text)
        for part in unmet(expression, config) if expression else ():
            met = False
            yield (
                f"unmet: depends on {spell(part)} ({clause.place}): "
                f"{_values(symbols(part), config)}"
            )
        if expression and met and evaluate(expression, config) is None:
            yield f"perhaps: depends on {clause.text} ({clause.place}), which a tool decides"
    if not met:
        return
    hidden = _hidden([definition], config)
    if hidden:
        yield f"{hidden}; other options or its default decide"
    elif definition.in_choice:
        yield f"it is one of a choice ({definition.place}), and another one was taken"
    for limits in definition.ranges:
        yield f"its range is {limits} ({definition.place})"


def _values(names: tuple[str, ...], config: Mapping[str, str]) -> str:
    return ", ".join(f"{name} is {config.get(name, 'n')}" for name in names)
