"""Kconfig's dependency expressions: parsed, evaluated in a ``.config``, and split into parts.

The language is in the kernel's Documentation/kbuild/kconfig-language.rst, "Menu dependencies".
The value of a macro (``$(cc-option,-mfoo)``) depends on tools that are not run here. It is unknown,
and an unknown value is never reported as a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: n < m < y, as Kconfig orders them; None is unknown.
Tri = int | None
_LEVELS = {"n": 0, "m": 1, "y": 2}

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<macro>\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))
      | (?P<string>"(?:\\.|[^"\\])*"|'[^']*')
      | (?P<operator>&&|\|\||!=|<=|>=|[!=<>()])
      | (?P<symbol>[A-Za-z0-9_.\-/]+)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Symbol:
    """A name, a literal or a macro."""

    text: str


@dataclass(frozen=True)
class Not:
    """``!expression``."""

    inner: Expression


@dataclass(frozen=True)
class Compare:
    """``a = b``, or another comparison."""

    left: Symbol
    operator: str
    right: Symbol


@dataclass(frozen=True)
class Every:
    """``a && b``."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Either:
    """``a || b``."""

    parts: tuple[Expression, ...]


Expression = Symbol | Not | Compare | Every | Either


def parse(text: str) -> Expression | None:
    """Parse an expression; return None if it cannot be parsed."""
    tokens = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        tokens.append(match[0].strip())
        position = match.end()
    try:
        parser = _Parser(tokens)
        found = parser.either()
    except (IndexError, ValueError):
        return None
    return found if not parser.tokens else None


class _Parser:
    """Recursive descent over the four levels of precedence."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def _take(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            del self.tokens[0]
            return True
        return False

    def either(self) -> Expression:
        parts = [self._every()]
        while self._take("||"):
            parts.append(self._every())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _every(self) -> Expression:
        parts = [self._unary()]
        while self._take("&&"):
            parts.append(self._unary())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _unary(self) -> Expression:
        if self._take("!"):
            return Not(self._unary())
        if self._take("("):
            inner = self.either()
            if not self._take(")"):
                raise ValueError("unclosed parenthesis")
            return inner
        left = self._symbol()
        if self.tokens and self.tokens[0] in {"=", "!=", "<", ">", "<=", ">="}:
            return Compare(left, self.tokens.pop(0), self._symbol())
        return left

    def _symbol(self) -> Symbol:
        token = self.tokens.pop(0)
        if token in {"&&", "||", "!", "(", ")", "=", "!=", "<", ">", "<=", ">="}:
            raise ValueError(token)
        return Symbol(token)


def evaluate(expression: Expression, config: Mapping[str, str]) -> Tri:
    """Return an expression's value in a configuration: 0, 1, 2 for n, m, y; None for unknown."""
    if isinstance(expression, Symbol):
        value = _value(expression, config)
        return None if value is None else _LEVELS.get(value, 0)
    if isinstance(expression, Not):
        inner = evaluate(expression.inner, config)
        return None if inner is None else 2 - inner
    if isinstance(expression, Compare):
        return _compare(expression, config)
    values = [evaluate(part, config) for part in expression.parts]
    known = [value for value in values if value is not None]
    unknown = len(known) < len(values)
    if isinstance(expression, Every):
        if 0 in known:
            return 0
        return None if unknown else min(known)
    if 2 in known:
        return 2
    return None if unknown else max(known)


def _value(symbol: Symbol, config: Mapping[str, str]) -> str | None:
    text = symbol.text
    if text.startswith("$("):
        return None
    if text[0] in "\"'":
        return text[1:-1]
    if text in _LEVELS:
        return text
    return config.get(text, "n").strip('"')


def _compare(expression: Compare, config: Mapping[str, str]) -> Tri:
    sides = []
    for side in (expression.left, expression.right):
        bare = side.text not in config and not side.text.startswith("$(")
        number = bare and re.fullmatch(r"0x[0-9a-fA-F]+|-?\d+", side.text)
        value = side.text if number else _value(side, config)
        if value is None:
            return None
        sides.append(value)
    left, right = sides
    if expression.operator in {"=", "!="}:
        return 2 if (left == right) == (expression.operator == "=") else 0
    try:
        low, high = int(left, 0), int(right, 0)
    except ValueError:
        return None
    true = {
        "<": low < high,
        ">": low > high,
        "<=": low <= high,
        ">=": low >= high,
    }[expression.operator]
    return 2 if true else 0


def spell(expression: Expression) -> str:
    """Return an expression as Kconfig writes it."""
    if isinstance(expression, Symbol):
        return expression.text
    if isinstance(expression, Not):
        return f"!{_inside(expression.inner)}"
    if isinstance(expression, Compare):
        return f"{expression.left.text}{expression.operator}{expression.right.text}"
    joint = " && " if isinstance(expression, Every) else " || "
    return joint.join(_inside(part) for part in expression.parts)


def _inside(expression: Expression) -> str:
    text = spell(expression)
    return f"({text})" if isinstance(expression, Every | Either) else text


def unmet(expression: Expression, config: Mapping[str, str]) -> tuple[Expression, ...]:
    """Return the smallest parts of a conjunction that are n."""
    if isinstance(expression, Every):
        return tuple(found for part in expression.parts for found in unmet(part, config))
    return (expression,) if evaluate(expression, config) == 0 else ()


def symbols(expression: Expression) -> tuple[str, ...]:
    """Return the options that an expression names, in order, each once."""
    if isinstance(expression, Symbol):
        text = expression.text
        plain = text[0] not in "$\"'" and text not in _LEVELS
        return (text,) if plain else ()
    if isinstance(expression, Not):
        return symbols(expression.inner)
    if isinstance(expression, Compare):
        return symbols(expression.left)
    return tuple(dict.fromkeys(name for part in expression.parts for name in symbols(part)))
