"""A parser for single lines of KTAP. Pure: it takes bytes, returns a value and never raises.

The grammar is that of the kernel's ``Documentation/dev-tools/ktap.rst`` (version 1), with what TAP
13 and 14 allow in addition: a result's number and the dash before its description may be missing,
``#`` may be escaped, and ``# Subtest: NAME`` may name a nested document.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

CaseStatus = Literal["pass", "fail", "skip"]

#: Limit for the characters of a name. The whole line is among the diagnostics if it was cut.
MAX_NAME = 200


class Version(NamedTuple):
    """``KTAP version 1`` or ``TAP version 13``: the begin of a document."""

    dialect: str
    number: int


class Plan(NamedTuple):
    """``1..N``, optionally with TAP's ``# SKIP reason`` for a skipped document."""

    total: int
    skip: str | None


class Subtest(NamedTuple):
    """``# Subtest: NAME``."""

    name: str


class BailOut(NamedTuple):
    """``Bail out! reason``: the program aborts."""

    reason: str


class Result(NamedTuple):
    """``ok 3 - name # DIRECTIVE text``."""

    status: CaseStatus
    number: int | None
    #: Whether a number or dash identifies this as a result even without a version line.
    certain: bool
    name: str
    message: str
    #: Whether the name was cut to :data:`MAX_NAME` characters.
    cut: bool


Line = Version | Plan | Subtest | BailOut | Result | None

_PRINTK = re.compile(rb"(?:<\d{1,3}>)?\[[ \d]{0,12}\d\.\d{6}\](?:\[ *[TC]\d+\])? ?")
_VERSION = re.compile(rb"(K?TAP) version (\d{1,9})$")
_PLAN = re.compile(rb"1\.\.(\d{1,9})(?:\s*#(.*))?$", re.DOTALL)
_RESULT = re.compile(
    rb"(not ok|ok)"
    rb"(?:[ \t]+(\d{1,9})(?![^ \t]))?"
    rb"(?:[ \t]+(-)(?![^ \t]))?"
    rb"((?:[ \t].*)?)$",
    re.DOTALL,
)
_HASH = re.compile(rb"(?<![^ \t])#(?=[ \t]|$|(?:SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b)", re.IGNORECASE)
_DIRECTIVE = re.compile(
    rb"(SKIP(?:PED)?|TODO|XFAIL|TIMEOUT|ERROR)(?![A-Za-z0-9_-]):?", re.IGNORECASE
)
_SUBTEST = b"# Subtest:"
#: Ids of the statements that a case checks. An extension of this project.
_CHECKS = re.compile(r"\s*# checks: ([A-Z]+-\d+(?:,\s*[A-Z]+-\d+)*)\s*")
_BAIL_OUT = b"Bail out!"


def decode(raw: bytes) -> str:
    r"""Return the text of a line. Bytes that are not UTF-8 become ``\xNN``."""
    return raw.decode("utf-8", "backslashreplace")


def printk_prefix(raw: bytes) -> int:
    """Return the length of the kernel log's time stamp at the start of a line, 0 if none."""
    found = _PRINTK.match(raw)
    return found.end() if found else 0


def indent_of(raw: bytes) -> int:
    """Return how many columns a line is indented. A tab counts as four."""
    blank = raw[: len(raw) - len(raw.lstrip(b" \t"))]
    return len(blank) + 3 * blank.count(b"\t")


def classify(raw: bytes) -> Line:
    """Parse a line without its line end. Return None if it is not a line of KTAP's structure."""
    line = raw.strip(b" \t\r")
    if line.startswith((b"ok", b"not ok")):
        return _result(line)
    if line.startswith(b"1.."):
        return _plan(line)
    if line.startswith(_SUBTEST):
        name = decode(line[len(_SUBTEST) :].strip())
        return Subtest(name[:MAX_NAME]) if name else None
    if line.startswith(_BAIL_OUT):
        return BailOut(decode(line[len(_BAIL_OUT) :].strip()))
    found = _VERSION.match(line)
    return Version(found[1].decode(), int(found[2])) if found else None


def checks_of(line: str) -> tuple[str, ...]:
    """Return the ids in a ``# checks:`` line; empty for any other line."""
    found = _CHECKS.fullmatch(line)
    return tuple(re.split(r",\s*", found[1])) if found else ()


def _plan(line: bytes) -> Plan | None:
    found = _PLAN.match(line)
    if not found:
        return None
    skip = None
    if found[2] is not None:
        word, text = _directive(found[2].strip())
        skip = text if word == "SKIP" else None
    return Plan(int(found[1]), skip)


def _result(line: bytes) -> Result | None:
    found = _RESULT.match(line)
    if not found:
        return None
    rest = found[4].strip()
    hash_ = _HASH.search(rest)
    name = _unescape(rest[: hash_.start()] if hash_ else rest)
    word, text = _directive(rest[hash_.end() :].strip()) if hash_ else (None, "")
    if not name and word in {"SKIP", "XFAIL"}:
        name = text  # kselftest.h prints the test's name after the directive
    return Result(
        status=_status(found[1] == b"ok", word),
        number=int(found[2]) if found[2] else None,
        certain=bool(found[2] or found[3]),
        name=name[:MAX_NAME] + "…" if len(name) > MAX_NAME else name,
        message=_message(word, text, ok=found[1] == b"ok"),
        cut=len(name) > MAX_NAME,
    )


def _directive(data: bytes) -> tuple[str | None, str]:
    """Split the text after ``#`` into a known directive and the rest."""
    found = _DIRECTIVE.match(data)
    if not found:
        return None, decode(data)
    word = found[1].decode().upper()
    return ("SKIP" if word == "SKIPPED" else word), decode(data[found.end() :].strip())


def _status(ok: bool, word: str | None) -> CaseStatus:
    """Return the status of a result. As in ktap.rst, SKIP applies to ``ok`` and ``not ok``.

    An expected failure (XFAIL, or a failing TODO) counts as skipped, because it shows neither that
    something works nor that it broke. The message has the directive.
    """
    if word in {"SKIP", "XFAIL"} or (word == "TODO" and not ok):
        return "skip"
    if word in {"TIMEOUT", "ERROR"}:
        return "fail"
    return "pass" if ok else "fail"


def _message(word: str | None, text: str, *, ok: bool) -> str:
    prefix = {
        "XFAIL": "expected failure",
        "TODO": "to do, but passed" if ok else "to do",
        "TIMEOUT": "timed out",
        "ERROR": "error",
    }.get(word or "")
    if prefix is None:
        return text
    return f"{prefix}: {text}" if text else prefix


def _unescape(raw: bytes) -> str:
    r"""Undo TAP 14's ``\#`` and ``\\``."""
    return decode(re.sub(rb"\\([\\#])", rb"\1", raw.strip()))
