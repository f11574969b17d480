"""C as a syntax tree, macros included, and the changes that rules make in it.

The parser is tree-sitter's. It reads a file without its headers and goes on behind what it does
not understand, which is where a macro stands for a part of a statement. What a macro expands to is
plain text to it, so that is parsed by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import tree_sitter_c
from tree_sitter import Language, Node, Parser

#: What stands around the text of a macro so that it is an expression.
_BEFORE, _AFTER = b"int _ = ", b";"


class Change(NamedTuple):
    """One wrong change: bytes of a file, and what takes their place."""

    rule: str
    start: int
    end: int
    new: bytes

    def apply(self, source: bytes) -> bytes:
        """Return the changed source; it has as many lines as before.

        So that ``__LINE__`` is the same behind the change: code that differs in it alone would
        count as different.
        """
        old = source[self.start : self.end]
        line_end = b" \\\n" if b"\\\n" in old else b"\n"
        lines = old.count(b"\n") - self.new.count(b"\n")
        return source[: self.start] + self.new + line_end * lines + source[self.end :]


class Part(NamedTuple):
    """A node of the tree, with the place of its text in the file."""

    node: Node
    #: What is added to the node's own offsets, and to its own rows, which count from 0.
    shift: int
    rows: int

    @property
    def start(self) -> int:
        """Offset of its first byte in the file."""
        return self.node.start_byte + self.shift

    @property
    def end(self) -> int:
        """Offset behind its last byte in the file."""
        return self.node.end_byte + self.shift

    @property
    def first_line(self) -> int:
        """Number of its first line in the file, counted from 1."""
        return self.node.start_point.row + self.rows + 1

    @property
    def last_line(self) -> int:
        """Number of its last line."""
        return self.node.end_point.row + self.rows + 1

    @property
    def text(self) -> bytes:
        """What stands there."""
        return self.node.text or b""

    def field(self, name: str) -> Part | None:
        """Return a child by the grammar's name for it."""
        found = self.node.child_by_field_name(name)
        return self._replace(node=found) if found else None

    def children(self) -> list[Part]:
        """Return its named children, comments left out."""
        return [
            self._replace(node=child)
            for child in self.node.named_children
            if child.type != "comment"
        ]

    def change(self, rule: str, new: bytes) -> Change:
        """Return the change that puts something else in its place."""
        return Change(rule, self.start, self.end, new)


Skip = Callable[[Part], bool]


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_c.language()))


def parse(source: bytes) -> Part:
    """Return the tree of a file."""
    return Part(_parser().parse(source).root_node, 0, 0)


def parse_macro(part: Part) -> Part | None:
    """Return the tree of a macro's text; None if it is no expression."""
    text = part.text.rstrip()
    root = _parser().parse(_BEFORE + text + _AFTER).root_node
    if root.has_error:
        return None
    declarator = root.named_children[0].child_by_field_name("declarator")
    value = declarator.child_by_field_name("value") if declarator else None
    if value is None:
        return None
    return Part(value, part.start - len(_BEFORE), part.first_line - 1)


def called(part: Part) -> str:
    """Return the name of the function or macro that is called; empty if it has no name."""
    function = part.field("function") if part.node.type == "call_expression" else None
    if function and function.node.type == "call_expression":  # guard(mutex)(&lock)
        return called(function)
    return function.text.decode() if function and function.node.type == "identifier" else ""


def walk(part: Part, skip: Skip) -> Iterator[Part]:
    """Give a node and all below it, those in macros included.

    :param skip: tells of what nothing is given, nor of what is below it.
    """
    if skip(part):
        return
    yield part
    if part.node.type == "preproc_arg":
        inner = parse_macro(part)
        if inner:
            yield from walk(inner, skip)
        return
    for child in part.children():
        yield from walk(child, skip)
