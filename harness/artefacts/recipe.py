"""The recipe of an artefact: the code that makes it, as part of its key.

When the code that makes an artefact changes, the same inputs may give another artefact. There are
two ways to put the code into a key.

:func:`digest` is computed from the source of the modules. It is for artefacts made in seconds or a
minute: the image, the programs, the selftests, a kernel's configuration. They are made anew after
any change of that code.

A number, ``RECIPE`` in the module that makes the artefact, is for artefacts that take ten minutes
to build (kernel, emulator) or must be fetched (sources, series), because most changes of that code
do not change the artefact. A unit test holds the digest for which each number was last reviewed. It
fails after a change of the code, and the author of the change decides whether to raise the number.

Both ignore comments, docstrings, blank lines, the place of a module and the paths of its imports.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from types import ModuleType

_PACKAGE = __name__.partition(".")[0]
_SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def digest(*modules: ModuleType) -> str:
    """Return a digest of modules: of their source without comments and docstrings.

    The modules are sorted by their source, not by name or path.
    """
    parts = sorted(_digest(bare(inspect.getsource(module))) for module in modules)
    return _digest("\n".join(parts))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def bare(source: str) -> str:
    """Return Python source without comments, docstrings, blank lines and the package's imports.

    The rest is left as it is written, so the interpreter's version does not matter.
    """
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for line, start, end in sorted(_spans(source, lines), reverse=True):
        lines[line] = lines[line][:start] + lines[line][end:].lstrip(b" \t")
    text = b"".join(lines).decode()
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.strip())


def _spans(source: str, lines: list[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield what is left out: the number of a line, and the first and last byte in it."""
    for node in _left_out(ast.parse(source)):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        for number in range(first, last + 1):
            start = node.col_offset if number == first else 0
            whole = len(lines[number].rstrip(b"\r\n"))
            end = node.end_col_offset if number == last else whole
            yield number, start, whole if end is None else end
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            start = len(token.line[:column].encode())
            yield row - 1, start, start + len(token.string.encode())


def _left_out(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the docstrings, and the imports of the package's own modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            if all(_own(alias.name) for alias in node.names):
                yield node
        elif isinstance(node, ast.ImportFrom):
            if node.level or _own(node.module or ""):
                yield node
        elif isinstance(node, _SCOPES) and ast.get_docstring(node, clean=False) is not None:
            yield node.body[0]


def _own(module: str) -> bool:
    return module.partition(".")[0] == _PACKAGE
