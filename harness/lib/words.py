"""Checks of what users write: an expression over programs, kernel parameters, selftests.

Each function returns why a text has no meaning; empty if it has one.
"""

from __future__ import annotations

import ast
import re

#: A name in pytest's expressions, a parenthesis, or blanks.
_TOKEN = re.compile(r"[\w:+.\[\]\\/-]+|[()]|[ \t]+")
_OPERATORS = {"and", "or", "not"}
_EXPRESSION = (
    ast.Expression,
    ast.BoolOp,
    ast.UnaryOp,
    ast.And,
    ast.Or,
    ast.Not,
    ast.Name,
    ast.Load,
)
#: The parameter that takes back ``ignore_loglevel``. Linux takes a dash for an underscore.
_SILENT = re.compile(r"(?:^|[\s\"])printk\.ignore[_-]loglevel=")
_TARGET = re.compile(r"\w[\w.+-]*(?:/\w[\w.+-]*)*", re.ASCII)
#: Limit for added kernel parameters: an x86 kernel reads 2048 characters, of which the harness and
#: the profiles need some.
_CMDLINE = 1500


def expression_problem(text: str) -> str:
    """Look at an expression for pytest's ``-k``. An empty one selects everything."""
    found = _TOKEN.findall(text)
    if "".join(found) != text:
        rest = _TOKEN.sub("", text)
        return f"an expression cannot have {rest[0]!r}"
    words = [one if one in _OPERATORS or one in "()" else "x" for one in found if one.strip()]
    try:
        tree = ast.parse(" ".join(words) or "x", mode="eval")
    except (SyntaxError, RecursionError, MemoryError):
        tree = None
    if tree is None or not all(isinstance(node, _EXPRESSION) for node in ast.walk(tree)):
        return "an expression has names, joined by `and`, `or`, `not` and parentheses"
    return ""


def cmdline_problem(text: str) -> str:
    """Look at parameters for a kernel's command line."""
    if text.count('"') % 2:
        return "a quote is open: the kernel would take what follows as one word"
    if len(text) > _CMDLINE:
        return f"more than {_CMDLINE} characters: the kernel would cut its command line"
    if not text.isprintable():
        return "a kernel parameter has no control characters"
    if _SILENT.search(text):
        return "printk.ignore_loglevel could keep the kernel's reports off the console"
    return ""


def target_problem(text: str) -> str:
    """Look at the name of a folder in a kernel's ``tools/testing/selftests``."""
    if not _TARGET.fullmatch(text):
        return "a folder below tools/testing/selftests is like `futex` or `net/forwarding`"
    return ""
